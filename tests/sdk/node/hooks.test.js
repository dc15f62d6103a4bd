// What a back end decides, over every transport of the SDK: who connects, subscribes and publishes, and what a method
// returns; and what the SDK does when the back end is gone for a while.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { after, before, describe, test } from "node:test";
import { BUILDS, Clients, DRIVERS, begin, freePort, inSeconds, startServerWith, subscribe, within, withEachBuild, withEachWire } from "./harness.js";

const [driver] = DRIVERS;

/** Decides as these tests want it. */
const decide = {
  "/connect": ({ data }) => ({ result: { user: data?.user ?? "", expire_at: data?.endsIn && inSeconds(data.endsIn), data: { hello: data?.user } } }),
  "/refresh": () => ({ result: { expire_at: inSeconds(3600) } }),
  "/subscribe": ({ channel, user }) => (channel.endsWith(user) ? { result: { data: { role: "owner" } } } : { error: { code: 403, message: "not yours" } }),
  "/publish": ({ data, user }) => (data?.bad ? { error: { code: 1000, message: "bad" } } : { result: { data: { by: user, said: data }, tags: { kind: "chat" } } }),
  "/rpc": ({ method, data }) => (method === "double" ? { result: { data: data * 2 } } : { error: { code: 404, message: "no such method" } }),
};

/** A back end on this port; what it was asked is in `asked`. */
async function startBackEnd(port) {
  const asked = [];
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request.setEncoding("utf8")) body += chunk;
    asked.push({ path: request.url, ...JSON.parse(body) });
    response.end(JSON.stringify(decide[request.url](JSON.parse(body))));
  }).listen(port, "127.0.0.1");
  await once(server, "listening");
  const stop = () => { server.close(); server.closeAllConnections(); };
  return { asked, stop };
}

const settings = (port) => `
[namespaces.own]
subscribe_hook = true
publish_hook = true
${Object.keys(decide).map((path) => `[hooks.${path.slice(1)}]\nurl = "http://127.0.0.1:${port}${path}"`).join("\n")}
`;

describe(`hooks on ${driver}`, () => {
  let server, backEnd, port;
  before(async () => {
    port = await freePort();
    backEnd = await startBackEnd(port);
    server = await startServerWith(settings(port), driver, await freePort());
  });
  after(async () => { backEnd?.stop(); assert.equal(await server?.stop(), 0, "the server's exit code"); });

  const come = (clients, build, data) => clients.create(undefined, { data: build.encode(data) });

  withEachWire(test, "back_end_says_who_may_what", async (build, context) => {
    const clients = new Clients(context, server, build);
    const ann = await come(clients, build, { user: "ann" });
    ann.connect();
    const connected = await ann.heard.until("connected");
    assert.deepEqual(build.decode(connected.data), { hello: "ann" });

    const own = await subscribe(ann, "own:room-of-ann");
    assert.deepEqual(build.decode(own.began.data), { role: "owner" });
    const other = begin(ann, "own:room-of-bob");
    const refused = await other.heard.until("unsubscribed");
    assert.deepEqual([refused.code, refused.reason], [403, "not yours"]);

    await ann.publish("own:room-of-ann", build.encode({ text: "hi" }));
    const publication = await own.heard.next("publication");
    assert.deepEqual(build.decode(publication.data), { by: "ann", said: { text: "hi" } });
    assert.deepEqual(publication.tags, { kind: "chat" });
    await assert.rejects(ann.publish("own:room-of-ann", build.encode({ bad: true })), { code: 1000, message: "bad" });

    const doubled = await within(ann.rpc("double", build.encode(21)), "the method");
    assert.equal(build.decode(doubled.data), 42);
    await assert.rejects(ann.rpc("triple", build.encode(1)), { code: 404, message: "no such method" });
    const transport = build.transport ?? "websocket";
    assert.equal(backEnd.asked.findLast(({ path }) => path === "/rpc").transport, transport);
  });

  // Over a stream, each call is a request of its own, and may overtake another on its way.
  withEachBuild(test, "calls_at_once_are_answered_in_their_order", async (build, context) => {
    const clients = new Clients(context, server, build);
    const client = await come(clients, build, { user: "ann" });
    client.connect();
    await within(client.ready(), "the connection");
    const answers = [];
    const calls = [...Array(20).keys()].map((number) =>
      client.rpc("double", build.encode(number)).then(({ data }) => answers.push(build.decode(data))));
    await within(Promise.all(calls), "all answers");
    assert.deepEqual(answers, [...Array(20).keys()].map((number) => number * 2));
  });

  test("connection_goes_on_when_the_back_end_says_so_and_the_sdk_is_asked_nothing", async (context) => {
    const [build] = BUILDS;
    const clients = new Clients(context, server, build);
    const client = await come(clients, build, { user: "cleo", endsIn: 2 });
    client.connect();
    await client.heard.until("connected");
    const refreshes = () => backEnd.asked.filter(({ path, user }) => path === "/refresh" && user === "cleo").length;
    await within((async () => { while (!refreshes()) await new Promise((resolve) => setTimeout(resolve, 50)); })(), "the question");
    assert.equal((await client.rpc("double", 1)).data, 2);
    assert.equal(client.state, "connected");
  });

  test("sdk_comes_when_the_back_end_is_back", async (context) => {
    const ownPort = await freePort();
    const alone = await startServerWith(settings(ownPort), driver, await freePort());
    context.after(() => alone.stop());
    const [build] = BUILDS;
    const clients = new Clients(context, alone, build);
    const client = await come(clients, build, { user: "dan" });
    let errors = 0;
    let whenTwo;
    const twice = new Promise((resolve) => { whenTwo = resolve; });
    client.on("error", () => { if (++errors === 2) whenTwo(); });
    client.connect();
    await within(twice, "two attempts in vain");
    const back = await startBackEnd(ownPort);
    context.after(() => back.stop());
    await client.heard.until("connected");
  });
});
