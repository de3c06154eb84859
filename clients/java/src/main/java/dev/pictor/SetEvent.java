package dev.pictor;

import dev.pictor.v1.GenerateSetResponse;
import dev.pictor.v1.SetAccepted;
import dev.pictor.v1.SetItemFailed;
import dev.pictor.v1.SetSummary;

/** One step of a set. */
public sealed interface SetEvent {

    /** The message that it came with. */
    GenerateSetResponse raw();

    /** The item this is about; empty for the set as a whole. */
    default String itemKey() {
        return raw().getItemKey();
    }

    /** The model asked for this item; empty if the router decides. */
    default String model() {
        return raw().getModel();
    }

    /** The generation this is about; empty before it exists. */
    default String generationId() {
        return raw().getGenerationId();
    }

    /** The set exists; nothing is sent yet. */
    record Accepted(GenerateSetResponse raw, SetAccepted accepted) implements SetEvent {}

    /** A step of one item's generation. */
    record Step(GenerateSetResponse raw, Event event) implements SetEvent {}

    /** An item brought no picture; the others go on. */
    record ItemFailed(GenerateSetResponse raw, SetItemFailed failure) implements SetEvent {}

    /** The end: what became of all items. */
    record Summary(GenerateSetResponse raw, SetSummary summary) implements SetEvent {}
}
