// The README's example, as it is written there but for the port, against a server for development.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { DRIVERS, freePort, startDevServer, within } from "./harness.js";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

test("example_of_the_readme_recovers_what_was_missed", async (context) => {
  const readme = readFileSync(here("../../../README.md"), "utf8");
  const examples = [...readme.matchAll(/```js\n(.*?)```/gs)].map(([, code]) => code);
  const [example, ...others] = examples.filter((code) => code.includes('from "centrifuge"'));
  assert.deepEqual(others, []);
  assert.match(example, /127\.0\.0\.1:8000/);
  const server = await startDevServer(DRIVERS[0], await freePort());
  context.after(() => server.stop());

  const code = example.replaceAll("127.0.0.1:8000", `127.0.0.1:${server.port}`);
  const child = spawn(process.execPath, ["--input-type=module", "--eval", code], { cwd: here("."), stdio: ["ignore", "pipe", "inherit"] });
  context.after(() => child.kill());
  let printed = "";
  await within(new Promise((resolve, reject) => {
    child.stdout.on("data", (chunk) => { printed += chunk; if (printed.includes("you were away")) resolve(); });
    child.on("exit", () => reject(new Error(`the example has ended:\n${printed}`)));
  }), "what Ada missed");
  const lines = printed.trim().split("\n");
  const said = (start) => lines.filter((line) => line.startsWith(start)).map((line) => line.slice(start.length));
  assert.deepEqual(said("Ada is in the room, recovered: "), ["false", "true"]);
  assert.deepEqual(said("Ada hears: "), ["hello", "you were away"]);
});
