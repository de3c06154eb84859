package dev.pictor;

import com.google.gson.Gson;
import com.google.gson.reflect.TypeToken;
import dev.pictor.v1.CatalogServiceGrpc;
import dev.pictor.v1.CatalogServiceGrpc.CatalogServiceBlockingStub;
import dev.pictor.v1.GenerationEvent;
import dev.pictor.v1.HistoryServiceGrpc;
import dev.pictor.v1.HistoryServiceGrpc.HistoryServiceBlockingStub;
import dev.pictor.v1.ImageServiceGrpc;
import dev.pictor.v1.ImageServiceGrpc.ImageServiceBlockingStub;
import dev.pictor.v1.UsageServiceGrpc;
import dev.pictor.v1.UsageServiceGrpc.UsageServiceBlockingStub;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ChannelCredentials;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ClientStreamTracer;
import io.grpc.Deadline;
import io.grpc.ForwardingClientCall.SimpleForwardingClientCall;
import io.grpc.ForwardingClientCallListener.SimpleForwardingClientCallListener;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.TlsChannelCredentials;
import io.grpc.stub.AbstractStub;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import java.util.function.Function;

/** The way to the gateway: transport security, identity, limits, retries, and errors in our words. */
final class Connection {

    /** Longest message we take: max_inline_bytes may be raised up to this; gRPC's own default is 4 MiB. */
    private static final int RECEIVE_BYTES = 64 << 20;

    final Consumer<PictorException> onLost;
    final List<Duration> delays;
    private final String address;
    private final Metadata identity;
    private final ManagedChannel channel;
    private final Stubs stubs;

    /** The four services, over one channel with one identity. */
    record Stubs(
            ImageServiceBlockingStub images,
            HistoryServiceBlockingStub history,
            UsageServiceBlockingStub usage,
            CatalogServiceBlockingStub catalog) {}

    Connection(
            Target target,
            ChannelCredentials credentials,
            List<Map.Entry<String, String>> metadata,
            Consumer<PictorException> onLost,
            List<Duration> delays) {
        this.address = target.address();
        this.onLost = onLost;
        this.delays = delays;
        this.identity = checked(metadata);
        ChannelCredentials chosen = credentials != null
                ? credentials
                : target.encrypted() ? TlsChannelCredentials.create() : InsecureChannelCredentials.create();
        UnknownName.isToldOf(address);
        this.channel = Grpc.newChannelBuilder(address, chosen)
                .defaultServiceConfig(serviceConfig())
                .disableServiceConfigLookUp()
                .maxInboundMessageSize(RECEIVE_BYTES)
                .intercept(new Identify())
                .build();
        this.stubs = new Stubs(
                ImageServiceGrpc.newBlockingStub(channel),
                HistoryServiceGrpc.newBlockingStub(channel),
                UsageServiceGrpc.newBlockingStub(channel),
                CatalogServiceGrpc.newBlockingStub(channel));
    }

    Channel channel() {
        return channel;
    }

    Stubs stubs(Deadline deadline) {
        return new Stubs(
                until(stubs.images, deadline),
                until(stubs.history, deadline),
                until(stubs.usage, deadline),
                until(stubs.catalog, deadline));
    }

    static <S extends AbstractStub<S>> S until(S stub, Deadline deadline) {
        return deadline == null ? stub : stub.withDeadline(deadline);
    }

    void close() {
        channel.shutdownNow();
    }

    /** Makes the answers of the four kinds of streams alike. */
    static <T> Iterator<GenerationEvent> map(Iterator<T> answers, Function<T, GenerationEvent> event) {
        return new Iterator<>() {
            @Override
            public boolean hasNext() {
                return answers.hasNext();
            }

            @Override
            public GenerationEvent next() {
                return event.apply(answers.next());
            }
        };
    }

    /** Deadlines longer than the slowest model takes, and the retries that can never pay twice. */
    static Map<String, Object> serviceConfig() {
        try (InputStream file = Connection.class.getResourceAsStream("service_config.json");
                InputStreamReader text = new InputStreamReader(file, StandardCharsets.UTF_8)) {
            return new Gson().fromJson(text, new TypeToken<Map<String, Object>>() {}.getType());
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    /** Refuses what gRPC would not send; the text holds no value, which may be a secret. */
    private static Metadata checked(List<Map.Entry<String, String>> entries) {
        Metadata metadata = new Metadata();
        for (Map.Entry<String, String> entry : entries) {
            if (!entry.getKey().matches("[0-9a-z_.-]+")) {
                throw new IllegalArgumentException("metadata `" + entry.getKey()
                        + "`: a key has lower-case letters, digits, `_`, `-` and `.` alone");
            }
            if (!entry.getValue().matches("[ -~]*")) {
                throw new IllegalArgumentException("metadata `" + entry.getKey()
                        + "`: its value must be printable ASCII on one line"
                        + (entry.getKey().equals("authorization") ? "; look at PICTOR_API_KEY" : ""));
            }
            metadata.put(Metadata.Key.of(entry.getKey(), Metadata.ASCII_STRING_MARSHALLER), entry.getValue());
        }
        return metadata;
    }

    /** Sends the identity with every call, and gives what a failed one ends with the cause in our words. */
    private final class Identify implements ClientInterceptor {
        @Override
        public <Q, A> ClientCall<Q, A> interceptCall(MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
            NoteSent note = new NoteSent();
            return new SimpleForwardingClientCall<>(next.newCall(method, options.withStreamTracerFactory(note))) {
                @Override
                public void start(Listener<A> listener, Metadata headers) {
                    headers.merge(identity);
                    super.start(new Telling<>(listener, note), headers);
                }
            };
        }
    }

    private final class Telling<A> extends SimpleForwardingClientCallListener<A> {
        private final NoteSent note;
        private Metadata headers = new Metadata();

        Telling(ClientCall.Listener<A> listener, NoteSent note) {
            super(listener);
            this.note = note;
        }

        @Override
        public void onHeaders(Metadata received) {
            headers = received;
            super.onHeaders(received);
        }

        @Override
        public void onClose(Status status, Metadata trailers) {
            super.onClose(
                    status.isOk()
                            ? status
                            : status.withCause(PictorException.read(status, headers, trailers, address, !note.sent)),
                    trailers);
        }
    }

    /** Is told what leaves, in each of gRPC's own tries: a call of which nothing did costs nothing, and needs no doubt. */
    private static final class NoteSent extends ClientStreamTracer.Factory {
        private volatile boolean sent;

        @Override
        public ClientStreamTracer newClientStreamTracer(ClientStreamTracer.StreamInfo info, Metadata headers) {
            return new ClientStreamTracer() {
                @Override
                public void outboundHeaders() {
                    sent = true;
                }
            };
        }
    }
}
