"""The dashboard: its queries parse, and they name all series of the server and no others."""

import json
import re

import catalogue
import pytest
import yaml
from conftest import DEPLOY

HOME = DEPLOY / "grafana"
DASHBOARD = json.loads((HOME / "hubbub.json").read_text())
ROWS = ["Overview", "Closes by reason", "Latency", "Slow subscribers", "Balance of the cores", "The process", "Rooms that remember", "One-shot rooms", "Events to the back end", "Moderation and state", "Hooks", "The API"]


def plain(query):
    """The query with Grafana's variables replaced by possible values."""
    query = query.replace("$__rate_interval", "1m").replace("$job", "hubbub").replace("$instance", ".*")
    assert "$" not in query, query
    return query


def queries():
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield pytest.param(plain(target["expr"]), id=f"{panel['title']}/{target['refId']}")
    for annotation in DASHBOARD["annotations"]["list"]:
        yield pytest.param(plain(annotation["expr"]), id=f"annotation/{annotation['name']}")


@pytest.mark.parametrize("query", queries())
def test_query_names_known_series_alone(query):
    catalogue.check(query, catalogue.series())


def test_dashboard_shows_every_series():
    shown = {name for query in queries() for name, _ in catalogue.selectors(query.values[0])}
    shown = {re.sub(r"_bucket$", "", name) for name in shown}
    served = {re.sub(r"_(bucket|sum|count)$", "", name) for name in catalogue.series()}
    assert served - shown == set()


def test_dashboard_has_its_rows_and_each_panel_its_place():
    panels = DASHBOARD["panels"]
    titles = [panel["title"].split(":")[0] for panel in panels if panel["type"] == "row"]
    assert titles == ROWS
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, f"{panel['title']} lies on another panel"
        assert max(x for x, _ in cells) < 24, f"{panel['title']} leaves the page"
        taken |= cells


def test_variables_ask_for_known_series():
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            name, labels = re.fullmatch(r"label_values\((\w+)(?:\{.*\})?, (\w+)\)", variable["definition"]).groups()
            assert name in catalogue.series()
            assert labels in catalogue.OF_SCRAPES


def test_provisioning_and_compose_agree():
    source = yaml.safe_load((HOME / "provisioning/datasources/prometheus.yaml").read_text())
    dashboards = yaml.safe_load((HOME / "provisioning/dashboards/hubbub.yaml").read_text())
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert source["datasources"][0]["url"] == "http://prometheus:9090"
    assert "prometheus" in compose["services"]
    shown = dashboards["providers"][0]["options"]["path"]
    assert f"./grafana/hubbub.json:{shown}/hubbub.json:ro" in compose["services"]["grafana"]["volumes"]
