// The embedded page over TLS and with compression: what Chromium says of the handshake.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Authority, DRIVERS, eventually, freePort, openPage, startBrowser, startServer } from "./harness.js";

const authority = new Authority();
let browser;
before(async () => { browser = await startBrowser(authority); });
after(() => browser?.close());

/** A page in the room, and each WebSocket that it opened: its URL, what it offered and what was answered. */
async function member(server, room, name) {
  const sockets = new Map();
  const page = await openPage(browser, `${server.origin}/#room=${room}`, {
    before: async (page) => {
      const devtools = await page.context().newCDPSession(page);
      devtools.on("Network.webSocketCreated", ({ requestId, url }) => sockets.set(requestId, { url }));
      devtools.on("Network.webSocketHandshakeResponseReceived", ({ requestId, response }) => {
        const field = (headers) => Object.entries(headers ?? {})
          .find(([name]) => name.toLowerCase() === "sec-websocket-extensions")?.[1];
        Object.assign(sockets.get(requestId), {
          status: response.status,
          offered: field(response.requestHeaders),
          answered: field(response.headers),
        });
      });
      await devtools.send("Network.enable");
    },
  });
  await page.getByLabel("Your name").fill(name);
  await page.getByRole("button", { name: "Enter" }).click();
  await eventually(async () => await page.locator("body").getAttribute("data-state") === "connected");
  return { page, sockets };
}

async function say({ page }, text) {
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.keyboard.press("Enter");
}

const hears = ({ page }, ...texts) => eventually(async () =>
  assert.deepEqual(await page.locator("#log .text").allTextContents(), texts));

/** Both say something short and something long, and both hear all of it. */
async function converse(one, other) {
  const long = "All work and no play makes Jack a dull boy. ".repeat(20).trim();
  await say(one, "short");
  for (const each of [one, other]) await hears(each, "short");
  await say(other, long);
  for (const each of [one, other]) await hears(each, "short", long);
  for (const { page } of [one, other]) assert.deepEqual(page.problems, [], `problems in ${page.url()}`);
}

/** The one WebSocket that a member opened. */
function only({ sockets }) {
  assert.equal(sockets.size, 1);
  const [socket] = sockets.values();
  assert.equal(socket.status, 101);
  assert.match(socket.offered, /permessage-deflate/, "Chromium offers compression");
  return socket;
}

const CASES = [
  { name: "tls_with_compression_is_wss_and_agrees_to_deflate", tls: true, compression: true },
  { name: "tls_without_compression_is_wss_and_answers_no_extension", tls: true, compression: false },
  { name: "plain_with_compression_agrees_to_deflate", tls: false, compression: true },
  { name: "plain_without_compression_answers_no_extension", tls: false, compression: false },
];

for (const driver of DRIVERS) {
  describe(`secure page on ${driver}`, () => {
    for (const { name, tls, compression } of CASES) {
      test(name, async () => {
        const more = compression ? ["--compression", "on"] : [];
        const server = await startServer(driver, await freePort(), ...more, ...(tls ? authority.certificate() : []));
        try {
          const [ada, grace] = [await member(server, "tea", "Ada"), await member(server, "tea", "Grace")];
          await converse(ada, grace);
          for (const each of [ada, grace]) {
            const { url, answered } = only(each);
            const origin = server.origin.replace("http", "ws");
            assert.equal(new URL(url).origin, origin);
            assert.equal(new URL(url).protocol, tls ? "wss:" : "ws:");
            if (compression) assert.match(answered, /^permessage-deflate\b/);
            else assert.equal(answered, undefined);
            await each.page.context().close();
          }
        } finally {
          assert.equal(await server.stop(), 0, "the server's exit code");
        }
      });
    }

    test("page_with_a_certificate_of_another_authority_is_not_shown", async () => {
      const server = await startServer(driver, await freePort(), ...new Authority().certificate());
      try {
        await assert.rejects(openPage(browser, server.origin), /ERR_CERT_AUTHORITY_INVALID/);
      } finally {
        assert.equal(await server.stop(), 0, "the server's exit code");
      }
    });
  });
}
