// The peer `bun`: Bun.serve and its built-in publish/subscribe, which is uWebSockets' topic tree.
// Started by ../run as `bun server.js PORT THREADS`.
//
// THREADS > 1 starts workers that share the port by SO_REUSEPORT. A topic lives on one thread, so
// a message of a room is also handed to the other threads by BroadcastChannel. Then each sender's
// messages stay in order, but two senders on two threads may be seen in different orders.
//
// PEER_TLS_CERT and PEER_TLS_KEY name files for TLS. PEER_TAKEOVER is `none` or `both`: messages are
// compressed, with a compressor that all sockets share, or one for each.

const { Worker, isMainThread, workerData } = require("node:worker_threads");

const [port, threads] = isMainThread ? process.argv.slice(2).map(Number) : workerData;
const { PEER_TLS_CERT: cert, PEER_TLS_KEY: key, PEER_TAKEOVER: takeover } = process.env;
const compress = takeover !== undefined;
const compressor = takeover === "both" ? "dedicated" : "shared";
const relay = threads > 1 ? new BroadcastChannel("rooms") : null;

const server = Bun.serve({
  hostname: "127.0.0.1",
  port,
  reusePort: threads > 1,
  tls: cert && { cert: Bun.file(cert), key: Bun.file(key) },
  fetch(request, server) {
    const path = request.url.slice(request.url.indexOf("/", "https://".length));
    const room = path.startsWith("/rooms/") ? path : null;
    if ((room || path === "/echo") && server.upgrade(request, { data: room })) return;
    return new Response("not found\n", { status: 404 });
  },
  websocket: {
    perMessageDeflate: compress && { compress: compressor, decompress: compressor },
    idleTimeout: 0,
    sendPings: false,
    maxPayloadLength: 1 << 20,
    // Bun drops messages beyond its own limit. Such a gap must be noticed, so the socket is closed.
    backpressureLimit: 16 << 20,
    closeOnBackpressureLimit: true,
    open(socket) {
      if (socket.data) socket.subscribe(socket.data);
    },
    message(socket, message) {
      const room = socket.data;
      if (!room) {
        socket.send(message, compress);
        return;
      }
      server.publish(room, message, compress); // the server's publish includes the sender; the socket's does not
      relay?.postMessage({ room, message });
    },
  },
});

if (relay) {
  relay.onmessage = ({ data: { room, message } }) => server.publish(room, message, compress);
}
if (isMainThread) {
  for (let i = 1; i < threads; i++) new Worker(__filename, { workerData: [port, threads] });
}
