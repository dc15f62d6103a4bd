"""The series of docs/metrics.md, and the series that a query names."""

import re

import promql_parser
from conftest import ROOT

# Prometheus creates these itself.
OF_PROMETHEUS = {"up": set(), "ALERTS": {"alertname", "alertstate"}}
# A scrape adds these to every series.
OF_SCRAPES = {"job", "instance", "namespace", "pod"}


def series():
    """Name → labels of all series that /metrics serves; a histogram counts as its three series."""
    text = (ROOT / "docs/metrics.md").read_text()
    found = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and re.fullmatch(r"`\w+`", cells[0]):
            name, labels = cells[0].strip("`"), set(re.findall(r"`(\w+)`", cells[2]))
            if cells[1] == "histogram":
                found |= {f"{name}_sum": labels, f"{name}_count": labels}
                found[f"{name}_bucket"] = labels | {"le"}
            else:
                found[name] = labels
    found |= {name: set() for name in re.findall(r"`(process_\w+)`", text)}
    assert len(found) > 40, "docs/metrics.md is not read right"
    return found


def selectors(expression):
    """Name and matchers of every selector in a query; an error if it does not parse."""

    def walk(node):
        if isinstance(node, promql_parser.VectorSelector):
            yield node.name, node.matchers.matchers
        elif isinstance(node, promql_parser.MatrixSelector):
            yield from walk(node.vector_selector)
        else:
            inner = [getattr(node, part, None) for part in ("expr", "lhs", "rhs", "param")]
            for one in [*inner, *(getattr(node, "args", None) or [])]:
                if one is not None:
                    yield from walk(one)

    return list(walk(promql_parser.parse(expression)))


def check(expression, known):
    """Fails when a query names a series or a label that is not known."""
    for name, matchers in selectors(expression):
        assert name in known, f"{name} is not in docs/metrics.md: {expression}"
        unknown = {matcher.name for matcher in matchers} - known[name] - OF_SCRAPES
        assert not unknown, f"{name} has no label {unknown}: {expression}"


def matches(matchers, labels):
    """Whether a series with these labels is selected; the labels of scrapes are ignored."""
    judge = {
        "MatchOp.Equal": lambda have, want: have == want,
        "MatchOp.NotEqual": lambda have, want: have != want,
        "MatchOp.Re": lambda have, want: re.fullmatch(want, have) is not None,
        "MatchOp.NotRe": lambda have, want: re.fullmatch(want, have) is None,
    }
    relevant = [matcher for matcher in matchers if matcher.name not in OF_SCRAPES]
    return all(judge[str(matcher.op)](labels.get(matcher.name, ""), matcher.value) for matcher in relevant)
