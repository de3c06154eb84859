package dev.pictor;

import com.google.protobuf.ByteString;
import dev.pictor.v1.Generation;
import dev.pictor.v1.GenerationEvent;
import dev.pictor.v1.Image;
import dev.pictor.v1.ImageChunk;
import dev.pictor.v1.PreviewChunk;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * Turns the messages of one generation's stream into events with whole pictures.
 *
 * <p>The gateway sends a log (accepted to completed, numbered from 1 without gaps) and, between its entries, transport
 * messages with the bytes of previews and pictures. A preview or picture is held back until its last chunk is there. After a
 * broken connection {@link #resumeAfter} says where to go on: before the oldest entry whose bytes were still coming. Entries
 * that come again are dropped, so a reader sees each event once whatever the network did.
 *
 * <p>The log ends some minutes after the generation; who comes later gets completed alone. Its pictures then come as events
 * made from the generation, without bytes: the client fetches them one by one.
 */
final class Assembler {

    String generationId;
    boolean completed;
    private long last;
    private Unfinished preview;
    private final Map<String, Unfinished> images = new HashMap<>();
    private final Set<Long> again = new HashSet<>();
    private final Set<String> delivered = new HashSet<>();

    Assembler(long afterSequence) {
        last = afterSequence;
    }

    /** A preview or picture whose bytes are still coming. */
    private static final class Unfinished {
        final GenerationEvent event;
        ByteString data = ByteString.EMPTY;

        Unfinished(GenerationEvent event) {
            this.event = event;
        }

        void add(long offset, ByteString part) {
            if (offset != data.size()) {
                throw PictorException.damaged(
                        "bytes " + data.size() + " to " + offset + " of a picture are missing from the stream");
            }
            data = data.concat(part);
        }
    }

    /** The sequence after which the log must be sent again, once interrupt was told. */
    long resumeAfter() {
        return again.stream().mapToLong(each -> each).min().orElse(last + 1) - 1;
    }

    /** The connection broke: half pictures are forgotten, and their entries taken again. */
    void interrupt() {
        if (preview != null) {
            again.add(preview.event.getSequence());
        }
        images.values().forEach(image -> again.add(image.event.getSequence()));
        preview = null;
        images.clear();
    }

    /**
     * Takes one message and answers the events that are whole with it.
     *
     * @throws PictorException DATA_LOSS, the bytes do not fit together
     */
    List<Event> feed(GenerationEvent message) {
        return switch (message.getEventCase()) {
            case PREVIEW_CHUNK -> previewChunk(message.getPreviewChunk());
            case IMAGE_CHUNK -> imageChunk(message.getImageChunk());
            case HEARTBEAT -> List.of();
            case COMPLETED -> end(message);
            default -> isNews(message.getSequence()) ? entry(message) : List.of();
        };
    }

    private boolean isNews(long sequence) {
        boolean news = again.remove(sequence) || sequence > last;
        last = Math.max(last, sequence);
        return news;
    }

    private List<Event> entry(GenerationEvent message) {
        switch (message.getEventCase()) {
            case ACCEPTED:
                generationId = message.getAccepted().getGenerationId();
                return List.of(new Event.Accepted(message, message.getAccepted()));
            case QUEUED:
                return List.of(new Event.Queued(message, message.getQueued()));
            case ATTEMPT_STARTED:
                return List.of(new Event.AttemptStarted(message, message.getAttemptStarted()));
            case ATTEMPT_FAILED:
                return List.of(new Event.AttemptFailed(message, message.getAttemptFailed()));
            case PREVIEW:
                if (message.getPreview().getOmitted()) {
                    return List.of(new Event.Preview(message, message.getPreview(), ByteString.EMPTY));
                }
                preview = new Unfinished(message);
                return List.of();
            case IMAGE:
                Image image = message.getImage().getImage();
                if (!message.getImage().getChunksFollow()) {
                    return picture(message, image);
                }
                images.put(image.getId(), new Unfinished(message));
                return List.of();
            default:
                return List.of(); // a kind that is not known yet
        }
    }

    private List<Event> previewChunk(PreviewChunk chunk) {
        if (preview == null) {
            return List.of(); // of an entry that was seen before
        }
        preview.add(chunk.getOffsetBytes(), chunk.getData());
        if (!chunk.getLast()) {
            return List.of();
        }
        Unfinished whole = preview;
        preview = null;
        return List.of(new Event.Preview(whole.event, whole.event.getPreview(), whole.data));
    }

    private List<Event> imageChunk(ImageChunk chunk) {
        Unfinished whole = images.get(chunk.getImageId());
        if (whole == null) {
            return List.of();
        }
        whole.add(chunk.getOffsetBytes(), chunk.getData());
        if (!chunk.getLast()) {
            return List.of();
        }
        images.remove(chunk.getImageId());
        Image image = whole.event.getImage().getImage();
        Sha256 sum = new Sha256();
        whole.data.asReadOnlyByteBufferList().forEach(sum::update);
        sum.check(image, whole.data.size());
        return picture(whole.event, image.toBuilder().setData(whole.data).build());
    }

    private List<Event> picture(GenerationEvent message, Image image) {
        delivered.add(image.getId());
        return List.of(new Event.Image(message, image));
    }

    private List<Event> end(GenerationEvent message) {
        completed = true;
        Generation generation = message.getCompleted().getGeneration();
        List<Event> events = new ArrayList<>();
        if (message.getSequence() != last + 1 || !again.isEmpty()) {
            Pictures.of(generation).stream() // that the log no longer had
                    .filter(image -> !delivered.contains(image.getId()))
                    .forEach(image -> events.add(new Event.Image(message, image)));
        }
        events.add(new Event.Completed(message, generation));
        return events;
    }
}
