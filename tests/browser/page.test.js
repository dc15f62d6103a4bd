// The embedded demo page, as people meet it. Each test runs on each driver of the server.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { DRIVERS, eventually, freePort, openPage, startBrowser, startServer } from "./harness.js";

const CONNECTION_FAILED = /^WebSocket connection to .* failed/; // Chromium's own words while the server is away
const PICTURES = mkdtempSync(join(tmpdir(), "hubbub-pictures-"));

let browser;
before(async () => { browser = await startBrowser(); });
after(async () => {
  await browser?.close();
  console.log(`pictures: ${PICTURES}`);
});

const roomUrl = (server, room) => `${server.origin}/#room=${encodeURIComponent(room)}`;

/** Through the door: a browser without a past is asked for a name. */
async function knock(server, room, name, options) {
  const page = await openPage(browser, roomUrl(server, room), options);
  await page.getByLabel("Your name").fill(name);
  await page.getByRole("button", { name: "Enter" }).click();
  return page;
}

async function member(server, room, name, options) {
  const page = await knock(server, room, name, options);
  await connected(page);
  return page;
}

const state = (page) => page.locator("body").getAttribute("data-state");
const connected = (page) => eventually(async () => await state(page) === "connected");
const heard = (page) => page.locator("#log .text").allTextContents();
const hears = (page, ...texts) => eventually(async () => assert.deepEqual(await heard(page), texts));

const input = (page) => page.getByLabel("Message", { exact: true });

async function say(page, text) {
  await input(page).fill(text);
  await page.keyboard.press("Enter");
}

/** The pages had nothing to complain about; then they go. */
async function leave(...pages) {
  for (const page of pages) {
    assert.deepEqual(page.problems, [], `problems in ${page.url()}`);
    await page.context().close();
  }
}

for (const driver of DRIVERS) {
  describe(`page on ${driver}`, () => {
    let server;
    before(async () => { server = await startServer(driver, await freePort()); });
    after(async () => { assert.equal(await server?.stop(), 0, "the server's exit code"); });

    test("two_pages_in_one_room_hear_each_other_in_order", async () => {
      const [ada, grace] = [await member(server, "tea", "Ada"), await member(server, "tea", "Grace")];
      const script = ["one", "two", "three", "four"];
      for (const [turn, text] of script.entries()) {
        await say(turn % 2 ? grace : ada, text);
        await hears(ada, ...script.slice(0, turn + 1));
        await hears(grace, ...script.slice(0, turn + 1));
      }
      assert.deepEqual(await ada.locator("#log .own .text").allTextContents(), ["one", "three"]);
      const authors = await grace.locator("#log .who span:first-child").allTextContents();
      assert.deepEqual(authors, ["Ada", "Grace", "Ada", "Grace"]);
      assert.match(await grace.locator("#log time").first().textContent(), /^\d\d:\d\d$/);
      await leave(ada, grace);
    });

    test("two_pages_talking_at_once_see_one_order", async () => {
      const pages = [await member(server, "at once", "Ada"), await member(server, "at once", "Grace")];
      const said = (p) => Array.from({ length: 20 }, (_, i) => `${p}:${i}`);
      await Promise.all(pages.map(async (page, p) => { for (const text of said(p)) await say(page, text); }));
      for (const page of pages) await eventually(async () => assert.equal((await heard(page)).length, 40));
      const [one, other] = await Promise.all(pages.map(heard));
      assert.deepEqual(one, other);
      for (const p of [0, 1]) assert.deepEqual(one.filter((text) => text.startsWith(`${p}:`)), said(p));
      assert.equal(await pages[0].locator("#outbox li").count(), 0, "every own message was confirmed");
      await leave(...pages);
    });

    test("page_in_another_room_hears_nothing", async () => {
      const [ada, grace] = [await member(server, "here", "Ada"), await member(server, "there", "Grace")];
      await say(ada, "psst");
      await hears(ada, "psst");
      await say(grace, "quiet today");
      await hears(grace, "quiet today"); // the other room's message would have come first
      await hears(ada, "psst");
      await leave(ada, grace);
    });

    test("two_tabs_of_one_browser_share_name_and_room_but_not_authorship", async () => {
      const ada = await member(server, "tabs", "Ada");
      const tab = await ada.context().newPage();
      await tab.goto(roomUrl(server, "tabs")); // straight in: the name is known
      await connected(tab);
      await say(ada, "me again");
      await hears(tab, "me again");
      await ada.bringToFront(); // a page out of sight paints nothing
      await hears(ada, "me again");
      assert.equal(await tab.locator("#log .own").count(), 0);
      assert.equal(await ada.locator("#log .own").count(), 1);
      await leave(ada);
    });

    test("room_names_of_any_script_and_punctuation_are_one_room_each", async () => {
      for (const room of ["茶 & toast?", "100% #1", "a+b", "..."]) {
        const [ada, grace] = [await member(server, room, "Ada"), await member(server, room, "Grace")];
        await say(ada, room);
        await hears(grace, room);
        assert.equal(await grace.locator("#room-name").textContent(), room);
        await leave(ada, grace);
      }
    });

    test("unusable_room_names_stay_at_the_door", async () => {
      const table = [["a/b", /no slash/], ["bell\u0007", /control/], ["é".repeat(128), /255 bytes/], ["..", /dots/]];
      for (const [room, problem] of table) {
        const page = await openPage(browser, roomUrl(server, room));
        assert.match(await page.getByRole("alert").textContent(), problem);
        assert.equal(await state(page), "away");
        await leave(page);
      }
    });

    test("reloaded_page_is_back_in_its_room_and_talks", async () => {
      const [ada, grace] = [await member(server, "reload", "Ada"), await member(server, "reload", "Grace")];
      await say(ada, "before");
      await hears(grace, "before");
      await ada.reload();
      await connected(ada);
      await say(ada, "after");
      await hears(grace, "before", "after");
      await say(grace, "welcome back");
      await hears(ada, "after", "welcome back");
      await leave(ada, grace);
    });

    test("changed_room_and_history_move_between_rooms", async () => {
      const [ada, grace] = [await member(server, "first", "Ada"), await member(server, "second", "Grace")];
      await ada.getByRole("button", { name: "Change room or name" }).click();
      await ada.getByLabel("Room", { exact: true }).fill("second");
      await ada.keyboard.press("Enter");
      await connected(ada);
      await say(ada, "I moved");
      await hears(grace, "I moved");
      await ada.goBack();
      await eventually(async () => await ada.locator("#room-name").textContent() === "first");
      await connected(ada);
      await hears(ada);
      await leave(ada, grace);
    });

    test("hostile_text_is_shown_as_text", async () => {
      const [ada, mallory] = [await member(server, "hostile", "Ada"), await member(server, "hostile", "Mallory")];
      const texts = [
        "<img src=x onerror=\"document.title='owned'\">",
        "<script>document.title='owned'</script>",
        "&lt;b&gt; ${1+1}",
        "\u202Eright to left",
      ];
      for (const text of texts) await say(mallory, text);
      await hears(ada, ...texts);
      const named = { name: "<svg onload=alert(1)>", text: "by name", id: { toString: 1 } };
      await rawSend(mallory, "hostile", JSON.stringify(named));
      await hears(ada, ...texts, "by name");
      assert.equal(await ada.locator("#log :is(img, script, svg, b)").count(), 0);
      assert.doesNotMatch(await ada.title(), /owned/);
      await leave(ada, mallory);
    });

    test("foreign_messages_are_shown_for_what_they_are", async () => {
      const ada = await member(server, "foreign", "Ada");
      const raw = ["plain words", "null", "17", "[]", '{"text":7}', "{broken"];
      for (const payload of [...raw, '{"text":"by nobody"}', 1234]) await rawSend(ada, "foreign", payload);
      await hears(ada, ...raw, "by nobody", "1234 bytes");
      assert.equal(await ada.locator("#log .who").first().textContent(), "someone");
      await leave(ada);
    });

    test("long_conversation_keeps_the_latest_500_and_says_so", async () => {
      const ada = await member(server, "flood", "Ada");
      await ada.evaluate(async () => {
        const socket = new WebSocket(`ws://${location.host}/rooms/flood`);
        await new Promise((resolve) => { socket.onopen = resolve; });
        for (let i = 0; i < 700; i++) {
          socket.send(`line ${i}`);
          if (i % 50 === 49) await new Promise((resolve) => setTimeout(resolve, 20));
        }
        window.flood = socket; // kept open until the page goes
      });
      await eventually(async () => assert.equal((await heard(ada)).at(-1), "line 699"));
      assert.equal((await heard(ada)).length, 500);
      assert.match(await ada.locator("#dropped").textContent(), /200 older/);
      await leave(ada);
    });

    test("message_over_the_limit_is_not_sent_and_not_lost", async () => {
      const ada = await member(server, "long", "Ada");
      const text = "x".repeat(64 * 1024);
      await say(ada, text);
      await eventually(async () => assert.match(await ada.locator("#notice").textContent(), /Too long/));
      assert.equal(await input(ada).inputValue(), text);
      await say(ada, text.slice(0, 60_000));
      await hears(ada, text.slice(0, 60_000));
      assert.equal(await state(ada), "connected");
      await leave(ada);
    });

    test("screens_are_pictured_and_nothing_overflows", async () => {
      const screens = {
        desktop: { viewport: { width: 1200, height: 780 } },
        phone: { viewport: { width: 390, height: 800 }, isMobile: true, hasTouch: true },
      };
      for (const [screen, options] of Object.entries(screens)) {
        for (const colorScheme of ["light", "dark"]) {
          const room = `picture ${screen} ${colorScheme}`;
          const ada = await member(server, room, "Ada", { ...options, colorScheme });
          const grace = await member(server, room, "Grace");
          const [question, answer] = ["Is the kettle on?", `It is. ${"unbreakable".repeat(30)}`];
          await say(grace, question);
          await hears(ada, question);
          await say(ada, answer);
          await hears(grace, question, answer);
          await ada.screenshot({ path: join(PICTURES, `${driver}-${screen}-${colorScheme}.png`) });
          assert.equal(await ada.evaluate(() => document.documentElement.scrollWidth - innerWidth), 0);
          await leave(ada, grace);
        }
      }
    });

    test("page_without_the_strip_keeps_its_input_at_the_bottom", async () => {
      const still = { reducedMotion: "reduce", viewport: { width: 1000, height: 700 } };
      const layout = (page) => page.evaluate(() => {
        const { top, bottom } = document.querySelector("footer").getBoundingClientRect();
        const screenfuls = document.documentElement.scrollHeight / innerHeight;
        return { screenfuls, bottom: innerHeight - bottom, isLow: top > innerHeight / 2 };
      });
      const wanted = { screenfuls: 1, bottom: 0, isLow: true };
      const ada = await member(server, "still", "Ada", still);
      assert.equal(await ada.getByRole("button", { name: "Fly" }).getAttribute("aria-pressed"), "false");
      assert.deepEqual(await layout(ada), wanted, "of an empty room");
      for (let i = 0; i < 60; i += 1) await rawSend(ada, "still", `line ${i}`);
      await eventually(async () => assert.equal((await heard(ada)).length, 60));
      assert.deepEqual(await layout(ada), wanted, "of a long conversation");
      await ada.getByRole("button", { name: "Fly" }).click();
      assert.deepEqual(await layout(ada), wanted, "with the strip");
      await leave(ada);
    });

    test("http_answers_carry_types_tags_and_policy", async () => {
      const types = {
        "/": "text/html",
        "/page.css": "text/css",
        "/page.js": "text/javascript",
        "/favicon.svg": "image/svg+xml",
      };
      for (const [path, type] of Object.entries(types)) {
        const full = await fetch(server.origin + path);
        const body = await full.text();
        assert.equal(full.status, 200, path);
        assert.equal(full.headers.get("content-type").split(";")[0], type, path);
        assert.equal(full.headers.get("x-content-type-options"), "nosniff", path);
        assert.ok(full.headers.get("cache-control"), `${path} has a cache-control`);
        const tag = full.headers.get("etag");
        assert.match(tag, /^(W\/)?"[^"]+"$/, path);

        const head = await fetch(server.origin + path, { method: "HEAD" });
        assert.equal(head.status, 200, path);
        assert.equal(head.headers.get("etag"), tag, path);
        assert.equal(Number(head.headers.get("content-length")), Buffer.byteLength(body), path);
        assert.equal(await head.text(), "", path);

        const again = await fetch(server.origin + path, { headers: { "if-none-match": tag } });
        assert.equal(again.status, 304, path);
        assert.equal(again.headers.get("etag"), tag, path);
        assert.equal(await again.text(), "", path);
        const other = await fetch(server.origin + path, { headers: { "if-none-match": '"other"' } });
        assert.equal(other.status, 200, path);
      }
      const { headers } = await fetch(server.origin);
      assert.match(headers.get("content-type"), /charset=utf-8/i);
      assert.deepEqual(headers.get("content-security-policy").split(";").map((directive) => directive.trim()).sort(), [
        "base-uri 'none'", "connect-src 'self'", "default-src 'none'", "form-action 'none'", "frame-ancestors 'none'",
        "img-src 'self'", "script-src 'self'", "style-src 'self'",
      ]);
      assert.equal((await fetch(`${server.origin}/?room=tea`)).status, 200);
      assert.equal((await fetch(`${server.origin}/nothing-here`)).status, 404);
      assert.equal((await fetch(server.origin, { method: "POST" })).status, 405);
    });
  });

  test(`server_restart_on_${driver}_is_survived_by_both_pages`, async (t) => {
    const port = await freePort();
    let server;
    t.after(() => server?.stop()); // if the test gave up half-way
    server = await startServer(driver, port, "--drain-timeout", "1s");
    const options = { expected: CONNECTION_FAILED };
    const ada = await member(server, "phoenix", "Ada", options);
    const grace = await member(server, "phoenix", "Grace", options);
    let failed = 0;
    ada.on("websocket", (socket) => socket.on("socketerror", () => { failed += 1; }));
    await say(ada, "before");
    await hears(grace, "before");
    const status = () => ada.locator("#status").textContent();
    await eventually(async () => assert.match(await status(), /Connected · echo [\d.]+ ms/));

    assert.equal(await server.stop(), 0);
    for (const page of [ada, grace]) await eventually(async () => await state(page) !== "connected");
    await eventually(async () => assert.match(await status(), /Reconnecting in \d+ s/));
    assert.match(await ada.locator("#notice").textContent(), /going away/);
    await eventually(async () => failed > 0 && await state(ada) === "waiting");
    assert.match(await ada.locator("#notice").textContent(), /going away/, "a failed attempt is no other reason");
    await say(ada, "while away");
    assert.equal(await input(ada).inputValue(), "while away", "unsent words stay in the input");

    server = await startServer(driver, port, "--drain-timeout", "1s");
    await Promise.all([ada, grace].map(connected));
    // Notes are drawn with the next frame, after the state has changed.
    await eventually(async () => assert.match(await grace.locator("#log .note").last().textContent(), /Back after \d+ s/));
    await ada.getByRole("button", { name: "Send", exact: true }).click();
    await hears(grace, "before", "while away");
    await say(grace, "still here");
    await hears(ada, "before", "while away", "still here");
    await leave(ada, grace);
    assert.equal(await server.stop(), 0);
  });
}

/** The client of docs/raw.md that comes back, as a function of the page. */
function clientOfDocument() {
  const document = readFileSync(new URL("../../docs/raw.md", import.meta.url), "utf8");
  const [client] = document.match(/(?<=```js\n)function join[^]*?(?=```)/) ?? assert.fail("docs/raw.md has no client");
  assert.ok(client.includes("ws://127.0.0.1:8000/"));
  return client.replace("127.0.0.1:8000", "${location.host}");
}

for (const driver of DRIVERS) {
  test(`client_of_the_document_survives_a_restart_on_${driver}_and_leaves_for_good`, async (t) => {
    const port = await freePort();
    let server = await startServer(driver, port, "--drain-timeout", "1s");
    t.after(() => server?.stop());
    const page = await openPage(browser, server.origin, { expected: CONNECTION_FAILED });
    await page.evaluate(`(() => {
      ${clientOfDocument()}
      const Real = WebSocket;
      window.sockets = [];
      window.WebSocket = class extends Real { constructor(url) { super(url); sockets.push(this); } };
      window.heard = [];
      window.client = join("a room", (text) => heard.push(text));
    })()`);
    const send = (text) => eventually(() => page.evaluate((text) => client.send(text), text));
    const hears = (...texts) => eventually(async () => assert.deepEqual(await page.evaluate(() => heard), texts));
    await send("before");
    await hears("before");
    assert.equal(await server.stop(), 0);
    await eventually(async () => assert.equal(await page.evaluate(() => client.send("while away")), false));
    server = await startServer(driver, port, "--drain-timeout", "1s");
    await send("after");
    await hears("before", "after");
    const opened = await page.evaluate(() => { client.leave(); return sockets.length; });
    await sleep(2500); // its first wait would be over
    assert.equal(await page.evaluate(() => sockets.length), opened);
    assert.deepEqual(await page.evaluate(() => sockets.map((socket) => socket.readyState)), Array(opened).fill(3));
    await leave(page);
  });
}

// For the rest the server only serves the files: the test plays its part of the WebSocket.

describe("page with a troubled server", () => {
  let server;
  before(async () => { server = await startServer(DRIVERS[0], await freePort()); });
  after(() => server?.stop());

  const troubled = (handler) => ({ before: (page) => page.routeWebSocket(/\/rooms\//, handler) });

  test("close_codes_are_explained_and_answered", async () => {
    const table = [
      [1000, "waiting", /ended/], [1001, "waiting", /going away, .*the reason/], [1008, "stopped", /do not allow/],
      [1009, "waiting", /larger/], [1011, "waiting", /error of its own/], [1013, "waiting", /busy/],
      [4321, "waiting", /code 4321/],
    ];
    for (const [code, then, words] of table) {
      let attempts = 0;
      const page = await knock(server, "codes", "Ada", troubled((socket) => {
        if (attempts++ === 0) socket.close({ code, reason: "the reason" });
      }));
      await eventually(async () => assert.match(await page.locator("#notice").textContent(), words));
      assert.match(await page.locator("#notice").textContent(), /the reason/);
      if (then === "stopped") {
        assert.equal(await state(page), "stopped");
        await say(page, "unheard");
        const notice = await page.locator("#notice-text").textContent();
        assert.match(notice, /do not allow.*the reason.*Try now/, "of words that cannot be sent");
        assert.equal(await input(page).inputValue(), "unheard");
        await page.getByRole("button", { name: "Try now" }).click();
      }
      await connected(page);
      assert.equal(attempts, 2);
      assert.ok(await page.locator("#notice").isHidden());
      await leave(page);
    }
  });

  test("reason_that_the_page_says_itself_is_not_said_twice", async () => {
    let attempts = 0;
    const page = await knock(server, "twice", "Ada", troubled((socket) => {
      if (attempts++ === 0) socket.close({ code: 1001, reason: "the server is going away" });
    }));
    const notice = () => page.locator("#notice-text").textContent();
    await eventually(async () => assert.match(await notice(), /going away/));
    assert.equal((await notice()).match(/going away/g).length, 1);
    await leave(page);
  });

  test("refused_connections_are_tried_again_ever_more_slowly", async () => {
    const times = [];
    const page = await knock(server, "backoff", "Ada", troubled((socket) => {
      times.push(Date.now());
      if (times.length < 4) socket.close({ code: 1011 });
    }));
    await eventually(() => times.length === 4);
    const gaps = times.slice(1).map((time, i) => time - times[i]);
    for (const [i, [least, most]] of [[500, 1000], [1000, 2000], [2000, 4000]].entries()) {
      assert.ok(gaps[i] >= least - 50 && gaps[i] <= most + 1000, `gap ${i} is ${gaps[i]} ms`);
    }
    await connected(page);
    await leave(page);
  });

  test("message_without_an_echo_is_doubted_and_sent_again_on_demand", async () => {
    const wires = [];
    const page = await knock(server, "doubt", "Ada", troubled((socket) => socket.onMessage((wire) => {
      wires.push(wire);
      if (wires.length === 1) socket.close({ code: 1001 });
      else socket.send(wire);
    })));
    await connected(page);
    await say(page, "anyone?");
    await eventually(async () => assert.match(await page.locator("#outbox .fate").textContent(), /Not confirmed/));
    await connected(page);
    assert.deepEqual(await heard(page), []);
    await page.getByRole("button", { name: "Send again" }).click();
    await hears(page, "anyone?");
    assert.equal(await page.locator("#outbox li").count(), 0);
    assert.equal(wires[0], wires[1]);
    await leave(page);
  });
});

describe("page by itself", () => {
  let server;
  before(async () => { server = await startServer(DRIVERS[0], await freePort()); });
  after(() => server?.stop());

  /** Somebody in a room that the test plays, and with it all the others; and how these speak. */
  async function audience(name, options) {
    let others;
    const play = (room) => {
      room.onMessage((wire) => room.send(wire));
      others = (...messages) => messages.forEach((message) => room.send(JSON.stringify(message)));
    };
    const page = await member(server, name, "Ada", { before: (page) => page.routeWebSocket(/\/rooms\//, play), ...options });
    return [page, others];
  }

  /** From here on the page's time passes by frames, however slow the machine is; and runs until so many lines are drawn. */
  async function stopClock(page) {
    await page.clock.install();
    await page.clock.pauseAt(Date.now() + 1000);
    return (lines) => eventually(async () => {
      await page.clock.runFor(20);
      assert.equal(await page.locator("#log li").count(), lines);
    });
  }

  for (const colorScheme of ["light", "dark"]) {
    test(`names_that_differ_in_a_letter_have_colours_that_are_told_apart_and_read_in_${colorScheme}`, async () => {
      const [ada, others] = await audience("colours", { colorScheme });
      const drawn = await stopClock(ada);
      const names = [..."abcdefghijkl"].map((letter) => `An${letter}`);
      others(...names.map((name) => ({ name, text: "!" })));
      await drawn(names.length);
      for (const [place, ground] of [["#log .who", "body"], ["#stage span", "#stage"]]) {
        const colours = await ada.evaluate(rendered, [place, "color"]);
        const [behind] = await ada.evaluate(rendered, [ground, "background-color"]);
        assert.equal(colours.length, names.length, place);
        for (const [i, one] of colours.entries()) {
          assert.ok(contrast(one, behind) >= 4.5, `${place}: ${one} on ${behind} reads at ${contrast(one, behind)}`);
          for (const other of colours.slice(i + 1)) assert.ok(difference(one, other) >= 0.07, `${place}: ${one} is like ${other}`);
        }
      }
      others({ name: "Ana", text: "again" });
      await drawn(names.length + 1);
      const [first, , , , , , , , , , , , again] = await ada.evaluate(rendered, ["#log .who", "color"]);
      assert.deepEqual(again, first, "a name keeps its colour");
      await leave(ada);
    });
  }

  test("addresses_in_messages_are_links_and_nothing_else_is", async () => {
    const many = "http://a.example ".repeat(200);
    const table = [
      ["see https://example.org/a_(b), and http://x.example.", ["https://example.org/a_(b)", "http://x.example"]],
      ["(HTTPS://Example.org/A?b=1&c=%20#d)!", ["HTTPS://Example.org/A?b=1&c=%20#d"]],
      ["“https://example.org/é”。", ["https://example.org/é"]],
      ["https://a.example<b>https://b.example</b>", ["https://a.example", "https://b.example"]],
      ["\u202Ehttps://example.org/\u202Egro", ["https://example.org/"]],
      ["https://evil.example\\@good.example", ["https://evil.example"]],
      [`http://a.example/${")".repeat(50_000)}`, ["http://a.example/"]],
      [many, Array(50).fill("http://a.example")],
      ["javascript:alert(1) data:text/html,x ftp://a.example file:///etc //a.example www.example.org", []],
      ["https://good.example@evil.example/ https:// http://?x xhttp://a.example http://:80", []],
    ];
    const [ada, others] = await audience("links");
    others(...table.map(([text]) => ({ name: "Grace", text })));
    await hears(ada, ...table.map(([text]) => text)); // whatever is a link, all reads as it was written
    for (const [i, [text, links]] of table.entries()) {
      const found = ada.locator("#log .text").nth(i).locator("a");
      assert.deepEqual(await found.allTextContents(), links, text.slice(0, 60));
      const attributes = (link) => [link.getAttribute("href"), link.rel, link.target, link.dir];
      for (const [j, link] of links.entries()) {
        const expected = [new URL(link).href, "noopener noreferrer nofollow", "_blank", "ltr"];
        assert.deepEqual(await found.nth(j).evaluate(attributes), expected);
        if (j === 2) break; // the others are like it
      }
    }
    await leave(ada);
  });

  test("link_that_is_clicked_opens_a_page_that_knows_nothing_of_this_one", async () => {
    const [ada, others] = await audience("clicks");
    others({ name: "Grace", text: `go to ${server.origin}/#room=elsewhere.` });
    await hears(ada, `go to ${server.origin}/#room=elsewhere.`);
    const [opened] = await Promise.all([ada.context().waitForEvent("page"), ada.locator("#log a").click()]);
    await opened.waitForURL(`${server.origin}/#room=elsewhere`);
    assert.deepEqual(await opened.evaluate(() => [window.opener, document.referrer]), [null, ""]);
    assert.equal(await state(ada), "connected");
    await leave(ada);
  });

  test("strip_leaves_out_what_it_has_no_time_for_and_counts_it", async () => {
    const [ada, others] = await audience("burst");
    const drawn = await stopClock(ada);
    const strip = () => ada.locator("#stage").evaluate((stage) => [stage.children.length, stage.dataset.skipped]);
    others({ name: "Grace", text: "first" });
    await drawn(1);
    assert.deepEqual(await strip(), [1, undefined]);
    others(...Array.from({ length: 300 }, (_, i) => ({ name: "Grace", text: `${i}` })));
    await drawn(301);
    const [flown, left] = await strip(); // a flight takes longer than all of this
    assert.ok(flown > 1 && flown <= 60, `${flown} fly`);
    assert.equal(left, `+${301 - flown} below`);
    await ada.clock.runFor(4000);
    await eventually(async () => (await strip())[1] === undefined);
    await leave(ada);
  });

  test("strip_shows_nothing_that_waited_long_to_be_painted", async () => {
    const [ada] = await audience("absent");
    await stopClock(ada); // so nothing is painted, as in a tab out of sight
    await say(ada, "unseen");
    await eventually(async () => await ada.locator("#outbox li").count() === 0); // its echo has come
    assert.deepEqual(await heard(ada), []);
    await ada.clock.fastForward(3000);
    await hears(ada, "unseen");
    assert.equal(await ada.locator("#stage span").count(), 0);
    await leave(ada);
  });
});

/** Runs in the page: what the screen shows of a property's colour, as linear light, for each element. */
function rendered([selector, property]) {
  const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  return [...document.querySelectorAll(selector)].map((element) => {
    pen.fillStyle = getComputedStyle(element).getPropertyValue(property);
    pen.fillRect(0, 0, 1, 1);
    const levels = [...pen.getImageData(0, 0, 1, 1).data.slice(0, 3)].map((level) => level / 255);
    return levels.map((level) => level <= 0.04045 ? level / 12.92 : ((level + 0.055) / 1.055) ** 2.4);
  });
}

/** Of WCAG 2: 4.5 is enough for text (AA). */
function contrast(one, other) {
  const [dark, light] = [one, other].map(([r, g, b]) => 0.2126 * r + 0.7152 * g + 0.0722 * b).sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
}

/** In Oklab, where 0.02 is just noticed. */
function difference(...colours) {
  const [one, other] = colours.map(([r, g, b]) => {
    const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
    const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
    const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
    return [
      0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
      1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
      0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
    ];
  });
  return Math.hypot(...one.map((part, i) => part - other[i]));
}

/** Sends from within `page`, by a socket of its own, what this page would never send: text, or a number of bytes. */
function rawSend(page, room, payload) {
  return page.evaluate(([room, payload]) => new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://${location.host}/rooms/${encodeURIComponent(room)}`);
    socket.onopen = () => socket.send(typeof payload === "number" ? new Uint8Array(payload) : payload);
    socket.onmessage = () => { socket.close(); resolve(); }; // the echo: the room has it
    socket.onerror = reject;
  }), [room, payload]);
}
