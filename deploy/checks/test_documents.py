"""The operator's document: its links, paths and headings exist."""

import re

from conftest import DEPLOY, ROOT


def test_links_of_the_document_lead_somewhere(operations):
    headings = {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in re.findall(r"^#+ (.*)$", operations, re.MULTILINE)}
    for target in re.findall(r"\]\(([^)]+)\)", operations):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        if path:
            assert (ROOT / "docs" / path).exists(), target
        else:
            assert anchor in headings, target


def test_paths_that_the_document_names_exist(operations):
    for path in set(re.findall(r"deploy/[\w./-]+\w", operations)):
        assert (ROOT / path).exists(), path


def test_headings_that_files_point_at_exist(operations):
    for path in DEPLOY.rglob("*"):
        if path.is_file() and path.suffix in {".yaml", ".toml", ".cfg", ".md", ".py"}:
            for heading in re.findall(r'docs/operations\.md, "([^"]+)"', path.read_text()):
                assert re.search(rf"^#+ {re.escape(heading)}$", operations, re.MULTILINE), f"{path}: {heading}"
