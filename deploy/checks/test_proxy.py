"""A server behind HAProxy, with the settings in the operator's document: which address it sees."""

import json
import re
import socket
import ssl
import time
import urllib.request

import pytest
from conftest import free_port, run
from test_scrape import started

CLIENT = "127.0.0.5"
PATIENCE_SECONDS = 20


@pytest.fixture(params=["x-forwarded-for", "proxy-v2"])
def pair(request, operations):
    """Adjacent settings of the server and of its proxy in the document."""
    pairs = re.findall(r"```toml\n([^`]*)```\n\n```haproxy\n([^`]*)```", operations)
    (found,) = [pair for pair in pairs if f'proxy_header = "{request.param}"' in pair[0]]
    return found


def test_settings_of_the_document_are_valid(pair, tmp_path):
    file = tmp_path / "haproxy.cfg"
    file.write_text(pair[1])
    run("haproxy", "-c", "-f", file)


def test_server_behind_the_proxy_takes_the_clients_address(server, certificate, pair, tmp_path):
    proxy, public, internal = free_port(), free_port(), free_port()
    settings, rules = (text.replace("10.0.0.7", "127.0.0.1") for text in pair)
    chain, key = certificate
    settings = settings.replace("/etc/hubbub/tls/chain.pem", str(chain)).replace("/etc/hubbub/tls/key.pem", str(key))
    rules = rules.replace("10.0.0.8:8000", f"127.0.0.1:{public}").replace("port 9000", f"port {internal}")
    rules = rules.replace("bind :443", f"bind 127.0.0.1:{proxy}")
    (tmp_path / "hubbub.toml").write_text(settings)
    (tmp_path / "haproxy.cfg").write_text(rules)
    hubbub = [server, f"--config={tmp_path}/hubbub.toml", f"--listen=127.0.0.1:{public}", f"--internal-listen=127.0.0.1:{internal}"]
    with (
        started(*hubbub) as serving,
        started("haproxy", "-db", "-f", tmp_path / "haproxy.cfg") as proxying,
    ):
        try:
            with upgraded(proxy, chain if "tls_cert" in settings else None):
                assert [peer.split(":")[0] for peer in peers(internal)] == [CLIENT]
        finally:
            for process in (serving, proxying):
                process.kill()


def upgraded(port, authority):
    """A WebSocket at /echo through the proxy, as soon as one can be opened."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            stream = socket.create_connection(("127.0.0.1", port), 5, source_address=(CLIENT, 0))
            if authority:
                stream = ssl.create_default_context(cafile=authority).wrap_socket(stream, server_hostname="localhost")
            stream.sendall(
                b"GET /echo HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            )
            answer = stream.recv(4096)
            if answer.startswith(b"HTTP/1.1 101"):
                return stream
        except OSError as error:
            answer = error
        assert time.monotonic() < deadline, answer
        time.sleep(0.1)


def peers(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/debug/connections", timeout=5) as answer:
        return [found["peer"] for found in json.load(answer)["oldest"] if found["protocol"] == "echo"]
