// A page without an SDK that sends its token as a second subprotocol, for a browser lets it set no header.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { DRIVERS, freePort, openPage, startBrowser, startServer } from "./harness.js";

const SECRET = "a-secret-of-32-bytes-at-the-least";
const SETTINGS = `
token_secret = "secret"
static_dir = "."
[rooms]
subscribe = "client"
publish = "client"
raw = "publish"
`;
const REFUSED = /^WebSocket connection to .* failed: (?:Error during WebSocket handshake: )?(.*)/;
// Chromium's own words for a status; the page learns none of it.
const [BAD_REQUEST, UNAUTHORIZED] = ["Unexpected response code: 400", /^HTTP Authentication failed/];

let browser;
const home = mkdtempSync(join(tmpdir(), "hubbub-token-page-"));
before(async () => {
  writeFileSync(join(home, "secret"), SECRET);
  writeFileSync(join(home, "index.html"), "<!doctype html><title>A token</title>");
  writeFileSync(join(home, "favicon.ico"), ""); // Chromium asks for it, and complains where there is none
  writeFileSync(join(home, "hubbub.toml"), SETTINGS.replace('"secret"', JSON.stringify(join(home, "secret")))
    .replace('"."', JSON.stringify(home)));
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
  rmSync(home, { recursive: true });
});

/** A token of this user, signed with the server's secret. */
function tokenOf(user) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const signed = `${part({ alg: "HS256" })}.${part({ sub: user })}`;
  return `${signed}.${createHmac("sha256", SECRET).update(signed).digest("base64url")}`;
}

/** What becomes of a WebSocket of the page that offers these subprotocols and says "hello". */
const outcome = (page, url, offered) => page.evaluate(([url, offered]) => new Promise((resolve) => {
  const socket = new WebSocket(url, offered);
  socket.onopen = () => socket.send("hello");
  socket.onmessage = ({ data }) => resolve([socket.protocol, data]);
  socket.onerror = () => resolve("refused");
}), [url, offered]);

for (const driver of DRIVERS) {
  describe(`token in a page on ${driver}`, () => {
    let server;
    let port;
    before(async () => {
      port = await freePort();
      server = await startServer(driver, port, "--config", join(home, "hubbub.toml"));
    });
    after(async () => { assert.equal(await server?.stop(), 0, "the server's exit code"); });

    test("page_whose_second_subprotocol_is_its_token_is_let_in_and_told_the_first_alone", async (context) => {
      const reasons = [];
      const before = (page) => page.on("console", (message) => {
        const [, reason] = REFUSED.exec(message.text()) ?? [];
        if (reason) reasons.push(reason.trim());
      });
      const page = await openPage(browser, server.origin, { before, expected: REFUSED });
      context.after(() => page.context().close());
      const url = `ws://127.0.0.1:${port}/rooms/lobby`;
      const token = `hubbub.token.${tokenOf("ada")}`;
      assert.deepEqual(await outcome(page, url, ["hubbub", token]), ["hubbub", "hello"]);
      assert.equal(await outcome(page, url, ["hubbub", `${token}x`]), "refused");
      assert.equal(await outcome(page, url, [token]), "refused");
      assert.equal(await outcome(page, url, ["hubbub"]), "refused");
      assert.equal(reasons.length, 3);
      assert.match(reasons[0], UNAUTHORIZED);
      assert.equal(reasons[1], BAD_REQUEST);
      assert.match(reasons[2], UNAUTHORIZED);
      assert.deepEqual(page.problems, []);
    });
  });
}
