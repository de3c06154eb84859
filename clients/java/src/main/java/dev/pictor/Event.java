package dev.pictor;

import com.google.protobuf.ByteString;
import dev.pictor.v1.GenerationEvent;

/** One step of a generation. */
public sealed interface Event {

    /** The entry of the log, with its sequence and time. */
    GenerationEvent raw();

    /** Place in the log; {@link Pictor#watch} goes on from there. */
    default long sequence() {
        return raw().getSequence();
    }

    /** The generation exists; nothing is sent yet. */
    record Accepted(GenerationEvent raw, dev.pictor.v1.Accepted accepted) implements Event {}

    /** An output waits for the engine's rate limit or a slot. */
    record Queued(GenerationEvent raw, dev.pictor.v1.Queued queued) implements Event {}

    /** An engine is being called; previews of earlier attempts for this output are void. */
    record AttemptStarted(GenerationEvent raw, dev.pictor.v1.AttemptStarted attempt) implements Event {}

    /** An engine brought no picture. */
    record AttemptFailed(GenerationEvent raw, dev.pictor.v1.AttemptFailed attempt) implements Event {}

    /**
     * An unfinished picture, only for showing.
     *
     * @param data the encoded picture; empty if the gateway left it out because this reader is slow
     */
    record Preview(GenerationEvent raw, dev.pictor.v1.Preview preview, ByteString data) implements Event {}

    /**
     * A finished picture.
     *
     * @param picture with its data, unless the call asked not to fetch it
     */
    record Image(GenerationEvent raw, dev.pictor.v1.Image picture) implements Event {}

    /**
     * The end.
     *
     * @param generation the whole of it; its pictures came before, so here they are without bytes
     */
    record Completed(GenerationEvent raw, dev.pictor.v1.Generation generation) implements Event {}
}
