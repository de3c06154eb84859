package dev.pictor;

import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLServerSocket;

/** What stands in front of a gateway and speaks TLS. */
final class TlsProxy implements AutoCloseable {

    private final Cable line;
    final String address;

    TlsProxy(SelfSigned certificate, String target) throws Exception {
        SSLServerSocket server = (SSLServerSocket) certificate
                .shown()
                .getServerSocketFactory()
                .createServerSocket(0, 50, InetAddress.getLoopbackAddress());
        SSLParameters parameters = server.getSSLParameters();
        parameters.setApplicationProtocols(new String[] {"h2"});
        server.setSSLParameters(parameters);
        line = new Cable((ServerSocket) server, target);
        address = line.address;
    }

    @Override
    public void close() throws IOException {
        line.close();
    }
}
