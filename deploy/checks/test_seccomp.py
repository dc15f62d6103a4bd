"""The seccomp profiles differ by three calls, and the server runs under each of them."""

import json
import re
import socket
import ssl
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from conftest import DEPLOY

HOME = DEPLOY / "kubernetes/components/io-uring"
BASE, OURS = HOME / "runtime-default.json", HOME / "hubbub-io-uring.json"
IO_URING = {"io_uring_setup", "io_uring_enter", "io_uring_register"}
# The bytes that permessage-deflate removes from the end of a message (RFC 7692, 7.2.1).
TAIL = b"\0\0\xff\xff"
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
        # containerd ignores fields that it does not know, so a rule with a condition would always apply.
        for rule in profile["syscalls"]:
            assert rule.keys() <= {"names", "action", "args", "errnoRet"}
        privileged = {"mount", "umount2", "bpf", "ptrace", "reboot", "init_module", "setns", "unshare", "kexec_load", "open_by_handle_at"}
        assert not privileged - {"ptrace"} & set(allowed(file))


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls_and_compression"])
@pytest.mark.parametrize(
    ("profile", "driver"),
    [(BASE, "epoll"), (OURS, "io_uring")],
    ids=["denied_epoll_serves", "allowed_io_uring_serves"],
)
def test_server_under_profile_serves(server, certificate, profile, driver, secure):
    command = [sys.executable, UNDER, profile, server, "--listen=127.0.0.1:0", "--internal-listen=127.0.0.1:0", "--cores=2", "--driver=auto"]
    chain, key = certificate
    if secure:
        command += [f"--tls-cert={chain}", f"--tls-key={key}", "--compression=on"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            assert f"driver: {driver}" in line, line
            port = int(re.search(r":(\d+) \(", line)[1])
            with socket.create_connection(("127.0.0.1", port), 10) as stream:
                if secure:
                    context = ssl.create_default_context(cafile=chain)
                    stream = context.wrap_socket(stream, server_hostname="localhost")
                echo = echo_compressed if secure else echo_plain
                echo(stream)
            process.terminate()
            assert process.wait(20) == 0
        finally:
            process.kill()


def echo_plain(stream):
    """Opens a WebSocket at /echo; one message comes back."""
    head = upgrade(stream)
    assert b"Sec-WebSocket-Extensions" not in head, head
    # "hello", masked with zeros.
    stream.sendall(b"\x81\x85\0\0\0\0hello")
    assert receive(stream, 7) == b"\x81\x05hello"


def echo_compressed(stream):
    """The same with permessage-deflate; the message comes back as short as it was sent."""
    offer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    head = upgrade(stream, f"Sec-WebSocket-Extensions: {offer}\r\n")
    assert b"permessage-deflate" in head, head
    text = b"hello, hello " * 40
    deflater = zlib.compressobj(wbits=-15)
    payload = (deflater.compress(text) + deflater.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)
    # Final, compressed (RSV1), text.
    stream.sendall(struct.pack("!BB", 0xC1, 0x80 | len(payload)) + bytes(4) + payload)
    first, length = receive(stream, 2)
    assert first == 0xC1 and length < len(text) // 4
    assert zlib.decompressobj(wbits=-15).decompress(receive(stream, length) + TAIL) == text


def upgrade(stream, fields=""):
    """The head of the answer at /echo, which must be 101."""
    stream.settimeout(10)
    stream.sendall(
        b"GET /echo HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n" + fields.encode() + b"\r\n"
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += receive(stream, 1)
    assert b" 101 " in head, head
    return head


def receive(stream, count):
    received = b""
    while len(received) < count:
        some = stream.recv(count - len(received))
        assert some, f"the connection ended after {received}"
        received += some
    return received
