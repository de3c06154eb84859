package dev.pictor;

import java.io.BufferedReader;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** {@code pictord serve --sandbox} as a process, with two callers. */
final class GatewayProcess implements AutoCloseable {

    static final String CALLER_KEY = "pictor_caller";
    static final String OPERATOR_KEY = "pictor_operator";
    /** Runs a command until the input is closed: by {@link #close}, or because the tests died. */
    private static final String UNTIL_CLOSED = "\"$@\" & gateway=$!; cat; kill $gateway; wait $gateway";

    /** So that a set has items that are not sent yet. */
    private static final String ONE_AT_A_TIME = "[providers.gemini]\nmax_concurrency = 1\n\n";

    private static final Pattern SANDBOX = Pattern.compile("GEMINI_BASE_URL=(\\S+)");
    private static final Pattern SERVES = Pattern.compile("gRPC on (\\S+),");
    private static final Pattern ADMIN = Pattern.compile("admin on (\\S+),");
    private static final Pattern CONSOLE = Pattern.compile("console on http://([^/]+)/");
    private static final Pattern STEERS =
            Pattern.compile("(PICTOR|OPENAI|GEMINI|GOOGLE|OTEL|IMAGE_EDIT|GRPC)_.*");

    final String address;
    /** Where it serves HTTP. */
    final String console;
    /** Where it serves metrics, by HTTP/1 alone. */
    final String admin;
    private final String sandbox;
    private final Process process;

    GatewayProcess(Path folder) throws Exception {
        Path config = folder.resolve("pictor.toml");
        Files.writeString(config, "drain_s = 5.0\n" + ONE_AT_A_TIME + caller("tool", CALLER_KEY) + caller("team", OPERATOR_KEY) + "role = \"operator\"\n");
        Path root = Path.of("../..").toRealPath();
        ProcessBuilder builder = new ProcessBuilder(
                "sh", "-c", UNTIL_CLOSED, "sh", root.resolve(".venv/bin/pictord").toString(), "serve", "--sandbox", "--time-scale", "0.05");
        builder.directory(folder.toFile()).redirectErrorStream(true);
        builder.environment().keySet().removeIf(name -> STEERS.matcher(name).matches());
        builder.environment().putAll(Map.of(
                "PICTOR_CONFIG", config.toString(),
                "PICTOR_DATA_DIR", folder.resolve("data").toString(),
                "PICTOR_LISTEN", "127.0.0.1:0",
                "PICTOR_ADMIN_LISTEN", "127.0.0.1:0",
                "PICTOR_HTTP_LISTEN", "127.0.0.1:0",
                "PYTHONUNBUFFERED", "1"));
        process = builder.start();
        BufferedReader output = process.inputReader();
        StringBuilder said = new StringBuilder();
        String engines = null;
        String serves = null;
        String shows = null;
        String measures = null;
        while (serves == null) {
            String line = output.readLine();
            if (line == null) {
                throw new IOException("pictord did not start: " + said);
            }
            said.append(line).append('\n');
            engines = found(SANDBOX, line, engines);
            serves = found(SERVES, line, null);
            shows = found(CONSOLE, line, null);
            measures = found(ADMIN, line, null);
        }
        address = serves;
        console = shows;
        admin = measures;
        sandbox = engines;
        Thread drain = new Thread(() -> output.lines().forEach(line -> {})); // a full pipe would stop it
        drain.setDaemon(true);
        drain.start();
    }

    private static String found(Pattern pattern, String line, String otherwise) {
        Matcher matcher = pattern.matcher(line);
        return matcher.find() ? matcher.group(1) : otherwise;
    }

    private static String caller(String name, String key) throws Exception {
        byte[] hash = MessageDigest.getInstance("SHA-256").digest(key.getBytes(StandardCharsets.UTF_8));
        return "[[callers]]\nname = \"%s\"\nkeys = [\"%s\"]\n".formatted(name, HexFormat.of().formatHex(hash));
    }

    /** How many calls the simulated engines billed: the truth about money. */
    int charges() throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(sandbox + "/sandbox/charges")).build();
        String log = HttpClient.newHttpClient()
                .send(request, HttpResponse.BodyHandlers.ofString())
                .body();
        return log.split("\"chg_", -1).length - 1;
    }

    @Override
    public void close() throws IOException {
        process.getOutputStream().close();
        process.onExit().join();
    }
}
