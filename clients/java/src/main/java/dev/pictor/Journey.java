package dev.pictor;

import dev.pictor.v1.GetGenerationRequest;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.time.Duration;

/**
 * One call's way over as many connections as it takes: when to go on, when to send again, when to give up.
 *
 * <p>A generation goes on while its reader is away, so a lost connection is followed by WatchGeneration. If the call broke
 * before its id came back, its request_id tells whether it was accepted.
 *
 * <p>Sending a call again may pay again: a gateway that does not know a generation may have been restarted and have forgotten
 * it. So that is done only after the gateway itself said that the generation ended and nothing was spent. Everything else
 * ends with the error of the lost connection, which says that the outcome is unknown.
 *
 * <p>Not handled: what gRPC itself repeats before all this (service_config.json), a call of which not even the id came back.
 */
final class Journey {

    private final Connection connection;
    private final Wish wish;
    private final Patience patience;
    private final long began = System.nanoTime();
    private PictorException lost;

    Journey(Connection connection, Wish wish) {
        this.connection = connection;
        this.wish = wish;
        this.patience = new Patience(connection, wish.deadline());
    }

    /** Something arrived: count the tries anew. */
    void progress() {
        patience.progress();
    }

    /**
     * Waits until it is time to watch the generation of a lost call, and answers its id.
     *
     * @throws PictorException there is nothing to watch: {@code error}, or the lost connection that went before it
     */
    String goOn(PictorException error, String generationId) {
        error.about(wish.requestId(), Duration.ofNanos(System.nanoTime() - began));
        error.within("request.");
        if (lost != null && error.code() == Status.Code.NOT_FOUND) {
            lost.forgotten("generation " + lost.generationId().orElseThrow(), "whether it was made");
            throw lost;
        }
        if (generationId != null) {
            error.named(generationId);
        }
        if (!error.isLost()) {
            throw error;
        }
        if (error.generationId().isEmpty()) {
            error.named(accepted(error));
        }
        error.maybePaid();
        lost = error;
        patience.pause(error);
        return error.generationId().orElseThrow();
    }

    /** Finds the id of a call that broke before it came, by its request_id. */
    private String accepted(PictorException error) {
        if (!error.reason().equals(PictorException.UNREACHABLE) || error.isUnsent() || wish.requestId() == null) {
            throw error; // refused, or never on its way: not accepted
        }
        GetGenerationRequest request =
                GetGenerationRequest.newBuilder().setRequestId(wish.requestId()).build();
        try {
            return connection.stubs(wish.deadline()).history().getGeneration(request).getGeneration().getId();
        } catch (StatusRuntimeException unknown) {
            error.alsoSaying("it is unknown whether the call was accepted: look for its request_id " + wish.requestId());
            error.maybePaid();
            error.put("request_id", wish.requestId());
            throw error;
        }
    }

    /**
     * Waits until the call may be sent again, free of charge.
     *
     * @throws PictorException {@code error} itself, unless it ended unpaid because its server went away, or we seemed to
     */
    void sendAgain(PictorException error, boolean withdrawn) {
        boolean seemedGone = error.reason().equals(Status.Code.CANCELLED.name()) && withdrawn && lost != null;
        if (error.isPaid() || !error.isEnd() || !(seemedGone || error.isGivenUp())) {
            throw error;
        }
        lost = null;
        patience.pause(error);
    }
}
