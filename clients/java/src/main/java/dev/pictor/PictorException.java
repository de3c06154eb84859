package dev.pictor;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/** The gateway refused, failed, or did not answer. */
public final class PictorException extends RuntimeException {

    /** The reason if nobody answered, or the connection broke. */
    public static final String UNREACHABLE = "UNREACHABLE";

    /** The reason if a picture could not be written here; the gateway keeps it. */
    public static final String NOT_SAVED = "NOT_SAVED";

    private static final long serialVersionUID = 1;
    private static final String DOMAIN = "pictor";
    private static final String SHUTTING_DOWN = "SHUTTING_DOWN";
    private static final String NO_SETTINGS = "First received frame was not SETTINGS";
    private static final String NO_ANSWER = "no answer in time";

    /** One field that is wrong, by its path in the request message, with what would work. */
    public record Violation(String field, String text) {}

    private record PlainWords(String plain, String... parts) {}

    /** What gRPC's own texts mean (grpc-java 1.83), the most telling first; others, e.g. a proxy's, stay as they are. */
    private static final List<PlainWords> PLAIN_WORDS = List.of(
            new PlainWords("something answers at %s, but without TLS; leave out https://", "not an SSL/TLS record"),
            new PlainWords(
                    "something answers at %s, but TLS with it fails; its certificate must be one that is trusted here",
                    "SSLHandshakeException", "CertificateException", "OpenSslEngine", "SSLException"),
            new PlainWords(
                    "something answers at %s, but it does not speak gRPC; look at the port in PICTOR_ADDRESS",
                    NO_SETTINGS + ". Hex dump for first 5 bytes: 485454502f"), // HTTP/
            new PlainWords(
                    "something answers at %1$s, and hangs up; if it speaks TLS, say https://%1$s", NO_SETTINGS),
            new PlainWords(
                    "nothing answers at %s (nobody knows its name); start the gateway there, or set PICTOR_ADDRESS",
                    "UnknownHostException", "Unable to resolve host"),
            new PlainWords(
                    "nothing answers at %s; start the gateway there, or set PICTOR_ADDRESS",
                    "Connection refused", "connection timed out", "No route to host", "Network is unreachable"),
            new PlainWords(
                    "the connection to %s was lost",
                    "Network closed for unknown reason", "onnection reset", "roken pipe", "GOAWAY", "RST_STREAM",
                    "Connection closed", "ClosedChannelException", "End of stream or IOException"));

    private final Status.Code code;
    private final String reason;
    private String text;
    private final transient Map<String, String> metadata = new LinkedHashMap<>();
    private transient List<Violation> violations = List.of();
    private Duration retryAfter;
    private String generationId;
    private String requestId;
    private boolean paid;
    private boolean unsent;

    private PictorException(Status.Code code, String reason, String text, Throwable cause) {
        super(text, cause);
        this.code = code;
        this.reason = reason != null ? reason : reasonOf(code);
        this.text = text;
    }

    /** Reads what a call of the stubs threw. */
    public static PictorException of(StatusRuntimeException failure) {
        return failure.getStatus().getCause() instanceof PictorException ours
                ? ours
                : read(failure.getStatus(), new Metadata(), trailersOf(failure), "the address", false);
    }

    /** gRPC's code. */
    public Status.Code code() {
        return code;
    }

    /**
     * A name of the contract's ErrorReason without prefix. If the gateway itself said nothing, it is {@link #UNREACHABLE} or
     * the name of the code, e.g. DEADLINE_EXCEEDED for one that passed here.
     */
    public String reason() {
        return reason;
    }

    /** For people, without the reason. */
    public String text() {
        return text;
    }

    /** {@code REASON: text}. */
    @Override
    public String getMessage() {
        return reason + ": " + text;
    }

    /** What varies in the text. */
    public Map<String, String> metadata() {
        return Map.copyOf(metadata);
    }

    /** The fields that are wrong. */
    public List<Violation> violations() {
        return violations;
    }

    /** When to come back, if the gateway said so. */
    public Optional<Duration> retryAfter() {
        return Optional.ofNullable(retryAfter);
    }

    /** Names the generation, if one was accepted. */
    public Optional<String> generationId() {
        return Optional.ofNullable(generationId);
    }

    /** Of the call that failed, if it was one that makes pictures. */
    public Optional<String> requestId() {
        return Optional.ofNullable(requestId);
    }

    /** Whether money may be spent: repeat such a call only with the same request_id. */
    public boolean isPaid() {
        return paid;
    }

    // --- reading

    /** Reads everything that a failed call tells: code, status details, metadata of either end. */
    static PictorException read(Status ended, Metadata headers, Metadata trailers, String address, boolean unsent) {
        Status status = isNoGrpc(ended) ? Status.UNAVAILABLE.withCause(ended.getCause()) : ended;
        ErrorInfo told = null;
        List<Violation> violations = new ArrayList<>();
        Duration retryAfter = null;
        for (Any detail : details(status, trailers)) {
            try {
                if (detail.is(ErrorInfo.class) && detail.unpack(ErrorInfo.class).getDomain().equals(DOMAIN)) {
                    told = detail.unpack(ErrorInfo.class);
                } else if (detail.is(BadRequest.class)) {
                    detail.unpack(BadRequest.class).getFieldViolationsList()
                            .forEach(each -> violations.add(new Violation(each.getField(), each.getDescription())));
                } else if (detail.is(RetryInfo.class)) {
                    com.google.protobuf.Duration delay = detail.unpack(RetryInfo.class).getRetryDelay();
                    retryAfter = Duration.ofSeconds(delay.getSeconds(), delay.getNanos());
                }
            } catch (InvalidProtocolBufferException damaged) {
                continue; // the code and the text are left
            }
        }
        String said = status.getDescription() == null ? "no details" : status.getDescription();
        PictorException error = new PictorException(
                status.getCode(),
                told == null ? null : told.getReason(),
                told == null ? inPlainWords(status, said, address) : said,
                status.getCause());
        if (told != null) {
            error.metadata.putAll(told.getMetadataMap());
        }
        String set = entry(headers, trailers, "pictor-set-id");
        if (set != null) {
            error.metadata.putIfAbsent("set_id", set);
        }
        error.violations = List.copyOf(violations);
        error.retryAfter = retryAfter;
        String generation = entry(headers, trailers, "pictor-generation-id");
        error.generationId = generation != null ? generation : error.metadata.get("generation_id");
        error.paid = "true".equals(error.metadata.get("paid"));
        error.unsent = unsent;
        return error;
    }

    /** Whether what answers speaks something else; grpc-java calls that INTERNAL. */
    private static boolean isNoGrpc(Status status) {
        return status.getCode() == Status.Code.INTERNAL && String.valueOf(status.getCause()).contains(NO_SETTINGS);
    }

    private static List<Any> details(Status status, Metadata trailers) {
        com.google.rpc.Status whole = StatusProto.fromStatusAndTrailers(status, trailers);
        return whole.getDetailsList();
    }

    private static Metadata trailersOf(StatusRuntimeException failure) {
        return failure.getTrailers() == null ? new Metadata() : failure.getTrailers();
    }

    private static String entry(Metadata headers, Metadata trailers, String name) {
        Metadata.Key<String> key = Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER);
        return trailers.get(key) != null ? trailers.get(key) : headers.get(key);
    }

    private static String inPlainWords(Status status, String said, String address) {
        switch (status.getCode()) {
            case DEADLINE_EXCEEDED:
                return NO_ANSWER;
            case CANCELLED:
                return "cancelled here";
            case UNAVAILABLE:
                break;
            default:
                return said;
        }
        StringBuilder all = new StringBuilder(said);
        for (Throwable cause = status.getCause(); cause != null; cause = cause.getCause()) {
            all.append('\n').append(cause);
        }
        for (PlainWords words : PLAIN_WORDS) {
            for (String part : words.parts) {
                if (all.indexOf(part) >= 0) {
                    return words.plain.formatted(address);
                }
            }
        }
        return said;
    }

    private static String reasonOf(Status.Code code) {
        return code == Status.Code.UNAVAILABLE ? UNREACHABLE : code.name();
    }

    // --- errors of our own

    /** The connection ended without a word. */
    static PictorException lost(String text) {
        return new PictorException(Status.Code.UNAVAILABLE, null, text, null);
    }

    /** Bytes did not arrive as they were sent. */
    static PictorException damaged(String text) {
        return new PictorException(Status.Code.DATA_LOSS, null, text, null);
    }

    /** A picture that the gateway has and that could not be written here. */
    static PictorException notSaved(Exception why, String imageId) {
        PictorException error = new PictorException(
                Status.Code.ABORTED,
                NOT_SAVED,
                why + "; what was drawn is paid and kept by the gateway, download picture " + imageId + " again",
                why);
        error.paid = true;
        return error;
    }

    /**
     * A picture that is not even sent, in the gateway's own words. A gateway that refuses in the middle of the stream may be
     * heard only as a broken connection: HTTP/2 resets the rest.
     */
    static PictorException tooLarge(int limit) {
        String text = "the picture has more than " + limit + " bytes";
        PictorException error =
                new PictorException(Status.Code.INVALID_ARGUMENT, "IMAGE_TOO_LARGE", "data: " + text, null);
        error.violations = List.of(new Violation("data", text));
        error.metadata.put("field", "data");
        return error;
    }

    // --- what a journey asks and adds

    /** Whether only the connection ended, or this server goes away: accepted work goes on and can be followed. */
    boolean isLost() {
        boolean goesAway = reason.equals(SHUTTING_DOWN) && !isEnd();
        return code == Status.Code.UNAVAILABLE && (reason.equals(UNREACHABLE) || goesAway);
    }

    /** Whether the gateway says how a generation ended, and does not only refuse this call. */
    boolean isEnd() {
        return metadata.containsKey("generation_id");
    }

    /** Whether the generation ended because its server went away. */
    boolean isGivenUp() {
        return reason.equals(SHUTTING_DOWN);
    }

    /** Whether not a byte of the call left, in none of gRPC's own tries. */
    boolean isUnsent() {
        return unsent;
    }

    /** Adds what only the caller's side knows: which request it was, and how long it waited for an answer. */
    void about(String request, Duration waited) {
        requestId = request;
        if (text.equals(NO_ANSWER)) {
            text = "no answer within " + ("%.1f".formatted(waited.toMillis() / 1e3)).replaceAll("\\.0$", "") + " s";
        }
    }

    void named(String generation) {
        generationId = generation;
    }

    void maybePaid() {
        paid = true;
    }

    /** Says that a gateway answers again which does not know {@code what}; that nobody answered meanwhile is no news. */
    void forgotten(String what, String outcome) {
        text = "the connection was lost, and the gateway that answers now does not know " + what
                + " (another data folder?), so it is unknown " + outcome;
    }

    void alsoSaying(String more) {
        text += "; " + more;
    }

    void put(String key, String value) {
        metadata.put(key, value);
    }

    /** Names wrong fields as the caller's own message has them: a stream's request only wraps that. */
    void within(String prefix) {
        violations = violations.stream().map(each -> new Violation(without(prefix, each.field), each.text)).toList();
        text = without(prefix, text);
        metadata.computeIfPresent("field", (key, field) -> without(prefix, field));
    }

    private static String without(String prefix, String text) {
        return text.startsWith(prefix) ? text.substring(prefix.length()) : text;
    }

    /** What a lost connection becomes when the caller has no more time for it. */
    PictorException interrupted(Status.Code why, Throwable cause) {
        PictorException ended = new PictorException(
                why, null, "ended here while waiting for the gateway to come back; " + text, cause == null ? this : cause);
        ended.generationId = generationId;
        ended.requestId = requestId;
        ended.paid = paid;
        return ended;
    }
}
