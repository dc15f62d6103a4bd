// The back ends of examples/backend, as they are but for their ports, and the SDK that meets what they decide.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import WebSocket from "ws";
import { Clients, DRIVERS, answers, begin, freePort, sleep, startServerWith, subscribe, withEachBuild, within } from "./harness.js";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const EXAMPLES = here("../../../examples/backend/");
const [driver] = DRIVERS;

/** A WebSocket with the cookie that a browser would send by itself. */
const withCookie = (cookie) => class extends WebSocket {
  constructor(url, protocols) { super(url, protocols, { headers: { Cookie: cookie } }); }
};

/** Starts a back end, and a server with the settings beside it. */
async function startBoth(context, program, file) {
  const [port, apiPort, serverPort] = [await freePort(), await freePort(), await freePort()];
  const env = { ...process.env, PORT: String(port), HUBBUB_API_URL: `http://127.0.0.1:${apiPort}` };
  const backEnd = spawn(program, [file], { cwd: EXAMPLES, env, stdio: "ignore" });
  context.after(() => backEnd.kill("SIGKILL"));
  while (!(await answers(port))) await sleep(20);
  const settings = readFileSync(`${EXAMPLES}hubbub.toml`, "utf8");
  assert.match(settings, /127\.0\.0\.1:3000/);
  const rules = settings.replaceAll("127.0.0.1:3000", `127.0.0.1:${port}`).replaceAll("127.0.0.1:8001", `127.0.0.1:${apiPort}`);
  const server = await startServerWith(rules, driver, serverPort);
  context.after(() => server.stop());
  return server;
}

for (const [program, file] of [["python3", "backend.py"], ["node", "backend.mjs"]]) {
  const lines = readFileSync(EXAMPLES + file, "utf8").split("\n").filter((line) => line.trim()).length;
  withEachBuild(test, `example_${file}_authenticates_decides_and_reacts`, async (build, context) => {
    assert.ok(lines <= 42, `${lines} lines`);
    const server = await startBoth(context, program, file);
    const clients = new Clients(context, server, build);
    const come = (name) => clients.connect(undefined, { websocket: withCookie(`theme=dark; session=secret-of-${name}`) });

    const stranger = await clients.create(undefined, { websocket: withCookie("session=guessed") });
    stranger.connect();
    const gone = await stranger.heard.until("disconnected");
    assert.deepEqual([gone.code, gone.reason], [4501, "log in first"]);

    const [ann, bob] = [await come("ann"), await come("bob")];
    const listening = await subscribe(bob, "chat:ann-bob");
    const heard = async () => build.decode((await listening.heard.next("publication")).data);

    const elsewhere = begin(bob, "chat:ann-eve");
    const refused = await elsewhere.heard.until("unsubscribed");
    assert.deepEqual([refused.code, refused.reason], [403, "not your room"]);

    await ann.publish("chat:ann-bob", build.encode({ from: "bob", text: "hello" }));
    assert.deepEqual(await heard(), { from: "ann", text: "hello" });
    await assert.rejects(ann.publish("chat:ann-bob", build.encode({ text: "spam" })), { code: 1000, message: "not like this" });
    await assert.rejects(ann.publish("chat:bob-eve", build.encode({ text: "hello" })), { code: 1000 });

    await ann.publish("chat:ann-bob", build.encode({ text: "/help" }));
    const said = [await heard(), await heard()].sort((one, other) => one.from.localeCompare(other.from));
    assert.deepEqual(said, [{ from: "ann", text: "/help" }, { from: "bot", text: "ask away, ann" }]);

    const called = await within(ann.rpc("whoami", build.encode({})), "the method");
    assert.deepEqual(build.decode(called.data), { you: "ann", called: "whoami" });
  });
}
