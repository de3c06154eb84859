package dev.pictor;

import io.grpc.Context;
import io.grpc.StatusRuntimeException;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Iterator;
import java.util.List;
import java.util.NoSuchElementException;

/**
 * What a call tells, over as many connections as it takes; it is read once, by one thread.
 *
 * <p>The call begins with the first event that is asked for. Closing, also from another thread, ends it.
 */
abstract sealed class Reading<M, E> implements Iterable<E>, Iterator<E>, AutoCloseable permits EventStream, SetStream {

    private final Connection connection;
    private final Wish wish;
    private final Context.CancellableContext context = Context.current().withCancellation();
    private final Deque<E> ready = new ArrayDeque<>();
    private Iterator<M> messages;
    private boolean done;

    Reading(Connection connection, Wish wish) {
        this.connection = connection;
        this.wish = wish;
    }

    /** Opens the next connection's stream, with stubs that know the deadline. */
    abstract Iterator<M> open(Connection.Stubs stubs);

    /** Takes one message; answers the events that are whole with it. */
    abstract List<E> take(M message);

    /** Whether the last event was answered. */
    abstract boolean isCompleted();

    /**
     * Waits until it is time for the next connection.
     *
     * @throws PictorException there is nothing to go on with
     */
    abstract void goOn(PictorException ended);

    /** The events, for a loop; there is one iterator only. */
    @Override
    public Iterator<E> iterator() {
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
    public E next() {
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

    void fill() {
        while (ready.isEmpty() && !done) {
            PictorException ended = read();
            if (ended != null) {
                goOn(ended);
                messages = null;
            }
        }
    }

    /** Takes one message; answers what the connection ended with, or null. */
    private PictorException read() {
        M message;
        try {
            if (messages == null) {
                messages = open(connection.stubs(wish.deadline()));
            }
            if (!messages.hasNext()) {
                return end(PictorException.lost("the stream ended early"));
            }
            message = messages.next();
        } catch (StatusRuntimeException failure) {
            return end(PictorException.of(failure));
        }
        ready.addAll(take(message));
        return null;
    }

    private PictorException end(PictorException why) {
        done = isCompleted();
        return done ? null : why;
    }

    /** The same event; a picture whose bytes did not come with the stream is fetched. */
    Event withBytes(Event event) {
        if (event instanceof Event.Image image && image.picture().getData().isEmpty() && wish.fetches()) {
            return new Event.Image(
                    image.raw(), Pictor.fetch(connection, image.picture().getId(), wish.deadline()));
        }
        return event;
    }
}
