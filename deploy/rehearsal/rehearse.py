#!/usr/bin/env python3
"""Restarts two servers one after the other under clients that reconnect, and judges what they saw.

    cargo build --release --package server
    python3 deploy/rehearsal/rehearse.py

HAProxy stands in front and chooses the server by the room's path. The rehearsal checks that every close
has the code 1001, that a client fails at most once while it reconnects, that no two seconds have more
than 1.2 times their share of the closes, and that in the end every client is connected and receives the
messages of its room's members on the same server.
"""

import argparse
import asyncio
import contextlib
import random
import resource
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

from clients import TEXT, Client, Record
from processes import Proxy, Server, free_ports

ROOT = Path(__file__).resolve().parents[2]
# The most closes that one window of a drain may have, as a multiple of its even share.
PEAK = 1.2
# Short enough to show a wave, long enough to hide a hiccup of this program itself.
WINDOW_SECONDS = 2.0
# A share is meaningful only with this many closes: small rehearsals get a longer window.
CLOSES_IN_WINDOW = 200


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--server", type=Path, default=ROOT / "target/release/hubbub")
    parser.add_argument("--clients", type=int, default=5000)
    parser.add_argument("--rooms", type=int, default=200)
    parser.add_argument("--drain-delay", type=float, default=2, metavar="SECONDS")
    parser.add_argument("--drain-timeout", type=float, default=30, metavar="SECONDS")
    parser.add_argument("--transcript", type=Path, help="also write what is printed to this file")
    return parser.parse_args()


class Rehearsal:
    def __init__(self, options, directory):
        self.options = options
        self.directory = directory
        self.record = Record()
        self.faults = []
        self.lines = []

    def say(self, text):
        line = f"{self.record.now():7.2f}  {text}"
        self.lines.append(line)
        print(line, flush=True)

    def demand(self, holds, text):
        self.say(f"{'ok    ' if holds else 'FAILED'}  {text}")
        if not holds:
            self.faults.append(text)

    async def run(self):
        options = self.options
        proxy_port, *ports = free_ports(5)
        settings = ["--cores=1", f"--drain-timeout={int(options.drain_timeout * 1000)}ms"]
        if options.drain_delay:
            settings.append(f"--drain-delay={int(options.drain_delay * 1000)}ms")
        with contextlib.ExitStack() as stack:
            def log(name):
                return stack.enter_context(open(self.directory / f"{name}.log", "ab"))

            servers = [
                Server(name, options.server, ports[2 * at], ports[2 * at + 1], settings, log(name))
                for at, name in enumerate("ab")
            ]
            for server in servers:
                stack.callback(server.kill)
                await server.start()
            proxy = Proxy(proxy_port, servers, options.clients, log("haproxy"))
            stack.callback(proxy.kill)
            await proxy.wait_until_open()
            # The proxy does its first checks in this time.
            await asyncio.sleep(1)
            await self._story(servers, proxy_port)

    async def _story(self, servers, port):
        options = self.options
        self.say(
            f"two servers, {options.clients} clients in {options.rooms} rooms, drain_delay "
            f"{options.drain_delay:g} s, drain_timeout {options.drain_timeout:g} s"
        )
        clients = [Client(f"room-{n % options.rooms}", port, self.record) for n in range(options.clients)]
        tasks = []
        for client in clients:
            tasks.append(asyncio.create_task(client.run()))
            # Clients connect at a thousand a second.
            await asyncio.sleep(0.001)
        try:
            await self._until_all_are_connected(clients)
            self.say(f"all are connected: {self._whereabouts(clients)}")
            self.demand(not self.record.closes and not self.record.returns, "nobody was closed or failed so far")
            for server in servers:
                await self._restart(server, clients)
            await self._judge_rooms(clients)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _restart(self, server, clients):
        options, record = self.options, self.record
        closes, returns, moves = len(record.closes), len(record.returns), len(record.whereabouts)
        there = sum(client.server == server.name for client in clients)
        members = defaultdict(Counter)
        for client in clients:
            members[client.room][client.server] += 1
        self.say(f"SIGTERM to server {server.name}, which has {there} clients")
        begun = record.now()
        server.terminate()
        code = await server.wait(options.drain_delay + options.drain_timeout + 15)
        self.say(f"server {server.name} has ended with code {code}")
        await server.start()
        # The proxy does two checks in this time.
        await asyncio.sleep(1.5)
        await self._until_all_are_connected(clients)
        self.say(f"server {server.name} is back, all are connected: {self._whereabouts(clients)}")
        self.demand(code == 0, f"server {server.name} ended by itself")
        self._judge_closes(record.closes[closes:], there, begun)
        self._judge_returns(record.returns[returns:], there)
        self._tell_halves(members, record.whereabouts[moves:])

    def _judge_closes(self, closes, there, begun):
        codes = Counter(code for _, _, code in closes)
        self.demand(codes == {1001: there}, f"closes by code: {dict(codes)}")
        times = sorted(when - begun for when, _, _ in closes)
        if not times:
            return
        timeout = self.options.drain_timeout
        window = max(WINDOW_SECONDS, CLOSES_IN_WINDOW * timeout / there)
        share = there * window / timeout
        peak = busiest(times, window)
        self._draw(times)
        self.say(f"first close after {times[0]:.2f} s, last after {times[-1]:.2f} s")
        self.demand(
            peak <= PEAK * share,
            f"most closes within {window:.1f} s: {peak}, {peak / share:.2f} of an even share of {share:.0f}",
        )

    def _draw(self, times):
        counts = Counter(int(when) for when in times)
        most = max(counts.values())
        for second in range(int(times[-1]) + 1):
            bar = "#" * round(40 * counts[second] / most)
            self.say(f"    second {second:3}: {counts[second]:5} closes {bar}".rstrip())

    def _judge_returns(self, returns, there):
        failures = Counter(failed for _, _, failed in returns)
        waits = sorted(waited for _, waited, _ in returns)
        if waits:
            middle, last = waits[len(waits) // 2], waits[-1]
            self.say(f"back after {middle:.2f} s (median), {last:.2f} s (longest)")
        times = sorted(when for when, _, _ in returns)
        if times:
            self.say(f"most returns within 1 s: {busiest(times, 1.0)}")
        self.demand(len(returns) == there, f"{len(returns)} of {there} came back")
        self.demand(
            all(failed < 2 for failed in failures),
            f"failed attempts on the way back: {dict(sorted(failures.items()))} (attempts: clients)",
        )

    def _tell_halves(self, members, moves):
        """For how long rooms had members on both servers, which did not receive each other's messages."""
        since, lengths = {}, {}
        for when, room, server, before in moves:
            members[room][before] -= 1
            members[room][server] += 1
            held = sum(members[room][name] > 0 for name in "ab")
            if held > 1:
                since.setdefault(room, when)
            elif room in since:
                lengths[room] = max(lengths.get(room, 0), when - since.pop(room))
        for room, when in since.items():
            lengths[room] = max(lengths.get(room, 0), self.record.now() - when)
        longest = max(lengths.values(), default=0)
        self.say(f"{len(lengths)} rooms had members on both servers for a while, the longest for {longest:.1f} s")

    async def _judge_rooms(self, clients):
        """On each server one member of each room publishes; all members there must receive it."""
        speakers = {(client.room, client.server): client for client in clients}
        heard_before = {client: client.link.texts for client in clients}
        for speaker in speakers.values():
            speaker.link.send(TEXT, b"is everyone here?")
        deaf = clients
        for _ in range(100):
            deaf = [c for c in clients if c.link is None or c.link.texts <= heard_before[c]]
            if not deaf:
                break
            await asyncio.sleep(0.1)
        heard = len(clients) - len(deaf)
        self.demand(not deaf, f"{heard} of {len(clients)} hear their room on their server")
        # A client that came back after the restarted server was up reached the server that its room's
        # path selects, while the other members are still on the server that they moved to.
        rooms = {room for room, _ in speakers}
        self.say(f"{len(speakers) - len(rooms)} of {len(rooms)} rooms are still held by both servers")

    async def _until_all_are_connected(self, clients):
        for _ in range(600):
            missing = sum(client.link is None for client in clients)
            if not missing:
                return
            await asyncio.sleep(0.1)
        raise RuntimeError(f"{missing} clients are not connected after a minute")

    def _whereabouts(self, clients):
        counts = Counter(client.server for client in clients)
        return ", ".join(f"{counts[name]} on {name}" for name in "ab")


def busiest(times, window):
    """The most of these ascending times that lie within one window."""
    most = start = 0
    for end, when in enumerate(times):
        while when - times[start] >= window:
            start += 1
        most = max(most, end - start + 1)
    return most


def allow_descriptors(wanted):
    """Raises the limit for all processes, which inherit it. The proxy takes two for each client."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise RuntimeError(f"needs {wanted} descriptors, {hard} are allowed: ulimit -n, or fewer --clients")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def main():
    options = arguments()
    random.seed(1)
    if not options.server.exists():
        sys.exit(f"{options.server} is missing: cargo build --release --package server")
    allow_descriptors(2 * options.clients + 2000)
    directory = Path(tempfile.mkdtemp(prefix="hubbub-rehearsal-"))
    rehearsal = Rehearsal(options, directory)
    try:
        asyncio.run(rehearsal.run())
    except RuntimeError as error:
        rehearsal.demand(False, str(error))
    if rehearsal.faults:
        print(f"logs are in {directory}")
    passed = sum(" ok      " in line for line in rehearsal.lines)
    rehearsal.say(f"{passed} checks hold, {len(rehearsal.faults)} do not")
    if options.transcript:
        options.transcript.write_text("\n".join(rehearsal.lines) + "\n")
    sys.exit(1 if rehearsal.faults else 0)


if __name__ == "__main__":
    main()
