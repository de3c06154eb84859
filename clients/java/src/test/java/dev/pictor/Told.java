package dev.pictor;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.grpc.Status;
import org.junit.jupiter.api.function.Executable;

/** What a failed call told. */
final class Told {

    private Told() {}

    static PictorException by(Status.Code code, String reason, Executable call) {
        PictorException error = assertThrows(PictorException.class, call);
        assertEquals(code + " " + reason, error.code() + " " + error.reason(), error.getMessage());
        return error;
    }
}
