// Rooms: what is published, who is there, who may do what, and rooms that the server subscribes a client to.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { begin, BUILDS, Clients, DRIVERS, newRoom, publish, sign, startServer, subscribe, values, within, withEachBuild } from "./harness.js";

const [driver] = DRIVERS;

describe(`rooms on ${driver}`, { concurrency: true }, () => {
  let server;
  before(async () => { server = await startServer(driver); });
  after(async () => { assert.equal(await server?.stop(), 0, "the server's exit code"); });

  const fails = (promise, code) => assert.rejects(promise, (error) => {
    assert.equal(error.code, code, JSON.stringify(error));
    return true;
  });

  async function unsubscribed(client, room, code) {
    const subscription = begin(client, room);
    assert.equal((await subscription.heard.until("unsubscribed")).code, code, room);
    client.removeSubscription(subscription);
  }

  const PAYLOADS = [
    "", 0, false, null, [], {}, "a\nb\r\n\tc", "\u0000\u001f\u007f\u2028\u2029", "日本語 🦀 e\u0301 \ud83d\udc69\u200d\ud83d\ude80",
    { "ключ \"a\"\\": [1.5e300, -0.1, { nested: [[[]]] }] }, "x".repeat(60 * 1024), "🦀".repeat(15 * 1024),
  ];

  test("payloads_of_both_builds_reach_both_builds_unchanged", async (context) => {
    const clients = new Clients(context, server);
    const room = newRoom("chat");
    const [json, protobuf] = [await clients.connect("ada", { build: BUILDS[0] }), await clients.connect("grace", { build: BUILDS[1] })];
    const subscriptions = [await subscribe(json, room), await subscribe(protobuf, room)];
    for (const publisher of [json, protobuf]) {
      for (const value of PAYLOADS) await publish(publisher, room, value);
      for (const [at, client] of [json, protobuf].entries()) {
        assert.deepEqual(values(client, await subscriptions[at].heard.take(PAYLOADS.length, "publication")), PAYLOADS);
      }
    }
  });

  test("newlines_between_the_parts_of_a_payload_reach_json_subscribers_as_json", async (context) => {
    const clients = new Clients(context, server);
    const room = newRoom("chat");
    const [json, protobuf] = [await clients.connect("ada", { build: BUILDS[0] }), await clients.connect("grace", { build: BUILDS[1] })];
    const [ofJson, ofProtobuf] = [await subscribe(json, room), await subscribe(protobuf, room)];
    const pretty = JSON.stringify({ lines: ["a\nb", 2] }, null, 2);
    assert.match(pretty, /\n/);
    await protobuf.publish(room, new TextEncoder().encode(pretty));
    await publish(json, room, "next");
    assert.deepEqual(values(json, await ofJson.heard.take(2, "publication")), [{ lines: ["a\nb", 2] }, "next"]);
    assert.equal(new TextDecoder().decode((await ofProtobuf.heard.next("publication")).data), pretty);
    assert.equal(json.state, "connected");
  });

  test("bytes_that_are_no_json_reach_protobuf_as_they_are_and_json_in_base64", async (context) => {
    const clients = new Clients(context, server);
    const room = newRoom("chat");
    const [json, protobuf] = [await clients.connect("ada", { build: BUILDS[0] }), await clients.connect("grace", { build: BUILDS[1] })];
    const [ofJson, ofProtobuf] = [await subscribe(json, room), await subscribe(protobuf, room)];
    const bytes = Uint8Array.from({ length: 256 }, (_, n) => n);
    await protobuf.publish(room, bytes);
    assert.deepEqual(Uint8Array.from((await ofProtobuf.heard.next("publication")).data), bytes);
    assert.equal((await ofJson.heard.next("publication")).data, Buffer.from(bytes).toString("base64"));
    assert.equal(json.state, "connected");
  });

  withEachBuild(test, "presence_names_each_client_and_counts_users_once", async (build, context) => {
    const clients = new Clients(context, server, build);
    const room = newRoom("chat");
    const ada = await clients.connect("ada", { claims: { info: { name: "Ada" } } });
    const [again, grace] = [await clients.connect("ada"), await clients.connect("grace")];
    for (const client of [ada, again, grace]) await subscribe(client, room);
    const { clients: there } = await ada.presence(room);
    const seen = Object.entries(there).map(([id, { client, user }]) => { assert.equal(id, client); return user; });
    assert.deepEqual(seen.sort(), ["ada", "ada", "grace"]);
    const { client } = await ada.heard.until("connected");
    const info = there[client].connInfo;
    assert.deepEqual(build.name === "json" ? info : build.decode(info), { name: "Ada" });
    assert.deepEqual(await grace.presenceStats(room), { numClients: 3, numUsers: 2 });
  });

  withEachBuild(test, "joins_and_leaves_are_told_to_who_asks", async (build, context) => {
    const clients = new Clients(context, server, build);
    const room = newRoom("chat");
    const [ada, grace, alan] = [await clients.connect("ada"), await clients.connect("grace"), await clients.connect("alan")];
    const asks = await subscribe(ada, room, { joinLeave: true });
    assert.equal((await asks.heard.next("join")).info.user, "ada");
    const asksNot = await subscribe(grace, room);
    assert.equal((await asks.heard.next("join")).info.user, "grace");
    const leaves = await subscribe(alan, room);
    assert.equal((await asks.heard.next("join")).info.user, "alan");
    leaves.unsubscribe();
    assert.equal((await asks.heard.next("leave")).info.user, "alan");
    grace.line.cut(); // it is gone without a word, and is told of all the same
    assert.equal((await asks.heard.next("leave")).info.user, "grace");
    assert.deepEqual(await ada.presenceStats(room), { numClients: 1, numUsers: 1 });
    assert.ok(asksNot.heard.left.every(({ name }) => name === "subscribing"), "who has not asked is told nothing");
  });

  withEachBuild(test, "history_is_read_in_pages_in_both_directions", async (build, context) => {
    const ada = await new Clients(context, server, build).connect("ada");
    const room = newRoom("chat");
    for (let n = 1; n <= 25; n++) await publish(ada, room, n);
    const top = await ada.history(room); // without a limit: the position alone
    assert.deepEqual([top.publications, top.offset], [[], 25]);
    assert.match(top.epoch, /./);

    const pages = async (reverse, next) => {
      const all = [];
      for (let since; ; ) {
        const { publications, epoch, offset } = await ada.history(room, { limit: 10, reverse, since });
        assert.deepEqual([epoch, offset], [top.epoch, 25]);
        assert.ok(publications.length <= 10);
        all.push(...publications);
        if (publications.length < 10) return all;
        since = { epoch, offset: next(publications) };
      }
    };
    const last = (publications) => publications.at(-1).offset;
    const forwards = await pages(false, last);
    assert.deepEqual(values(ada, forwards), Array.from({ length: 25 }, (_, n) => n + 1));
    assert.deepEqual(forwards.map(({ offset }) => offset), values(ada, forwards));
    assert.equal(forwards[0].info.user, "ada");
    const backwards = await pages(true, last);
    assert.deepEqual(values(ada, backwards), Array.from({ length: 25 }, (_, n) => 25 - n));
    await fails(ada.history(room, { limit: 1, since: { offset: 3, epoch: "another" } }), 112);
  });

  withEachBuild(test, "who_unsubscribes_hears_nothing_until_it_subscribes_again", async (build, context) => {
    const clients = new Clients(context, server, build);
    const [ada, grace, room] = [await clients.connect("ada"), await clients.connect("grace"), newRoom("plain")];
    const subscription = await subscribe(ada, room);
    subscription.unsubscribe();
    await subscription.heard.next("unsubscribed");
    await ada.history(newRoom("chat")); // answered behind the unsubscribe command
    await publish(grace, room, "unheard");
    subscription.subscribe();
    await subscription.heard.until("subscribed");
    await publish(grace, room, "heard");
    assert.deepEqual(values(ada, [await subscription.heard.next("publication")]), ["heard"]);
  });

  withEachBuild(test, "room_of_no_namespace_is_unknown_and_a_lacking_right_is_denied", async (build, context) => {
    const ada = await new Clients(context, server, build).connect("ada");
    await unsubscribed(ada, "nowhere:room", 102);
    await fails(publish(ada, "nowhere:room", 1), 102);
    await unsubscribed(ada, "lobby", 103); // no rule lets anybody into rooms without a namespace
    await unsubscribed(ada, newRoom("feed"), 103);
    const room = newRoom("closed");
    await subscribe(ada, room);
    await fails(publish(ada, room, 1), 103);
    await fails(ada.history(room), 108);
    await fails(ada.presence(room), 108);
    await fails(ada.history(newRoom("feed")), 103);
    await fails(ada.rpc("method", build.encode({})), 108);
    assert.equal(ada.state, "connected");
  });

  withEachBuild(test, "room_for_users_in_its_name_lets_in_those_alone", async (build, context) => {
    const clients = new Clients(context, server, build);
    const room = `${newRoom("dialog")}#ada,grace`;
    const [ada, grace, alan] = [await clients.connect("ada"), await clients.connect("grace"), await clients.connect("alan")];
    const [of, _] = [await subscribe(ada, room), await subscribe(grace, room)];
    await unsubscribed(alan, room, 103);
    await fails(publish(alan, room, "let me in"), 103);
    await publish(grace, room, "hello");
    assert.deepEqual(values(ada, [await of.heard.next("publication")]), ["hello"]);
  });

  withEachBuild(test, "room_that_the_server_has_subscribed_is_already_subscribed", async (build, context) => {
    const user = `user-${newRoom("").slice(1)}`;
    const client = await new Clients(context, server, build).connect(user);
    await unsubscribed(client, `me:#${user}`, 105);
    assert.throws(() => { client.newSubscription("chat:twice"); client.newSubscription("chat:twice"); });
  });

  withEachBuild(test, "rooms_beyond_the_bound_of_a_connection_are_refused_and_the_others_stay", async (build, context) => {
    const client = await new Clients(context, server, build).connect(""); // nobody has no personal room
    const token = (channel) => sign({ sub: "", channel });
    const names = Array.from({ length: 13 }, () => newRoom("feed"));
    const all = names.map((name) => begin(client, name, { token: token(name) }));
    for (const subscription of all.slice(0, 12)) await subscription.heard.until("subscribed");
    assert.equal((await all[12].heard.until("unsubscribed")).code, 106);
    all[0].unsubscribe();
    await all[0].heard.until("unsubscribed");
    all[12].subscribe();
    await all[12].heard.until("subscribed");
    assert.equal(client.state, "connected");
  });

  /** Rooms that the server has subscribed the client to: live, and recovered behind a cut. */
  async function livesAndRecovers(client, other, room) {
    const heard = client.heard;
    await publish(other, room, "live");
    const live = await heard.until("publication");
    assert.deepEqual([live.channel, client.build.decode(live.data)], [room, "live"]);
    client.line.cut();
    await heard.until("connecting");
    for (let n = 0; n < 5; n++) await publish(other, room, n);
    client.line.mend();
    for (;;) {
      const again = await heard.until("subscribed");
      if (again.channel !== room) continue;
      assert.deepEqual([again.wasRecovering, again.recovered], [true, true]);
      break;
    }
    const missed = [];
    while (missed.length < 5) missed.push(await heard.until("publication"));
    assert.deepEqual(values(client, missed), [0, 1, 2, 3, 4]);
    assert.ok(missed.every(({ channel }) => channel === room));
    await publish(other, room, "after");
    assert.equal(client.build.decode((await heard.next("publication")).data), "after");
  }

  withEachBuild(test, "personal_room_of_a_user_is_subscribed_and_recovers", async (build, context) => {
    const clients = new Clients(context, server, build);
    const user = `user-${newRoom("").slice(1)}`;
    const client = await clients.connect(user);
    const subscribed = await client.heard.until("subscribed");
    assert.deepEqual([subscribed.channel, subscribed.recoverable], [`me:#${user}`, true]);
    await livesAndRecovers(client, await clients.connect("other"), `me:#${user}`);
  });

  withEachBuild(test, "rooms_of_a_token_are_subscribed_and_recover", async (build, context) => {
    const clients = new Clients(context, server, build);
    const [one, two] = [newRoom("feed"), newRoom("feed")];
    const client = await clients.connect("", { claims: { channels: [one, two] } });
    const subscribed = await client.heard.take(4);
    assert.deepEqual(subscribed.filter(({ name }) => name === "subscribed").map(({ channel }) => channel).sort(), [one, two].sort());
    await livesAndRecovers(client, await clients.connect("other"), two);
  });

  withEachBuild(test, "rooms_of_a_token_with_options_hand_over_data_and_recover", async (build, context) => {
    const clients = new Clients(context, server, build);
    const room = newRoom("feed");
    const subs = { [room]: { data: { welcome: true }, info: { seat: 1 } } };
    const client = await clients.connect("", { claims: { subs } });
    const { channel, data } = await client.heard.until("subscribed");
    assert.deepEqual([channel, build.decode(data)], [room, { welcome: true }]);
    await publish(client, room, "mine");
    const info = (await client.heard.until("publication")).info.chanInfo;
    assert.deepEqual(build.name === "json" ? info : build.decode(info), { seat: 1 });
    await livesAndRecovers(client, await clients.connect("other"), room);
  });
});
