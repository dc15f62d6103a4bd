"""A server for development behind nginx: which of its proxies give themselves away, and which cannot be seen."""

import base64
import http.client
import os
import time

import pytest
from conftest import free_port
from proxied import AROUND
from test_scrape import started

PATIENCE_SECONDS = 20
HOST = "hubbub.example.com"
FOREIGN = {"Origin": "https://elsewhere.example"}

RULES = """
server {{
    listen 127.0.0.1:{proxy};
    location / {{
        proxy_pass http://127.0.0.1:{public};
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection upgrade;
        {more}
    }}
}}
"""


@pytest.fixture(scope="module", params=["io_uring", "epoll"])
def public(request, server):
    """The port of a server with `--dev`."""
    port = free_port()
    flags = ["--dev", f"--driver={request.param}", f"--listen=127.0.0.1:{port}", "--internal-listen=off"]
    serving = started(server, *flags)
    yield port
    serving.kill()


def status(public, home, more, fields):
    """How a request for a session is answered through nginx with these rules."""
    proxy = free_port()
    rules = RULES.format(proxy=proxy, public=public, more=more)
    (home / "nginx.conf").write_text(AROUND.format(home=home, rules=rules))
    proxying = started("nginx", "-p", home, "-c", home / "nginx.conf", "-e", home / "error.log")
    try:
        return asked(proxy, fields)
    finally:
        proxying.terminate()
        proxying.wait()


def asked(port, fields):
    key = base64.b64encode(os.urandom(16)).decode()
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key}
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/connection/websocket", headers={"Host": HOST, **upgrade, **fields})
            answer = connection.getresponse().status
            # nginx answers 502 for as long as the server does not listen.
            if answer != 502:
                return answer
        except OSError as error:
            answer = error
        finally:
            connection.close()
        assert time.monotonic() < deadline, answer
        time.sleep(0.1)


@pytest.mark.parametrize("more", ["proxy_set_header Host $host;", "proxy_set_header X-Forwarded-For $remote_addr;"])
def test_proxy_that_names_its_client_or_its_own_name_is_refused(public, tmp_path, more):
    assert status(public, tmp_path, more, {}) == 403


def test_page_of_another_site_is_refused_although_the_proxy_hides_itself(public, tmp_path):
    assert status(public, tmp_path, "", FOREIGN) == 403


def test_program_behind_a_proxy_that_hides_itself_is_let_in_because_nothing_shows_the_proxy(public, tmp_path):
    assert status(public, tmp_path, "", {}) == 101
