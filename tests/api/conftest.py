"""A server with an API for each test, and clients of it."""

import json
import os
import re
import signal
import subprocess
import threading
import urllib.request

import pytest

KEY = "a-key-of-the-api-tests"

CONFIG = f"""
listen = ["127.0.0.1:0"]
internal_listen = "off"
api_listen = "127.0.0.1:0"
anonymous = "on"
moderation = "memory"

[namespaces.chat]
subscribe = ["client", "anonymous"]
presence = true
history_size = 10
recovery = "forced"

[namespaces.table]
kind = "latest_per_key"

[api_keys.all]
key = "{KEY}"
"""


class Server:
    """A running server."""

    def __init__(self, directory):
        path = directory / "hubbub.toml"
        path.write_text(CONFIG)
        command = [os.environ["SERVER_BIN"], "--config", str(path), "--log-level", "info"]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HUBBUB_")}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        self.log = []
        threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True).start()
        found = {}
        while len(found) < 2:
            line = self.process.stdout.readline()
            assert line, "".join(self.log)
            if match := re.match(r"(Hubbub|The API).* on (http://\S+)", line):
                found[match[1]] = match[2]
        self.public, self.api = found["Hubbub"], found["The API"]
        self.key = KEY

    def call(self, method, **request):
        """Calls a method without any client's help."""
        body = json.dumps(request).encode()
        call = urllib.request.Request(f"{self.api}/api/{method}", data=body, headers={"X-API-Key": KEY})
        with urllib.request.urlopen(call, timeout=30) as answer:
            return json.load(answer)["result"]

    def end(self):
        """Ends it, and checks that it has gone well."""
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(timeout=30)
        log = "".join(self.log)
        assert code == 0, log
        assert "panicked" not in log, log
        assert KEY not in log, log


@pytest.fixture
def server(tmp_path):
    running = Server(tmp_path)
    yield running
    running.end()
