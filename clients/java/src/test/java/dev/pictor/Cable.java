package dev.pictor;

import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;

/** A TCP line between client and gateway that a test can break. */
final class Cable implements AutoCloseable {

    private final ServerSocket server;
    private final List<Socket> ends = new CopyOnWriteArrayList<>();
    final String address;

    Cable(String target) throws IOException {
        this(new ServerSocket(0, 50, InetAddress.getLoopbackAddress()), target);
    }

    /** A line whose near end is a server socket of another kind. */
    Cable(ServerSocket server, String target) {
        this.server = server;
        address = "127.0.0.1:" + server.getLocalPort();
        int colon = target.lastIndexOf(':');
        String host = target.substring(0, colon);
        int port = Integer.parseInt(target.substring(colon + 1));
        started(() -> {
            while (true) {
                Socket near = server.accept();
                Socket far = new Socket(host, port);
                ends.addAll(List.of(near, far));
                started(() -> pass(near, far));
                started(() -> pass(far, near));
            }
        });
    }

    private interface Io {
        void run() throws IOException;
    }

    private static void started(Io work) {
        Thread thread = new Thread(() -> {
            try {
                work.run();
            } catch (IOException ended) {
                return; // cut
            }
        });
        thread.setDaemon(true);
        thread.start();
    }

    private static void pass(Socket from, Socket to) throws IOException {
        try (from;
                to) {
            from.getInputStream().transferTo(to.getOutputStream());
        }
    }

    /** Breaks every connection that is open, without a word to either side. */
    void cut() {
        for (Socket end : ends) {
            try {
                end.setSoLinger(true, 0);
                end.close();
            } catch (IOException closed) {
                continue;
            }
        }
        ends.clear();
    }

    @Override
    public void close() throws IOException {
        server.close();
        cut();
    }
}
