"""The unit under a real systemd: when it counts as started, and after which ends it starts again.

The manager is a user's, since there may be no system manager here. It cannot create the unit's
namespaces, so those lines are left out. The remaining lines behave the same under both managers.
"""

import os
import re
import shutil
import socket
import subprocess
import time
import urllib.request

import pytest
from conftest import DEPLOY, free_port

PATIENCE_SECONDS = 20
OF_THE_SYSTEM = re.compile(r"^(DynamicUser|Protect\w+|Private\w+|DevicePolicy|RemoveIPC|KeyringMode)=.*\n", re.MULTILINE)
SYSTEMD = "/lib/systemd/systemd"
# A user's manager checks that systemd runs the machine, and it has only its own units.
START = f"mount -t tmpfs none /run && mkdir -p /run/systemd/system && exec {SYSTEMD} --user --unit=basic.target"


class Manager:
    def __init__(self, home, server):
        self.home, self.units = home, home / "units"
        self.units.mkdir()
        self.settings = home / "hubbub.toml"
        text = OF_THE_SYSTEM.sub("", (DEPLOY / "systemd/hubbub.service").read_text())
        self.unit = text.replace("/usr/local/bin/hubbub", str(server)).replace("/etc/hubbub/hubbub.toml", str(self.settings))
        for target in ("basic", "shutdown"):
            (self.units / f"{target}.target").write_text("[Unit]\nDefaultDependencies=no\n")
        self.environment = dict(os.environ, XDG_RUNTIME_DIR=str(home), SYSTEMD_UNIT_PATH=str(self.units))
        self.environment.pop("DBUS_SESSION_BUS_ADDRESS", None)
        self.process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", START], env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def systemctl(self, *words):
        command = ["systemctl", "--user", "--no-pager", *words]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS)

    def install(self, settings, changes=()):
        self.systemctl("stop", "hubbub")
        self.settings.write_text(settings)
        text = self.unit
        for line, other in changes:
            assert line in text
            text = text.replace(line, other)
        (self.units / "hubbub.service").write_text(text)
        self.systemctl("daemon-reload")

    def state(self):
        shown = self.systemctl("show", "hubbub", "--property=ActiveState,NRestarts").stdout
        fields = dict(line.split("=", 1) for line in shown.split())
        return fields["ActiveState"], int(fields["NRestarts"])

    def await_state(self, holds):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not holds(*self.state()):
            assert time.monotonic() < deadline, self.systemctl("status", "hubbub").stdout
            time.sleep(0.05)


@pytest.fixture(scope="module")
def manager(server, tmp_path_factory):
    if os.geteuid() != 0 or not (shutil.which(SYSTEMD) and shutil.which("unshare")):
        pytest.skip("a manager needs systemd and root")
    manager = Manager(tmp_path_factory.mktemp("systemd"), server)
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while manager.systemctl("is-active", "basic.target").returncode != 0:
            if manager.process.poll() is not None or time.monotonic() > deadline:
                pytest.skip("no manager can be started here")
            time.sleep(0.05)
        yield manager
        manager.systemctl("stop", "hubbub")
    finally:
        manager.process.kill()
        manager.process.wait()


def settings(port):
    return f'listen = ["127.0.0.1:{port}"]\ninternal_listen = "off"\n'


def test_unit_is_started_when_it_answers(manager):
    port = free_port()
    manager.install(settings(port))
    done = manager.systemctl("start", "hubbub")
    assert done.returncode == 0, done.stderr
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
        assert answer.status == 200
    assert manager.state() == ("active", 0)


def test_reload_of_a_bad_file_fails_and_changes_nothing(manager):
    manager.install(settings(free_port()))
    manager.systemctl("start", "hubbub")
    manager.settings.write_text("rooms_max = 0\n")
    assert manager.systemctl("reload", "hubbub").returncode != 0
    assert manager.state() == ("active", 0)


def test_refused_setting_is_not_tried_again(manager):
    manager.install("rooms_max = 0\n")
    assert manager.systemctl("start", "hubbub").returncode != 0
    assert manager.state() == ("failed", 0)


def test_address_that_comes_late_is_waited_for(manager):
    with socket.create_server(("127.0.0.1", 0)) as other:
        manager.install(settings(other.getsockname()[1]), [("RestartSec=1s", "RestartSec=50ms")])
        manager.systemctl("start", "--no-block", "hubbub")
        # systemd's default limit is five starts within ten seconds.
        manager.await_state(lambda state, restarts: restarts > 5)
    manager.await_state(lambda state, restarts: state == "active")


def test_process_that_a_reload_ends_is_started_again(manager):
    """Ends like a server that gets SIGHUP before it has a handler; `exec` makes it count as started by then."""
    mortal = [("Type=notify", "Type=exec"), ("ExecStart=", 'ExecStart=/bin/sh -c "kill -HUP $$$$"\n# ')]
    manager.install("", [*mortal, ("RestartSec=1s", "RestartSec=50ms")])
    manager.systemctl("start", "hubbub")
    manager.await_state(lambda state, restarts: restarts > 0)
