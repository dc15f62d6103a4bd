"""The rehearsal of a rolling restart, at a size for every day."""

import sys

from conftest import DEPLOY, run


def test_rolling_restart_of_two_servers_nobody_fails_twice(server):
    # So few that their pace is not judged; the whole of it is docs/operations.md's.
    size = ["--clients=300", "--rooms=30", "--drain-delay=1", "--drain-timeout=3"]
    run(sys.executable, "-B", DEPLOY / "rehearsal/rehearse.py", f"--server={server}", *size)
