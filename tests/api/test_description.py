"""Schemathesis tries the API by the description that it serves: whatever fits is taken, whatever does not is refused,
and every answer is as described."""

import re
import subprocess
import sys
from pathlib import Path

SECONDS = 30


def test_api_is_as_it_says(server, tmp_path, capsys):
    program = Path(sys.executable).parent / "schemathesis"
    command = [
        program,
        "run",
        f"{server.api}/openapi.json",
        f"--header=X-API-Key: {server.key}",
        f"--max-time={SECONDS}",
        "--continue-on-failure",
        "--no-color",
    ]
    # What it remembers of a run stays there.
    ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS + 90, cwd=tmp_path)
    counts = re.search(r"(\d+) generated.*", ended.stdout)
    operations = re.search(r"Tested: (\d+)", ended.stdout)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert counts and operations, ended.stdout
    with capsys.disabled():
        print(f"\nnote: schemathesis {operations[1]} operations, {counts[0]}")
    assert int(operations[1]) >= 20 and int(counts[1]) >= 500
