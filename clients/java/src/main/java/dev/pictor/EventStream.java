package dev.pictor;

import dev.pictor.v1.GenerationEvent;
import dev.pictor.v1.WatchGenerationRequest;
import dev.pictor.v1.WatchGenerationResponse;
import io.grpc.Context;
import io.grpc.StatusRuntimeException;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Iterator;
import java.util.NoSuchElementException;

/**
 * A generation's events, over as many connections as it takes; they are read once, by one thread.
 *
 * <p>The call begins with the first event that is asked for. Closing, also from another thread, ends it.
 */
public final class EventStream implements Iterable<Event>, Iterator<Event>, AutoCloseable {

    /** Opens a stream with stubs that know the deadline. */
    interface Start {
        Iterator<GenerationEvent> open(Connection.Stubs stubs);
    }

    private final Connection connection;
    private final Wish wish;
    private final Assembler assembler;
    private final Journey journey;
    private final Context.CancellableContext context = Context.current().withCancellation();
    private final Deque<Event> ready = new ArrayDeque<>();
    private Start start;
    private Iterator<GenerationEvent> messages;
    private boolean done;

    EventStream(Connection connection, Wish wish, Assembler assembler, Journey journey, Start start) {
        this.connection = connection;
        this.wish = wish;
        this.assembler = assembler;
        this.journey = journey;
        this.start = start;
    }

    /** Opens a stream from where the assembler needs it. */
    static Start watching(Assembler assembler, Wish wish) {
        return stubs -> {
            WatchGenerationRequest.Builder request = WatchGenerationRequest.newBuilder()
                    .setGenerationId(assembler.generationId)
                    .setAfterSequence(assembler.resumeAfter());
            if (wish.maxInlineBytes() != null) {
                request.setMaxInlineBytes(wish.maxInlineBytes());
            }
            return Connection.map(stubs.history().watchGeneration(request.build()), WatchGenerationResponse::getEvent);
        };
    }

    /** The events, for a loop; there is one iterator only. */
    @Override
    public Iterator<Event> iterator() {
        return this;
    }

    /**
     * Waits for the next event.
     *
     * @throws PictorException the gateway refused or failed, or the call was ended here
     */
    @Override
    public boolean hasNext() {
        if (ready.isEmpty() && !done) {
            boolean filled = false;
            Context outer = context.attach();
            try {
                fill();
                filled = true;
            } finally {
                context.detach(outer);
                done |= !filled;
                if (done) {
                    close();
                }
            }
        }
        return !ready.isEmpty();
    }

    @Override
    public Event next() {
        if (!hasNext()) {
            throw new NoSuchElementException();
        }
        return ready.remove();
    }

    /** Ends the call, if it still runs: what was sent to an engine finishes, is stored, and can be watched. */
    @Override
    public void close() {
        context.cancel(null);
    }

    private void fill() {
        while (ready.isEmpty() && !done) {
            PictorException ended = read();
            if (ended != null) {
                assembler.generationId = journey.goOn(ended, assembler.generationId);
                assembler.interrupt();
                messages = null;
                start = watching(assembler, wish);
            }
        }
    }

    /** Takes one message; answers what the connection ended with, or null. */
    private PictorException read() {
        GenerationEvent message;
        try {
            if (messages == null) {
                messages = start.open(connection.stubs(wish.deadline()));
            }
            if (!messages.hasNext()) {
                return end(PictorException.lost("the stream ended early"));
            }
            message = messages.next();
        } catch (StatusRuntimeException failure) {
            return end(PictorException.of(failure));
        }
        journey.progress();
        for (Event event : assembler.feed(message)) {
            ready.add(withBytes(event));
        }
        return null;
    }

    private PictorException end(PictorException why) {
        done = assembler.completed;
        return done ? null : why;
    }

    /** The same event; a picture whose bytes did not come with the stream is fetched. */
    private Event withBytes(Event event) {
        if (event instanceof Event.Image image && image.picture().getData().isEmpty() && wish.fetches()) {
            return new Event.Image(
                    image.raw(), Pictor.fetch(connection, image.picture().getId(), wish.deadline()));
        }
        return event;
    }
}
