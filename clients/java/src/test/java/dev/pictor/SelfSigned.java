package dev.pictor;

import io.grpc.ChannelCredentials;
import io.grpc.TlsChannelCredentials;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.util.Base64;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;

/** A certificate for 127.0.0.1 that nobody trusts by itself, made by the JDK's keytool. */
final class SelfSigned {

    private static final char[] PASSWORD = "password".toCharArray();
    private final KeyStore store;
    private final Path pem;

    SelfSigned(Path folder) throws Exception {
        Path file = folder.resolve("store.p12");
        Process keytool = new ProcessBuilder(
                        Path.of(System.getProperty("java.home"), "bin", "keytool").toString(),
                        "-genkeypair", "-alias", "gateway", "-keyalg", "EC", "-dname", "CN=gateway",
                        "-ext", "SAN=ip:127.0.0.1", "-storetype", "PKCS12", "-storepass", new String(PASSWORD),
                        "-keystore", file.toString())
                .redirectErrorStream(true)
                .start();
        String said = new String(keytool.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        if (keytool.waitFor() != 0) {
            throw new IllegalStateException("keytool failed: " + said);
        }
        store = KeyStore.getInstance(file.toFile(), PASSWORD);
        pem = folder.resolve("gateway.pem");
        String encoded = Base64.getMimeEncoder().encodeToString(store.getCertificate("gateway").getEncoded());
        Files.writeString(pem, "-----BEGIN CERTIFICATE-----\n" + encoded + "\n-----END CERTIFICATE-----\n");
    }

    /** For a server that shows it. */
    SSLContext shown() throws Exception {
        KeyManagerFactory keys = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        keys.init(store, PASSWORD);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(keys.getKeyManagers(), null, null);
        return context;
    }

    /** For a client that trusts it. */
    ChannelCredentials trust() throws Exception {
        return TlsChannelCredentials.newBuilder().trustManager(pem.toFile()).build();
    }
}
