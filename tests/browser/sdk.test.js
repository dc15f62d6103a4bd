// The unmodified SDK of JavaScript in a page, in both of its builds and over each of its transports: connect,
// subscribe, publish, be cut off, recover. Each test runs on each driver of the server.

import assert from "node:assert/strict";
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Line } from "../sdk/node/line.js";
import { DRIVERS, eventually, freePort, openPage, startBrowser, startServer } from "./harness.js";

const BUILDS = { json: "centrifuge.js", protobuf: "centrifuge.protobuf.js" };
const WIRES = [
  ["json", "websocket"], ["protobuf", "websocket"], ["json", "http_stream"], ["protobuf", "http_stream"], ["json", "sse"],
];
// Chromium's own words while the line is cut.
const CUT_OFF = /^(WebSocket connection to .* failed|Failed to load resource: net::ERR_)/;

let browser;
const site = mkdtempSync(join(tmpdir(), "hubbub-sdk-page-"));
before(async () => {
  writeFileSync(join(site, "index.html"), "<!doctype html><title>The SDK</title>");
  writeFileSync(join(site, "favicon.ico"), ""); // Chromium asks for it, and complains where there is none
  for (const build of Object.values(BUILDS)) {
    copyFileSync(fileURLToPath(new URL(`node_modules/centrifuge/dist/${build}`, import.meta.url)), join(site, build));
  }
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
  rmSync(site, { recursive: true });
});

/** A page with a connected client of the SDK, `window.client`. */
async function member(line, [build, transport]) {
  const origin = `http://127.0.0.1:${line.port}`;
  const page = await openPage(browser, origin, { expected: CUT_OFF });
  await page.addScriptTag({ url: `${origin}/${BUILDS[build]}` });
  await page.evaluate(async ([origin, build, transport]) => {
    const delays = { minReconnectDelay: 20, maxReconnectDelay: 200, timeout: 60_000 };
    const [encoder, decoder] = [new TextEncoder(), new TextDecoder()];
    window.encode = (value) => build === "json" ? value : encoder.encode(JSON.stringify(value));
    window.decode = (data) => build === "json" ? data : JSON.parse(decoder.decode(data));
    const endpoint = `${origin}/connection/${transport}`;
    const address = transport === "websocket" ? endpoint.replace("http", "ws") : [{ transport, endpoint }];
    window.client = new window.Centrifuge(address, { emulationEndpoint: `${origin}/emulation`, ...delays });
    window.client.connect();
    await window.client.ready();
  }, [origin, build, transport]);
  return page;
}

const say = (page, room, value) => page.evaluate(([room, value]) => client.publish(room, encode(value)), [room, value]);

for (const driver of DRIVERS) {
  describe(`sdk in a page on ${driver}`, () => {
    let server;
    let port;
    before(async () => {
      port = await freePort();
      server = await startServer(driver, port, "--dev", "--static-dir", site);
    });
    after(async () => { assert.equal(await server?.stop(), 0, "the server's exit code"); });

    for (const wire of WIRES) {
      test(`page_that_was_cut_off_gets_exactly_what_it_missed (${wire.join(" over ")})`, async (context) => {
        const lines = [await Line.to(port), await Line.to(port)];
        const [ada, grace] = [await member(lines[0], wire), await member(lines[1], wire)];
        context.after(async () => {
          for (const page of [ada, grace]) await page.context().close();
          for (const line of lines) line.close();
        });
        const room = `room of ${wire.join(" over ")}`;
        await ada.evaluate(async (room) => {
          window.heard = [];
          const subscription = client.newSubscription(room, { positioned: true, recoverable: true });
          subscription.on("publication", ({ data, offset }) => heard.push([offset, decode(data)]));
          subscription.on("subscribed", ({ wasRecovering, recovered }) => { window.began = [wasRecovering, recovered]; });
          subscription.on("subscribing", () => { window.began = null; });
          subscription.subscribe();
          await subscription.ready();
        }, room);
        const began = () => ada.evaluate(() => window.began);
        const values = ["日本語 🦀", { n: 1 }, [1, "\n"], ...Array(20).keys()];
        const expected = values.map((value, at) => [at + 1, value]);
        const hears = (count) => eventually(async () =>
          assert.deepEqual(await ada.evaluate(() => window.heard), expected.slice(0, count)), 60_000);

        for (const value of values.slice(0, 3)) await say(grace, room, value);
        await hears(3);
        lines[0].cut();
        await eventually(async () => assert.equal(await began(), null), 60_000);
        for (const value of values.slice(3)) await say(grace, room, value);
        lines[0].mend();
        await hears(values.length);
        assert.deepEqual(await began(), [true, true]);
        for (const page of [ada, grace]) assert.deepEqual(page.problems, [], `problems in ${page.url()}`);
      });
    }
  });
}
