package dev.pictor;

import dev.pictor.v1.GenerateSetResponse;
import io.grpc.Status;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * Turns a set's messages into events; every generation has an assembler of its own.
 *
 * <p>After a lost connection the same set is sent again and its messages come from the beginning; what was told before is
 * dropped. What the loss withdrew from the queue may be heard once more as CANCELLED while the gateway clears it away: that
 * is nobody's wish, so it is not told, and the set counts as unfinished.
 */
final class SetAssembler {

    private record Item(String key, String model) {}

    /** Names the set; empty until it is known to be accepted. */
    String setId = "";

    boolean completed;
    private final boolean withdrawn;
    private final Map<String, Assembler> generations = new HashMap<>();
    private final Set<Item> failed = new HashSet<>();
    private boolean accepted;
    private boolean lost;
    private boolean withheld;
    private boolean ended;

    /** {@code withdrawn}: whether the gateway gives up what is not sent when the connection is lost. */
    SetAssembler(boolean withdrawn) {
        this.withdrawn = withdrawn;
    }

    /** The set's generations that were heard of. */
    Set<String> generationIds() {
        return generations.keySet();
    }

    /** The set will come again from the beginning: after a broken connection, or because it is unfinished. */
    void interrupt() {
        lost = !ended;
        ended = false;
        withheld = false;
        generations.values().forEach(Assembler::interrupt);
    }

    /**
     * Takes one message and answers the events that are whole with it, and new.
     *
     * @throws PictorException DATA_LOSS, the bytes do not fit together
     */
    List<SetEvent> feed(GenerateSetResponse message) {
        return switch (message.getStepCase()) {
            case SET_ACCEPTED -> accepted(message);
            case EVENT -> step(message);
            case ITEM_FAILED -> failed(message);
            case SUMMARY -> end(message);
            case STEP_NOT_SET -> List.of(); // a kind that is not known yet
        };
    }

    private List<SetEvent> accepted(GenerateSetResponse message) {
        boolean news = !accepted;
        accepted = true;
        setId = message.getSetAccepted().getSetId();
        return news ? List.of(new SetEvent.Accepted(message, message.getSetAccepted())) : List.of();
    }

    private List<SetEvent> step(GenerateSetResponse message) {
        if (message.getEvent().hasHeartbeat()) {
            return List.of();
        }
        if (message.getGenerationId().isEmpty()) {
            throw PictorException.damaged("a step of a set names no generation");
        }
        Assembler generation = generations.computeIfAbsent(message.getGenerationId(), id -> new Assembler(0));
        return generation.completed
                ? List.of()
                : generation.feed(message.getEvent()).stream()
                        .<SetEvent>map(event -> new SetEvent.Step(message, event))
                        .toList();
    }

    private List<SetEvent> failed(GenerateSetResponse message) {
        Item item = new Item(message.getItemKey(), message.getModel());
        boolean isOurDoing = lost
                && withdrawn
                && message.getItemFailed().getReason().equals(Status.Code.CANCELLED.name());
        if (isOurDoing && !failed.contains(item)) {
            withheld = true;
            return List.of();
        }
        return failed.add(item) ? List.of(new SetEvent.ItemFailed(message, message.getItemFailed())) : List.of();
    }

    private List<SetEvent> end(GenerateSetResponse message) {
        ended = true;
        completed = !withheld;
        return completed ? List.of(new SetEvent.Summary(message, message.getSummary())) : List.of();
    }
}
