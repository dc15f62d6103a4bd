// The core, on each driver of the server and over each transport of the SDK: connect, subscribe, publish, be cut
// off, recover.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Clients, DRIVERS, newRoom, publish, startServer, subscribe, values, withEachWire } from "./harness.js";

for (const driver of DRIVERS) {
  describe(`core on ${driver}`, { concurrency: true }, () => {
    let server;
    before(async () => { server = await startServer(driver); });
    after(async () => { assert.equal(await server?.stop(), 0, "the server's exit code"); });

    withEachWire(test, "client_with_a_token_connects_and_publishes", async (build, context) => {
      const clients = new Clients(context, server, build);
      const [ada, room] = [await clients.connect("ada"), newRoom("chat")];
      const connected = await ada.heard.until("connected");
      assert.match(connected.client, /^[0-9a-f-]{36}$/);
      const subscription = await subscribe(ada, room);
      await subscription.publish(build.encode({ said: "hello" }));
      const heard = await subscription.heard.next("publication");
      assert.deepEqual(build.decode(heard.data), { said: "hello" });
      assert.deepEqual([heard.info.user, heard.info.client], ["ada", connected.client]);
    });

    withEachWire(test, "thousand_messages_of_two_publishers_arrive_in_one_order", async (wire, context) => {
      const clients = new Clients(context, server, wire);
      const [ada, grace, room] = [await clients.connect("ada"), await clients.connect("grace"), newRoom("chat")];
      const options = { positioned: true };
      const subscriptions = [await subscribe(ada, room, options), await subscribe(grace, room, options)];
      const half = (client) => Promise.all(Array.from({ length: 500 }, (_, n) => publish(client, room, [client.token, n])));
      ada.token = "ada";
      grace.token = "grace";
      await Promise.all([half(ada), half(grace)]);
      const [one, other] = await Promise.all(subscriptions.map((it) => it.heard.take(1000, "publication")));
      assert.deepEqual(values(ada, one), values(grace, other));
      assert.deepEqual(one.map(({ offset }) => offset), Array.from({ length: 1000 }, (_, n) => n + 1));
      for (const user of ["ada", "grace"]) {
        const said = values(ada, one).filter(([by]) => by === user);
        const order = said.map(([, n]) => n);
        // Requests of their own may overtake each other on their way; the room has still one order for all.
        if (wire.transport) order.sort((one, other) => one - other);
        assert.deepEqual(order, Array.from({ length: 500 }, (_, n) => n));
      }
    });

    withEachWire(test, "client_that_was_cut_off_gets_exactly_what_it_missed", async (build, context) => {
      const clients = new Clients(context, server, build);
      const [ada, grace, room] = [await clients.connect("ada"), await clients.connect("grace"), newRoom("chat")];
      const subscription = await subscribe(ada, room, { positioned: true, recoverable: true });
      assert.equal(subscription.began.recovered, false);
      assert.equal(subscription.began.recoverable, true);
      await publish(grace, room, "before");
      await subscription.heard.next("publication");

      ada.line.cut();
      await subscription.heard.until("subscribing");
      for (let n = 0; n < 50; n++) await publish(grace, room, n);
      ada.line.mend();

      const again = await subscription.heard.next("subscribed");
      assert.deepEqual([again.wasRecovering, again.recovered, again.hasRecoveredPublications], [true, true, true]);
      await publish(grace, room, "after");
      const heard = await subscription.heard.take(51, "publication");
      assert.deepEqual(values(ada, heard), [...Array(50).keys(), "after"]);
      assert.deepEqual(heard.map(({ offset }) => offset), Array.from({ length: 51 }, (_, n) => n + 2));
      assert.deepEqual(subscription.heard.left, []);
    });
  });
}
