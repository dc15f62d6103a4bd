// Who a client is: tokens, their end, and new ones.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { begin, BUILDS, Clients, DRIVERS, inSeconds, newRoom, sign, startServer, subscribe, within, withEachBuild } from "./harness.js";

const [driver] = DRIVERS;

/** For how long tokens of a short life hold; a token that is verified only after that is one too late. */
const LIFE_S = 5;

const token = (claims) => sign({ sub: "ada", exp: inSeconds(3600), ...claims });

describe(`identity on ${driver}`, { concurrency: true }, () => {
  let server;
  before(async () => { server = await startServer(driver); });
  after(async () => { assert.equal(await server?.stop(), 0, "the server's exit code"); });

  /** The client was refused for good: it is told the code, and does not try again. */
  async function refused(client, code) {
    client.connect();
    const { code: told } = await client.heard.until("disconnected");
    assert.equal(told, code);
    assert.equal(client.state, "disconnected");
  }

  withEachBuild(test, "client_without_a_token_is_refused_for_good", async (build, context) => {
    const client = await new Clients(context, server, build).create(undefined);
    await refused(client, 3501);
  });

  withEachBuild(test, "client_with_a_token_of_another_key_is_refused_for_good", async (build, context) => {
    const client = await new Clients(context, server, build).create(undefined, { token: sign({ sub: "ada" }, "x".repeat(32)) });
    await refused(client, 3500);
  });

  withEachBuild(test, "subscription_token_does_not_connect", async (build, context) => {
    const client = await new Clients(context, server, build).create(undefined, { token: token({ channel: "chat:index" }) });
    await refused(client, 3500);
  });

  withEachBuild(test, "expired_token_is_replaced_before_the_client_connects", async (build, context) => {
    let asked = 0;
    const client = await new Clients(context, server, build).create(undefined, {
      token: token({ exp: inSeconds(-60) }),
      getToken: async () => { asked += 1; return token(); },
    });
    client.connect();
    await within(client.ready(), "the connection");
    assert.equal(asked, 1);
  });

  withEachBuild(test, "token_that_ends_is_replaced_and_the_connection_stays", async (build, context) => {
    let asked = 0;
    let whenAsked;
    const third = new Promise((resolve) => { whenAsked = resolve; });
    // The second replacement is asked for only if the server took the first and told its end.
    const getToken = async () => {
      if (++asked === 3) whenAsked();
      return token({ exp: inSeconds(LIFE_S) });
    };
    const client = await new Clients(context, server, build).create(undefined, { getToken });
    client.connect();
    await within(third, "the third token");
    const seen = client.heard.left.map(({ name }) => name).filter((name) => /connect/.test(name));
    assert.deepEqual(seen, ["connecting", "connected"]);
    assert.equal(client.state, "connected");
  });

  test("token_that_ends_without_another_ends_the_connection_after_its_grace", async (context) => {
    const [json] = BUILDS;
    let end;
    const client = await new Clients(context, server, json).create(undefined, {
      getToken: async () => {
        if (client.state === "connected") throw new Error("the back end is away");
        end = inSeconds(LIFE_S);
        return token({ exp: end });
      },
    });
    client.connect();
    assert.equal((await client.heard.until("connected")).name, "connected");
    const { code } = await client.heard.until("connecting");
    assert.equal(code, 3005);
    assert.ok(inSeconds(0) >= end + 25, "it had time to bring another token");
  });

  withEachBuild(test, "renewal_with_the_token_of_another_user_disconnects", async (build, context) => {
    const client = await new Clients(context, server, build).create(undefined, {
      getToken: async () => client.state === "connected"
        ? sign({ sub: "somebody else", exp: inSeconds(3600) })
        : token({ exp: inSeconds(LIFE_S) }),
    });
    client.connect();
    const { code } = await client.heard.until("disconnected");
    assert.equal(code, 3500);
  });

  withEachBuild(test, "private_room_opens_with_a_token_of_that_room", async (build, context) => {
    const client = await new Clients(context, server, build).connect("ada");
    const room = `$${newRoom("feed")}`;
    const without = begin(client, room);
    assert.equal((await without.heard.until("unsubscribed")).code, 103);
    client.removeSubscription(without);

    const strange = begin(client, room, { token: token({ channel: `${room}-2` }) });
    assert.equal((await strange.heard.until("unsubscribed")).code, 103);
    client.removeSubscription(strange);

    const stolen = begin(client, room, { token: token({ sub: "grace", channel: room }) });
    assert.equal((await stolen.heard.until("unsubscribed")).code, 103);
    client.removeSubscription(stolen);

    let asked;
    const getToken = async ({ channel }) => { asked = channel; return token({ channel, info: { seat: 7 } }); };
    const subscription = await subscribe(client, room, { getToken });
    assert.equal(asked, room);
    await subscription.publish(build.encode("hello"));
    const heard = await subscription.heard.next("publication");
    const info = heard.info.chanInfo;
    assert.deepEqual(build.name === "json" ? info : build.decode(info), { seat: 7 });
  });

  withEachBuild(test, "subscription_token_that_ends_is_replaced_and_the_subscription_stays", async (build, context) => {
    const client = await new Clients(context, server, build).connect("ada");
    let asked = 0;
    let whenAsked;
    const third = new Promise((resolve) => { whenAsked = resolve; });
    const getToken = async ({ channel }) => {
      if (++asked === 3) whenAsked();
      return token({ channel, exp: inSeconds(LIFE_S) });
    };
    const subscription = await subscribe(client, `$${newRoom("feed")}`, { getToken });
    await within(third, "the third token");
    assert.deepEqual(subscription.heard.left, []);
    assert.equal(subscription.state, "subscribed");
  });

  test("subscription_token_that_ends_without_another_ends_the_subscription", async (context) => {
    const [json] = BUILDS;
    const client = await new Clients(context, server, json).connect("ada");
    const getToken = async ({ channel }) => {
      if (subscription.state === "subscribed") throw new Error("the back end is away");
      return token({ channel, exp: inSeconds(LIFE_S) });
    };
    const subscription = begin(client, `$${newRoom("feed")}`, { getToken });
    await subscription.heard.until("subscribed");
    assert.equal((await subscription.heard.until("subscribing")).code, 2501);
    assert.equal(client.state, "connected");
  });
});
