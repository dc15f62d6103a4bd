// What the tests stand on: a real server, the SDK as its registry has it, and a line between the two that can
// be cut, held and counted.

import { spawn } from "node:child_process";
import { createHmac, randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Centrifuge as OverJson } from "centrifuge";
import { Centrifuge as OverProtobuf } from "centrifuge/build/protobuf";
import { EventSource } from "eventsource";
import WebSocket from "ws";
import { Line } from "./line.js";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const SERVER_BIN = process.env.SERVER_BIN ?? here("../../../target/release/hubbub");

const RULES = here("../server.toml");

/** The drivers of the smoke tests; the first is that of all others. */
export const DRIVERS = (process.env.DRIVERS ?? "io_uring,epoll").split(",");

/** The SDK's two builds, and how each hands on a value. */
export const BUILDS = [
  { name: "json", Centrifuge: OverJson, encode: (value) => value, decode: (data) => data },
  {
    name: "protobuf",
    Centrifuge: OverProtobuf,
    encode: (value) => new TextEncoder().encode(JSON.stringify(value)),
    decode: (data) => JSON.parse(new TextDecoder().decode(data)),
  },
];

/** The builds over each of the SDK's transports. */
export const WIRES = [
  ...BUILDS,
  ...BUILDS.map((build) => ({ ...build, name: `${build.name}, http_stream`, transport: "http_stream" })),
  { ...BUILDS[0], name: "json, sse", transport: "sse" },
];

/** A wait that a machine under any load outlasts; to reach it is to fail. */
export const PATIENCE_MS = 60_000;

const SECRET = randomBytes(32).toString("hex");

/** What is undone when this process ends, however it ends. */
const leftovers = new Set();
process.once("exit", () => { for (const undo of leftovers) undo(); });

/** Settles as the promise does, or fails with the words when patience is over. */
export async function within(promise, words) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited in vain for ${words}`)), PATIENCE_MS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

// ---- Tokens

const base64url = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

/** A token with these claims (JWT, HS256). */
export function sign(claims, secret = SECRET) {
  const signed = `${base64url({ alg: "HS256", typ: "JWT" })}.${base64url(claims)}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}

/** The time so many seconds from now, as tokens have it. */
export const inSeconds = (seconds) => Math.floor(Date.now() / 1000) + seconds;

// ---- The server

/** A port that was free a moment ago. */
export async function freePort() {
  const socket = createServer().listen(0, "127.0.0.1");
  await once(socket, "listening");
  const { port } = socket.address();
  socket.close();
  await once(socket, "close");
  return port;
}

/** Whether somebody listens on this port. */
export function answers(port) {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => { socket.destroy(); resolve(true); });
    socket.once("error", () => resolve(false));
  });
}

/** Starts a server for development, which knows no tokens. */
export const startDevServer = (driver, port) =>
  start(port, ["--dev", "--internal-listen", "off", "--listen", `127.0.0.1:${port}`, "--driver", driver]);

/** Starts a server with the rules of `server.toml`. */
export async function startServer(driver, { port, flags = [] } = {}) {
  port ??= await freePort();
  const directory = mkdtempSync(join(tmpdir(), "hubbub-sdk-"));
  const secret = join(directory, "secret");
  writeFileSync(secret, SECRET);
  const args = ["--config", RULES, "--token-secret", secret, "--listen", `127.0.0.1:${port}`, "--driver", driver, ...flags];
  return start(port, args, () => rmSync(directory, { recursive: true, force: true }));
}

/** Starts a server with these settings, as the text of a file. */
export function startServerWith(settings, driver, port) {
  const directory = mkdtempSync(join(tmpdir(), "hubbub-sdk-"));
  const file = join(directory, "hubbub.toml");
  writeFileSync(file, settings);
  const args = ["--config", file, "--internal-listen", "off", "--listen", `127.0.0.1:${port}`, "--driver", driver];
  return start(port, args, () => rmSync(directory, { recursive: true, force: true }));
}

/** Starts a server and waits until it accepts connections. `clear` is called when it has ended. */
async function start(port, args, clear = () => {}) {
  const child = spawn(SERVER_BIN, args, { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => { output += chunk; });
  const exited = once(child, "exit");
  const undo = () => { child.kill("SIGKILL"); clear(); };
  leftovers.add(undo);
  exited.then(() => { undo(); leftovers.delete(undo); });
  for (const deadline = Date.now() + PATIENCE_MS; !(await answers(port)); await sleep(20)) {
    if (child.exitCode !== null || Date.now() > deadline) {
      child.kill("SIGKILL");
      throw new Error(`the server does not answer:\n${output}`);
    }
  }
  return {
    port,
    output: () => output,
    /** Says SIGTERM; the exit code follows from `stopped`. */
    drain() { child.kill("SIGTERM"); },
    async stopped() {
      const [code] = await within(exited, "the server's exit");
      return code;
    },
    /** Ends it at once, and gives its exit code. */
    async stop() {
      child.kill("SIGINT");
      return this.stopped();
    },
  };
}

// ---- The SDK

/** What an emitter of the SDK tells, in its order, one at a time. */
export class Heard {
  #told = [];
  #wake = () => {};

  constructor(emitter, ...names) {
    for (const name of names) emitter.on(name, (context) => { this.#told.push({ name, ...context }); this.#wake(); });
  }

  /** What was told and not asked for yet. */
  get left() { return this.#told; }

  /** The next event, which must be of this name if one is given. */
  async next(name) {
    while (this.#told.length === 0) await within(new Promise((resolve) => { this.#wake = resolve; }), name ?? "an event");
    const event = this.#told.shift();
    if (name && event.name !== name) throw new Error(`expected ${name}: ${JSON.stringify(event)}`);
    return event;
  }

  /** The next event of this name; others before it are dropped. */
  async until(name) {
    for (;;) {
      const event = await this.next();
      if (event.name === name) return event;
    }
  }

  /** As many of the next events. */
  async take(count, name) {
    const events = [];
    while (events.length < count) events.push(await this.next(name));
    return events;
  }
}

/** Clients of one test, which go when it ends. */
export class Clients {
  #undo = [];
  #build;

  constructor(test, server, build) {
    this.server = server;
    this.#build = build;
    test.after(() => { for (const undo of this.#undo) undo(); });
  }

  /** A client that is not connected, and its line. `user` stands for a token. */
  async create(user, { build = this.#build, claims = {}, ...options } = {}) {
    const line = await Line.to(this.server.port);
    const token = user === undefined ? {} : { token: sign({ sub: user, exp: inSeconds(3600), ...claims }) };
    const client = new build.Centrifuge(endpoints(build, line), {
      websocket: WebSocket,
      fetch,
      readableStream: ReadableStream,
      eventsource: EventSource,
      emulationEndpoint: `${line.origin}/emulation`,
      minReconnectDelay: 20,
      maxReconnectDelay: 200,
      timeout: PATIENCE_MS,
      maxServerPingDelay: PATIENCE_MS,
      ...token,
      ...options,
    });
    client.on("error", () => {}); // each test looks at states and codes; an error without a listener is thrown
    this.#undo.push(() => { client.disconnect(); line.close(); });
    return Object.assign(client, { line, build, heard: heardOf(client) });
  }

  /** A client that is connected. */
  async connect(user, options) {
    const client = await this.create(user, options);
    client.connect();
    await within(client.ready(), "the connection");
    return client;
  }
}

/** Where a client connects to, over one transport. */
const endpoints = ({ transport }, line) =>
  transport ? [{ transport, endpoint: `${line.origin}/connection/${transport}` }] : line.url;

const heardOf = (client) =>
  new Heard(client, "connecting", "connected", "disconnected", "subscribing", "subscribed", "unsubscribed", "publication", "join", "leave");

/** A subscription that is under way, and what it tells. */
export function begin(client, room, options) {
  const subscription = client.newSubscription(room, { minResubscribeDelay: 20, maxResubscribeDelay: 200, ...options });
  subscription.on("error", () => {});
  subscription.heard = new Heard(subscription, "subscribing", "subscribed", "unsubscribed", "publication", "join", "leave");
  subscription.subscribe();
  return subscription;
}

/** A subscription, and what it was told when it began. */
export async function subscribe(client, room, options) {
  const subscription = begin(client, room, options);
  subscription.began = await subscription.heard.until("subscribed");
  return subscription;
}

/** The values of events or publications. */
export const values = (client, publications) => publications.map(({ data }) => client.build.decode(data));

export const publish = (client, room, value) => client.publish(room, client.build.encode(value));

let rooms = 0;
/** A room that no other test uses. */
export const newRoom = (namespace) => `${namespace}:room-${process.pid}-${rooms++}`;

/** The same test with each build of the SDK. */
export function withEachBuild(test, name, body) {
  for (const build of BUILDS) test(`${name} (${build.name})`, (context) => body(build, context));
}

/** The same test over each transport of each build. */
export function withEachWire(test, name, body) {
  for (const wire of WIRES) test(`${name} (${wire.name})`, (context) => body(wire, context));
}

export { sleep };
