package dev.pictor;

import com.google.protobuf.Any;
import com.google.protobuf.Message;
import com.google.rpc.ErrorInfo;
import dev.pictor.v1.DownloadImageRequest;
import dev.pictor.v1.DownloadImageResponse;
import dev.pictor.v1.GenerateSetRequest;
import dev.pictor.v1.GenerateSetResponse;
import dev.pictor.v1.GenerateStreamRequest;
import dev.pictor.v1.GenerateStreamResponse;
import dev.pictor.v1.GenerationEvent;
import dev.pictor.v1.GetGenerationRequest;
import dev.pictor.v1.GetGenerationResponse;
import dev.pictor.v1.HistoryServiceGrpc;
import dev.pictor.v1.ImageServiceGrpc;
import dev.pictor.v1.ListGenerationsRequest;
import dev.pictor.v1.ListGenerationsResponse;
import dev.pictor.v1.UploadImageRequest;
import dev.pictor.v1.UploadImageResponse;
import dev.pictor.v1.WatchGenerationRequest;
import dev.pictor.v1.WatchGenerationResponse;
import io.grpc.ForwardingServerCall.SimpleForwardingServerCall;
import io.grpc.Grpc;
import io.grpc.InsecureServerCredentials;
import io.grpc.Metadata;
import io.grpc.Server;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.Status;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.function.Function;

/** A gateway of canned answers on a real connection; it keeps what was asked. */
final class CannedGateway implements AutoCloseable {

    /** What a call is answered with: messages, then the end, null for OK. */
    record Answer<T>(List<T> messages, RuntimeException end) {
        @SafeVarargs
        static <T> Answer<T> of(RuntimeException end, T... messages) {
            List<T> all = new ArrayList<>();
            for (T message : messages) {
                all.add(message);
            }
            return new Answer<>(all, end);
        }
    }

    /** Answers the n-th call, from 1. */
    interface Handler<Q, A> {
        Answer<A> answer(int n, Q request);
    }

    final List<String> asked = Collections.synchronizedList(new ArrayList<>());
    Handler<GenerateStreamRequest, GenerationEvent> draw;
    Handler<GenerateSetRequest, GenerateSetResponse> set;
    Handler<WatchGenerationRequest, GenerationEvent> watch;
    Handler<GetGenerationRequest, GetGenerationResponse> find;
    Handler<ListGenerationsRequest, ListGenerationsResponse> list;
    Handler<DownloadImageRequest, DownloadImageResponse> download;
    /** Sent as initial metadata before the call fails, as the gateway does once a generation is accepted. */
    String acceptedAs = "";
    /** Whether GenerateStream never ends. */
    boolean stalls;
    private final Server server;
    final String address;

    CannedGateway() throws IOException {
        server = Grpc.newServerBuilderForPort(0, InsecureServerCredentials.create())
                .addService(new Images())
                .addService(new History())
                .intercept(new Accepting())
                .build()
                .start();
        address = "127.0.0.1:" + server.getPort();
    }

    @Override
    public void close() {
        server.shutdownNow();
    }

    private int count(String call) {
        asked.add(call);
        return Collections.frequency(asked, call);
    }

    private static <T, A> void send(Answer<T> answer, Function<T, A> wrap, StreamObserver<A> to) {
        answer.messages.forEach(message -> to.onNext(wrap.apply(message)));
        if (answer.end == null) {
            to.onCompleted();
        } else {
            to.onError(answer.end);
        }
    }

    private final class Images extends ImageServiceGrpc.ImageServiceImplBase {
        @Override
        public void generateStream(GenerateStreamRequest request, StreamObserver<GenerateStreamResponse> to) {
            Answer<GenerationEvent> answer =
                    draw.answer(count("draw " + request.getRequest().getRequestId()), request);
            if (!stalls) {
                send(answer, event -> GenerateStreamResponse.newBuilder().setEvent(event).build(), to);
            }
        }

        @Override
        public void generateSet(GenerateSetRequest request, StreamObserver<GenerateSetResponse> to) {
            send(set.answer(count("set " + request.getBrief().getRequestId()), request), answer -> answer, to);
        }
    }

    private final class History extends HistoryServiceGrpc.HistoryServiceImplBase {
        @Override
        public void watchGeneration(WatchGenerationRequest request, StreamObserver<WatchGenerationResponse> to) {
            send(
                    watch.answer(count("watch " + request.getGenerationId()), request),
                    event -> WatchGenerationResponse.newBuilder().setEvent(event).build(),
                    to);
        }

        @Override
        public void getGeneration(GetGenerationRequest request, StreamObserver<GetGenerationResponse> to) {
            send(find.answer(count("find " + request.getRequestId()), request), answer -> answer, to);
        }

        @Override
        public void listGenerations(ListGenerationsRequest request, StreamObserver<ListGenerationsResponse> to) {
            send(list.answer(count("list " + request.getSetId()), request), answer -> answer, to);
        }

        @Override
        public void downloadImage(DownloadImageRequest request, StreamObserver<DownloadImageResponse> to) {
            send(
                    download.answer(count("download " + request.getOffsetBytes()), request),
                    answer -> answer,
                    to);
        }

        @Override
        public StreamObserver<UploadImageRequest> uploadImage(StreamObserver<UploadImageResponse> to) {
            count("upload");
            return super.uploadImage(to);
        }
    }

    /** Names the generation in the initial metadata, at once. */
    private final class Accepting implements ServerInterceptor {
        @Override
        public <Q, A> ServerCall.Listener<Q> interceptCall(
                ServerCall<Q, A> call, Metadata headers, ServerCallHandler<Q, A> next) {
            if (acceptedAs.isEmpty() || !call.getMethodDescriptor().getBareMethodName().equals("GenerateStream")) {
                return next.startCall(call, headers);
            }
            Metadata accepted = new Metadata();
            accepted.put(Metadata.Key.of("pictor-generation-id", Metadata.ASCII_STRING_MARSHALLER), acceptedAs);
            call.sendHeaders(accepted);
            return next.startCall(
                    new SimpleForwardingServerCall<>(call) {
                        @Override
                        public void sendHeaders(Metadata again) {
                            // they are sent already
                        }
                    },
                    headers);
        }
    }

    // --- how calls end

    /** How a broken connection looks; gRPC's own retries stay out of the way. */
    static RuntimeException lost() {
        return Status.UNAVAILABLE.withDescription("Network closed for unknown reason").asRuntimeException(noRetry());
    }

    /** Ends a call the way the gateway does: a status with details. */
    static RuntimeException refused(
            Status.Code code, String reason, Map<String, String> metadata, Message... more) {
        com.google.rpc.Status.Builder status = com.google.rpc.Status.newBuilder()
                .setCode(code.value())
                .setMessage("the end")
                .addDetails(Any.pack(ErrorInfo.newBuilder()
                        .setReason(reason)
                        .setDomain("pictor")
                        .putAllMetadata(metadata)
                        .build()));
        for (Message detail : more) {
            status.addDetails(Any.pack(detail));
        }
        return StatusProto.toStatusRuntimeException(status.build(), noRetry());
    }

    private static Metadata noRetry() {
        Metadata trailers = new Metadata();
        trailers.put(Metadata.Key.of("grpc-retry-pushback-ms", Metadata.ASCII_STRING_MARSHALLER), "-1");
        return trailers;
    }
}
