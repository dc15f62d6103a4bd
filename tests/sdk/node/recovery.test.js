// What a client gets that comes back, and what becomes of one that does not read.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { begin, BUILDS, Clients, DRIVERS, freePort, newRoom, publish, sleep, startServer, subscribe, values, withEachBuild } from "./harness.js";

const [driver] = DRIVERS;

describe(`recovery on ${driver}`, { concurrency: true }, () => {
  let server;
  before(async () => { server = await startServer(driver); });
  after(async () => { assert.equal(await server?.stop(), 0, "the server's exit code"); });

  /** Two clients, and a subscription of the first that is cut off behind its first message. */
  async function cutOff(context, build, namespace, missed) {
    const clients = new Clients(context, server, build);
    const [ada, grace, room] = [await clients.connect("ada"), await clients.connect("grace"), newRoom(namespace)];
    const subscription = await subscribe(ada, room);
    await publish(grace, room, "before");
    await subscription.heard.next("publication");
    ada.line.cut();
    await subscription.heard.until("subscribing");
    for (let n = 0; n < missed; n++) await publish(grace, room, n);
    ada.line.mend();
    return { ada, grace, room, subscription, again: await subscription.heard.next("subscribed") };
  }

  withEachBuild(test, "who_missed_more_than_is_kept_is_told_and_gets_none_of_it", async (build, context) => {
    const { ada, grace, room, subscription, again } = await cutOff(context, build, "short", 3);
    assert.deepEqual([again.wasRecovering, again.recovered, again.hasRecoveredPublications], [true, false, false]);
    assert.equal(again.streamPosition.offset, 4);
    assert.match(again.streamPosition.epoch, /./);
    await publish(grace, room, "after");
    const heard = await subscription.heard.next("publication");
    assert.deepEqual([build.decode(heard.data), heard.offset], ["after", 5]);
    assert.equal(ada.state, "connected");
  });

  withEachBuild(test, "who_missed_just_what_is_kept_recovers", async (build, context) => {
    const { ada, subscription, again } = await cutOff(context, build, "short", 2);
    assert.equal(again.recovered, true);
    assert.deepEqual(values(ada, await subscription.heard.take(2, "publication")), [0, 1]);
  });

  withEachBuild(test, "who_missed_nothing_recovers_nothing", async (build, context) => {
    const { subscription, again } = await cutOff(context, build, "short", 0);
    assert.deepEqual([again.wasRecovering, again.recovered, again.hasRecoveredPublications], [true, true, false]);
    assert.deepEqual(subscription.heard.left, []);
  });

  withEachBuild(test, "room_with_a_latest_value_gives_it_at_once_and_on_return", async (build, context) => {
    const clients = new Clients(context, server, build);
    const [ada, grace, room] = [await clients.connect("ada"), await clients.connect("grace"), newRoom("latest")];
    for (const price of [1, 2, 3]) await publish(grace, room, price);
    const subscription = await subscribe(ada, room, { since: {} });
    assert.equal(subscription.began.recovered, true);
    assert.deepEqual(values(ada, [await subscription.heard.next("publication")]), [3]);
    ada.line.cut();
    await subscription.heard.until("subscribing");
    for (const price of [4, 5, 6]) await publish(grace, room, price);
    ada.line.mend();
    const again = await subscription.heard.next("subscribed");
    assert.equal(again.recovered, true);
    await publish(grace, room, 7);
    assert.deepEqual(values(ada, await subscription.heard.take(2, "publication")), [6, 7]);
  });
});

describe(`life of a server on ${driver}`, { concurrency: true }, () => {
  withEachBuild(test, "client_that_does_not_read_loses_the_room_and_recovers_it_without_a_gap", async (build, context) => {
    const server = await startServer(driver, { flags: ["--send-queue-bytes-max", "256KiB"] });
    context.after(() => server.stop());
    const clients = new Clients(context, server, build);
    const [slow, grace, room] = [await clients.connect("slow"), await clients.connect("grace"), newRoom("chat")];
    const subscription = await subscribe(slow, room, { positioned: true, recoverable: true });
    const watched = await subscribe(grace, room, { positioned: true });
    slow.line.holdServer();
    // Until its queue and the kernel's buffers are full, and the server has taken it out of the room.
    let count = 0;
    do await publish(grace, room, [++count, "x".repeat(16 * 1024)]);
    while ((await grace.presenceStats(room)).numClients === 2);
    await watched.heard.take(count, "publication"); // the slow one harms only itself
    slow.line.releaseServer();

    const offsets = [];
    const lost = [];
    while (offsets.at(-1) !== count) {
      const event = await subscription.heard.next();
      if (event.name === "publication") offsets.push(event.offset);
      if (event.name === "subscribing") lost.push(event.code);
      if (event.name === "subscribed") assert.equal(event.recovered, true);
    }
    assert.deepEqual(lost, [2500]);
    assert.deepEqual(offsets, Array.from({ length: count }, (_, n) => n + 1));
    assert.equal(slow.state, "connected");
  });

  withEachBuild(test, "drained_clients_are_told_and_come_back_to_the_next_server", async (build, context) => {
    const port = await freePort();
    const first = await startServer(driver, { port, flags: ["--drain-timeout", "2s"] });
    const clients = new Clients(context, first, build);
    const [ada, room] = [await clients.connect("ada"), newRoom("chat")];
    const subscription = await subscribe(ada, room, { positioned: true, recoverable: true });
    await publish(ada, room, "before");
    await subscription.heard.next("publication");
    const one = (await ada.heard.until("connected")).client;
    first.drain();
    assert.equal((await ada.heard.until("connecting")).code, 3001);
    assert.equal(await first.stopped(), 0);

    const second = await startServer(driver, { port });
    context.after(() => second.stop());
    assert.notEqual((await ada.heard.until("connected")).client, one);
    await subscription.heard.next("subscribing");
    const again = await subscription.heard.next("subscribed");
    // The rooms were in the memory of the server that is gone, and nobody is told otherwise.
    assert.deepEqual([again.wasRecovering, again.recovered], [true, false]);
    await publish(ada, room, "after");
    assert.equal(build.decode((await subscription.heard.next("publication")).data), "after");
  });

  withEachBuild(test, "drained_clients_recover_everything_from_the_next_server_with_a_state", async (build, context) => {
    const [port, state] = [await freePort(), mkdtempSync(join(tmpdir(), "hubbub-state-"))];
    context.after(() => rmSync(state, { recursive: true, force: true }));
    const flags = ["--state-dir", state];
    const first = await startServer(driver, { port, flags });
    const clients = new Clients(context, first, build);
    const [ada, grace, room] = [await clients.connect("ada"), await clients.connect("grace"), newRoom("chat")];
    const subscription = await subscribe(ada, room, { positioned: true, recoverable: true });
    await publish(grace, room, "before");
    const { epoch } = subscription.began.streamPosition;
    await subscription.heard.next("publication");
    ada.line.cut();
    await subscription.heard.until("subscribing");
    for (const n of [1, 2, 3]) await publish(grace, room, n);
    first.drain();
    assert.equal(await first.stopped(), 0);

    const second = await startServer(driver, { port, flags });
    context.after(() => second.stop());
    ada.line.mend();
    const again = await subscription.heard.next("subscribed");
    assert.deepEqual([again.wasRecovering, again.recovered, again.streamPosition.epoch], [true, true, epoch]);
    assert.deepEqual(values(ada, await subscription.heard.take(3, "publication")), [1, 2, 3]);
    await grace.heard.until("connected");
    await grace.heard.until("connected");
    await publish(grace, room, "after");
    const heard = await subscription.heard.next("publication");
    assert.deepEqual([build.decode(heard.data), heard.offset], ["after", 5]);
  });

  withEachBuild(test, "pings_are_answered_by_the_sdk_and_keep_the_connection", async (build, context) => {
    const server = await startServer(driver, { flags: ["--ping-interval", "1s", "--pong-timeout", "30s"] });
    context.after(() => server.stop());
    const ada = await new Clients(context, server, build).connect("ada");
    const { line, heard } = ada;
    await heard.until("connected");
    const before = { fromServer: line.fromServer, fromClient: line.fromClient };
    // A ping or a pong is `{}` or a byte in a frame of two bytes, and a mask in the client's.
    const [ping, pong] = build.name === "json" ? [4, 8] : [3, 7];
    while (line.fromClient < before.fromClient + 3 * pong) await sleep(50);
    const pings = (line.fromServer - before.fromServer) / ping;
    const pongs = (line.fromClient - before.fromClient) / pong;
    assert.ok(Number.isInteger(pings) && pings >= 3, `${pings} pings`);
    assert.ok(Number.isInteger(pongs) && pongs >= 3, `${pongs} pongs`);
    assert.ok(heard.left.every(({ name }) => name === "subscribed"), "it was connected all the time");
  });

  test("client_whose_pongs_are_lost_is_told_so_and_comes_back", async (context) => {
    const server = await startServer(driver, { flags: ["--ping-interval", "1s", "--pong-timeout", "1s"] });
    context.after(() => server.stop());
    const ada = await new Clients(context, server, BUILDS[0]).connect("ada");
    await ada.heard.until("connected");
    ada.line.loseClient();
    assert.equal((await ada.heard.until("connecting")).code, 3012);
    await ada.heard.until("connected");
  });
});
