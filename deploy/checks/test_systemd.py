"""The unit: valid, hardened, and with enough time for the drain."""

import configparser
import shutil
import tomllib

import pytest
import render
from conftest import DEPLOY, run

HOME = DEPLOY / "systemd"
# The score of `systemd-analyze security`: 0 is fully confined, 10 is a process with all rights.
EXPOSURE_MAX = 20

needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd here")


def settings():
    return tomllib.loads((HOME / "hubbub.toml").read_text())


def service():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(HOME / "hubbub.service")
    return unit["Service"]


@needs_systemd
def test_unit_is_valid(server, tmp_path):
    # The unit is valid only if the installed binary that it names exists.
    unit = tmp_path / "hubbub.service"
    unit.write_text((HOME / "hubbub.service").read_text().replace("/usr/local/bin/hubbub", str(server)))
    # A misspelt key is only a warning on standard error.
    said = run("sh", "-c", 'systemd-analyze verify --man=no "$1" 2>&1', "sh", unit)
    assert unit.name not in said, said


@needs_systemd
def test_unit_is_hardened():
    run("systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE_MAX}", HOME / "hubbub.service")


def test_stop_covers_the_drain():
    drain = render.seconds(settings()["drain_delay"]) + render.seconds(settings()["drain_timeout"])
    assert render.seconds(service()["TimeoutStopSec"]) >= drain + 10 + 5, "state_timeout comes behind the drain"


def test_state_directory_is_the_documents_and_the_servers_alone(operations):
    unit = service()
    assert (unit["StateDirectory"], unit["StateDirectoryMode"]) == ("hubbub", "0700")
    assert unit["Environment"] == f"HUBBUB_STATE_DIR=%S/{unit['StateDirectory']}"
    assert f'state_dir = "/var/lib/{unit["StateDirectory"]}"' in operations


def test_api_of_the_settings_is_accepted_without_the_hashes(server, tmp_path):
    text = (HOME / "hubbub.toml").read_text()
    key, file = tmp_path / "key", tmp_path / "hubbub.toml"
    key.write_text("a-key-that-is-made-elsewhere\n")
    meant = [line for line in text.splitlines() if line.startswith(("# api_listen", "# [api_keys", "# key_file"))]
    assert len(meant) == 3
    for line in meant:
        text = text.replace(line, line.removeprefix("# "))
    credential = "/run/credentials/hubbub.service/api-key"
    assert credential in text and "LoadCredential=api-key:" in text
    file.write_text(text.replace(credential, str(key)))
    run(server, "config", "check", file)


def test_unit_does_what_the_documents_say():
    unit = service()
    assert unit["Type"] == "notify"
    assert "ExecStartPre" not in unit, "it would check the file when the old process is gone already"
    assert unit["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert int(unit["LimitNOFILE"]) > settings()["max_connections"]


def test_restart_that_the_document_advises_checks_first(operations):
    assert "hubbub config check /etc/hubbub/hubbub.toml && systemctl restart hubbub" in operations


def test_unit_may_tell_the_manager():
    """The socket of NOTIFY_SOCKET has this address family."""
    assert "AF_UNIX" in service()["RestrictAddressFamilies"].split()


def test_settings_are_accepted(server):
    run(server, "config", "check", HOME / "hubbub.toml")
