package dev.pictor;

import com.google.protobuf.UnsafeByteOperations;
import dev.pictor.v1.CatalogServiceGrpc.CatalogServiceBlockingStub;
import dev.pictor.v1.EditRequest;
import dev.pictor.v1.EditStreamRequest;
import dev.pictor.v1.EditStreamResponse;
import dev.pictor.v1.GenerateRequest;
import dev.pictor.v1.GenerateSetRequest;
import dev.pictor.v1.GenerateStreamRequest;
import dev.pictor.v1.GenerateStreamResponse;
import dev.pictor.v1.Generation;
import dev.pictor.v1.HistoryServiceGrpc.HistoryServiceBlockingStub;
import dev.pictor.v1.Image;
import dev.pictor.v1.ImageServiceGrpc.ImageServiceBlockingStub;
import dev.pictor.v1.ListGenerationsRequest;
import dev.pictor.v1.ListGenerationsResponse;
import dev.pictor.v1.OnDisconnect;
import dev.pictor.v1.RerollRequest;
import dev.pictor.v1.RerollResponse;
import dev.pictor.v1.UsageServiceGrpc.UsageServiceBlockingStub;
import io.grpc.ChannelCredentials;
import io.grpc.Deadline;
import io.grpc.StatusRuntimeException;
import java.io.ByteArrayOutputStream;
import java.io.OutputStream;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.stream.Stream;

/**
 * A connection to one gateway, for many threads at once.
 *
 * <p>Every generating call gets a request_id unless it has one, so that it can be repeated without paying twice. Calls end
 * early when their thread is interrupted, when gRPC's {@link io.grpc.Context} is cancelled, or after {@link #withTimeout};
 * without one they may take as long as the slowest model. Everything that fails is a {@link PictorException}.
 */
public final class Pictor implements AutoCloseable {

    private final Connection connection;
    private final Duration timeout;
    private final boolean fetches;

    private Pictor(Connection connection, Duration timeout, boolean fetches) {
        this.connection = connection;
        this.timeout = timeout;
        this.fetches = fetches;
    }

    /** Connects to PICTOR_ADDRESS, else {@code 127.0.0.1:50051}, with the key PICTOR_API_KEY, if there is one. */
    public static Pictor connect() {
        return builder().build();
    }

    /** Connects to {@code host:port}, or {@code https://host[:port]} for TLS. */
    public static Pictor connect(String address) {
        return builder().address(address).build();
    }

    /** What {@link #connect()} takes for granted can be set one by one. */
    public static Builder builder() {
        return new Builder();
    }

    /** The same connection; each of its calls, with all its reconnections, may take so long. */
    public Pictor withTimeout(Duration timeout) {
        return new Pictor(connection, timeout, fetches);
    }

    /** The same connection, without the bytes of pictures that are over max_inline_bytes; else they are downloaded. */
    public Pictor withoutFetch() {
        return new Pictor(connection, timeout, false);
    }

    /** Ends the connection; calls under way are cancelled. */
    @Override
    public void close() {
        connection.close();
    }

    // --- making pictures

    /**
     * Draws new pictures and answers when all of them are done; every picture has its data.
     *
     * <p>A lost connection is no failure: the generation is followed, and its call is sent again only if the gateway itself
     * says that it ended for nothing.
     */
    public Generation generate(GenerateRequest request) {
        GenerateRequest named = withoutPreviews(withId(request));
        return join(wish(named), drawing(named));
    }

    /** Changes a given picture, as a whole or where the mask is transparent; otherwise as {@link #generate}. */
    public Generation edit(EditRequest edit) {
        GenerateRequest named = withoutPreviews(withId(edit.getRequest()));
        return join(wish(named), editing(edit.toBuilder().setRequest(named).build()));
    }

    /**
     * Draws new pictures and tells what happens on the way; {@link Event.Completed} comes last.
     *
     * <p>Previews and pictures come whole and verified. A lost connection is taken up again once the generation is accepted.
     * Closing early is a client that goes away: what was sent finishes and is stored.
     */
    public EventStream stream(GenerateRequest request) {
        GenerateRequest named = withId(request);
        return stream(wish(named), new Assembler(0), drawing(named));
    }

    /** Changes a given picture and tells what happens on the way, like {@link #stream}. */
    public EventStream streamEdit(EditRequest edit) {
        GenerateRequest named = withId(edit.getRequest());
        return stream(wish(named), new Assembler(0), editing(edit.toBuilder().setRequest(named).build()));
    }

    /** Draws an earlier request again, on the other engine unless a model is named; otherwise as {@link #generate}. */
    public Generation reroll(RerollRequest request) {
        RerollRequest named = withId(request);
        RerollRequest unseen = named.hasPreviewCount() ? named : named.toBuilder().setPreviewCount(0).build();
        return join(wish(unseen), rerolling(unseen));
    }

    /** Draws an earlier request again and tells what happens on the way, like {@link #stream}. */
    public EventStream streamReroll(RerollRequest request) {
        RerollRequest named = withId(request);
        return stream(wish(named), new Assembler(0), rerolling(named));
    }

    /**
     * Makes many pictures from one brief and tells what happens on the way; {@link SetEvent.Summary} comes last.
     *
     * <p>Previews and pictures come whole and verified. After a lost connection the same set is sent again with the same
     * request_id, which joins or replays its generations: no event comes twice, no picture is paid twice. What was still
     * waiting then, unpaid, is drawn as a new generation of its item. With the {@code set_id} in the metadata of an exception
     * and its request_id the set is found, and can be sent again.
     */
    public SetStream streamSet(GenerateSetRequest request) {
        GenerateRequest brief = withId(request.getBrief());
        return new SetStream(connection, wish(brief), request.toBuilder().setBrief(brief).build());
    }

    /** Follows a generation from the beginning (0), or from after an event that was seen; survives lost connections. */
    public EventStream watch(String generationId, long afterSequence) {
        Wish wish = new Wish(null, null, fetches, false, deadline());
        Assembler assembler = new Assembler(afterSequence);
        assembler.generationId = generationId;
        return stream(wish, assembler, EventStream.watching(assembler, wish));
    }

    private EventStream stream(Wish wish, Assembler assembler, EventStream.Start start) {
        return new EventStream(connection, wish, assembler, new Journey(connection, wish), start);
    }

    /** Asks for a generation and waits for it, over as many connections and, if one ended for nothing, calls as it takes. */
    private Generation join(Wish wish, EventStream.Start start) {
        Journey journey = new Journey(connection, wish);
        while (true) {
            try (EventStream events = new EventStream(connection, wish, new Assembler(0), journey, start)) {
                return Pictures.collected(events);
            } catch (PictorException error) {
                journey.sendAgain(error, wish.withdrawn());
            }
        }
    }

    private static EventStream.Start drawing(GenerateRequest request) {
        GenerateStreamRequest wrapped = GenerateStreamRequest.newBuilder().setRequest(request).build();
        return stubs -> Connection.map(stubs.images().generateStream(wrapped), GenerateStreamResponse::getEvent);
    }

    private static EventStream.Start editing(EditRequest edit) {
        EditStreamRequest wrapped = EditStreamRequest.newBuilder().setRequest(edit).build();
        return stubs -> Connection.map(stubs.images().editStream(wrapped), EditStreamResponse::getEvent);
    }

    private static EventStream.Start rerolling(RerollRequest request) {
        return stubs -> Connection.map(stubs.images().reroll(request), RerollResponse::getEvent);
    }

    private static RerollRequest withId(RerollRequest request) {
        return request.getRequestId().isEmpty() ? request.toBuilder().setRequestId(newId()).build() : request;
    }

    private Wish wish(RerollRequest request) {
        return new Wish(
                request.getRequestId(),
                request.hasMaxInlineBytes() ? request.getMaxInlineBytes() : null,
                fetches,
                request.getOnDisconnect() != OnDisconnect.ON_DISCONNECT_FINISH,
                deadline());
    }

    private Wish wish(GenerateRequest request) {
        return new Wish(
                request.getRequestId(),
                request.hasMaxInlineBytes() ? request.getMaxInlineBytes() : null,
                fetches,
                request.getOnDisconnect() != OnDisconnect.ON_DISCONNECT_FINISH,
                deadline());
    }

    private Deadline deadline() {
        return timeout == null ? null : Deadline.after(timeout.toNanos(), TimeUnit.NANOSECONDS);
    }

    private static GenerateRequest withId(GenerateRequest request) {
        return request.getRequestId().isEmpty() ? request.toBuilder().setRequestId(newId()).build() : request;
    }

    /** Says what an unset count means on unary calls: previews are priced, and nobody would see them. */
    private static GenerateRequest withoutPreviews(GenerateRequest request) {
        return request.hasPreviewCount() ? request : request.toBuilder().setPreviewCount(0).build();
    }

    private static String newId() {
        return UUID.randomUUID().toString();
    }

    // --- what was made

    /** Goes through all generations that match, newest first, page after page, as they are read. */
    public Stream<Generation> list(ListGenerationsRequest filter) {
        return Stream.iterate(page(filter), Objects::nonNull, page -> page.getNextPageToken().isEmpty()
                        ? null
                        : page(filter.toBuilder().setPageToken(page.getNextPageToken()).build()))
                .flatMap(page -> page.getGenerationsList().stream());
    }

    private ListGenerationsResponse page(ListGenerationsRequest request) {
        try {
            return history().listGenerations(request);
        } catch (StatusRuntimeException failure) {
            throw PictorException.of(failure);
        }
    }

    /**
     * Writes a picture's bytes, goes on where a lost connection left it, and checks its SHA-256 at the end: after an
     * exception, what was written is not the picture.
     *
     * @return the picture's description, without its data
     */
    public Image download(String imageId, OutputStream to) {
        return new Download(imageId, to).run(connection, deadline());
    }

    /** Downloads into memory: the picture with its data. */
    public Image fetch(String imageId) {
        return fetch(connection, imageId, deadline());
    }

    static Image fetch(Connection connection, String imageId, Deadline deadline) {
        ByteArrayOutputStream data = new ByteArrayOutputStream();
        Image image = new Download(imageId, data).run(connection, deadline);
        return image.toBuilder().setData(UnsafeByteOperations.unsafeWrap(data.toByteArray())).build();
    }

    /** Downloads into a file, which is there whole or not at all. */
    public Image downloadFile(String imageId, Path path) {
        return Pictures.replace(path, imageId, file -> download(imageId, file));
    }

    /** Brings a picture and answers its description; its id is an image_id. One over 20 MiB is not sent at all. */
    public Image upload(byte[] picture) {
        return Upload.run(connection, picture, deadline());
    }

    // --- everything else

    /** Makes pictures, without the help of this class; {@link PictorException#of} reads what its calls throw. */
    public ImageServiceBlockingStub images() {
        return connection.stubs(deadline()).images();
    }

    /** Looks up, lists, rates, cancels and deletes what was made. */
    public HistoryServiceBlockingStub history() {
        return connection.stubs(deadline()).history();
    }

    /** Answers what was spent, and keeps budgets. */
    public UsageServiceBlockingStub usage() {
        return connection.stubs(deadline()).usage();
    }

    /** Lists models, formats and providers. */
    public CatalogServiceBlockingStub catalog() {
        return connection.stubs(deadline()).catalog();
    }

    /** How to connect; every setting has a default. */
    public static final class Builder {
        private String address = "";
        private String key = System.getenv("PICTOR_API_KEY");
        private ChannelCredentials credentials;
        private final List<Map.Entry<String, String>> metadata = new ArrayList<>();
        private Consumer<PictorException> onLost = lost -> {};
        private List<Duration> delays = Patience.DELAYS;

        private Builder() {}

        /** {@code host:port}, or {@code https://host[:port]} for TLS; empty means PICTOR_ADDRESS, then loopback. */
        public Builder address(String address) {
            this.address = address;
            return this;
        }

        /** Sent as bearer token; without it, PICTOR_API_KEY is, if it is set. */
        public Builder apiKey(String key) {
            this.key = key;
            return this;
        }

        /** TLS of your own, e.g. {@link io.grpc.TlsChannelCredentials} with a client certificate. */
        public Builder credentials(ChannelCredentials credentials) {
            this.credentials = credentials;
            return this;
        }

        /** Sent with every call, e.g. {@code x-sandbox-*} for the simulated engines. */
        public Builder metadata(String name, String value) {
            metadata.add(Map.entry(name, value));
            return this;
        }

        /** Told when a connection is lost and will be tried again; the first time, not of every try. */
        public Builder onLost(Consumer<PictorException> onLost) {
            this.onLost = onLost;
            return this;
        }

        /** For tests that are less patient. */
        Builder delays(Duration... delays) {
            this.delays = List.of(delays);
            return this;
        }

        /**
         * Makes the client. It does not connect yet: an address at which nothing answers is an error of the first call.
         *
         * @throws IllegalArgumentException the address has no port, or gRPC would not send a key or a value
         */
        public Pictor build() {
            List<Map.Entry<String, String>> all = new ArrayList<>();
            if (key != null && !key.isEmpty()) {
                all.add(Map.entry("authorization", "Bearer " + key));
            }
            all.addAll(metadata);
            Target target = Target.parse(address, System.getenv("PICTOR_ADDRESS"));
            return new Pictor(new Connection(target, credentials, all, onLost, delays), null, true);
        }
    }
}
