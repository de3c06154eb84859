package dev.pictor;

import dev.pictor.v1.GetGenerationRequest;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.time.Duration;

/**
 * A set's way over as many connections as it takes: the same set is sent again, with the same request_id.
 *
 * <p>The gateway joins or replays each generation of a set that it knows, so nothing is paid twice. A gateway that has
 * forgotten them (its database was in memory, or is another one) would draw all of them anew, so it is asked for one of
 * those that were seen first.
 */
final class SetJourney {

    private final Connection connection;
    private final Wish wish;
    private final SetAssembler seen;
    private final Patience patience;
    private final long began = System.nanoTime();
    private boolean lost;

    SetJourney(Connection connection, Wish wish, SetAssembler seen) {
        this.connection = connection;
        this.wish = wish;
        this.seen = seen;
        this.patience = new Patience(connection, wish.deadline());
    }

    /** Something new arrived: count the tries anew. What is only repeated does not count, or it could go on for ever. */
    void progress() {
        patience.progress();
    }

    /**
     * Waits until it is time to send the set again.
     *
     * @throws PictorException it cannot be gone on with
     */
    void goOn(PictorException error) {
        for (PictorException next = error; next != null; next = look(next)) {
            if (!next.isLost() || (next.isUnsent() && !mayBePaid())) {
                throw next;
            }
            lost = true;
            patience.pause(next);
        }
    }

    /** Asks for a generation that was seen; answers how that was lost, or null. */
    private PictorException look(PictorException before) {
        if (seen.generationId().isEmpty()) {
            return null;
        }
        GetGenerationRequest request =
                GetGenerationRequest.newBuilder().setGenerationId(seen.generationId()).build();
        try {
            connection.stubs(wish.deadline()).history().getGeneration(request);
            return null;
        } catch (StatusRuntimeException failure) {
            PictorException answer = PictorException.of(failure);
            if (answer.code() != Status.Code.NOT_FOUND) {
                return answer;
            }
            before.alsoSaying("the gateway does not know generation " + seen.generationId() + " of set " + seen.setId
                    + " any more, so it is unknown what was made, and request_id " + wish.requestId() + " may pay again");
            before.maybePaid();
            throw before;
        }
    }

    private boolean mayBePaid() {
        return lost || !seen.setId.isEmpty();
    }

    /** Adds what to look for: once the set may have been accepted, money may be spent. */
    void about(PictorException error) {
        error.about(wish.requestId(), Duration.ofNanos(System.nanoTime() - began));
        if (!seen.setId.isEmpty()) {
            error.put("set_id", seen.setId);
        }
        if (mayBePaid() && !error.isPaid()) {
            String what = seen.setId.isEmpty()
                    ? "it is unknown whether the set was accepted"
                    : "money may be spent on set " + seen.setId;
            error.alsoSaying(
                    what + ": send it again with request_id " + wish.requestId() + ", which pays nothing twice");
            error.maybePaid();
        }
    }
}
