package dev.pictor;

import io.grpc.Context;
import io.grpc.Deadline;
import io.grpc.Status;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** Counts the tries of one call since it last brought something. */
final class Patience {

    /** Longest wait before each try; a restart of the gateway fits in, a broken network does not go on for ever. */
    static final List<Duration> DELAYS = List.of(
            Duration.ofMillis(100), Duration.ofMillis(300), Duration.ofSeconds(1), Duration.ofSeconds(3),
            Duration.ofSeconds(5), Duration.ofSeconds(5), Duration.ofSeconds(5));

    private final Connection connection;
    private final Deadline deadline;
    private int tries;

    Patience(Connection connection, Deadline deadline) {
        this.connection = connection;
        this.deadline = deadline;
    }

    /** Something arrived: begin to count anew. */
    void progress() {
        tries = 0;
    }

    /**
     * Waits until the next try is due; half of each delay is random, so that clients do not come back as one.
     *
     * @throws PictorException {@code lost} itself, if all tries are used up, or the call was ended here meanwhile
     */
    void pause(PictorException lost) {
        if (tries == connection.delays.size()) {
            throw lost;
        }
        if (tries == 0) {
            connection.onLost.accept(lost);
        }
        long longest = connection.delays.get(tries++).toNanos();
        long delay = longest / 2 + (long) (ThreadLocalRandom.current().nextDouble() * longest / 2);
        boolean isLate = deadline != null && deadline.timeRemaining(TimeUnit.NANOSECONDS) < delay;
        sleep(isLate ? deadline.timeRemaining(TimeUnit.NANOSECONDS) : delay, lost);
        if (isLate) {
            throw lost.interrupted(Status.Code.DEADLINE_EXCEEDED, null);
        }
    }

    private static void sleep(long nanos, PictorException lost) {
        Context context = Context.current();
        CountDownLatch ended = new CountDownLatch(1);
        Context.CancellationListener listener = cancelled -> ended.countDown();
        context.addListener(listener, Runnable::run);
        try {
            if (!ended.await(nanos, TimeUnit.NANOSECONDS)) {
                return;
            }
        } catch (InterruptedException interrupt) {
            Thread.currentThread().interrupt();
            throw lost.interrupted(Status.Code.CANCELLED, interrupt);
        } finally {
            context.removeListener(listener);
        }
        Throwable why = context.cancellationCause();
        throw lost.interrupted(
                why instanceof TimeoutException ? Status.Code.DEADLINE_EXCEEDED : Status.Code.CANCELLED, why);
    }
}
