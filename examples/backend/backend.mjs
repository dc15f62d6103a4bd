// A back end for Hubbub: it says who clients are, decides what they may, and reacts to what they say.
import { createServer } from "node:http";

const API = process.env.HUBBUB_API_URL ?? "http://127.0.0.1:8001";
const KEY = process.env.HUBBUB_API_KEY ?? "only-for-a-try-on-one-machine";
const SESSIONS = { "secret-of-ann": "ann", "secret-of-bob": "bob" }; // in life: where your site keeps its sessions

const isMember = ({ channel, user }) => channel.replace("chat:", "").split("-").includes(user); // chat:ann-bob is for these two

const decide = {
  "/connect"(asked, { cookie = "" }) {
    const user = SESSIONS[cookie.match(/(?:^|; )session=([^;]*)/)?.[1]];
    if (user) return { result: { user, info: { name: user[0].toUpperCase() + user.slice(1) } } };
    return { disconnect: { code: 4501, reason: "log in first" } }; // SDKs do not come back after 4500 to 4999
  },
  "/subscribe": (asked) => (isMember(asked) ? { result: {} } : { error: { code: 403, message: "not your room" } }),
  "/publish"(asked) {
    const { channel, user, data: { text } } = asked;
    if (!isMember(asked) || String(text).includes("spam")) return { error: { code: 1000, message: "not like this" } };
    if (text === "/help") say(channel, { from: "bot", text: `ask away, ${user}` }).catch(console.error);
    return { result: { data: { from: user, text: String(text) } } }; // nobody can write for another
  },
  "/rpc": ({ user, method }) => ({ result: { data: { you: user, called: method } } }),
};

async function say(channel, data) {
  const body = JSON.stringify({ channel, data });
  const answer = await fetch(`${API}/api/publish`, { method: "POST", headers: { "X-API-Key": KEY }, body });
  const { error } = await answer.json();
  if (error) throw new Error(error.message);
}

createServer(async (request, response) => {
  let body = "";
  for await (const chunk of request.setEncoding("utf8")) body += chunk;
  const answer = JSON.stringify(decide[request.url](JSON.parse(body), request.headers));
  response.setHeader("Content-Length", Buffer.byteLength(answer)).end(answer);
}).listen(process.env.PORT ?? 3000, "127.0.0.1");
