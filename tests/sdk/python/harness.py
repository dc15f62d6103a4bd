"""What the tests stand on: a real server, the SDK as its registry has it, and a line between them to cut."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import os
import secrets
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from centrifuge import Client, ClientEventHandler, SubscriptionEventHandler

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
SERVER = os.environ.get("SERVER_BIN", str(ROOT / "target/release/hubbub"))
RULES = HERE.parent / "server.toml"

# A wait that a machine under any load outlasts; to reach it is to fail.
PATIENCE_S = 60

SECRET = secrets.token_hex(32)


def sign(**claims):
    """A token with these claims (JWT, HS256)."""

    def part(raw):
        return base64.urlsafe_b64encode(raw).rstrip(b"=")

    signed = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(json.dumps(claims).encode())
    return (signed + b"." + part(hmac.digest(SECRET.encode(), signed, hashlib.sha256))).decode()


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


@contextlib.contextmanager
def server(driver):
    """A server with the rules of `server.toml`; its port."""
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        secret = Path(directory) / "secret"
        secret.write_text(SECRET)
        listen = ["--listen", f"127.0.0.1:{port}", "--driver", driver]
        child = subprocess.Popen([SERVER, "--config", RULES, "--token-secret", secret, *listen])
        try:
            deadline = time.monotonic() + PATIENCE_S
            while True:
                assert child.poll() is None, "the server has ended"
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                assert time.monotonic() < deadline, "the server does not answer"
                time.sleep(0.02)
            yield port
            child.send_signal(signal.SIGINT)
            assert child.wait(PATIENCE_S) == 0
        finally:
            child.kill()


class Line:
    """A wire to a port that can be cut and mended."""

    def __init__(self, port):
        self.port, self.is_cut, self.writers = port, False, set()

    async def open(self):
        self.listener = await asyncio.start_server(self._join, "127.0.0.1", 0)
        port = self.listener.sockets[0].getsockname()[1]
        self.url = f"ws://127.0.0.1:{port}/connection/websocket"
        return self

    async def _join(self, from_client, to_client):
        if self.is_cut:
            to_client.transport.abort()
            return
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self.port)
        both = {to_client, to_server}
        self.writers |= both
        await asyncio.gather(self._carry(from_client, to_server), self._carry(from_server, to_client))
        self.writers -= both

    async def _carry(self, reader, writer):
        with contextlib.suppress(OSError):
            while piece := await reader.read(65536):
                writer.write(piece)
                await writer.drain()
        writer.close()

    def cut(self):
        """Breaks all connections without a goodbye, and lets none through until the line is mended."""
        self.is_cut = True
        for writer in self.writers:
            writer.transport.abort()

    def mend(self):
        self.is_cut = False


class Heard:
    """What the SDK tells, in its order, one at a time."""

    def __init__(self):
        self.told = asyncio.Queue()

    def put(self, name):
        async def told(context):
            self.told.put_nowait((name, context))

        return told

    async def until(self, wanted):
        """The next event of this name; others before it are dropped."""
        while True:
            name, context = await asyncio.wait_for(self.told.get(), PATIENCE_S)
            if name == wanted:
                return context


def events_of(handler, heard, *names):
    for name in names:
        setattr(handler, f"on_{name}", heard.put(name))
    return handler


class Session:
    """A client of the SDK on a line of its own."""

    def __init__(self, line, is_protobuf, **options):
        self.line, self.is_protobuf, self.heard = line, is_protobuf, Heard()
        events = events_of(ClientEventHandler(), self.heard, "connecting", "connected", "disconnected")
        delays = {"min_reconnect_delay": 0.02, "max_reconnect_delay": 0.2, "timeout": PATIENCE_S, "proxy": None}
        self.client = Client(line.url, events=events, use_protobuf=is_protobuf, **delays, **options)

    def encode(self, value):
        return json.dumps(value).encode() if self.is_protobuf else value

    def decode(self, data):
        return json.loads(data) if self.is_protobuf else data

    async def publish(self, room, value):
        await self.client.publish(room, self.encode(value))

    async def subscribe(self, room, **options):
        """A subscription, and what it was told when it began."""
        heard = Heard()
        names = ["subscribing", "subscribed", "unsubscribed", "publication", "join", "leave"]
        events = events_of(SubscriptionEventHandler(), heard, *names)
        subscription = self.client.new_subscription(room, events=events, **options)
        await subscription.subscribe()
        began = await heard.until("subscribed")
        return subscription, heard, began

    async def values(self, heard, count):
        """The values of the next messages."""
        return [self.decode((await heard.until("publication")).pub.data) for _ in range(count)]


class Sessions:
    """The clients of one test."""

    def __init__(self, port, is_protobuf):
        self.port, self.is_protobuf, self.all = port, is_protobuf, []

    async def create(self, user=None, **options):
        line = await Line(self.port).open()
        if user is not None:
            options["token"] = sign(sub=user, exp=int(time.time()) + 3600)
        session = Session(line, self.is_protobuf, **options)
        self.all.append(session)
        return session

    async def connect(self, user, **options):
        session = await self.create(user, **options)
        await session.client.connect()
        await session.heard.until("connected")
        return session

    async def close(self):
        for session in self.all:
            await session.client.disconnect()
            session.line.cut()
            session.line.listener.close()
