"""The processes of the rehearsal: two servers and the proxy, started, watched and stopped."""

import asyncio
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
START_SECONDS = 15


def free_ports(count):
    """Different ports on which nothing listens, below those that the kernel gives to clients."""
    ports = set()
    while len(ports) < count:
        port = random.randrange(10_000, 32_768)
        with socket.socket() as free, contextlib.suppress(OSError):
            free.bind(("127.0.0.1", port))
            ports.add(port)
    return list(ports)


class Server:
    """One Hubbub, whose ports stay the same over restarts."""

    def __init__(self, name, binary, port, internal_port, settings, log):
        self.name = name
        self.port = port
        self.internal_port = internal_port
        self._command = [
            str(binary),
            f"--listen=127.0.0.1:{port}",
            f"--internal-listen=127.0.0.1:{internal_port}",
            *settings,
        ]
        self._log = log
        self._process = None

    async def start(self):
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log
        )
        for _ in range(START_SECONDS * 20):
            if self._process.poll() is not None:
                raise RuntimeError(f"server {self.name} ended at start, see its log")
            if await self._is_ready():
                return
            await asyncio.sleep(0.05)
        raise RuntimeError(f"server {self.name} was not ready within {START_SECONDS} s")

    async def _is_ready(self):
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.internal_port)
            writer.write(b"GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            status = await reader.readline()
            writer.close()
        except OSError:
            return False
        return b" 200 " in status

    def terminate(self):
        self._process.send_signal(signal.SIGTERM)

    async def wait(self, seconds):
        """The exit code, once it has ended."""
        for _ in range(int(seconds * 20)):
            if self._process.poll() is not None:
                return self._process.returncode
            await asyncio.sleep(0.05)
        raise RuntimeError(f"server {self.name} still runs {seconds} s after SIGTERM")

    def kill(self):
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


class Proxy:
    """HAProxy in front of both servers."""

    def __init__(self, port, servers, connections, log):
        program = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        if program is None:
            raise RuntimeError("HAProxy is missing: apt-get install haproxy")
        self.port = port
        self._process = subprocess.Popen(
            [program, "-db", "-f", str(HERE / "haproxy.cfg")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={
                **os.environ,
                "PROXY_PORT": str(port),
                "MAXCONN": str(connections + 500),
                "CHECK_PATH": "/readyz",
                **{f"{s.name.upper()}_PORT": str(s.port) for s in servers},
                **{f"{s.name.upper()}_CHECK_PORT": str(s.internal_port) for s in servers},
            },
        )

    async def wait_until_open(self):
        for _ in range(START_SECONDS * 20):
            if self._process.poll() is not None:
                raise RuntimeError("HAProxy ended at start, see its log")
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                return
            await asyncio.sleep(0.05)
        raise RuntimeError("HAProxy does not listen")

    def kill(self):
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
