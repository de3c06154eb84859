package dev.pictor;

import com.google.protobuf.ByteString;
import dev.pictor.v1.Generation;
import dev.pictor.v1.Image;
import dev.pictor.v1.ImageInput;
import dev.pictor.v1.Output;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;

/** What is done with pictures: found in a generation, saved, given as input. */
public final class Pictures {

    private Pictures() {}

    /** The pictures that a generation has, in order of its outputs. */
    public static List<Image> of(Generation generation) {
        return generation.getOutputsList().stream().filter(Output::hasImage).map(Output::getImage).toList();
    }

    /** A picture as input, from its encoded bytes. */
    public static ImageInput input(byte[] data) {
        return ImageInput.newBuilder().setData(ByteString.copyFrom(data)).build();
    }

    /** A picture as input that was made or uploaded here. */
    public static ImageInput input(String imageId) {
        return ImageInput.newBuilder().setImageId(imageId).build();
    }

    /** What a file of the media type ends with, without a dot. */
    public static String extension(String mimeType) {
        return switch (mimeType) {
            case "image/png" -> "png";
            case "image/jpeg" -> "jpg";
            case "image/webp" -> "webp";
            default -> "bin";
        };
    }

    /**
     * Writes a picture's data to a file, which is there whole or not at all.
     *
     * @throws PictorException NOT_SAVED, the disk did not take it; the gateway keeps it
     */
    public static Path save(Image picture, Path path) {
        if (picture.getData().isEmpty()) {
            throw new IllegalArgumentException("picture " + picture.getId() + " was not fetched; use Pictor.fetch");
        }
        return replace(path, picture.getId(), file -> {
            picture.getData().writeTo(file);
            return path;
        });
    }

    interface Write<T> {
        T to(OutputStream file) throws IOException;
    }

    /** Writes a file beside {@code path} and renames it, so that {@code path} never holds half of one. */
    static <T> T replace(Path path, String imageId, Write<T> write) {
        Path part = path.resolveSibling("." + path.getFileName() + "." + UUID.randomUUID() + ".part");
        try {
            T answer;
            try (OutputStream file = Files.newOutputStream(part, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
                answer = write.to(file);
            }
            Files.move(part, path, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
            return answer;
        } catch (IOException error) {
            throw PictorException.notSaved(error, imageId);
        } finally {
            deleted(part);
        }
    }

    private static void deleted(Path part) {
        try {
            Files.deleteIfExists(part);
        } catch (IOException left) {
            part.toFile().deleteOnExit();
        }
    }

    /** What a unary call would have answered, out of the events of a stream. */
    static Generation collected(Iterable<Event> events) {
        Map<String, Image> images = new HashMap<>();
        Generation.Builder made = Generation.newBuilder();
        for (Event event : events) {
            if (event instanceof Event.Image image) {
                images.put(image.picture().getId(), image.picture());
            } else if (event instanceof Event.Completed completed) {
                made = completed.generation().toBuilder();
            }
        }
        for (Output.Builder output : made.getOutputsBuilderList()) {
            if (output.hasImage() && images.containsKey(output.getImage().getId())) {
                output.getImageBuilder().setData(images.get(output.getImage().getId()).getData());
            }
        }
        return made.build();
    }
}
