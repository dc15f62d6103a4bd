// A script written for libwebsockets' example page works unmodified: the server
// serves the directory, and the subprotocol alone decides the room, whatever the path.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { DRIVERS, eventually, freePort, LWS_PAGE, openPage, startBrowser, startServer } from "./harness.js";

let browser;
before(async () => { browser = await startBrowser(); });
after(() => browser?.close());

const heard = async (page) => (await page.locator("#r").inputValue()).split("\n").filter(Boolean);

async function open(server, query = "") {
  const page = await openPage(browser, `${server.origin}/${query}`, { expected: /favicon/ });
  await eventually(() => page.locator("#b").isEnabled());
  return page;
}

async function say(page, text) {
  await page.locator("#m").fill(text);
  await page.locator("#b").click();
}

const hears = (page, ...lines) => eventually(async () => assert.deepEqual(await heard(page), lines));

async function converse(one, other) {
  await say(one, "from one");
  for (const page of [one, other]) await hears(page, "from one");
  await say(other, "<b>from the other</b>");
  for (const page of [one, other]) {
    await hears(page, "from one", "<b>from the other</b>");
    assert.deepEqual(page.problems, []);
    await page.context().close();
  }
}

for (const driver of DRIVERS) {
  describe(`libwebsockets-style page on ${driver}`, () => {
    let server;
    before(async () => { server = await startServer(driver, await freePort(), "--static-dir", LWS_PAGE); });
    after(async () => { assert.equal(await server?.stop(), 0, "the server's exit code"); });

    const pairs = {
      two_pages_share_the_room_of_lws_minimal: ["", ""],
      two_pages_share_the_room_of_chat: ["?protocol=chat", "?protocol=chat"],
      chat_is_another_name_of_the_same_room: ["", "?protocol=chat"],
      another_path_leads_to_the_same_room: ["", "?path=xxx"],
    };
    for (const [name, [one, other]] of Object.entries(pairs)) {
      test(name, async () => converse(await open(server, one), await open(server, other)));
    }

    test("accepted_subprotocol_is_the_one_asked_for", async () => {
      const page = await open(server);
      for (const protocol of ["lws-minimal", "chat"]) {
        const accepted = await page.evaluate((protocol) => new Promise((resolve, reject) => {
          const socket = new WebSocket(`ws://${location.host}/`, ["unheard-of", protocol]);
          socket.onopen = () => { resolve(socket.protocol); socket.close(); };
          socket.onerror = () => reject(new Error("refused"));
        }), protocol);
        assert.equal(accepted, protocol);
      }
      await page.context().close();
    });

    test("static_dir_serves_its_files_and_nothing_else", async () => {
      const script = await fetch(`${server.origin}/example.js`);
      assert.equal(script.status, 200);
      assert.equal(script.headers.get("content-type").split(";")[0], "text/javascript");
      assert.match(await script.text(), /lws-minimal/);
      for (const path of ["/page.test.js", "/..%2fharness.js", "/%2e%2e/harness.js", "/.%2e%2fpackage.json"]) {
        const answer = await fetch(server.origin + path);
        assert.ok([400, 403, 404].includes(answer.status), `${path} answered ${answer.status}`);
        await answer.arrayBuffer();
      }
    });
  });
}
