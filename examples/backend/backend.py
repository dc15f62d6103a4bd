"""A back end for Hubbub: it says who clients are, decides what they may, and reacts to what they say."""
import json
import os
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.request import Request, urlopen

API = os.environ.get("HUBBUB_API_URL", "http://127.0.0.1:8001")
KEY = os.environ.get("HUBBUB_API_KEY", "only-for-a-try-on-one-machine")
SESSIONS = {"secret-of-ann": "ann", "secret-of-bob": "bob"}  # in life: where your site keeps its sessions

def connect(asked, headers):
    session = SimpleCookie(headers.get("Cookie", "")).get("session")
    if user := session and SESSIONS.get(session.value):
        return {"result": {"user": user, "info": {"name": user.title()}}}
    return {"disconnect": {"code": 4501, "reason": "log in first"}}  # SDKs do not come back after 4500 to 4999

def subscribe(asked, headers):
    members = asked["channel"].removeprefix("chat:").split("-")  # chat:ann-bob is for these two
    return {"result": {}} if asked["user"] in members else {"error": {"code": 403, "message": "not your room"}}

def publish(asked, headers):
    text, user = str(asked["data"]["text"]), asked["user"]
    if subscribe(asked, headers).get("error") or "spam" in text:
        return {"error": {"code": 1000, "message": "not like this"}}
    if text == "/help":
        Thread(target=say, args=(asked["channel"], {"from": "bot", "text": f"ask away, {user}"})).start()
    return {"result": {"data": {"from": user, "text": text}}}  # nobody can write for another

def rpc(asked, headers):
    return {"result": {"data": {"you": asked["user"], "called": asked["method"]}}}

def say(channel, data):
    body = json.dumps({"channel": channel, "data": data}).encode()
    urlopen(Request(f"{API}/api/publish", body, {"X-API-Key": KEY}), timeout=5).close()

class BackEnd(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # one connection for many questions
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        decide = {"/connect": connect, "/subscribe": subscribe, "/publish": publish, "/rpc": rpc}[self.path]
        answer = json.dumps(decide(asked, self.headers)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", 3000))), BackEnd).serve_forever()
