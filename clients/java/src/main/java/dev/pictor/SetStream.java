package dev.pictor;

import dev.pictor.v1.GenerateSetRequest;
import dev.pictor.v1.GenerateSetResponse;
import java.util.Iterator;
import java.util.List;

/**
 * A set's events, over as many connections as it takes; they are read once, by one thread.
 *
 * <p>The call begins with the first event that is asked for. Closing, also from another thread, ends it.
 */
public final class SetStream extends Reading<GenerateSetResponse, SetEvent> {

    private final boolean fetches;
    private final SetAssembler assembler;
    private final SetJourney journey;
    private GenerateSetRequest request;

    SetStream(Connection connection, Wish wish, GenerateSetRequest request) {
        super(connection, wish);
        this.fetches = wish.fetches();
        this.request = request;
        this.assembler = new SetAssembler(wish.withdrawn());
        this.journey = new SetJourney(connection, wish, assembler);
    }

    @Override
    Iterator<GenerateSetResponse> open(Connection.Stubs stubs) {
        return stubs.images().generateSet(request);
    }

    @Override
    List<SetEvent> take(GenerateSetResponse message) {
        List<SetEvent> events = assembler.feed(message);
        if (!events.isEmpty()) {
            journey.progress();
        }
        return events.stream().map(this::withBytes).toList();
    }

    private SetEvent withBytes(SetEvent event) {
        return event instanceof SetEvent.Step step ? new SetEvent.Step(step.raw(), withBytes(step.event())) : event;
    }

    @Override
    boolean isCompleted() {
        return assembler.completed;
    }

    @Override
    void goOn(PictorException ended) {
        journey.goOn(ended);
        assembler.interrupt();
        if (fetches) { // or all bytes would come again; a download goes on where it broke
            request = request.toBuilder()
                    .setBrief(request.getBrief().toBuilder().setMaxInlineBytes(0))
                    .build();
        }
    }

    @Override
    void fill() {
        try {
            super.fill();
        } catch (PictorException error) {
            journey.about(error);
            throw error;
        }
    }
}
