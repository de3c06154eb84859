package dev.pictor;

import dev.pictor.v1.ListGenerationsRequest;
import dev.pictor.v1.ListGenerationsResponse;
import io.grpc.StatusRuntimeException;
import java.time.Duration;
import java.util.HashSet;
import java.util.Set;

/**
 * A set's way over as many connections as it takes: the same set is sent again, with the same request_id.
 *
 * <p>The gateway joins or replays each generation of a set that it knows, so nothing is paid twice. A gateway that has
 * forgotten them (its database was in memory, or is another one) would draw them anew, so it is asked first whether it knows
 * every one that was heard of. A set of which not even the id came back cannot be asked for, and is not sent again.
 *
 * <p>Not handled: what gRPC itself repeats before all this (service_config.json), a set of which nothing came back.
 */
final class SetJourney {

    private static final int PAGE = 200;

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
        try {
            Set<String> listed = listed();
            if (!listed.isEmpty() && listed.containsAll(seen.generationIds())) {
                return null;
            }
        } catch (StatusRuntimeException failure) {
            return PictorException.of(failure);
        }
        if (!before.isPaid()) {
            before.forgotten("set " + seen.setId, "what was made (request_id " + wish.requestId() + ")");
            before.maybePaid();
        }
        if (!seen.generationIds().isEmpty()) {
            throw before;
        }
        return before; // it may be about to open the first one
    }

    /** The generations of the set that the gateway knows. */
    private Set<String> listed() {
        Set<String> found = new HashSet<>();
        ListGenerationsRequest.Builder request =
                ListGenerationsRequest.newBuilder().setSetId(seen.setId).setPageSize(PAGE);
        do {
            ListGenerationsResponse page =
                    connection.stubs(wish.deadline()).history().listGenerations(request.build());
            page.getGenerationsList().forEach(each -> found.add(each.getId()));
            request.setPageToken(page.getNextPageToken());
        } while (!request.getPageToken().isEmpty());
        return found;
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
