// A wire between a client and a server, which tests can cut, hold and count.

import { once } from "node:events";
import { connect, createServer } from "node:net";

/** A wire to a port that can be cut and mended, and on which each direction can be held. */
export class Line {
  #target;
  #wires = new Set();
  #isCut = false;
  /** Bytes that came from the server and from the client. */
  fromServer = 0;
  fromClient = 0;

  static async to(port) {
    const line = new Line();
    line.#target = port;
    line.server = createServer({ allowHalfOpen: true }, (client) => line.#join(client)).listen(0, "127.0.0.1");
    await once(line.server, "listening");
    line.port = line.server.address().port;
    line.origin = `http://127.0.0.1:${line.port}`;
    line.url = `ws://127.0.0.1:${line.port}/connection/websocket`;
    return line;
  }

  #join(client) {
    if (this.#isCut) return client.destroy();
    const server = connect({ port: this.#target, host: "127.0.0.1", allowHalfOpen: true });
    const wire = { client, server };
    this.#wires.add(wire);
    for (const [socket, other] of [[client, server], [server, client]]) {
      socket.setNoDelay();
      socket.on("error", () => other.destroy()); // an end without an error is piped behind what is on its way
      socket.on("close", () => { if (other.destroyed) this.#wires.delete(wire); });
    }
    server.on("data", (chunk) => { this.fromServer += chunk.length; });
    client.on("data", (chunk) => { this.fromClient += chunk.length; });
    server.pipe(client);
    client.pipe(server);
  }

  /** Breaks all connections without a goodbye, and lets none through until the line is mended. */
  cut() {
    this.#isCut = true;
    for (const { client, server } of this.#wires) { client.resetAndDestroy(); server.resetAndDestroy(); }
  }

  mend() { this.#isCut = false; }

  /** Reads nothing more that comes from the server. */
  holdServer() {
    for (const { client, server } of this.#wires) { server.unpipe(client); server.pause(); }
  }

  releaseServer() {
    for (const { client, server } of this.#wires) server.pipe(client);
  }

  /** Loses everything that comes from the client. */
  loseClient() {
    for (const { client, server } of this.#wires) { client.unpipe(server); client.resume(); }
  }

  close() {
    this.cut();
    this.server.close();
  }
}
