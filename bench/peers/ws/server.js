// The peer `ws`: npm ws on Node's http server; a room is a Set of sockets.
// Started by ../run as `node server.js PORT THREADS`.
//
// PEER_TLS_CERT and PEER_TLS_KEY name files for TLS. PEER_TAKEOVER is `none` or `both`: messages are
// compressed, with or without contexts that last.
//
// THREADS is ignored: Node 20 cannot share a port among threads, and a room that spans processes
// would need a broker beside ws.

const fs = require("node:fs");
const http = require("node:http");
const https = require("node:https");
const { WebSocketServer } = require("ws");

const { PEER_TLS_CERT: cert, PEER_TLS_KEY: key, PEER_TAKEOVER: takeover } = process.env;
const port = Number(process.argv[2]);

// A subscriber that lags further than this is closed; the same limit as the peer `bun` has.
const LAG_BYTES_MAX = 16 << 20;

const rooms = new Map();
const upgrader = new WebSocketServer({
  noServer: true,
  perMessageDeflate: takeover !== undefined && { threshold: 256 },
  clientTracking: false,
  maxPayload: 1 << 20,
});

function echo(socket) {
  socket.on("message", (message, binary) => socket.send(message, { binary }));
}

function join(socket, name) {
  let room = rooms.get(name);
  if (!room) rooms.set(name, (room = new Set()));
  room.add(socket);
  // All sockets share one buffer: ws does not copy the payload of a server's frame.
  socket.on("message", (message, binary) => publish(room, message, { binary }));
  socket.on("close", () => {
    room.delete(socket);
    if (room.size === 0 && rooms.get(name) === room) rooms.delete(name);
  });
}

function publish(room, message, options) {
  for (const socket of room) {
    if (socket.bufferedAmount > LAG_BYTES_MAX) socket.terminate();
    else socket.send(message, options);
  }
}

const notFound = (_, response) => response.writeHead(404).end("not found\n");
const server = cert
  ? https.createServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key) }, notFound)
  : http.createServer(notFound);

server.on("upgrade", (request, stream, head) => {
  const path = request.url;
  if (path !== "/echo" && !path.startsWith("/rooms/")) {
    stream.end("HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n");
    return;
  }
  upgrader.handleUpgrade(request, stream, head, (socket) => {
    socket.on("error", () => {}); // `close` follows
    if (path === "/echo") echo(socket);
    else join(socket, path);
  });
});

server.listen({ host: "127.0.0.1", port, backlog: 4096 });
