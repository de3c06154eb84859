package dev.pictor;

import dev.pictor.v1.ListGenerationsRequest;
import io.grpc.StatusRuntimeException;
import java.time.Duration;

/**
 * A set's way over as many connections as it takes: the same set is sent again, with the same request_id.
 *
 * <p>The gateway joins or replays each generation of a set that it knows, so nothing is paid twice. A gateway that has
 * forgotten them (its database was in memory, or is another one) would draw all of them anew, so it is asked first whether
 * it knows any. A set of which not even the id came back cannot be asked for, and is not sent again.
 *
 * <p>Not handled: what gRPC itself repeats before all this (service_config.json), a set of which nothing came back.
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
        if (seen.setId.isEmpty()) {
            seen.setId = error.metadata().getOrDefault("set_id", ""); // it comes before the first message
        }
        for (PictorException next = error; next != null; next = whyUnknown(next)) {
            if (!next.isLost() || (next.isUnsent() && seen.setId.isEmpty())) {
                throw next;
            }
            lost = true;
            if (seen.setId.isEmpty()) {
                throw next;
            }
            patience.pause(next);
        }
    }

    /** Asks whether the gateway knows the set; answers what there is to wait with if that is not known yet, or null. */
    private PictorException whyUnknown(PictorException before) {
        ListGenerationsRequest any =
                ListGenerationsRequest.newBuilder().setSetId(seen.setId).setPageSize(1).build();
        try {
            if (connection.stubs(wish.deadline()).history().listGenerations(any).getGenerationsCount() > 0) {
                return null;
            }
        } catch (StatusRuntimeException failure) {
            return PictorException.of(failure);
        }
        if (!before.isPaid()) {
            before.alsoSaying("the gateway does not know set " + seen.setId
                    + " any more, so it is unknown what was made, and request_id " + wish.requestId() + " may pay again");
            before.maybePaid();
        }
        if (seen.hasBegun()) {
            throw before;
        }
        return before; // it may be about to open the first one
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
            error.alsoSaying(what + ": send it again with request_id " + wish.requestId());
            error.maybePaid();
        }
    }
}
