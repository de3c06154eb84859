package dev.pictor;

import static dev.pictor.CannedGateway.lost;
import static dev.pictor.CannedGateway.refused;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.ByteString;
import com.google.rpc.BadRequest;
import com.google.rpc.RetryInfo;
import dev.pictor.CannedGateway.Answer;
import dev.pictor.v1.Accepted;
import dev.pictor.v1.AttemptStarted;
import dev.pictor.v1.Completed;
import dev.pictor.v1.DownloadImageResponse;
import dev.pictor.v1.GenerateRequest;
import dev.pictor.v1.Generation;
import dev.pictor.v1.GenerationEvent;
import dev.pictor.v1.GetGenerationResponse;
import dev.pictor.v1.Image;
import dev.pictor.v1.ImageChunk;
import dev.pictor.v1.ImageReady;
import dev.pictor.v1.OnDisconnect;
import dev.pictor.v1.Output;
import dev.pictor.v1.Preview;
import dev.pictor.v1.PreviewChunk;
import dev.pictor.v1.Queued;
import io.grpc.Context;
import io.grpc.Status;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The client against canned answers: lost connections, logs that are gone, bytes that do not fit. */
@Timeout(30)
final class LostConnectionTest {

    static final ByteString PREVIEW = ByteString.copyFromUtf8("p".repeat(2500));
    static final ByteString PICTURE = ByteString.copyFromUtf8("0123456789".repeat(500));
    private static final Map<String, String> FREE = Map.of("generation_id", "gen_1");
    private static final Map<String, String> PAID = Map.of("generation_id", "gen_1", "paid", "true");
    private static final GenerateRequest MINE =
            GenerateRequest.newBuilder().setPrompt("a red fox").setRequestId("mine").build();

    private CannedGateway gateway;
    private Pictor client;

    @BeforeEach
    void start() throws Exception {
        gateway = new CannedGateway();
        client = Pictor.builder()
                .address(gateway.address)
                .delays(Duration.ofMillis(1), Duration.ofMillis(1))
                .build();
        gateway.watch = (n, request) -> new Answer<>(after(request.getAfterSequence()), null);
    }

    @AfterEach
    void end() {
        client.close();
        gateway.close();
    }

    @Test
    void aLostConnectionLosesNothingWhereverItBreaks() throws Exception {
        List<GenerationEvent> log = wholeLog();
        for (int cut = 1; cut < log.size(); cut++) {
            List<GenerationEvent> seen = log.subList(0, cut);
            gateway.asked.clear();
            gateway.draw = (n, request) -> new Answer<>(seen, lost());

            List<Long> sequences = new ArrayList<>();
            for (Event event : client.stream(MINE)) {
                sequences.add(event.sequence());
                if (event instanceof Event.Preview preview) {
                    assertEquals(PREVIEW, preview.data());
                } else if (event instanceof Event.Image image) {
                    assertEquals(PICTURE, image.picture().getData());
                }
            }

            assertEquals(List.of(1L, 2L, 3L, 5L, 4L, 6L), sequences, "cut after " + cut);
            assertEquals(List.of("draw mine", "watch gen_1"), gateway.asked, "cut after " + cut);
        }
    }

    @Test
    void aLogThatIsGoneStillBringsThePictures() throws Exception {
        List<GenerationEvent> log = wholeLog();
        gateway.draw = (n, request) -> new Answer<>(log.subList(0, 2), lost());
        gateway.watch = (n, request) -> new Answer<>(log.subList(log.size() - 1, log.size()), null);
        gateway.download = (n, request) -> Answer.of(null, header(), chunk(0, PICTURE));

        assertEquals(PICTURE, Pictures.of(client.generate(MINE)).get(0).getData());
    }

    @Test
    void aCallLostBeforeItsIdCameIsFoundByItsRequestId() {
        gateway.draw = (n, request) -> Answer.of(lost());
        gateway.find = (n, request) -> Answer.of(
                null,
                GetGenerationResponse.newBuilder()
                        .setGeneration(Generation.newBuilder().setId("gen_1"))
                        .build());

        assertEquals(PICTURE, Pictures.of(client.generate(MINE)).get(0).getData());
        assertEquals(List.of("draw mine", "find mine", "watch gen_1"), gateway.asked);
    }

    @Test
    void aCallThatNobodyKnowsIsNotSentAgain() {
        gateway.draw = (n, request) -> Answer.of(lost());
        gateway.find = (n, request) -> Answer.of(refused(Status.Code.NOT_FOUND, "NOT_FOUND", Map.of()));

        PictorException unknown =
                Told.by(Status.Code.UNAVAILABLE, "UNREACHABLE", () -> client.generate(MINE));

        assertTrue(unknown.isPaid());
        assertEquals(Map.of("request_id", "mine"), unknown.metadata());
        assertTrue(unknown.text().endsWith("unknown whether the call was accepted: look for its request_id mine"));
        assertEquals(List.of("draw mine", "find mine"), gateway.asked);
    }

    @Test
    void aGenerationThatTheGatewayForgotIsNotPaidAgain() {
        acceptedThenLost();
        gateway.watch = (n, request) -> Answer.of(refused(Status.Code.NOT_FOUND, "NOT_FOUND", Map.of()));

        PictorException forgotten =
                Told.by(Status.Code.UNAVAILABLE, "UNREACHABLE", () -> client.generate(MINE));

        assertTrue(forgotten.isPaid());
        assertEquals("gen_1", forgotten.generationId().orElseThrow());
        assertEquals(
                "the connection was lost, and the gateway that answers now does not know generation gen_1 "
                        + "(another data folder?), so it is unknown whether it was made",
                forgotten.text());
        assertEquals(List.of("draw mine", "watch gen_1"), gateway.asked);
    }

    @ParameterizedTest
    @CsvSource({
        "CANCELLED, CANCELLED, false, ON_DISCONNECT_UNSPECIFIED, true",
        "UNAVAILABLE, SHUTTING_DOWN, false, ON_DISCONNECT_UNSPECIFIED, true",
        "CANCELLED, CANCELLED, true, ON_DISCONNECT_UNSPECIFIED, false",
        "CANCELLED, CANCELLED, false, ON_DISCONNECT_FINISH, false",
        "UNAVAILABLE, SHUTTING_DOWN, true, ON_DISCONNECT_UNSPECIFIED, false",
        "FAILED_PRECONDITION, CONTENT_POLICY, false, ON_DISCONNECT_UNSPECIFIED, false",
    })
    void onlyALostCallThatEndedForNothingIsSentAgain(
            Status.Code code, String reason, boolean paid, OnDisconnect leaving, boolean again) {
        gateway.acceptedAs = "gen_1";
        gateway.draw = (n, request) -> n == 1 ? Answer.of(lost()) : new Answer<>(after(0), null);
        gateway.watch = (n, request) -> Answer.of(refused(code, reason, paid ? PAID : FREE));
        GenerateRequest request = MINE.toBuilder().setOnDisconnect(leaving).build();

        if (again) {
            assertEquals(PICTURE, Pictures.of(client.generate(request)).get(0).getData());
            assertEquals(List.of("draw mine", "watch gen_1", "draw mine"), gateway.asked);
        } else {
            Told.by(code, reason, () -> client.generate(request));
            assertEquals(List.of("draw mine", "watch gen_1"), gateway.asked);
        }
    }

    @Test
    void aGatewayThatStaysAwayIsGivenUp() {
        acceptedThenLost();
        gateway.watch = (n, request) -> Answer.of(lost());

        PictorException away = Told.by(Status.Code.UNAVAILABLE, "UNREACHABLE", () -> client.generate(MINE));

        assertTrue(away.isPaid());
        assertEquals("gen_1", away.generationId().orElseThrow());
        assertEquals(List.of("draw mine", "watch gen_1", "watch gen_1"), gateway.asked);
    }

    @Test
    void aTimeThatPassesNamesTheGeneration() {
        gateway.acceptedAs = "gen_1";
        gateway.stalls = true;
        gateway.draw = (n, request) -> Answer.of(null);

        PictorException late = Told.by(
                Status.Code.DEADLINE_EXCEEDED,
                "DEADLINE_EXCEEDED",
                () -> client.withTimeout(Duration.ofMillis(500)).generate(MINE));

        assertEquals("gen_1", late.generationId().orElseThrow());
        assertEquals("mine", late.requestId().orElseThrow());
        assertTrue(late.text().matches("no answer within 0\\.\\d s"), late.text());
    }

    @Test
    void theTimeCountsWhileTheConnectionIsAwaited() {
        acceptedThenLost();
        try (Pictor patient = patient()) {
            Told.by(
                    Status.Code.DEADLINE_EXCEEDED,
                    "DEADLINE_EXCEEDED",
                    () -> patient.withTimeout(Duration.ofMillis(500)).generate(MINE));
        }
    }

    @Test
    void aCallIsNotWaitedForAfterItWasCancelled() {
        acceptedThenLost();
        Context.CancellableContext context = Context.current().withCancellation();
        try (Pictor patient = patient(error -> context.cancel(null))) {
            PictorException ended = Told.by(
                    Status.Code.CANCELLED, "CANCELLED", () -> context.call(() -> patient.generate(MINE)));

            assertEquals("gen_1", ended.generationId().orElseThrow());
        }
    }

    @Test
    void anErrorCarriesEverythingThatTheGatewaySaid() {
        gateway.acceptedAs = "gen_9";
        gateway.draw = (n, request) -> Answer.of(refused(
                Status.Code.ABORTED,
                "PROVIDER_FAILED",
                Map.of("attempts", "2", "paid", "true"),
                BadRequest.newBuilder()
                        .addFieldViolations(BadRequest.FieldViolation.newBuilder()
                                .setField("request.prompt")
                                .setDescription("too red"))
                        .build(),
                RetryInfo.newBuilder()
                        .setRetryDelay(com.google.protobuf.Duration.newBuilder()
                                .setSeconds(1)
                                .setNanos(500_000_000))
                        .build()));

        PictorException all = Told.by(Status.Code.ABORTED, "PROVIDER_FAILED", () -> client.generate(MINE));

        assertEquals("the end", all.text());
        assertEquals(Map.of("attempts", "2", "paid", "true"), all.metadata());
        assertEquals(List.of(new PictorException.Violation("prompt", "too red")), all.violations());
        assertEquals(Duration.ofMillis(1500), all.retryAfter().orElseThrow());
        assertEquals("gen_9", all.generationId().orElseThrow());
        assertTrue(all.isPaid());
        assertFalse(all.isLost());
    }

    @Test
    void aPictureWithAnotherHashIsRefused() throws Exception {
        List<GenerationEvent> log = wholeLog();
        GenerationEvent last = log.get(log.size() - 2);
        GenerationEvent.Builder wrong = last.toBuilder();
        wrong.getImageChunkBuilder()
                .setData(ByteString.copyFromUtf8("x".repeat(last.getImageChunk().getData().size())));
        log.set(log.size() - 2, wrong.build());
        gateway.draw = (n, request) -> new Answer<>(log, null);
        gateway.download = (n, request) ->
                Answer.of(null, header(), chunk(0, ByteString.copyFromUtf8("x".repeat(PICTURE.size()))));

        PictorException streamed = Told.by(Status.Code.DATA_LOSS, "DATA_LOSS", () -> client.generate(MINE));
        PictorException fetched = Told.by(Status.Code.DATA_LOSS, "DATA_LOSS", () -> client.fetch("img_1"));

        assertTrue(streamed.text().contains("arrived damaged") && fetched.text().contains("arrived damaged"));
    }

    @Test
    void aDownloadAsksOnlyForTheRest() {
        gateway.download = (n, request) -> {
            int offset = (int) request.getOffsetBytes();
            return Answer.of(
                    lost(), header(), chunk(offset, PICTURE.substring(offset, Math.min(offset + 1500, PICTURE.size()))));
        };

        assertEquals(PICTURE, client.fetch("img_1").getData());
        assertEquals(List.of("download 0", "download 1500", "download 3000", "download 4500"), gateway.asked);
    }

    @Test
    void aPictureOverTheLimitIsNotSent() {
        PictorException refused = Told.by(
                Status.Code.INVALID_ARGUMENT, "IMAGE_TOO_LARGE", () -> client.upload(new byte[(20 << 20) + 1]));

        assertEquals("data", refused.violations().get(0).field());
        assertEquals(List.of(), gateway.asked);
    }

    @Test
    void aRefusedUploadIsToldAsItIs() {
        Told.by(Status.Code.UNIMPLEMENTED, "UNIMPLEMENTED", () -> client.upload(new byte[3 << 20]));
    }

    // --- canned answers

    private void acceptedThenLost() {
        gateway.acceptedAs = "gen_1";
        gateway.draw = (n, request) -> Answer.of(lost());
    }

    private Pictor patient() {
        return patient(error -> {});
    }

    private Pictor patient(Consumer<PictorException> onLost) {
        return Pictor.builder()
                .address(gateway.address)
                .delays(Duration.ofHours(1))
                .onLost(onLost)
                .build();
    }

    private static Image described() {
        try {
            byte[] sum = MessageDigest.getInstance("SHA-256").digest(PICTURE.toByteArray());
            return Image.newBuilder()
                    .setId("img_1")
                    .setMimeType("image/png")
                    .setSizeBytes(PICTURE.size())
                    .setSha256(HexFormat.of().formatHex(sum))
                    .build();
        } catch (NoSuchAlgorithmException impossible) {
            throw new IllegalStateException(impossible);
        }
    }

    static GenerationEvent.Builder event(long sequence) {
        return GenerationEvent.newBuilder().setSequence(sequence);
    }

    /** Accepted, attempt_started, a preview and a picture in chunks with another entry between them, and completed. */
    static List<GenerationEvent> wholeLog() {
        List<GenerationEvent> log = new ArrayList<>();
        log.add(event(1).setAccepted(Accepted.newBuilder().setGenerationId("gen_1")).build());
        log.add(event(2).setAttemptStarted(AttemptStarted.newBuilder().setModel("gpt-image-2")).build());
        log.add(event(3).setPreview(Preview.newBuilder().setSizeBytes(PREVIEW.size())).build());
        for (int at = 0; at < PREVIEW.size(); at += 1000) {
            int end = Math.min(at + 1000, PREVIEW.size());
            log.add(event(3)
                    .setPreviewChunk(PreviewChunk.newBuilder()
                            .setOffsetBytes(at)
                            .setData(PREVIEW.substring(at, end))
                            .setLast(end == PREVIEW.size()))
                    .build());
        }
        log.add(event(4)
                .setImage(ImageReady.newBuilder().setImage(described()).setChunksFollow(true))
                .build());
        for (int at = 0; at < PICTURE.size(); at += 1000) {
            if (at == 2000) { // something else happens while the picture's bytes are coming
                log.add(event(5).setQueued(Queued.newBuilder().setOutputIndex(1)).build());
            }
            int end = Math.min(at + 1000, PICTURE.size());
            log.add(event(at < 2000 ? 4 : 5)
                    .setImageChunk(ImageChunk.newBuilder()
                            .setImageId("img_1")
                            .setOffsetBytes(at)
                            .setData(PICTURE.substring(at, end))
                            .setLast(end == PICTURE.size()))
                    .build());
        }
        log.add(event(6)
                .setCompleted(Completed.newBuilder()
                        .setGeneration(Generation.newBuilder()
                                .setId("gen_1")
                                .addOutputs(Output.newBuilder().setImage(described()))))
                .build());
        return log;
    }

    private static List<GenerationEvent> after(long sequence) {
        return wholeLog().stream().filter(event -> event.getSequence() > sequence).toList();
    }

    private static DownloadImageResponse header() {
        return DownloadImageResponse.newBuilder().setImage(described()).build();
    }

    private static DownloadImageResponse chunk(long offset, ByteString data) {
        return DownloadImageResponse.newBuilder()
                .setChunk(ImageChunk.newBuilder().setImageId("img_1").setOffsetBytes(offset).setData(data))
                .build();
    }
}
