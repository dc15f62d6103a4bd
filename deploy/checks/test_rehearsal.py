"""The rehearsal of a rolling restart, small enough for every test run."""

import sys

from conftest import DEPLOY, run


def test_rolling_restart_of_two_servers_nobody_fails_twice(server):
    # With this few clients the pace is not checked; docs/operations.md has the full rehearsal.
    size = ["--clients=300", "--rooms=30", "--drain-delay=1", "--drain-timeout=3"]
    run(sys.executable, "-B", DEPLOY / "rehearsal/rehearse.py", f"--server={server}", *size)
