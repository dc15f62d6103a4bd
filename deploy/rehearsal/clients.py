"""The clients of the rehearsal: each holds one WebSocket to its room and comes back when closed."""

import asyncio
import base64
import os
import random
import time

CONNECT_SECONDS = 10
# docs/close-codes.md asks clients to wait for a short random time after 1001.
WAIT_SECONDS_MAX = 1.0
# After a failed attempt they wait longer.
BACKOFF_SECONDS = (0.5, 2.0)

PING, PONG, CLOSE, TEXT = 0x9, 0xA, 0x8, 0x1


class Record:
    """The events of all clients, on one clock."""

    def __init__(self):
        self.begun = time.monotonic()
        self.closes = []  # (when, server, code)
        self.returns = []  # (when, seconds since the close, failed attempts on the way)
        self.whereabouts = []  # (when, room, server or None, server it was on before or None)

    def now(self):
        return time.monotonic() - self.begun


class Link(asyncio.Protocol):
    """One connection: handshake, pongs, close codes. Frames from a server are not masked."""

    def __init__(self, path):
        self._path = path
        self._bytes = bytearray()
        self._is_open = False
        self._transport = None
        self.opened = asyncio.get_running_loop().create_future()
        self.ended = asyncio.get_running_loop().create_future()
        self.close_code = None
        self.texts = 0

    def connection_made(self, transport):
        self._transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET {self._path} HTTP/1.1\r\nHost: rehearsal\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\n\r\n".encode()
        )

    def data_received(self, data):
        self._bytes += data
        if not self._is_open and not self._read_head():
            return
        while self._read_frame():
            pass

    def _read_head(self):
        end = self._bytes.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = self._bytes[:end].decode("latin-1")
        del self._bytes[: end + 4]
        status, *fields = head.split("\r\n")
        if " 101 " not in status:
            self._fail(ConnectionError(status))
            return False
        named = dict(field.lower().split(": ", 1) for field in fields)
        self._is_open = True
        self.opened.set_result(named.get("x-server", "?"))
        return True

    def _read_frame(self):
        if len(self._bytes) < 2:
            return False
        opcode, length, start = self._bytes[0] & 0x0F, self._bytes[1] & 0x7F, 2
        if length >= 126:
            start = 4 if length == 126 else 10
            if len(self._bytes) < start:
                return False
            length = int.from_bytes(self._bytes[2:start], "big")
        if len(self._bytes) < start + length:
            return False
        payload = bytes(self._bytes[start : start + length])
        del self._bytes[: start + length]
        if opcode == PING:
            self.send(PONG, payload)
        elif opcode == CLOSE:
            self.close_code = int.from_bytes(payload[:2], "big")
            self.send(CLOSE, payload[:2])
        elif opcode == TEXT:
            self.texts += 1
        return True

    def send(self, opcode, payload):
        """One whole frame of at most 125 bytes, masked as a client must."""
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
        self._transport.write(bytes([0x80 | opcode, 0x80 | len(payload)]) + mask + masked)

    def connection_lost(self, error):
        self._fail(ConnectionError(f"lost before it was open: {error}"))
        if not self.ended.done():
            self.ended.set_result(None)

    def _fail(self, error):
        if not self.opened.done():
            self.opened.set_exception(error)
        self._transport.close()

    def close(self):
        self._transport.abort()


class Client:
    """A client that stays in a room, whatever the servers do."""

    def __init__(self, room, port, record):
        self.room = room
        self._port = port
        self._record = record
        self.link = None
        self.server = None

    async def run(self):
        closed_at, failures = None, 0
        while True:
            try:
                link, server = await self._open()
            except (OSError, asyncio.TimeoutError):
                failures += 1
                await asyncio.sleep(random.uniform(*BACKOFF_SECONDS))
                continue
            now = self._record.now()
            if closed_at is not None or failures:
                self._record.returns.append((now, now - (closed_at or now), failures))
            self._move(server)
            self.link = link
            await link.ended
            closed_at, failures = self._record.now(), 0
            self._record.closes.append((closed_at, server, link.close_code))
            self.link = None
            self._move(None)
            await asyncio.sleep(random.uniform(0, WAIT_SECONDS_MAX))

    async def _open(self):
        loop = asyncio.get_running_loop()
        _, link = await asyncio.wait_for(
            loop.create_connection(lambda: Link(f"/rooms/{self.room}"), "127.0.0.1", self._port),
            CONNECT_SECONDS,
        )
        try:
            return link, await asyncio.wait_for(link.opened, CONNECT_SECONDS)
        except BaseException:
            link.close()
            raise

    def _move(self, server):
        before, self.server = self.server, server
        self._record.whereabouts.append((self._record.now(), self.room, server, before))
