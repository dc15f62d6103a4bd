// The demo chat: one WebSocket to one room. The room gives every text message
// to everyone in it, the sender included, as it was sent and in one order. So
// this page sends {"name", "text", "id"} as JSON, shows what the room
// returns, and marks an own message as delivered once its echo has arrived.
//
// Peers are not trusted: what they send becomes text nodes, never markup.

const MESSAGE_BYTES_MAX = 64 * 1024; // the server's default; it closes a connection that sends more (1009)
const ROOM_BYTES_MAX = 255;
const SHOWN_MAX = 500;               // most lines kept in the page
const CONNECT_MS_MAX = 10_000;       // an attempt to connect that takes longer is given up
const SILENCE_MS_MAX = 15_000;       // with no echo of an own message for so long, the connection is taken for dead
const STEADY_MS = 10_000;            // a connection that has lasted so long resets the backoff
const BACKOFF_MS = { first: 1000, busy: 4000, max: 30_000 };

const CLOSE_REASONS = {
  1000: "The server ended the conversation.",
  1001: "The server is going away, probably to restart.",
  1006: "The connection was lost, or the server did not accept it.",
  1008: "The server's rules do not allow this connection.",
  1009: "A message was larger than the server accepts (64 KiB, unless configured otherwise).",
  1011: "The server met an error of its own.",
  1012: "The server is restarting.",
  1013: "The server is busy, or this page could not keep up with the room.",
};

const $ = (id) => document.getElementById(id);
const [log, outbox, words, stage] = ["log", "outbox", "words", "stage"].map($);
const clock = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

let room = "";
let name = "";
// away | connecting {socket, until, why} | connected {socket, since, heard} | waiting {until, why} | stopped {why}
let state = { kind: "away" };
let attempts = 0;           // failed ones since the last steady connection; they set the backoff
let lostAt = null;          // when the connection was lost; messages since then are missing here
let echoMs = null;          // round-trip time of the latest own message
let arrived = [];           // lines that are shown with the next animation frame
let dropped = 0;            // number of lines that were removed as the oldest
let skipped = { count: 0, at: 0 }; // messages that the strip had no room for, and when the latest of them arrived
let unread = 0;             // messages that arrived while the page was hidden
let following = true;       // whether the reader is at the end of the conversation
let below = 0;              // lines below the reader's place, if not
const pending = new Map();  // own messages without an echo: id → {text, wire, sentAt, item}
const owners = [];          // colour → the first name that had it in this room

// ---- The address: #room=NAME (or ?room=NAME). The visitor's name is stored, and this tab's own comes first.

function remember(key, value) {
  for (const store of ["sessionStorage", "localStorage"]) {
    try { window[store].setItem(key, value); } catch { /* storage may be forbidden */ }
  }
}

function recall(key) {
  try { return sessionStorage.getItem(key) ?? localStorage.getItem(key) ?? ""; } catch { return ""; }
}

function roomOfAddress() {
  const within = (query) => new URLSearchParams(query.slice(1)).get("room");
  return within(location.hash) ?? within(location.search) ?? "";
}

/** Returns why the server would refuse this name of a room, or null. */
function roomProblem(candidate) {
  const bytes = new TextEncoder().encode(candidate).length;
  if (bytes === 0) return "A room needs a name.";
  if (bytes > ROOM_BYTES_MAX) return `A room's name has at most ${ROOM_BYTES_MAX} bytes; this one has ${bytes}.`;
  if (/[\p{Cc}\p{Cs}/]/u.test(candidate)) return "A room's name has no slash and no control characters.";
  // A browser removes these two from a path before it sends the request.
  if (candidate === "." || candidate === "..") return "A room's name is more than dots.";
  return null;
}

function socketAddress() {
  const url = new URL(`rooms/${encodeURIComponent(room)}`, location.origin + location.pathname);
  url.protocol = url.protocol.replace("http", "ws");
  return url.href;
}

/** Enters the room that the address names, or shows the form if the room or the visitor's name is missing. */
function route() {
  const wanted = roomOfAddress();
  const problem = wanted && roomProblem(wanted);
  if (wanted && !problem && recall("name")) enter(wanted, recall("name"));
  else showDoor(wanted, problem);
}

function showDoor(wanted, problem) {
  hangUp();
  become({ kind: "away" });
  document.body.dataset.view = "door";
  document.title = "hubbub";
  $("door-room").value = wanted || "lobby";
  $("door-name").value = recall("name") || inventName();
  $("door-problem").textContent = problem || "";
  $(wanted && !problem ? "door-name" : "door-room").select();
}

function inventName() {
  const pick = (list) => list.split(" ")[Math.floor(Math.random() * list.split(" ").length)];
  return pick("Brisk Calm Dapper Eager Gentle Hasty Jolly Keen Loud Merry Quiet Witty") + " " +
    pick("Badger Crane Dormouse Finch Heron Ibex Jackdaw Lynx Marten Otter Raven Wren");
}

function enter(newRoom, newName) {
  hangUp();
  if (newRoom !== room) {
    // Unconfirmed text returns to the input: the visitor decides whether it is sent to the new room.
    words.value = [...pending.values(), { text: words.value }].map((p) => p.text).filter(Boolean).join("\n");
    for (const list of [log, outbox]) list.replaceChildren();
    clearStage();
    pending.clear();
    owners.length = 0;
    [arrived, dropped, unread, attempts, lostAt, echoMs] = [[], 0, 0, 0, null, null];
    state = { kind: "away" }; // an error of the old room does not apply to the new one
    $("dropped").hidden = true;
    followEnd(true);
  }
  [room, name] = [newRoom, newName];
  $("room-name").textContent = stage.dataset.room = room;
  document.body.dataset.view = "room";
  showTitle();
  connect();
  words.focus();
}

// ---- The connection.

function become(next) {
  state = next;
  document.body.dataset.state = state.kind;
  explain(state.why ? `${state.why} What you write stays here.` : "");
  const aloud = { away: "", connected: "Connected.", waiting: state.why, stopped: state.why }[state.kind];
  if (aloud !== undefined) $("announcer").textContent = aloud; // attempts repeat and are not announced
  showStatus(Date.now());
}

function connect() {
  const socket = new WebSocket(socketAddress());
  socket.binaryType = "arraybuffer"; // other clients may send binary messages, of which the page shows the size
  socket.onopen = () => {
    const now = Date.now();
    const seconds = Math.max(1, Math.round((now - lostAt) / 1000));
    if (lostAt) note(`Back after ${seconds} s. What was said meanwhile did not reach this page.`);
    lostAt = null;
    become({ kind: "connected", socket, since: now, heard: now });
  };
  socket.onmessage = (event) => hear(event.data);
  socket.onclose = (event) => lose(event.code, event.reason);
  become({ kind: "connecting", socket, until: Date.now() + CONNECT_MS_MAX, why: state.why });
}

/** Detaches the socket, so that its further events have no effect. */
function hangUp(code) {
  const { kind, socket } = state;
  if (kind === "connected") {
    lostAt = Date.now();
    for (const message of pending.values()) doubt(message, code);
  }
  if (!socket) return;
  socket.onopen = socket.onmessage = socket.onclose = null;
  socket.close();
}

/** For close codes that came, or with other words if there was none. */
function lose(code, reason, words = CLOSE_REASONS[code] ?? `The connection was closed with code ${code}.`) {
  const now = Date.now();
  if (state.kind === "connected") {
    if (now - state.since > STEADY_MS) attempts = 0;
    note("The connection broke here.");
  }
  hangUp(code);
  const isNews = reason && !words.toLowerCase().includes(reason.toLowerCase());
  const said = isNews ? `${words} (${reason})` : words;
  // A failed attempt keeps the reason that ended the connection, which tells the visitor more.
  const why = state.kind === "connecting" && code === 1006 ? state.why ?? said : said;
  if (code === 1008) return become({ kind: "stopped", why }); // another attempt would be refused too
  const first = code === 1013 ? BACKOFF_MS.busy : BACKOFF_MS.first;
  const ceiling = Math.min(BACKOFF_MS.max, first * 2 ** attempts++);
  become({ kind: "waiting", why, until: now + ceiling * (0.5 + Math.random() / 2) });
}

/** Does everything that depends on the time alone. */
function tick(now) {
  const unanswered = (p) => p.sentAt && now - Math.max(p.sentAt, state.heard) > SILENCE_MS_MAX;
  if (state.kind === "connecting" && now >= state.until) lose(1006, "", "The server did not answer.");
  else if (state.kind === "waiting" && now >= state.until) connect();
  else if (state.kind === "connected" && [...pending.values()].some(unanswered)) lose(1006, "", "The server did not answer.");
  if (skipped.count > 0 && now - skipped.at > SKIPPED_SHOWN_MS) countSkipped(0);
  showStatus(now);
}

function retry() {
  if (state.kind === "waiting" || state.kind === "stopped") connect();
}

// ---- Talking.

/** Sends the text and keeps it until its echo. Returns false if nothing was sent; the input then keeps it. */
function send(text) {
  const id = crypto.getRandomValues(new Uint32Array(2)).join("-"); // randomUUID is missing on plain-HTTP origins
  const wire = JSON.stringify({ name, text, id });
  const excess = new TextEncoder().encode(wire).length - MESSAGE_BYTES_MAX;
  if (excess > 0) return explain(`Too long by ${excess} bytes: a message may have 64 KiB. Nothing was sent.`);
  // Nothing else brings a stopped page back.
  if (state.kind === "stopped") return explain(`${state.why} Not connected: press “Try now”.`);
  if (state.kind !== "connected") return explain("Not connected: your words stay here until you are.");
  const message = { id, text, wire, item: line({ name, text, own: true, at: new Date() }) };
  message.item.append(el("span", "fate"));
  pending.set(id, message);
  outbox.append(message.item);
  followEnd(true);
  transmit(message);
  return true;
}

function transmit(message) {
  message.item.classList.remove("doubtful");
  message.item.querySelector(".fate").textContent = "on its way";
  message.sentAt = Date.now();
  message.started = performance.now();
  state.socket.send(message.wire);
}

/** The connection was lost before the echo. Whether the room has the message is unknown, so the visitor decides. */
function doubt(message, code) {
  message.sentAt = 0;
  message.item.classList.add("doubtful");
  const again = el("button", "", "Send again");
  again.onclick = () => state.kind === "connected" ? transmit(message) : explain("Not connected yet.");
  const discard = el("button", "", "Discard");
  discard.onclick = () => { pending.delete(message.id); message.item.remove(); };
  const fate = code === 1009 ? "Probably too large for this server." : "Not confirmed; perhaps nobody heard it.";
  message.item.querySelector(".fate").replaceChildren(fate, " ", again, " ", discard);
}

function hear(payload) {
  state.heard = Date.now();
  const message = { at: new Date(), ...parse(payload) };
  const mine = pending.get(message.id);
  if (mine) {
    message.own = true;
    echoMs = performance.now() - mine.started;
    mine.item.remove();
    pending.delete(message.id);
  }
  if (document.hidden) { unread += 1; showTitle(); }
  show(message);
}

/** Reads a message in this page's format; any other text is shown as it is, and of bytes only their number. */
function parse(payload) {
  if (typeof payload !== "string") return { text: `${payload.byteLength} bytes`, binary: true };
  try {
    const { name, text, id } = JSON.parse(payload);
    const who = typeof name === "string" ? name.trim().slice(0, 64) : "";
    if (typeof text === "string" && text !== "") return { name: who, text, id };
  } catch { /* not in this page's format */ }
  return { text: payload };
}

// ---- The conversation.

const note = (text) => show({ text, note: true });

/** Queues a line for the next animation frame, so that a busy room costs one layout per frame, a hidden page none. */
function show(message) {
  if (arrived.length === 0) requestAnimationFrame(flush);
  arrived.push(message);
  if (arrived.length > SHOWN_MAX) { arrived.shift(); dropped += 1; }
}

function flush() {
  const messages = arrived.filter((message) => !message.note);
  for (const message of arrived) {
    log.append(message.note ? el("li", "note", message.text) : line(message, log.lastChild));
  }
  arrived = [];
  for (; log.children.length > SHOWN_MAX; dropped += 1) log.firstChild.remove();
  log.firstChild?.classList.remove("same");
  $("dropped").hidden = dropped === 0;
  $("dropped").textContent = `Only the latest ${SHOWN_MAX} lines are kept here; ${dropped} older ones are gone.`;
  followEnd(following, messages.length);
  messages.forEach(fly);
}

function line(message, previous) {
  const who = message.name || "someone";
  const item = el("li", message.own ? "own" : message.binary ? "binary" : "");
  item.dataset.who = `${message.own ? "me" : "peer"} ${who}`;
  if (previous?.dataset.who === item.dataset.who) item.classList.add("same"); // one name per run of messages
  if (!message.own) paint(item, who);
  const time = el("time", "", clock.format(message.at));
  time.dateTime = message.at.toISOString();
  time.title = message.at.toLocaleString();
  const author = el("bdi", "who");
  author.append(el("span", "", who));
  if (message.own) author.append(el("span", "you", "you"));
  author.title = who;
  const text = el("span", "text");
  text.append(...withLinks(message.text));
  text.dir = "auto";
  item.append(time, author, text);
  return item;
}

function el(tag, className, text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

// ---- Links: web addresses in messages can be opened; nothing else in a message is active.

const ADDRESS = /\bhttps?:\/\/[^\s<>"\\\p{Cc}\p{Bidi_Control}]+/giu;
const CLOSING = /[.,;:!?'*_~)\]}»”’…。，、！？；：）】」』]/u;
const LINKS_MAX = 50; // in one message

/** Splits the text into plain pieces and links. Joined together they have the original text. */
function withLinks(text) {
  const pieces = [];
  let end = 0;
  for (const { 0: found, index } of text.matchAll(ADDRESS)) {
    if (pieces.length >= 2 * LINKS_MAX) break;
    const link = linkTo(trimmed(found));
    if (!link) continue;
    pieces.push(text.slice(end, index), link);
    end = index + link.textContent.length;
  }
  return [...pieces, text.slice(end)];
}

/** Removes the punctuation of the surrounding sentence, but keeps parentheses that the address itself opened. */
function trimmed(address) {
  const count = (letter) => address.split(letter).length - 1;
  let surplus = count(")") - count("(");
  let end = address.length;
  for (; CLOSING.test(address[end - 1]); end -= 1) {
    if (address[end - 1] === ")" && surplus-- <= 0) break;
  }
  return address.slice(0, end);
}

/** Returns null unless this is a web address. A user name before an @ could hide the real host, so it is refused. */
function linkTo(address) {
  if (!URL.canParse(address)) return null;
  const url = new URL(address);
  if (!["http:", "https:"].includes(url.protocol) || url.username || url.password) return null;
  const link = el("a", "", address);
  link.href = url.href;
  link.target = "_blank";
  link.rel = "noopener noreferrer nofollow";
  link.dir = "ltr"; // an address reads from left to right whatever the direction of the text around it
  return link;
}

// ---- Colours: there are only few, so that any two are easy to tell apart.

const COLOURS = 12;

/** Returns the number of a name's colour: by its hash, or the next one that is free in this room. */
function colour(who) {
  const known = owners.indexOf(who);
  if (known >= 0) return known;
  const first = hash(who) % COLOURS;
  for (let i = 0; i < COLOURS; i += 1) {
    const free = (first + i) % COLOURS;
    if (owners[free] === undefined) { owners[free] = who; return free; }
  }
  return first; // every colour is in use, so two names share one
}

/** FNV-1a and the finalizer of MurmurHash3, so that one changed letter changes all bits. */
function hash(text) {
  let sum = 0x811c9dc5;
  for (const letter of text) sum = Math.imul(sum ^ letter.codePointAt(0), 0x01000193);
  sum = Math.imul(sum ^ (sum >>> 16), 0x85ebca6b);
  sum = Math.imul(sum ^ (sum >>> 13), 0xc2b2ae35);
  return (sum ^ (sum >>> 16)) >>> 0;
}

/** Neighbouring hues also differ in lightness. From 5° on, all screens can show them farthest apart. */
function paint(element, who) {
  const number = colour(who);
  element.style.setProperty("--hue", 5 + number * (360 / COLOURS));
  element.style.setProperty("--tone", number % 2);
}

/** Scrolls to the end, or counts the new lines if the reader is further up. */
function followEnd(follow, added = 0) {
  if (follow) $("scroll").scrollTop = $("scroll").scrollHeight;
  noteReader(follow, added);
}

function noteReader(atEnd, added = 0) {
  following = atEnd;
  below = atEnd ? 0 : below + added;
  $("newest").hidden = below === 0;
  $("newest").textContent = `${below} new below`;
}

function showStatus(now) {
  const echo = echoMs === null ? "" : ` · echo ${echoMs < 10 ? echoMs.toFixed(1) : Math.round(echoMs)} ms`;
  $("status").lastChild.textContent = {
    away: "",
    connecting: "Connecting…",
    connected: `Connected${echo}`,
    waiting: `Reconnecting in ${Math.max(1, Math.ceil((state.until - now) / 1000))} s`,
    stopped: "Disconnected",
  }[state.kind];
}

function showTitle() {
  document.title = `${unread > 0 ? `(${unread}) ` : ""}${room} · hubbub`;
}

/** Shows a sentence above the input and announces it. Returns false, so that callers can return "nothing was sent". */
function explain(text) {
  $("notice-text").textContent = text;
  $("notice").hidden = text === "";
  $("retry").hidden = !state.why;
  return false;
}

// ---- The strip across which messages fly, in lanes of equal speed, so that none overtakes another.

// A message that finds no room within LATE_MS_MAX is left out and counted at the edge; the conversation still shows it.

const LANES = 3, PIXELS_PER_MS = 0.13, LATE_MS_MAX = 2500, FLYERS_MAX = 60, SKIPPED_SHOWN_MS = 3000;
const laneFreeAt = new Array(LANES).fill(0);
let flying = recall("fly") ? recall("fly") === "yes" : !matchMedia("(prefers-reduced-motion: reduce)").matches;

function fly({ text, name: who, own, at }) {
  const age = Date.now() - at;
  if (!flying || document.hidden || age > LATE_MS_MAX) return; // the page was hidden when it arrived
  const now = document.timeline.currentTime;
  const lane = laneFreeAt.indexOf(Math.min(...laneFreeAt));
  const delay = Math.max(0, laneFreeAt[lane] - now);
  if (age + delay > LATE_MS_MAX || stage.children.length >= FLYERS_MAX) return countSkipped(skipped.count + 1);
  const flyer = el("span", own ? "own" : "", text.slice(0, 80).replace(/\s+/g, " "));
  if (!own) paint(flyer, who || "someone");
  flyer.style.setProperty("--lane", lane);
  stage.append(flyer);
  const [from, to] = [stage.clientWidth, -flyer.offsetWidth];
  laneFreeAt[lane] = now + delay + (40 - to) / PIXELS_PER_MS;
  const path = { transform: [`translateX(${from}px)`, `translateX(${to}px)`] };
  const flight = flyer.animate(path, { delay, duration: (from - to) / PIXELS_PER_MS, fill: "backwards" });
  flight.startTime = now; // by itself it would start with a later frame, and come closer to the one behind it
  flight.onfinish = () => flyer.remove();
}

function countSkipped(count) {
  skipped = { count, at: Date.now() };
  if (count > 0) stage.dataset.skipped = `+${count} below`;
  else delete stage.dataset.skipped;
}

function clearStage() {
  stage.replaceChildren();
  laneFreeAt.fill(0);
  countSkipped(0);
}

function setFlying(on) {
  flying = on;
  $("fly").setAttribute("aria-pressed", on);
  document.body.classList.toggle("flying", on);
  clearStage();
}

// ---- Wiring.

$("door").onsubmit = (event) => {
  event.preventDefault();
  const [wanted, newName] = [$("door-room").value.trim(), $("door-name").value.trim()];
  const problem = roomProblem(wanted) ?? (newName ? "" : "You need a name.");
  $("door-problem").textContent = problem;
  if (problem) return;
  remember("name", newName);
  const address = `#room=${encodeURIComponent(wanted)}`;
  if (location.hash === address) enter(wanted, newName);
  else location.hash = address; // the "hashchange" event then enters the room
};

$("composer").onsubmit = (event) => {
  event.preventDefault();
  if (words.value.trim() === "" || !send(words.value.trim())) return;
  words.value = "";
  explain("");
};

words.onkeydown = (event) => {
  const composing = event.isComposing || event.keyCode === 229; // Enter then belongs to the input method
  if (event.key !== "Enter" || event.shiftKey || composing) return;
  event.preventDefault();
  $("composer").requestSubmit();
};

$("share").onclick = async () => {
  const link = `${location.origin}${location.pathname}#room=${encodeURIComponent(room)}`;
  try {
    await navigator.clipboard.writeText(link);
    $("share").textContent = "Copied";
    setTimeout(() => { $("share").textContent = "Copy link"; }, 1500);
  } catch {
    explain(`The address of this room: ${link}`); // without HTTPS a page cannot use the clipboard
  }
};

$("fly").onclick = () => { setFlying(!flying); remember("fly", flying ? "yes" : "no"); };
$("change").onclick = () => showDoor(room);
$("retry").onclick = retry;
$("newest").onclick = () => followEnd(true);
$("scroll").onscroll = ({ target }) => noteReader(target.scrollHeight - target.scrollTop - target.clientHeight < 40);
new ResizeObserver(() => followEnd(following)).observe($("scroll"));
document.onvisibilitychange = () => { unread = 0; if (state.kind !== "away") showTitle(); };
addEventListener("online", retry);
addEventListener("hashchange", route);
setInterval(() => tick(Date.now()), 250);

setFlying(flying);
route();
