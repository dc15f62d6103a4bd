"""The examples of docs/api.md run as they stand there."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).parents[2] / "docs/api.md"

RUN = {
    "sh": (["bash", "-eu"], "example.sh"),
    "python": (["python3"], "example.py"),
    "js": (["node"], "example.mjs"),
    "go": (["go", "run"], "example.go"),
}


def examples():
    text = DOCUMENT.read_text().split("## Examples")[1]
    return dict(re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL))


@pytest.mark.parametrize("language", RUN)
def test_example_publishes(server, tmp_path, language):
    program, name = RUN[language]
    if language == "go" and not shutil.which("go"):
        pytest.skip("Go is not installed")
    path = tmp_path / name
    path.write_text(examples()[language])
    environment = os.environ | {"HUBBUB_API_URL": server.api, "HUBBUB_API_KEY": server.key}
    ended = subprocess.run([*program, path], capture_output=True, text=True, timeout=120, env=environment)
    assert ended.returncode == 0, ended.stderr
    assert "1" in ended.stdout
    kept = server.call("history", channel="chat:index", limit=-1)
    assert [publication["data"] for publication in kept["publications"]] == [{"text": "hello"}]
    assert kept["offset"] == 1
