"""The image and the compose file: pinned, without root, without a shell."""

import json
import re

import yaml
from conftest import DEPLOY, ROOT, run

CONTAINERFILE = (DEPLOY / "Containerfile").read_text()
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
PINNED = re.compile(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}")


def test_containerfile_follows_hadolint():
    run("hadolint", DEPLOY / "Containerfile")


def test_bases_are_pinned():
    bases = re.findall(r"^ARG \w+_BASE=(\S+)$", CONTAINERFILE, re.MULTILINE)
    assert len(bases) == 2
    assert all(PINNED.fullmatch(base) for base in bases)
    assert re.findall(r"^FROM (\S+)", CONTAINERFILE, re.MULTILINE) == ["${BUILD_BASE}", "${FINAL_BASE}"]


def test_final_stage_has_neither_root_nor_shell():
    final = CONTAINERFILE.split("\nFROM ${FINAL_BASE}\n")[1]
    assert "gcr.io/distroless/" in CONTAINERFILE and "debug" not in CONTAINERFILE
    assert re.search(r"^USER \d{4,}:\d{4,}$", final, re.MULTILINE)
    assert "RUN " not in final
    for line in re.findall(r"^(?:ENTRYPOINT|CMD) (.*)$", final, re.MULTILINE):
        assert line.startswith("["), "a shell would have to run it"


def test_build_is_locked_and_has_all_that_cargo_reads():
    assert re.search(r"cargo build .*--locked", CONTAINERFILE)
    members = re.search(r"^members = \[(.*)\]$", (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]
    for member in re.findall(r'"([^"]+)"', members):
        directory = member.split("/")[0]
        assert f"COPY {directory} {directory}\n" in CONTAINERFILE


def test_compose_is_valid():
    files = [DEPLOY / "compose.yaml", DEPLOY / "compose.api.yaml"]
    run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", *files)


def test_compose_is_pinned_and_for_this_machine_alone():
    for name, service in COMPOSE["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert "build" in service or PINNED.fullmatch(service["image"]), name
        for port in service["ports"]:
            assert port.startswith("127.0.0.1:"), name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            known = (DEPLOY / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]
            assert known, volume


def test_compose_waits_for_the_drain():
    server = COMPOSE["services"]["hubbub"]
    (drain,) = [flag.split("=")[1] for flag in server["command"] if flag.startswith("--drain-timeout=")]
    assert int(server["stop_grace_period"].strip("s")) >= int(drain.strip("s")) + 10
    assert "--internal-listen=0.0.0.0:9000" in server["command"]
    assert not any("9000" in port for port in server["ports"])


def test_health_is_asked_by_the_server_itself():
    (check,) = re.findall(r"^HEALTHCHECK .* CMD (\[.*\])$", CONTAINERFILE, re.MULTILINE)
    assert json.loads(check) == ["/hubbub", "health", "--live"]
    assert COMPOSE["services"]["hubbub"]["healthcheck"]["test"] == ["CMD", "/hubbub", "health"]


def test_compose_with_the_api_adds_to_the_rest():
    more = yaml.safe_load((DEPLOY / "compose.api.yaml").read_text())
    (name, server), = more["services"].items()
    before = COMPOSE["services"][name]["command"]
    assert server["command"][: len(before)] == before, "it replaces the command, and has to repeat it"
    assert "--api-listen=0.0.0.0:8001" in server["command"]
    assert server["ports"] == ["127.0.0.1:8001:8001"]
    (secret,) = server["secrets"]
    assert f"/run/secrets/{secret}" in more["configs"][server["configs"][0]["source"]]["content"]
    assert more["secrets"][secret] == {"environment": "HUBBUB_API_KEY"}


def test_compose_with_the_api_has_settings_that_are_accepted(server, tmp_path):
    more = yaml.safe_load((DEPLOY / "compose.api.yaml").read_text())
    key, file = tmp_path / "key", tmp_path / "hubbub.toml"
    key.write_text("a-key-that-is-made-elsewhere\n")
    content = more["configs"]["api"]["content"].replace("/run/secrets/api-key", str(key))
    file.write_text('api_listen = "0.0.0.0:8001"\n' + content)
    run(server, "config", "check", file)
