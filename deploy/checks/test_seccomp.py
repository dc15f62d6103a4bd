"""The seccomp profiles: three calls apart, and the server under each of them."""

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import DEPLOY

HOME = DEPLOY / "kubernetes/components/io-uring"
BASE, OURS = HOME / "runtime-default.json", HOME / "hubbub-io-uring.json"
IO_URING = {"io_uring_setup", "io_uring_enter", "io_uring_register"}
UNDER = Path(__file__).with_name("under_seccomp.py")


def allowed(file):
    rules = json.loads(file.read_text())["syscalls"]
    return [name for rule in rules if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]]


def test_profiles_differ_by_the_three_calls_alone():
    base, ours = json.loads(BASE.read_text()), json.loads(OURS.read_text())
    *shared, last = ours.pop("syscalls")
    assert shared == base.pop("syscalls")
    assert base == ours
    assert (set(last["names"]), last["action"], "args" in last) == (IO_URING, "SCMP_ACT_ALLOW", False)
    assert not IO_URING & set(allowed(BASE))


def test_profiles_are_the_default_of_a_pod_without_capabilities():
    for file in (BASE, OURS):
        profile = json.loads(file.read_text())
        assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
        # What containerd does not know it ignores: a condition would hold for everybody.
        for rule in profile["syscalls"]:
            assert rule.keys() <= {"names", "action", "args", "errnoRet"}
        privileged = {"mount", "umount2", "bpf", "ptrace", "reboot", "init_module", "setns", "unshare", "kexec_load", "open_by_handle_at"}
        assert not privileged - {"ptrace"} & set(allowed(file))


@pytest.mark.parametrize(
    ("profile", "driver"),
    [(BASE, "epoll"), (OURS, "io_uring")],
    ids=["denied_epoll_serves", "allowed_io_uring_serves"],
)
def test_server_under_profile_serves(server, profile, driver):
    command = [sys.executable, UNDER, profile, server, "--listen=127.0.0.1:0", "--internal-listen=127.0.0.1:0", "--cores=2", "--driver=auto"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            assert f"driver: {driver}" in line, line
            assert echoes(int(re.search(r":(\d+) \(", line)[1]))
            process.terminate()
            assert process.wait(20) == 0
        finally:
            process.kill()


def echoes(port):
    """Opens a WebSocket at /echo and sends one message."""
    with socket.create_connection(("127.0.0.1", port), 10) as stream:
        stream.settimeout(10)
        stream.sendall(
            b"GET /echo HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += stream.recv(1)
        # "hello", masked with zeros.
        stream.sendall(b"\x81\x85\0\0\0\0hello")
        frame = b""
        while len(frame) < 7:
            frame += stream.recv(7)
    return b" 101 " in head and frame == b"\x81\x05hello"
