"""Compares rules and dashboard with the series of a server that has just started."""

import re
import subprocess
import time
import urllib.error
import urllib.request

import catalogue
import pytest
import test_grafana
import test_prometheus
from conftest import free_port, run

START_SECONDS = 15
RULES = test_prometheus.rules("recording.yaml") + test_prometheus.rules("alerts.yaml")
RECORDED = {rule["record"] for rule in RULES if "record" in rule}


@pytest.fixture(scope="module")
def exposition(server):
    port = free_port()
    command = [server, "--listen=127.0.0.1:0", f"--internal-listen=127.0.0.1:{port}", "--cores=2"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            get(f"http://127.0.0.1:{port}/readyz")
            yield get(f"http://127.0.0.1:{port}/metrics")
        finally:
            process.kill()


def get(url):
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.read().decode()
        except (urllib.error.URLError, ConnectionError):
            assert time.monotonic() < deadline, f"{url} does not answer"
            time.sleep(0.05)


@pytest.fixture(scope="module")
def served(exposition):
    """Name → the label sets of its series."""
    found = {}
    for line in exposition.splitlines():
        if line and not line.startswith("#"):
            name, labels = re.fullmatch(r"(\w+)(?:\{(.*)\})? \S+", line).groups()
            found.setdefault(name, []).append(dict(re.findall(r'(\w+)="([^"]*)"', labels or "")))
    return found


def test_series_are_those_of_the_catalogue(served):
    documented = catalogue.series()
    assert served.keys() == documented.keys()
    for name, series in served.items():
        assert {label for labels in series for label in labels} == documented[name], name


def test_series_please_promtool(exposition):
    run("promtool", "check", "metrics", input=exposition)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_rule_finds_series_from_the_start(rule, served):
    finds(rule["expr"], served)


@pytest.mark.parametrize("query", test_grafana.queries())
def test_panel_finds_series_from_the_start(query, served):
    finds(query, served)


def finds(expression, served):
    for name, matchers in catalogue.selectors(expression):
        if name not in RECORDED | catalogue.OF_PROMETHEUS.keys():
            found = [labels for labels in served.get(name, []) if catalogue.matches(matchers, labels)]
            conditions = ", ".join(f"{m.name} {m.op} {m.value}" for m in matchers)
            assert found, f"no series {name} with {conditions}: {expression}"
