"""Checks rules, their tests, and Prometheus' own settings with promtool."""

import re

import catalogue
import pytest
import yaml
from conftest import DEPLOY, run

HOME = DEPLOY / "prometheus"


def rules(file):
    groups = yaml.safe_load((HOME / file).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules("alerts.yaml")}


def test_rules_are_valid():
    run("promtool", "check", "rules", HOME / "recording.yaml", HOME / "alerts.yaml")


def test_settings_are_valid():
    run("promtool", "check", "config", HOME / "prometheus.yaml")


def test_rules_do_what_their_tests_say():
    run("promtool", "test", "rules", HOME / "rules_test.yaml")


def known():
    recorded = {rule["record"]: set() for rule in rules("recording.yaml")}
    return catalogue.series() | catalogue.OF_PROMETHEUS | recorded


@pytest.mark.parametrize("rule", rules("recording.yaml") + rules("alerts.yaml"), ids=lambda r: r.get("alert") or r["record"])
def test_rule_names_known_series_alone(rule):
    catalogue.check(rule["expr"], known())


@pytest.mark.parametrize("name", ALERTS)
def test_alert_is_documented_and_tested(name, operations):
    rule = ALERTS[name]
    assert f"\n### {name}\n" in operations, f"docs/operations.md has no heading {name}"
    assert rule["annotations"]["runbook"] == f"docs/operations.md#{name.lower()}"
    assert rule["labels"]["severity"] in {"critical", "warning"}
    tested = (HOME / "rules_test.yaml").read_text()
    assert f'alertname="{name}", alertstate="firing"' in tested, "no test sees it fire"


def test_documents_name_no_other_alert(operations):
    assert set(re.findall(r"\n### (Hubbub\w+)\n", operations)) == set(ALERTS)
