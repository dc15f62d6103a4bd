// A page that hears a raw room by EventSource, and whose network is cut: nothing is missing, and nothing comes twice.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Line } from "../sdk/node/line.js";
import { DRIVERS, eventually, freePort, openPage, startBrowser, startServer } from "./harness.js";

const SETTINGS = `
static_dir = "."
[rooms]
subscribe = ["client", "anonymous"]
publish = ["client", "anonymous"]
read_history = ["client", "anonymous"]
history_size = 1000
recovery = "allowed"
raw = "publish"
[namespaces.short]
subscribe = ["client", "anonymous"]
publish = ["client", "anonymous"]
history_size = 2
recovery = "allowed"
raw = "publish"
`;
// What Chromium writes where the line is cut; the page learns of it by an event.
const CUT = /^Failed to load resource: net::ERR_(INCOMPLETE_CHUNKED_ENCODING|CONNECTION_REFUSED|EMPTY_RESPONSE|CONNECTION_RESET|NETWORK_CHANGED)/;

let browser;
const home = mkdtempSync(join(tmpdir(), "hubbub-events-page-"));
before(async () => {
  writeFileSync(join(home, "index.html"), "<!doctype html><title>Events</title>");
  writeFileSync(join(home, "favicon.ico"), "");
  writeFileSync(join(home, "hubbub.toml"), SETTINGS.replace('"."', JSON.stringify(home)));
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
  rmSync(home, { recursive: true });
});

for (const driver of DRIVERS) {
  describe(`events in a page on ${driver}`, () => {
    let server;
    let port;
    let line;
    before(async () => {
      port = await freePort();
      server = await startServer(driver, port, "--config", join(home, "hubbub.toml"));
      line = await Line.to(port);
    });
    after(async () => {
      line?.close();
      assert.equal(await server?.stop(), 0, "the server's exit code");
    });

    /** A page that came over the line, and what it has heard of a room. */
    async function listen(context, room) {
      line.mend();
      const page = await openPage(browser, line.origin, { expected: CUT });
      context.after(() => page.context().close());
      await page.evaluate((room) => {
        window.heard = [];
        window.opened = 0;
        window.events = new EventSource(`/rooms/${encodeURIComponent(room)}/sse`);
        window.events.onopen = () => { window.opened += 1; };
        window.events.onmessage = ({ data }) => window.heard.push(data);
        for (const name of ["binary", "gap"]) {
          window.events.addEventListener(name, ({ data }) => window.heard.push(`${name} ${data}`));
        }
      }, room);
      await eventually(() => page.evaluate(() => window.opened === 1));
      return page;
    }

    /** A page that publishes in a room, and whose own line is never cut. */
    async function speak(context, room) {
      const page = await openPage(browser, server.origin);
      context.after(() => page.context().close());
      await page.evaluate(([port, room]) => new Promise((resolve) => {
        window.socket = new WebSocket(`ws://127.0.0.1:${port}/rooms/${encodeURIComponent(room)}?mode=publish`);
        window.socket.onopen = resolve;
      }), [port, room]);
      return (messages) => page.evaluate((messages) => {
        for (const message of messages) window.socket.send(message);
      }, messages);
    }

    const heard = (page) => page.evaluate(() => window.heard);

    test("page_that_is_cut_off_comes_back_and_has_everything_once_and_in_order", async (context) => {
      const page = await listen(context, "lobby");
      const say = await speak(context, "lobby");
      const expected = [];
      const next = async (count) => {
        const messages = Array.from({ length: count }, (_, at) => `${expected.length + at}`);
        expected.push(...messages);
        await say(messages);
      };
      await next(5);
      await eventually(async () => assert.deepEqual(await heard(page), expected));
      for (let cuts = 1; cuts <= 3; cuts += 1) {
        await next(20); // some of it is on its way
        line.cut();
        await next(20);
        line.mend();
        await next(20);
        await eventually(async () => assert.deepEqual(await heard(page), expected), 30_000);
        assert.equal(await page.evaluate(() => window.opened), cuts + 1);
      }
      assert.deepEqual(page.problems, []);
    });

    test("page_has_texts_with_their_lines_and_binary_in_base64", async (context) => {
      const page = await listen(context, "forms");
      const say = await speak(context, "forms");
      await say([" two\nlines ", "{\"a\": \"é\"}"]);
      const binary = await openPage(browser, server.origin);
      context.after(() => binary.context().close());
      await binary.evaluate((port) => {
        const socket = new WebSocket(`ws://127.0.0.1:${port}/rooms/forms?mode=publish`);
        socket.onopen = () => socket.send(new Uint8Array([0xff, 0, 10]));
      }, port);
      const texts = [" two\nlines ", "{\"a\": \"é\"}"];
      await eventually(async () => assert.deepEqual(await heard(page), [...texts, "binary /wAK"]));
      assert.deepEqual(page.problems, []);
    });

    test("page_is_told_what_is_gone_for_good", async (context) => {
      const page = await listen(context, "short:r");
      const say = await speak(context, "short:r");
      await say(["one"]);
      await eventually(async () => assert.deepEqual(await heard(page), ["one"]));
      line.cut();
      await say(["two", "three", "four", "five"]);
      line.mend();
      await eventually(async () => assert.equal((await heard(page)).length, 2), 30_000);
      const [, gap] = await heard(page);
      const { recovered, cause, offset } = JSON.parse(gap.slice("gap ".length));
      assert.deepEqual([recovered, cause, offset], [false, "size", 5]);
      await say(["six"]);
      await eventually(async () => assert.equal((await heard(page))[2], "six"));
      assert.deepEqual(page.problems, []);
    });

    test("page_of_another_origin_hears_nothing", async (context) => {
      const page = await openPage(browser, server.origin.replace("127.0.0.1", "localhost"), {
        expected: /CORS policy|403|net::ERR_FAILED/,
      });
      context.after(() => page.context().close());
      const outcome = await page.evaluate((origin) => new Promise((resolve) => {
        const events = new EventSource(`${origin}/rooms/lobby/sse`);
        events.onopen = () => resolve("open");
        events.onerror = () => resolve(events.readyState === EventSource.CLOSED ? "refused" : "again");
      }), server.origin);
      assert.equal(outcome, "refused");
    });
  });
}
