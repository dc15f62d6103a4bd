// Behaves as the script of libwebsockets' minimal server examples does: the page
// is served by the WebSocket server itself, the script opens a WebSocket to that
// origin and names a subprotocol, which alone decides where its messages go.
// For tests, `?path=xxx` and `?protocol=chat` stand in for edited copies.

"use strict";

function originSocketUrl(path) {
  const secure = document.URL.startsWith("https");
  const host = document.URL.replace(/^https?:\/\//, "").split("/")[0];
  return (secure ? "wss://" : "ws://") + host + "/" + path;
}

document.addEventListener("DOMContentLoaded", () => {
  const query = new URLSearchParams(location.search);
  const [heard, input, button] = ["r", "m", "b"].map((id) => document.getElementById(id));
  const enable = (on) => { for (const control of [heard, input, button]) control.disabled = !on; };

  const socket = new WebSocket(originSocketUrl(query.get("path") ?? ""), query.get("protocol") ?? "lws-minimal");
  socket.onopen = () => enable(true);
  socket.onclose = () => enable(false);
  socket.onmessage = (event) => {
    heard.value += event.data + "\n";
    heard.scrollTop = heard.scrollHeight;
  };

  button.addEventListener("click", () => {
    socket.send(input.value);
    input.value = "";
  });
});
