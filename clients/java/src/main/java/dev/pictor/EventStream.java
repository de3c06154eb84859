package dev.pictor;

import dev.pictor.v1.GenerationEvent;
import dev.pictor.v1.WatchGenerationRequest;
import dev.pictor.v1.WatchGenerationResponse;
import java.util.Iterator;
import java.util.List;

/**
 * A generation's events, over as many connections as it takes; they are read once, by one thread.
 *
 * <p>The call begins with the first event that is asked for. Closing, also from another thread, ends it.
 */
public final class EventStream extends Reading<GenerationEvent, Event> {

    /** Opens a stream with stubs that know the deadline. */
    interface Start {
        Iterator<GenerationEvent> open(Connection.Stubs stubs);
    }

    private final Wish wish;
    private final Assembler assembler;
    private final Journey journey;
    private Start start;

    EventStream(Connection connection, Wish wish, Assembler assembler, Journey journey, Start start) {
        super(connection, wish);
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

    @Override
    Iterator<GenerationEvent> open(Connection.Stubs stubs) {
        return start.open(stubs);
    }

    @Override
    List<Event> take(GenerationEvent message) {
        journey.progress();
        return assembler.feed(message).stream().map(this::withBytes).toList();
    }

    @Override
    boolean isCompleted() {
        return assembler.completed;
    }

    @Override
    void goOn(PictorException ended) {
        assembler.generationId = journey.goOn(ended, assembler.generationId);
        assembler.interrupt();
        start = watching(assembler, wish);
    }
}
