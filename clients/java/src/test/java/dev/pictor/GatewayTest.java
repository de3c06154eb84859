package dev.pictor;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.net.httpserver.HttpServer;
import dev.pictor.v1.Budget;
import dev.pictor.v1.Canvas;
import dev.pictor.v1.EditRequest;
import dev.pictor.v1.GenerateRequest;
import dev.pictor.v1.Generation;
import dev.pictor.v1.GetGenerationRequest;
import dev.pictor.v1.HistoryServiceGrpc;
import dev.pictor.v1.Image;
import dev.pictor.v1.ListGenerationsRequest;
import dev.pictor.v1.Money;
import dev.pictor.v1.Quality;
import dev.pictor.v1.RerollRequest;
import dev.pictor.v1.SetBudgetRequest;
import io.grpc.ChannelCredentials;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.math.BigDecimal;
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HexFormat;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.UnaryOperator;
import java.util.logging.Handler;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import java.util.logging.SimpleFormatter;
import java.util.stream.LongStream;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** The client against a gateway on the sandbox. */
@Timeout(60)
final class GatewayTest {

    private static final String WHOLE = "Accepted AttemptStarted Preview Preview Image Completed";
    private static GatewayProcess gateway;
    private final List<AutoCloseable> opened = new ArrayList<>();

    @BeforeAll
    static void start(@TempDir Path folder) throws Exception {
        gateway = new GatewayProcess(folder);
    }

    @AfterAll
    static void end() throws Exception {
        gateway.close();
    }

    @AfterEach
    void close() throws Exception {
        for (AutoCloseable each : opened) {
            each.close();
        }
    }

    // --- what comes back

    @Test
    void generateAnswersWithAVerifiedPicture() throws Exception {
        Generation made = client().generate(prompt("a red fox")
                .setCanvas(Canvas.newBuilder().setFormat("instagram/story"))
                .build());

        Image fox = Pictures.of(made).get(0);
        assertIsWhole(fox);
        assertTrue(fox.getHeightPx() > fox.getWidthPx());
        assertTrue(made.getSandbox());
        assertFalse(made.getRequest().getRequestId().isEmpty());
    }

    @Test
    void aStreamBringsWholePreviewsAndPictures() throws Exception {
        List<String> kinds = new ArrayList<>();
        int previews = 0;
        try (EventStream events = client().stream(gpt("a grey fox"))) {
            for (Event event : events) {
                kinds.add(event.getClass().getSimpleName());
                if (event instanceof Event.Preview preview) {
                    assertEquals(previews++, preview.preview().getIndex());
                    assertEquals(preview.preview().getSizeBytes(), preview.data().size());
                    assertTrue(ImageIO.read(preview.data().newInput()) != null);
                } else if (event instanceof Event.Image image) {
                    assertIsWhole(image.picture());
                }
            }
        }

        assertEquals(WHOLE, String.join(" ", kinds));
    }

    @Test
    void generateAsksForNoPreviewsThatNobodyWouldSee() {
        Generation made = client().generate(gpt("an unseen fox"));

        client().watch(made.getId(), 0).forEach(event -> assertFalse(event instanceof Event.Preview));
    }

    @Test
    void allPicturesOfACallComeTogether() throws Exception {
        GenerateRequest two = prompt("foxes").setCount(2).setMaxInlineBytes(0).build();

        List<Image> fetched = Pictures.of(client().generate(two));
        List<Image> bare = Pictures.of(client().withoutFetch().generate(two));

        assertEquals(List.of(2, 2), List.of(fetched.size(), bare.size()));
        for (Image image : fetched) {
            assertIsWhole(image);
        }
        assertTrue(bare.get(0).getData().isEmpty());
    }

    @Test
    void anUploadedPictureIsEdited() throws Exception {
        Pictor client = client();
        Image first = Pictures.of(client.generate(prompt("a red fox").build())).get(0);

        Image brought = client.upload(first.getData().toByteArray());
        Generation edited = client.edit(EditRequest.newBuilder()
                .setRequest(prompt("make it stormy"))
                .setImage(Pictures.input(brought.getId()))
                .build());
        Event last = null;
        for (Event event : client.streamEdit(EditRequest.newBuilder()
                .setRequest(prompt("make it sunny"))
                .setImage(Pictures.input(first.getData().toByteArray()))
                .build())) {
            last = event;
        }

        assertEquals(first.getSha256(), brought.getSha256());
        assertEquals(first.getSha256(), edited.getRequest().getImageSha256());
        assertIsWhole(Pictures.of(edited).get(0));
        Event.Completed end = assertInstanceOf(Event.Completed.class, last);
        assertEquals(first.getSha256(), end.generation().getRequest().getImageSha256());
    }

    @Test
    void whatWasMadeIsWatchedRerolledAndListed() {
        Pictor client = client();
        Generation made = client.generate(prompt("a blue fox").putLabels("test", "listed").build());

        Image again = onlyImage(client.watch(made.getId(), 0));
        RerollRequest reroll = RerollRequest.newBuilder().setGenerationId(made.getId()).build();
        Image other = onlyImage(client.streamReroll(reroll));
        Generation back = client.reroll(
                reroll.toBuilder().setModel(again.getModel()).build());
        long listed = client.list(ListGenerationsRequest.newBuilder()
                        .putLabels("test", "listed")
                        .setPageSize(1)
                        .build())
                .count();

        assertEquals(Pictures.of(made).get(0).getSha256(), again.getSha256());
        assertNotEquals(again.getModel(), other.getModel());
        assertEquals(3, listed);
        assertEquals(made.getId(), back.getLineage().getRerollOf());
    }

    // --- the network

    @Test
    void aConnectionThatIsCutCostsNothing() throws Exception {
        int before = gateway.charges();
        Cable line = opened(new Cable(gateway.address));
        AtomicInteger lost = new AtomicInteger();
        Pictor client = client(line.address, builder -> builder.onLost(error -> lost.incrementAndGet()));
        GenerateRequest request = gpt("a fox on the other side of a cut").toBuilder()
                .setRequestId("cut-in-java")
                .build();
        List<Long> sequences = new ArrayList<>();
        List<String> kinds = new ArrayList<>();

        for (Event event : client.stream(request)) {
            sequences.add(event.sequence());
            kinds.add(event.getClass().getSimpleName());
            if (event instanceof Event.Accepted || event instanceof Event.Preview) {
                line.cut();
            } else if (event instanceof Event.Image image) {
                assertIsWhole(image.picture());
            }
        }

        assertEquals(WHOLE, String.join(" ", kinds));
        assertEquals(LongStream.rangeClosed(1, 6).boxed().toList(), sequences);
        List<Generation> kept = client.list(
                        ListGenerationsRequest.newBuilder().setRequestId("cut-in-java").build())
                .toList();
        assertEquals(1, kept.size());
        assertEquals(1, kept.get(0).getAttemptsCount());
        assertEquals(1, gateway.charges() - before);
        assertTrue(lost.get() >= 2, lost + " losses");
    }

    @Test
    void aDownloadGoesOnWhereItWasCut() throws Exception {
        Image whole = Pictures.of(client().generate(gpt("a large fox"))).get(0);
        Cable line = opened(new Cable(gateway.address));
        AtomicInteger lost = new AtomicInteger();
        Pictor client = client(line.address, builder -> builder.onLost(error -> lost.incrementAndGet()));
        ByteArrayOutputStream cutting = new ByteArrayOutputStream() {
            @Override
            public synchronized void write(byte[] data, int offset, int length) {
                if (count == 0) {
                    line.cut();
                }
                super.write(data, offset, length);
            }
        };

        client.download(whole.getId(), cutting);

        assertArrayEquals(whole.getData().toByteArray(), cutting.toByteArray());
        assertTrue(lost.get() > 0);
    }

    @Test
    void aFileIsThereWholeOrNotAtAll(@TempDir Path folder) throws Exception {
        Pictor client = client();
        Image picture = Pictures.of(client.generate(prompt("a red fox").build())).get(0);

        client.downloadFile(picture.getId(), folder.resolve("fetched"));
        Pictures.save(picture, folder.resolve("saved"));
        Told.by(Status.Code.NOT_FOUND, "NOT_FOUND", () -> client.downloadFile("img_nobody", folder.resolve("nobody")));
        PictorException homeless = Told.by(
                Status.Code.ABORTED,
                "NOT_SAVED",
                () -> client.downloadFile(picture.getId(), folder.resolve("nowhere").resolve("fox")));
        PictorException unsaved = Told.by(
                Status.Code.ABORTED,
                "NOT_SAVED",
                () -> Pictures.save(picture, folder.resolve("nowhere").resolve("fox")));

        for (String name : List.of("fetched", "saved")) {
            assertArrayEquals(picture.getData().toByteArray(), Files.readAllBytes(folder.resolve(name)));
        }
        assertEquals(2, folder.toFile().list().length);
        for (PictorException error : List.of(homeless, unsaved)) {
            assertInstanceOf(IOException.class, error.getCause());
            assertTrue(error.text().contains(picture.getId()), error.text());
        }
    }

    @Test
    void aDiskThatIsFullIsSaid() throws Exception {
        Pictor client = client();
        Image picture = Pictures.of(client.generate(prompt("a red fox").build())).get(0);
        try (OutputStream full = new FileOutputStream(new File("/dev/full"))) {
            PictorException error =
                    Told.by(Status.Code.ABORTED, "NOT_SAVED", () -> client.download(picture.getId(), full));

            assertTrue(
                    error.text().contains("No space left on device; what was drawn is paid and kept"), error.text());
        }
    }

    // --- what goes wrong

    @Test
    void aRefusedPromptSaysWhyAndWhich() {
        Pictor client = client(gateway.address, builder ->
                builder.metadata("x-sandbox-fault", "gemini:finish_reason;reason=IMAGE_SAFETY"));

        PictorException refused = Told.by(
                Status.Code.FAILED_PRECONDITION,
                "CONTENT_POLICY",
                () -> client.generate(prompt("a red fox").build()));

        assertTrue(refused.generationId().isPresent() && refused.requestId().isPresent());
    }

    @Test
    void aWrongFieldIsNamed() {
        PictorException refused = Told.by(
                Status.Code.INVALID_ARGUMENT,
                "COUNT_OUT_OF_RANGE",
                () -> client().generate(prompt("a fox").setCount(11).build()));

        assertEquals("count", refused.violations().get(0).field());
        assertFalse(refused.isPaid());
    }

    @Test
    void aSpentBudgetRefusesBeforeMoneyIsSpent() {
        client(gateway.address, builder -> builder.apiKey(GatewayProcess.OPERATOR_KEY))
                .usage()
                .setBudget(SetBudgetRequest.newBuilder()
                        .setBudget(Budget.newBuilder()
                                .setId("one-each")
                                .setCounted(Budget.Counted.COUNTED_END_USER)
                                .setKey("*")
                                .setPictures(1)
                                .setWindow(Budget.Window.WINDOW_DAY))
                        .build());
        GenerateRequest request = prompt("a red fox").setEndUser("poor").build();
        client().generate(request);

        PictorException refused = Told.by(
                Status.Code.RESOURCE_EXHAUSTED, "BUDGET_EXHAUSTED", () -> client().generate(request));

        assertFalse(refused.isPaid());
    }

    @Test
    void aWrongKeyIsRefused() {
        Pictor stranger = client(gateway.address, builder -> builder.apiKey("pictor_wrong"));
        Told.by(Status.Code.UNAUTHENTICATED, "UNAUTHENTICATED", () -> stranger.generate(gpt("a fox")));

        IllegalArgumentException error = assertThrows(
                IllegalArgumentException.class,
                () -> Pictor.builder().apiKey("with\nnewline").build());
        assertTrue(error.getMessage().contains("PICTOR_API_KEY"));
        assertFalse(error.getMessage().contains("newline"));
    }

    @Test
    void theStubsGiveTheSameErrors() {
        StatusRuntimeException failure = assertThrows(
                StatusRuntimeException.class,
                () -> client().history()
                        .getGeneration(GetGenerationRequest.newBuilder()
                                .setGenerationId("gen_nobody")
                                .build()));

        assertEquals("NOT_FOUND", PictorException.of(failure).reason());
    }

    @Test
    void nobodyAtTheAddressIsSaidAtOnce() {
        PictorException absent = Told.by(
                Status.Code.UNAVAILABLE,
                "UNREACHABLE",
                () -> client("127.0.0.1:1", builder -> builder).generate(gpt("a fox")));

        assertEquals(
                "nothing answers at 127.0.0.1:1; start the gateway there, or set PICTOR_ADDRESS", absent.text());
        assertFalse(absent.isPaid());
    }

    @Test
    void aNameThatNobodyKnowsIsSaidOnce() {
        List<String> heard = Collections.synchronizedList(new ArrayList<>());
        Handler hearing = new Handler() {
            @Override
            public void publish(LogRecord record) {
                heard.add(new SimpleFormatter().formatMessage(record));
            }

            @Override
            public void flush() {}

            @Override
            public void close() {}
        };
        Logger gRPC = Logger.getLogger("io.grpc");
        gRPC.addHandler(hearing);
        gRPC.setUseParentHandlers(false);
        ManagedChannel another = Grpc.newChannelBuilder("another.invalid:1", InsecureChannelCredentials.create()).build();
        try {
            PictorException absent = Told.by(
                    Status.Code.UNAVAILABLE,
                    "UNREACHABLE",
                    () -> client("nohost.invalid:1", builder -> builder).generate(gpt("a fox")));
            assertThrows(StatusRuntimeException.class, () -> HistoryServiceGrpc.newBlockingStub(another)
                    .getGeneration(GetGenerationRequest.getDefaultInstance()));

            assertEquals(
                    "nothing answers at nohost.invalid:1 (nobody knows its name); start the gateway there, or set "
                            + "PICTOR_ADDRESS",
                    absent.text());
            assertFalse(heard.toString().contains("nohost.invalid"), heard.toString()); // with a stack trace
            assertTrue(heard.toString().contains("Failed to resolve name"), heard.toString()); // of the other one
        } finally {
            another.shutdownNow();
            gRPC.setUseParentHandlers(true);
            gRPC.removeHandler(hearing);
        }
    }

    @Test
    void tlsThatDoesNotFitIsTold(@TempDir Path folder) throws Exception {
        SelfSigned certificate = new SelfSigned(folder);
        TlsProxy encrypted = opened(new TlsProxy(certificate, gateway.address));

        assertTls("but without TLS; leave out https://", client("https://" + gateway.address, builder -> builder));
        assertTls(
                "its certificate must be one that is trusted here",
                client("https://" + encrypted.address, builder -> builder));
        assertTls(
                "and hangs up; if it speaks TLS, say https://" + encrypted.address,
                client(encrypted.address, builder -> builder));
        ChannelCredentials trust = certificate.trust();
        Pictor trusting = client(encrypted.address, builder -> builder.credentials(trust));
        assertIsWhole(Pictures.of(trusting.generate(prompt("a fox").build())).get(0));
    }

    @Test
    void aWebServerIsTold() throws Exception {
        HttpServer webserver = HttpServer.create(new InetSocketAddress("127.0.0.1", 0), 0);
        webserver.start();
        try {
            for (String address : List.of("127.0.0.1:" + webserver.getAddress().getPort(), gateway.console, gateway.admin)) {
                assertTls(
                        "something answers at " + address
                                + ", but it does not speak gRPC; look at the port in PICTOR_ADDRESS",
                        client(address, builder -> builder));
            }
        } finally {
            webserver.stop(0);
        }
    }

    private static void assertTls(String words, Pictor client) {
        PictorException wrong =
                Told.by(Status.Code.UNAVAILABLE, "UNREACHABLE", () -> client.generate(gpt("a fox")));
        assertTrue(wrong.text().endsWith(words), wrong.text());
        assertFalse(wrong.isPaid());
    }

    @Test
    void aCallThatIsCancelledEndsAtOnce() {
        Pictor slow = client(gateway.address, builder -> builder.metadata("x-sandbox-latency-ms", "2000"));
        long began = System.nanoTime();
        EventStream events = slow.stream(gpt("a slow fox"));

        PictorException ended = Told.by(Status.Code.CANCELLED, "CANCELLED", () -> {
            for (Event event : events) {
                if (event instanceof Event.AttemptStarted) {
                    events.close();
                }
            }
        });

        assertTrue(System.nanoTime() - began < Duration.ofSeconds(2).toNanos());
        awaited(ended.generationId().orElseThrow());
    }

    @Test
    void anInterruptedThreadDoesNotWait() throws Exception {
        Pictor slow = client(gateway.address, builder -> builder.metadata("x-sandbox-latency-ms", "2000"));
        Thread reader = Thread.currentThread();
        EventStream events = slow.stream(gpt("another slow fox"));
        events.next();
        new Thread(reader::interrupt).start();

        PictorException ended = Told.by(Status.Code.CANCELLED, "CANCELLED", () -> events.forEach(event -> {}));

        assertTrue(Thread.interrupted());
        awaited(ended.generationId().orElseThrow());
    }

    // --- without a gateway

    @Test
    void anAddressHasAPort() {
        for (String good : List.of("127.0.0.1:50051", "[::1]:50051", "unix:///run/pictor", "http://host:1/")) {
            Target.parse(good, null);
        }
        assertEquals(new Target("pictor.example:443", true), Target.parse("https://pictor.example", null));
        assertEquals(new Target("there:1", false), Target.parse("", "there:1"));
        assertEquals(new Target("127.0.0.1:50051", false), Target.parse(null, null));
        for (String bad : List.of("127.0.0.1", "http://host", "host:")) {
            assertThrows(IllegalArgumentException.class, () -> Target.parse(bad, null), bad);
        }
    }

    @Test
    void amountsAreExact() {
        assertEquals(
                Money.newBuilder().setCurrencyCode("USD").setNanos(68_300_000).build(), Usd.of("0.0683"));
        assertEquals(new BigDecimal("-1.000000001"), Usd.of(Usd.of("-1.000000001")));
        assertEquals(new BigDecimal("12.5"), Usd.of(Usd.of("12.50")));
        assertThrows(ArithmeticException.class, () -> Usd.of("0.0000000001"));
    }

    // --- helpers

    private <T extends AutoCloseable> T opened(T each) {
        opened.add(each);
        return each;
    }

    private Pictor client() {
        return client(gateway.address, builder -> builder);
    }

    private Pictor client(String address, UnaryOperator<Pictor.Builder> more) {
        return opened(more.apply(Pictor.builder().address(address).apiKey(GatewayProcess.CALLER_KEY))
                .build());
    }

    private static GenerateRequest.Builder prompt(String text) {
        return GenerateRequest.newBuilder().setPrompt(text);
    }

    private static GenerateRequest gpt(String text) {
        return prompt(text).setModel("gpt-image-2").setQuality(Quality.QUALITY_MEDIUM).build();
    }

    /** Waits until a generation that was left has ended, so that it costs nothing while another test counts. */
    private void awaited(String generationId) {
        try {
            client().watch(generationId, 0).forEach(event -> {});
        } catch (PictorException withdrawn) {
            assertEquals("CANCELLED", withdrawn.reason());
        }
    }

    private static Image onlyImage(EventStream events) {
        Image found = null;
        for (Event event : events) {
            if (event instanceof Event.Image image) {
                found = image.picture();
            }
        }
        return found;
    }

    private static void assertIsWhole(Image picture) throws Exception {
        byte[] data = picture.getData().toByteArray();
        byte[] sum = MessageDigest.getInstance("SHA-256").digest(data);
        assertEquals(picture.getSha256(), HexFormat.of().formatHex(sum));
        var decoded = ImageIO.read(new ByteArrayInputStream(data));
        assertEquals(picture.getWidthPx(), decoded.getWidth());
        assertEquals(picture.getHeightPx(), decoded.getHeight());
    }
}
