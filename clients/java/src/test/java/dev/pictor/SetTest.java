package dev.pictor;

import static dev.pictor.CannedGateway.lost;
import static dev.pictor.LostConnectionTest.PICTURE;
import static dev.pictor.LostConnectionTest.PREVIEW;
import static dev.pictor.LostConnectionTest.event;
import static dev.pictor.LostConnectionTest.wholeLog;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.pictor.CannedGateway.Answer;
import dev.pictor.v1.Accepted;
import dev.pictor.v1.Canvas;
import dev.pictor.v1.Completed;
import dev.pictor.v1.GenerateRequest;
import dev.pictor.v1.GenerateSetRequest;
import dev.pictor.v1.GenerateSetResponse;
import dev.pictor.v1.Generation;
import dev.pictor.v1.GenerationEvent;
import dev.pictor.v1.Heartbeat;
import dev.pictor.v1.ListGenerationsResponse;
import dev.pictor.v1.SetItem;
import dev.pictor.v1.SetSummary;
import io.grpc.Status;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Predicate;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Sets whose connection is cut: every item is told once, and paid once. */
@Timeout(60)
final class SetTest {

    private static final GenerateSetRequest MINE = GenerateSetRequest.newBuilder()
            .setBrief(GenerateRequest.newBuilder().setPrompt("a red fox").setRequestId("mine"))
            .addItems(SetItem.newBuilder().setKey("a"))
            .build();

    /** What a gateway answers that knows a generation of the set. */
    private static final ListGenerationsResponse KNOWN = ListGenerationsResponse.newBuilder()
            .addGenerations(Generation.newBuilder().setId("gen_1"))
            .build();

    private static GatewayProcess process;
    private CannedGateway canned;
    private Pictor client;

    @BeforeAll
    static void start(@TempDir Path folder) throws Exception {
        process = new GatewayProcess(folder);
    }

    @AfterAll
    static void end() throws Exception {
        process.close();
    }

    @BeforeEach
    void connect() throws Exception {
        canned = new CannedGateway();
        canned.list = (n, request) -> Answer.of(null, KNOWN);
        client = Pictor.builder()
                .address(canned.address)
                .delays(Duration.ofMillis(1), Duration.ofMillis(1))
                .build();
    }

    @AfterEach
    void close() {
        client.close();
        canned.close();
    }

    // --- a real gateway

    @Test
    void aSetBringsEachItem() throws Exception {
        assertToldAndPaidOnce("a set", event -> false);
    }

    @Test
    void aSetThatIsCutAtOnce() throws Exception {
        assertToldAndPaidOnce("cut at once", event -> event instanceof SetEvent.Accepted);
    }

    @Test
    void aSetThatIsCutBeforeEachPicture() throws Exception {
        assertToldAndPaidOnce(
                "cut before", event -> event instanceof SetEvent.Step s && s.event() instanceof Event.AttemptStarted);
    }

    @Test
    void aSetThatIsCutAfterEachPicture() throws Exception {
        assertToldAndPaidOnce("cut after", event -> event instanceof SetEvent.Step s && s.event() instanceof Event.Image);
    }

    private static void assertToldAndPaidOnce(String prompt, Predicate<SetEvent> isCut) throws Exception {
        int before = process.charges();
        AtomicInteger losses = new AtomicInteger();
        int cuts = 0;
        List<SetEvent> events = new ArrayList<>();
        try (Cable line = new Cable(process.address);
                Pictor client = Pictor.builder()
                        .address(line.address)
                        .apiKey(GatewayProcess.CALLER_KEY)
                        .onLost(error -> losses.incrementAndGet())
                        .build()) {
            for (SetEvent event : client.streamSet(threeItems(prompt))) {
                events.add(event);
                if (isCut.test(event)) {
                    line.cut();
                    cuts++;
                }
            }
        }

        assertEquals(3, ((SetEvent.Accepted) events.get(0)).accepted().getOutputCount());
        SetSummary summary = ((SetEvent.Summary) events.get(events.size() - 1)).summary();
        assertEquals(List.of(3, 0), List.of(summary.getSucceededCount(), summary.getFailedCount()));
        Set<String> told = new HashSet<>();
        List<String> drawn = new ArrayList<>();
        List<String> ended = new ArrayList<>();
        for (SetEvent event : events.subList(1, events.size() - 1)) {
            SetEvent.Step step = (SetEvent.Step) event;
            assertTrue(told.add(step.generationId() + " " + step.event().sequence()), "told twice: " + step);
            if (step.event() instanceof Event.Image image) {
                assertEquals(image.picture().getSizeBytes(), image.picture().getData().size());
                drawn.add(step.itemKey());
            } else if (step.event() instanceof Event.Completed) {
                ended.add(step.itemKey());
            }
        }
        assertEquals(List.of("a", "b", "c"), drawn.stream().sorted().toList());
        assertEquals(List.of("a", "b", "c"), ended.stream().sorted().toList());
        assertEquals(3, process.charges() - before);
        assertEquals(cuts > 0, losses.get() > 0, cuts + " cuts, " + losses + " losses");
    }

    @Test
    void aSetThatReachedNobodyOrWasRefusedIsUnpaid() {
        try (Pictor nobody = Pictor.connect("127.0.0.1:1");
                Pictor stranger = Pictor.connect(process.console);
                Pictor connected = Pictor.builder().address(process.address).apiKey(GatewayProcess.CALLER_KEY).build()) {
            for (Pictor away : List.of(nobody, stranger)) {
                PictorException unsent = Told.by(Status.Code.UNAVAILABLE, "UNREACHABLE", () -> read(away, MINE));
                assertFalse(unsent.isPaid());
                assertEquals(Map.of(), unsent.metadata());
            }
            PictorException refused = Told.by(
                    Status.Code.INVALID_ARGUMENT,
                    "COUNT_OUT_OF_RANGE",
                    () -> read(connected, GenerateSetRequest.getDefaultInstance()));
            assertFalse(refused.isPaid());
        }
    }

    // --- canned answers

    @Test
    void nothingIsLostWhereverItBreaks() {
        List<GenerateSetResponse> log = new ArrayList<>(List.of(accepted()));
        wholeLog().forEach(event -> log.add(step("gen_1", event)));
        log.add(summary());
        for (int cut = 1; cut < log.size(); cut++) {
            List<GenerateSetResponse> seen = log.subList(0, cut);
            canned.asked.clear();
            canned.set = (n, request) -> n == 1 ? new Answer<>(seen, lost()) : new Answer<>(log, null);

            List<Long> sequences = new ArrayList<>();
            for (SetEvent event : client.streamSet(MINE)) {
                if (event instanceof SetEvent.Step step) {
                    sequences.add(step.event().sequence());
                    if (step.event() instanceof Event.Preview preview) {
                        assertEquals(PREVIEW, preview.data());
                    } else if (step.event() instanceof Event.Image image) {
                        assertEquals(PICTURE, image.picture().getData());
                    }
                }
            }

            assertEquals(List.of(1L, 2L, 3L, 5L, 4L, 6L), sequences, "cut after " + cut);
        }
    }

    @Test
    void whatTheLossWithdrewIsDrawnAfterAllAndNoFailure() {
        GenerationEvent ended = event(1)
                .setCompleted(Completed.newBuilder().setGeneration(Generation.newBuilder().setId("gen_2")))
                .build();
        canned.set = (n, request) -> switch (n) {
            case 1 -> Answer.of(lost(), accepted(), step("gen_1", begun("gen_1")));
            case 2 -> Answer.of(null, accepted(), failed("CANCELLED"), summary());
            default -> Answer.of(null, accepted(), step("gen_2", ended), summary());
        };

        assertEquals(List.of("Accepted", "Step", "Step", "Summary"), read(client, MINE));
        assertEquals(List.of("set mine", "list set_1", "set mine", "list set_1", "set mine"), canned.asked);
    }

    @Test
    void aFailureOfAnItemIsToldOnce() {
        GenerationEvent heartbeat =
                event(0).setHeartbeat(Heartbeat.getDefaultInstance()).build();
        canned.set = (n, request) -> n == 1
                ? Answer.of(lost(), accepted(), failed("CANCELLED")) // somebody's wish
                : Answer.of(null, accepted(), step("", heartbeat), failed("CANCELLED"), summary());

        assertEquals(List.of("Accepted", "ItemFailed", "Summary"), read(client, MINE));
        assertEquals(List.of("set mine", "list set_1", "set mine"), canned.asked);
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "gen_1"})
    void aSetThatTheGatewayForgotOrOneOfItIsNotPaidAgain(String known) {
        twoBegunThenLost();
        canned.list = (n, request) -> Answer.of(null, page(known, "").build());

        PictorException forgotten = Told.by(Status.Code.UNAVAILABLE, "UNREACHABLE", () -> read(client, MINE));

        assertEquals(
                "the connection was lost, and the gateway that answers now does not know set set_1 "
                        + "(another data folder?), so it is unknown what was made (request_id mine)",
                forgotten.text());
        assertNamed(forgotten);
        assertEquals(List.of("set mine", "list set_1"), canned.asked);
    }

    @Test
    void aSetOfWhichAllThatWasSeenIsKnownIsSentAgain() {
        twoBegunThenLost();
        canned.list = (n, request) -> Answer.of(
                null, request.getPageToken().equals("more") ? page("gen_2", "").build() : page("gen_1", "more").build());

        assertEquals(List.of("Accepted", "Step", "Step", "Summary"), read(client, MINE));
        assertEquals(List.of("set mine", "list set_1", "list set_1", "set mine"), canned.asked);
    }

    private void twoBegunThenLost() {
        canned.set = (n, request) -> n == 1
                ? Answer.of(lost(), accepted(), step("gen_1", begun("gen_1")), step("gen_2", begun("gen_2")))
                : Answer.of(null, accepted(), summary());
    }

    private static GenerationEvent begun(String id) {
        return event(1).setAccepted(Accepted.newBuilder().setGenerationId(id)).build();
    }

    /** A page of the generations that the gateway knows: one, or none if it has no id. */
    private static ListGenerationsResponse.Builder page(String id, String next) {
        ListGenerationsResponse.Builder page = ListGenerationsResponse.newBuilder().setNextPageToken(next);
        return id.isEmpty() ? page : page.addGenerations(Generation.newBuilder().setId(id));
    }

    @Test
    void aGatewayThatStaysAwayIsGivenUp() {
        canned.set = (n, request) -> Answer.of(lost(), accepted()); // again and again; nothing that is new

        PictorException away = Told.by(Status.Code.UNAVAILABLE, "UNREACHABLE", () -> read(client, MINE));

        assertTrue(
                away.text().endsWith("; money may be spent on set set_1: send it again with request_id mine"),
                away.text());
        assertNamed(away);
        assertEquals(3, Collections.frequency(canned.asked, "set mine"));
    }

    @Test
    void aGatewayThatKnowsOfNothingIsAskedAgainBeforeItIsGivenUp() {
        canned.set = (n, request) ->
                n == 1 ? Answer.of(lost(), accepted()) : Answer.of(null, accepted(), summary());
        canned.list = (n, request) -> Answer.of(null, n == 1 ? ListGenerationsResponse.getDefaultInstance() : KNOWN);

        assertEquals(List.of("Accepted", "Summary"), read(client, MINE));
        assertEquals(List.of("set mine", "list set_1", "list set_1", "set mine"), canned.asked);
    }

    @Test
    void aSetOfWhichNothingCameBackIsNotSentAgain() {
        canned.set = (n, request) -> Answer.of(lost());

        PictorException unknown = Told.by(Status.Code.UNAVAILABLE, "UNREACHABLE", () -> read(client, MINE));

        assertTrue(
                unknown.text()
                        .endsWith("; it is unknown whether the set was accepted: send it again with request_id mine"),
                unknown.text());
        assertTrue(unknown.isPaid());
        assertEquals(List.of("set mine"), canned.asked);
    }

    private static void assertNamed(PictorException error) {
        assertTrue(error.isPaid());
        assertEquals("mine", error.requestId().orElseThrow());
        assertEquals("set_1", error.metadata().get("set_id"));
    }

    // --- helpers

    private static GenerateSetRequest threeItems(String prompt) {
        return GenerateSetRequest.newBuilder()
                .setBrief(GenerateRequest.newBuilder().setPrompt(prompt))
                .addItems(SetItem.newBuilder().setKey("a"))
                .addItems(SetItem.newBuilder().setKey("b").setPrompt("a grey fox"))
                .addItems(SetItem.newBuilder().setKey("c").setCanvas(Canvas.newBuilder().setRatio("16:9")))
                .build();
    }

    /** The kinds of a set's events. */
    private static List<String> read(Pictor client, GenerateSetRequest request) {
        List<String> kinds = new ArrayList<>();
        client.streamSet(request).forEach(event -> kinds.add(event.getClass().getSimpleName()));
        return kinds;
    }

    private static GenerateSetResponse accepted() {
        return GenerateSetResponse.newBuilder()
                .setSetAccepted(dev.pictor.v1.SetAccepted.newBuilder().setSetId("set_1").setOutputCount(1))
                .build();
    }

    private static GenerateSetResponse step(String generationId, GenerationEvent event) {
        return GenerateSetResponse.newBuilder()
                .setItemKey("a")
                .setGenerationId(generationId)
                .setEvent(event)
                .build();
    }

    private static GenerateSetResponse failed(String reason) {
        return GenerateSetResponse.newBuilder()
                .setItemKey("a")
                .setItemFailed(dev.pictor.v1.SetItemFailed.newBuilder().setReason(reason))
                .build();
    }

    private static GenerateSetResponse summary() {
        return GenerateSetResponse.newBuilder()
                .setSummary(SetSummary.newBuilder().setSetId("set_1"))
                .build();
    }
}
