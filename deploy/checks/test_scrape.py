"""Prometheus itself, with our rules, scrapes a server while clients send messages."""

import base64
import json
import os
import socket
import struct
import subprocess
import time
import urllib.parse
import urllib.request

import pytest
import test_grafana
import test_live
import yaml
from conftest import DEPLOY, free_port

MEMBERS = 20
MESSAGES = 300
PATIENCE_SECONDS = 60


def started(*command, cwd=None):
    return subprocess.Popen(
        [str(part) for part in command],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


class Member:
    """A client of a room that sends text and counts the bytes that come back."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET /rooms/scraped HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        head = b""
        while b"\r\n\r\n" not in head:
            head += self.socket.recv(4096)
        assert head.startswith(b"HTTP/1.1 101"), head

    def say(self, text):
        payload = text.encode()
        self.socket.sendall(struct.pack("!BB", 0x81, 0x80 | len(payload)) + bytes(4) + payload)

    def hear(self, count):
        while count > 0:
            count -= len(self.socket.recv(min(count, 65536)))


@pytest.fixture(scope="module", params=["io_uring", "epoll"])
def prometheus(request, server, tmp_path_factory):
    """The address of a Prometheus that has scraped the server after the last message."""
    public, internal, own = free_port(), free_port(), free_port()
    home = tmp_path_factory.mktemp("prometheus")
    settings = yaml.safe_load((DEPLOY / "prometheus/prometheus.yaml").read_text())
    settings["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    settings["rule_files"] = [str(DEPLOY / "prometheus" / file) for file in settings["rule_files"]]
    settings["scrape_configs"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{internal}"]
    (home / "prometheus.yaml").write_text(yaml.safe_dump(settings))
    with (
        started(
            server, f"--listen=127.0.0.1:{public}", f"--internal-listen=127.0.0.1:{internal}",
            "--cores=2", f"--driver={request.param}",
        ) as hubbub,
        started(
            "prometheus", f"--config.file={home}/prometheus.yaml", f"--storage.tsdb.path={home}/data",
            f"--web.listen-address=127.0.0.1:{own}", cwd=home,
        ) as scraper,
    ):
        try:
            test_live.get(f"http://127.0.0.1:{internal}/readyz")
            talk(public)
            address = f"http://127.0.0.1:{own}"
            scraped = lambda: value(address, "hubbub_messages_published_total") == MESSAGES
            eventually("the messages are scraped", scraped)
            yield address
        finally:
            for process in (scraper, hubbub):
                process.kill()


def talk(port):
    members = [Member(port) for _ in range(MEMBERS)]
    for number in range(MESSAGES):
        members[number % MEMBERS].say(f"message {number:04}")
    for member in members:
        member.hear(MESSAGES * (2 + len("message 0000")))


def eventually(what, is_so):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.2)


def ask(address, path, **parameters):
    url = f"{address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]
    except OSError:
        return None


def value(address, query):
    """The only sample of an instant query, or None."""
    data = ask(address, "query", query=query)
    samples = data["result"] if data else []
    return float(samples[0]["value"][1]) if len(samples) == 1 else None


def test_prometheus_has_what_was_said(prometheus):
    kinds = {
        "hubbub_messages_delivered_total": MESSAGES * MEMBERS,
        'hubbub_frames_received_total{kind="text"}': MESSAGES,
        'hubbub_frames_sent_total{kind="text"}': MESSAGES * MEMBERS,
        "hubbub_connections_opened_total": MEMBERS,
        "hubbub_message_bytes_sum": MESSAGES * len("message 0000"),
        "hubbub_publish_seconds_count": MESSAGES,
        "sum(hubbub_core_up)": 2,
        'up{job="hubbub"}': 1,
    }
    found = {query: value(prometheus, query) for query in kinds}
    assert found == kinds


def test_prometheus_is_content_with_the_target_and_the_rules(prometheus):
    targets = ask(prometheus, "targets")["activeTargets"]
    assert [(target["health"], target["lastError"]) for target in targets] == [("up", "")]
    evaluated = lambda: all(
        rule["health"] == "ok"
        for group in ask(prometheus, "rules")["groups"]
        for rule in group["rules"]
    )
    eventually("every rule was evaluated without an error", evaluated)


def test_nothing_fires_on_a_server_that_is_well(prometheus):
    alerts = ask(prometheus, "alerts")["alerts"]
    assert [alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"] == []


@pytest.mark.parametrize("query", test_grafana.queries())
def test_panel_is_answered(prometheus, query):
    assert ask(prometheus, "query", query=query) is not None
