// Map subscriptions: rooms that have the latest value of each key.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Clients, DRIVERS, Heard, newRoom, publish, startServer, subscribe, values, withEachBuild, within } from "./harness.js";

const [driver] = DRIVERS;

describe(`maps on ${driver}`, { concurrency: true }, () => {
  let server;
  before(async () => { server = await startServer(driver, { flags: ["--send-queue-bytes-max", "256KiB"] }); });
  after(async () => { assert.equal(await server?.stop(), 0, "the server's exit code"); });

  /** A map subscription that is under way, and what it tells. */
  function watch(client, room, options) {
    const subscription = client.newMapSubscription(room, { minResubscribeDelay: 20, maxResubscribeDelay: 200, ...options });
    subscription.on("error", () => {});
    subscription.heard = new Heard(subscription, "subscribing", "subscribed", "unsubscribed", "sync", "update");
    subscription.subscribe();
    return subscription;
  }

  const set = (client, room, key, value) => client.mapPublish(room, key, client.build.encode(value));

  /** The keys and values of a sync. */
  const state = (client, { entries }) => Object.fromEntries(entries.map(({ key, data }) => [key, client.build.decode(data)]));

  /** An update, as the test means it. */
  const change = (client, { key, data, removed }) => (removed ? [key] : [key, client.build.decode(data)]);

  withEachBuild(test, "subscriber_has_all_keys_at_once_and_then_what_changes", async (build, context) => {
    const clients = new Clients(context, server, build);
    const [ada, grace, room] = [await clients.connect("ada"), await clients.connect("grace"), newRoom("ticker")];
    await set(grace, room, "eur", 1);
    await set(grace, room, "usd", { price: 2 });
    await set(grace, room, "eur", 3);
    const prices = watch(ada, room);
    await prices.heard.until("subscribed");
    assert.deepEqual(state(ada, await prices.heard.next("sync")), { eur: 3, usd: { price: 2 } });
    await set(grace, room, "gbp", null);
    await grace.mapRemove(room, "usd");
    await prices.publish("eur", build.encode(4));
    const changes = [];
    while (changes.length < 3) changes.push(change(ada, await prices.heard.next("update")));
    assert.deepEqual(changes, [["gbp", null], ["usd"], ["eur", 4]]);
    const late = watch(grace, room);
    assert.deepEqual(state(grace, await late.heard.until("sync")), { eur: 4, gbp: null });
    await prices.remove("eur");
    assert.deepEqual(change(grace, await late.heard.next("update")), ["eur"]);
  });

  withEachBuild(test, "who_comes_back_has_all_keys_of_now", async (build, context) => {
    const clients = new Clients(context, server, build);
    const [ada, grace, room] = [await clients.connect("ada"), await clients.connect("grace"), newRoom("ticker")];
    await set(grace, room, "eur", 1);
    await set(grace, room, "usd", 1);
    const prices = watch(ada, room);
    assert.deepEqual(state(ada, await prices.heard.until("sync")), { eur: 1, usd: 1 });
    ada.line.cut();
    await prices.heard.until("subscribing");
    await grace.mapRemove(room, "usd");
    await set(grace, room, "eur", 2);
    await set(grace, room, "gbp", 2);
    ada.line.mend();
    assert.deepEqual(state(ada, await prices.heard.until("sync")), { eur: 2, gbp: 2 });
    await set(grace, room, "eur", 3);
    assert.deepEqual(change(ada, await prices.heard.next("update")), ["eur", 3]);
  });

  withEachBuild(test, "client_that_does_not_read_is_given_the_newest_of_each_key_and_keeps_its_rooms", async (build, context) => {
    const clients = new Clients(context, server, build);
    const [slow, grace] = [await clients.connect("slow"), await clients.connect("grace")];
    const [room, other] = [newRoom("ticker"), newRoom("plain")];
    const prices = watch(slow, room);
    await prices.heard.until("sync");
    const news = await subscribe(slow, other);
    slow.line.holdServer();
    const [rounds, keys, filler] = [400, 10, "x".repeat(8 * 1024)];
    for (let round = 1; round <= rounds; round++) {
      await Promise.all(Array.from({ length: keys }, (_, key) => set(grace, room, `key ${key}`, [round, filler])));
    }
    await grace.mapRemove(room, "key 0");
    await publish(grace, other, "now");
    slow.line.releaseServer();
    const newest = new Map();
    let [updates, isRemoved] = [0, false];
    while (!isRemoved || [...newest.values()].filter((round) => round === rounds).length < keys - 1) {
      const [key, value] = change(slow, await prices.heard.next("update"));
      updates++;
      if (value === undefined) {
        isRemoved = newest.delete(key);
        continue;
      }
      assert.ok(value[0] > (newest.get(key) ?? 0), "no value comes late or twice");
      newest.set(key, value[0]);
    }
    assert.ok(updates < (rounds * keys) / 2, `${updates} updates: it was never behind`);
    assert.deepEqual(values(slow, [await news.heard.next("publication")]), ["now"]);
    assert.deepEqual([slow.state, prices.state], ["connected", "subscribed"]);
    assert.deepEqual(prices.heard.left, [], "it was subscribed all the time");
  });

  withEachBuild(test, "room_has_one_kind_and_so_many_keys", async (build, context) => {
    const clients = new Clients(context, server, build);
    const ada = await clients.connect("ada");
    const noMap = watch(ada, newRoom("plain"));
    assert.equal((await noMap.heard.until("unsubscribed")).code, 103);
    const noStream = ada.newSubscription(newRoom("ticker"));
    noStream.on("error", () => {});
    const heard = new Heard(noStream, "unsubscribed");
    noStream.subscribe();
    assert.equal((await heard.next("unsubscribed")).code, 103);
    const room = newRoom("narrow");
    await set(ada, room, "a", 1);
    await set(ada, room, "b", 1);
    await assert.rejects(within(set(ada, room, "c", 1), "an answer"), ({ code }) => code === 106);
    await set(ada, room, "a", 2);
    await ada.mapRemove(room, "b");
    await set(ada, room, "c", 1);
  });

  withEachBuild(test, "room_of_one_value_gives_it_to_every_subscriber_unasked", async (build, context) => {
    const clients = new Clients(context, server, build);
    const [ada, grace, room] = [await clients.connect("ada"), await clients.connect("grace"), newRoom("latest")];
    const early = await subscribe(grace, room);
    assert.equal(early.began.recovered, false, "there is none yet");
    for (const price of [1, 2]) await publish(grace, room, price);
    assert.deepEqual(values(grace, await early.heard.take(2, "publication")), [1, 2]);
    const late = await subscribe(ada, room);
    assert.deepEqual(values(ada, [await late.heard.next("publication")]), [2]);
    await publish(grace, room, 3);
    assert.deepEqual(values(ada, [await late.heard.next("publication")]), [3]);
  });
});
