// What the tests stand on: a real server, a real Chromium, pages that keep a
// record of everything that went wrong in them.

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { createHash, X509Certificate } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { get as getPlain } from "node:http";
import { get as getEncrypted } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { setTimeout as sleep } from "node:timers/promises";
import { chromium } from "playwright-core";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

export const SERVER_BIN = process.env.SERVER_BIN ?? here("../../target/release/hubbub");
export const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
export const DRIVERS = (process.env.DRIVERS ?? "io_uring,epoll").split(",");
export const LWS_PAGE = here("lws-page");

/** What is undone when this process ends, however it ends. */
const leftovers = new Set();
process.once("exit", () => { for (const undo of leftovers) undo(); });

const NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

const START_MS_MAX = 10_000;
const STOP_MS_MAX = 10_000;

/** A port that was free a moment ago. */
export async function freePort() {
  const socket = createServer().listen(0, "127.0.0.1");
  await once(socket, "listening");
  const { port } = socket.address();
  socket.close();
  await once(socket, "close");
  return port;
}

/** An authority of this process, which signs certificates of servers on this machine. */
export class Authority {
  #directory = mkdtempSync(join(tmpdir(), "hubbub-tls-"));
  #certificates = 0;

  constructor() {
    leftovers.add(() => rmSync(this.#directory, { recursive: true, force: true }));
    this.#openssl("req", "-x509", ...NEW_KEY, "-days", "2", "-subj", "/CN=Test authority", "-keyout", "ca.key", "-out", "ca.pem");
  }

  /** What a browser is told so that it trusts this authority: the hash of its public key, in base64. */
  get fingerprint() {
    const key = new X509Certificate(readFileSync(join(this.#directory, "ca.pem"))).publicKey;
    return createHash("sha256").update(key.export({ type: "spki", format: "der" })).digest("base64");
  }

  /** Flags for TLS with a certificate of this authority, whose own goes with it. */
  certificate() {
    const name = `server-${this.#certificates++}`;
    const [key, request, cert, chain] = ["key", "csr", "pem", "chain.pem"].map((ending) => `${name}.${ending}`);
    writeFileSync(join(this.#directory, "names"), "subjectAltName=DNS:localhost,IP:127.0.0.1");
    this.#openssl("req", ...NEW_KEY, "-subj", "/CN=localhost", "-keyout", key, "-out", request);
    this.#openssl("x509", "-req", "-in", request, "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
      "-extfile", "names", "-out", cert);
    const pem = [cert, "ca.pem"].map((file) => readFileSync(join(this.#directory, file)));
    writeFileSync(join(this.#directory, chain), Buffer.concat(pem));
    return ["--tls-cert", join(this.#directory, chain), "--tls-key", join(this.#directory, key)];
  }

  #openssl(...args) {
    execFileSync("openssl", args, { cwd: this.#directory, stdio: "pipe" });
  }
}

/** Whether the server answers a request, whatever its certificate. */
function answers(origin) {
  const get = origin.startsWith("https:") ? getEncrypted : getPlain;
  return new Promise((resolve) => {
    get(origin, { rejectUnauthorized: false, agent: false }, (response) => response.resume().once("end", () => resolve(true)))
      .once("error", () => resolve(false));
  });
}

/** Starts a server and waits until it answers. */
export async function startServer(driver, port, ...more) {
  if (!existsSync(SERVER_BIN)) throw new Error(`no server at ${SERVER_BIN}: build it, or set SERVER_BIN`);
  const args = ["--listen", `127.0.0.1:${port}`, "--driver", driver, "--internal-listen", "off", ...more];
  const child = spawn(SERVER_BIN, args, { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => { output += chunk; });
  const exited = once(child, "exit");
  const kill = () => child.kill("SIGKILL");
  leftovers.add(kill);
  exited.then(() => leftovers.delete(kill));

  const origin = `${more.includes("--tls-cert") ? "https" : "http"}://127.0.0.1:${port}`;
  for (const deadline = Date.now() + START_MS_MAX; ; await sleep(50)) {
    if (child.exitCode !== null) throw new Error(`${args.join(" ")}: exited with ${child.exitCode}:\n${output}`);
    if (await answers(origin)) break;
    if (Date.now() > deadline) {
      child.kill("SIGKILL");
      throw new Error(`${args.join(" ")}: the server did not answer in time:\n${output}`);
    }
  }

  return {
    origin,
    /** SIGTERM, and the exit code (again if asked again); to outstay the drain is to be killed, and an error. */
    async stop() {
      child.kill("SIGTERM");
      const late = setTimeout(() => child.kill("SIGKILL"), STOP_MS_MAX);
      const [code, signal] = await exited;
      clearTimeout(late);
      if (signal === "SIGKILL") throw new Error(`server did not stop within ${STOP_MS_MAX} ms of SIGTERM:\n${output}`);
      return code;
    },
  };
}

/** Chromium; one that trusts this authority beside those of the system, if one is given. */
export function startBrowser(authority) {
  const trust = authority ? [`--ignore-certificate-errors-spki-list=${authority.fingerprint}`] : [];
  return chromium.launch({
    executablePath: CHROMIUM, // its profile is a fresh temporary directory
    args: [
      "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync",
      ...trust,
    ],
  });
}

/**
 * A page in a browser profile of its own. `page.problems` collects console errors and warnings, exceptions and
 * violations of the content security policy; `expected` matches those that belong to the test. `before` meets the
 * page while it is still blank.
 */
export async function openPage(browser, url, { expected = /^$/, before, ...options } = {}) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  page.problems = [];
  const report = (problem) => { if (!expected.test(problem)) page.problems.push(problem); };
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) report(`${message.text()} ${message.location().url}`.trim());
  });
  page.on("pageerror", (error) => report(String(error)));
  await page.exposeFunction("reportViolation", report);
  await page.addInitScript(() => document.addEventListener("securitypolicyviolation", (event) =>
    window.reportViolation(`CSP: ${event.violatedDirective} ${event.blockedURI}`)));
  await before?.(page);
  await page.goto(url);
  return page;
}

/** Polls until `check` neither throws nor returns false. */
export async function eventually(check, ms = 15_000) {
  for (const deadline = Date.now() + ms; ; await sleep(25)) {
    try {
      if (await check() !== false) return;
      if (Date.now() > deadline) throw new Error(`still not so after ${ms} ms: ${check}`);
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
  }
}
