package dev.pictor;

import com.google.protobuf.UnsafeByteOperations;
import dev.pictor.v1.HistoryServiceGrpc;
import dev.pictor.v1.Image;
import dev.pictor.v1.UploadImageRequest;
import dev.pictor.v1.UploadImageResponse;
import io.grpc.Context;
import io.grpc.Deadline;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.StreamObserver;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;

/** A picture that is brought in pieces. */
final class Upload {

    private static final int MAX_BYTES = 20 << 20;
    private static final int CHUNK_BYTES = 512 << 10; // below the contract's 1 MiB a message

    private Upload() {}

    static Image run(Connection connection, byte[] picture, Deadline deadline) {
        if (picture.length > MAX_BYTES) {
            throw PictorException.tooLarge(MAX_BYTES);
        }
        CompletableFuture<Image> answer = new CompletableFuture<>();
        Context.CancellableContext context = Context.current().withCancellation();
        Context outer = context.attach();
        try {
            StreamObserver<UploadImageRequest> parts = Connection.until(
                            HistoryServiceGrpc.newStub(connection.channel()), deadline)
                    .uploadImage(new Answer(answer));
            for (int at = 0; at < picture.length && !answer.isDone(); at += CHUNK_BYTES) {
                parts.onNext(UploadImageRequest.newBuilder()
                        .setData(UnsafeByteOperations.unsafeWrap(
                                picture, at, Math.min(CHUNK_BYTES, picture.length - at)))
                        .build());
            }
            parts.onCompleted();
            return answer.get();
        } catch (ExecutionException failure) {
            throw PictorException.of((StatusRuntimeException) failure.getCause());
        } catch (InterruptedException interrupt) {
            Thread.currentThread().interrupt();
            throw PictorException.of(Status.CANCELLED.withCause(interrupt).asRuntimeException());
        } finally {
            context.detach(outer);
            context.cancel(null);
        }
    }

    private record Answer(CompletableFuture<Image> image) implements StreamObserver<UploadImageResponse> {
        @Override
        public void onNext(UploadImageResponse response) {
            image.complete(response.getImage());
        }

        @Override
        public void onError(Throwable failure) {
            image.completeExceptionally(failure);
        }

        @Override
        public void onCompleted() {
            // the answer came before
        }
    }
}
