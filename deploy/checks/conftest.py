"""Fixtures that all checks share: the repository, its documents, the tools, the server."""

import contextlib
import os
import random
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
sys.path.insert(0, str(Path(__file__).resolve().parent))


def free_port():
    """A port on which nothing listens. It is below those that the kernel gives to clients, of which one
    could have it before its server has started."""
    while True:
        port = random.randrange(10_000, 32_768)
        with socket.socket() as free, contextlib.suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port


def run(*command, input=""):
    """Runs a command; if it does not succeed, fails with its output."""
    done = subprocess.run(
        [str(part) for part in command], input=input, capture_output=True, text=True
    )
    line = " ".join(str(part) for part in command)
    assert done.returncode == 0, f"`{line}` ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def server():
    """The built server, as `cargo xtask test` names it."""
    named = os.environ.get("SERVER_BIN")
    path = Path(named) if named else ROOT / "target/release/hubbub"
    assert path.exists(), f"{path} is missing: cargo build --release --package server"
    return path


@pytest.fixture(scope="session")
def operations():
    return (ROOT / "docs/operations.md").read_text()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """The files of a self-signed certificate and of its key."""
    home = tmp_path_factory.mktemp("tls")
    chain, key = home / "chain.pem", home / "key.pem"
    run(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", chain,
    )
    return chain, key
