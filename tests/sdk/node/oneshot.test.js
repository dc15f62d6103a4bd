// A login by QR code in a one-shot room: the page that waits, the phone that answers, and the example of the document.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import WebSocket from "ws";
import { begin, Clients, DRIVERS, inSeconds, sign, startServer, subscribe, values, within, withEachBuild } from "./harness.js";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

for (const driver of DRIVERS) {
  describe(`one-shot rooms on ${driver}`, { concurrency: true }, () => {
    let server;
    before(async () => { server = await startServer(driver, { flags: ["--anonymous", "on"] }); });
    after(async () => { assert.equal(await server?.stop(), 0, "the server's exit code"); });

    async function make() {
      const answer = await fetch(`http://127.0.0.1:${server.port}/oneshot/login`, { method: "POST" });
      assert.equal(answer.status, 200);
      const made = await answer.json();
      assert.equal(made.expires_ms, 60_000);
      return made;
    }

    const tokenFor = (room, user) => sign({ sub: user, channel: room, publish: true, exp: inSeconds(60) });

    /** A page, which has no token. */
    async function page(clients, { room, secret }) {
      const client = await clients.connect(undefined);
      const data = client.build.encode({ secret });
      return { client, login: await subscribe(client, room, { data }) };
    }

    withEachBuild(test, "page_is_logged_in_by_a_phone_and_again_after_it_was_loaded_anew", async (build, context) => {
      const clients = new Clients(context, server, build);
      const shot = await make();
      const first = await page(clients, shot);
      const phone = await clients.connect("ada");
      const publisher = await subscribe(phone, shot.room, { token: tokenFor(shot.room, "ada") });
      await publisher.publish(build.encode({ ticket: "one" }));
      const heard = await first.login.heard.next("publication");
      assert.deepEqual(values(first.client, [heard]), [{ ticket: "one" }]);
      await assert.rejects(publisher.publish(build.encode({ ticket: "two" })), ({ code }) => code === 106);

      // The network fails, and the page has its message: it is not given another time.
      first.client.line.cut();
      await first.login.heard.until("subscribing");
      first.client.line.mend();
      const again = await first.login.heard.next("subscribed");
      assert.deepEqual([again.recovered, first.login.heard.left], [true, []]);

      // The page is loaded anew, and takes the place of the first.
      const second = await page(clients, shot);
      assert.deepEqual(values(second.client, [await second.login.heard.next("publication")]), [{ ticket: "one" }]);
      const { code, reason } = await first.login.heard.until("unsubscribed");
      assert.deepEqual([code, reason], [2101, "replaced"]);
      assert.equal(first.login.state, "unsubscribed");
      assert.deepEqual(publisher.heard.left, [], "who publishes hears nothing");
    });

    withEachBuild(test, "phone_answers_a_page_that_is_away_and_others_stay_outside", async (build, context) => {
      const clients = new Clients(context, server, build);
      const shot = await make();
      const away = await page(clients, shot);
      away.client.disconnect();
      const stranger = await clients.connect("grace");
      for (const options of [{}, { data: build.encode({ secret: "guessed" }) }, { token: sign({ sub: "grace", channel: shot.room }) }]) {
        const attempt = begin(stranger, shot.room, options);
        assert.equal((await attempt.heard.until("unsubscribed")).code, 103);
        stranger.removeSubscription(attempt);
      }
      const phone = await clients.connect("ada");
      const publisher = await subscribe(phone, shot.room, { token: tokenFor(shot.room, "ada") });
      await publisher.publish(build.encode({ ticket: "one" }));
      away.client.connect();
      await away.login.heard.until("subscribing");
      const heard = await away.login.heard.until("publication");
      assert.deepEqual(values(away.client, [heard]), [{ ticket: "one" }]);
    });

    test("example_of_the_document_logs_in", async (context) => {
      const document = readFileSync(here("../../../docs/oneshot.md"), "utf8");
      const [example] = [...document.matchAll(/```js\n(.*?)```/gs)].map(([, code]) => code);
      assert.match(example, /from "centrifuge"/);
      // In a browser, WebSocket is there already.
      const browser = 'import Ws from "ws"; globalThis.WebSocket ??= Ws;\n';
      const code = browser + example.replaceAll("127.0.0.1:8000", `127.0.0.1:${server.port}`);
      const child = spawn(process.execPath, ["--input-type=module", "--eval", code], { cwd: here("."), stdio: ["ignore", "pipe", "inherit"] });
      context.after(() => child.kill());
      let printed = "";
      const printsUntil = (words) => within(new Promise((resolve, reject) => {
        const look = () => { if (printed.includes(words)) resolve(); };
        child.stdout.on("data", (chunk) => { printed += chunk; look(); });
        child.on("exit", () => reject(new Error(`the example has ended:\n${printed}`)));
        look();
      }), words);
      await printsUntil("the QR code says login:");
      const room = printed.match(/the QR code says (\S+)/)[1];
      const phone = new WebSocket(`ws://127.0.0.1:${server.port}/rooms/${room}?token=${tokenFor(room, "ada")}`);
      phone.on("open", () => phone.send(JSON.stringify({ ticket: "one" })));
      const [closed] = await within(new Promise((resolve) => phone.on("close", (...told) => resolve(told))), "the close frame");
      assert.equal(closed, 1000);
      await printsUntil("logged in with one");
    });
  });
}
