// The unmodified Java SDK, which speaks Protobuf, against a real server: connect, subscribe, publish, be cut
// off, recover.
package hubbub;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.centrifugal.centrifuge.Client;
import io.github.centrifugal.centrifuge.ConnectedEvent;
import io.github.centrifugal.centrifuge.DisconnectedEvent;
import io.github.centrifugal.centrifuge.EventListener;
import io.github.centrifugal.centrifuge.Options;
import io.github.centrifugal.centrifuge.PublicationEvent;
import io.github.centrifugal.centrifuge.SubscribedEvent;
import io.github.centrifugal.centrifuge.SubscribingEvent;
import io.github.centrifugal.centrifuge.Subscription;
import io.github.centrifugal.centrifuge.SubscriptionEventListener;
import io.github.centrifugal.centrifuge.SubscriptionOptions;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class SdkTest {
    /** A wait that a machine under any load outlasts; to reach it is to fail. */
    static final int PATIENCE_MS = 60_000;

    static final byte[] SECRET = "a secret of these tests, which needs 32 bytes".getBytes(UTF_8);

    @TempDir static Path directory;
    static Process server;
    static int port;

    @BeforeAll
    static void startServer() throws Exception {
        try (ServerSocket free = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            port = free.getLocalPort();
        }
        Path secret = Files.write(directory.resolve("secret"), SECRET);
        String binary = System.getenv().getOrDefault("SERVER_BIN", "../../../target/release/hubbub");
        server = new ProcessBuilder(binary, "--config", "../server.toml", "--token-secret", secret.toString(),
                "--listen", "127.0.0.1:" + port).inheritIO().start();
        for (long deadline = System.currentTimeMillis() + PATIENCE_MS; ; Thread.sleep(20)) {
            try (Socket ignored = new Socket("127.0.0.1", port)) {
                return;
            } catch (IOException notYet) {
                assertTrue(System.currentTimeMillis() < deadline && server.isAlive(), "the server does not answer");
            }
        }
    }

    @AfterAll
    static void stopServer() {
        server.destroyForcibly();
    }

    /** A token of this user (JWT, HS256). */
    static String token(String user) throws Exception {
        Base64.Encoder encoder = Base64.getUrlEncoder().withoutPadding();
        String claims = String.format("{\"sub\":\"%s\",\"exp\":%d}", user, System.currentTimeMillis() / 1000 + 3600);
        String signed = encoder.encodeToString("{\"alg\":\"HS256\"}".getBytes(UTF_8)) + "."
                + encoder.encodeToString(claims.getBytes(UTF_8));
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(SECRET, "HmacSHA256"));
        return signed + "." + encoder.encodeToString(mac.doFinal(signed.getBytes(UTF_8)));
    }

    /** A wire to the server that can be cut and mended. */
    static class Line implements AutoCloseable {
        final ServerSocket listener = new ServerSocket(0, 16, InetAddress.getLoopbackAddress());
        final List<Socket> wires = new ArrayList<>();
        boolean isCut;

        Line() throws IOException {
            start(() -> {
                while (true) {
                    join(listener.accept());
                }
            });
        }

        interface Work {
            void run() throws IOException;
        }

        static void start(Work work) {
            Thread thread = new Thread(() -> {
                try {
                    work.run();
                } catch (IOException ended) {
                    // The line was cut or closed.
                }
            });
            thread.setDaemon(true);
            thread.start();
        }

        synchronized void join(Socket client) throws IOException {
            if (isCut) {
                client.close();
                return;
            }
            Socket target = new Socket("127.0.0.1", port);
            wires.add(client);
            wires.add(target);
            start(() -> carry(client, target));
            start(() -> carry(target, client));
        }

        static void carry(Socket from, Socket to) throws IOException {
            try (to) {
                from.getInputStream().transferTo(to.getOutputStream());
            }
        }

        /** Ends all connections without a goodbye, and lets none through until the line is mended. */
        synchronized void cut() throws IOException {
            isCut = true;
            for (Socket wire : wires) {
                wire.close();
            }
        }

        synchronized void mend() {
            isCut = false;
        }

        @Override
        public void close() throws IOException {
            listener.close();
            cut();
        }
    }

    static <T> T next(BlockingQueue<T> from) throws InterruptedException {
        T it = from.poll(PATIENCE_MS, TimeUnit.MILLISECONDS);
        assertNotNull(it, "waited in vain");
        return it;
    }

    static Client connected(Line line, String user) throws Exception {
        BlockingQueue<String> connected = new LinkedBlockingQueue<>();
        Options options = new Options();
        options.setToken(token(user));
        Client client = client(line, options, new EventListener() {
            @Override
            public void onConnected(Client client, ConnectedEvent event) {
                connected.add("connected");
            }
        });
        client.connect();
        next(connected);
        return client;
    }

    static Client client(Line line, Options options, EventListener listener) {
        options.setTimeout(PATIENCE_MS);
        options.setMaxServerPingDelay(PATIENCE_MS);
        options.setMinReconnectDelay(20);
        options.setMaxReconnectDelay(200);
        return new Client("ws://127.0.0.1:" + line.listener.getLocalPort() + "/connection/websocket", options, listener);
    }

    /** Publishes these numbers, each when the one before has been acknowledged. */
    static void say(Client client, String room, int from, int to) throws Exception {
        for (int number = from; number < to; number++) {
            CompletableFuture<Throwable> published = new CompletableFuture<>();
            byte[] data = ("{\"n\":" + number + "}").getBytes(UTF_8);
            client.publish(room, data, (error, result) -> published.complete(error));
            assertNull(published.get(PATIENCE_MS, TimeUnit.MILLISECONDS));
        }
    }

    static void hear(BlockingQueue<String> heard, int from, int to) throws Exception {
        for (int number = from; number < to; number++) {
            assertEquals("{\"n\":" + number + "}", next(heard));
        }
    }

    @Test
    void clientThatWasCutOffGetsExactlyWhatItMissed() throws Exception {
        try (Line ofAda = new Line(); Line ofGrace = new Line()) {
            Client ada = connected(ofAda, "ada");
            Client grace = connected(ofGrace, "grace");
            String room = "chat:java";
            BlockingQueue<String> subscribing = new LinkedBlockingQueue<>();
            BlockingQueue<SubscribedEvent> subscribed = new LinkedBlockingQueue<>();
            BlockingQueue<String> heard = new LinkedBlockingQueue<>();
            SubscriptionOptions options = new SubscriptionOptions();
            options.setPositioned(true);
            options.setRecoverable(true);
            Subscription subscription = ada.newSubscription(room, options, new SubscriptionEventListener() {
                @Override
                public void onSubscribing(Subscription subscription, SubscribingEvent event) {
                    subscribing.add("subscribing");
                }

                @Override
                public void onSubscribed(Subscription subscription, SubscribedEvent event) {
                    subscribed.add(event);
                }

                @Override
                public void onPublication(Subscription subscription, PublicationEvent event) {
                    heard.add(new String(event.getData(), UTF_8));
                }
            });
            subscription.subscribe();
            next(subscribing);
            SubscribedEvent began = next(subscribed);
            assertTrue(began.getRecoverable() && !began.getRecovered());
            say(grace, room, 0, 200);
            hear(heard, 0, 200);

            ofAda.cut();
            next(subscribing);
            say(grace, room, 200, 250);
            ofAda.mend();
            SubscribedEvent again = next(subscribed);
            assertTrue(again.wasRecovering() && again.getRecovered());
            say(grace, room, 250, 251);
            hear(heard, 200, 251);
            ada.close(PATIENCE_MS);
            grace.close(PATIENCE_MS);
        }
    }

    @Test
    void clientWithoutATokenIsRefusedForGood() throws Exception {
        try (Line line = new Line()) {
            BlockingQueue<Integer> disconnected = new LinkedBlockingQueue<>();
            Client client = client(line, new Options(), new EventListener() {
                @Override
                public void onDisconnected(Client client, DisconnectedEvent event) {
                    disconnected.add(event.getCode());
                }
            });
            client.connect();
            assertEquals(3501, next(disconnected));
            client.close(PATIENCE_MS);
        }
    }
}
