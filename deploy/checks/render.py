"""Renders kustomizations with kubectl, and finds objects in the result."""

import functools
import tomllib

import yaml
from conftest import DEPLOY, run

HOME = DEPLOY / "kubernetes"
COMPONENTS = sorted(path.name for path in (HOME / "components").iterdir())
OVERLAYS = sorted(f"overlays/{path.name}" for path in (HOME / "overlays").iterdir())
EXAMPLES = sorted(f"examples/{path.name}" for path in (HOME / "examples").iterdir())
ALL = OVERLAYS + EXAMPLES


@functools.cache
def render(name):
    """The objects of a kustomization below deploy/kubernetes."""
    text = run("kubectl", "kustomize", HOME / name)
    return [document for document in yaml.safe_load_all(text) if document]


def of_kind(name, kind):
    return [one for one in render(name) if one["kind"] == kind]


def one(name, kind, called="hubbub"):
    found = [found for found in of_kind(name, kind) if found["metadata"]["name"] == called]
    assert len(found) == 1, f"{name} has {len(found)} of {kind} {called}"
    return found[0]


def pod(name):
    return one(name, "Deployment")["spec"]["template"]["spec"]


def container(name):
    (found,) = pod(name)["containers"]
    return found


def settings_text(name):
    """hubbub.toml as the pod of this kustomization reads it."""
    (volume,) = [volume for volume in pod(name)["volumes"] if volume["name"] == "settings"]
    return one(name, "ConfigMap", volume["configMap"]["name"])["data"]["hubbub.toml"]


def settings(name):
    return tomllib.loads(settings_text(name))


def seconds(text):
    """A duration of the settings: 500ms, 5s, 2m."""
    for unit, factor in (("ms", 0.001), ("s", 1), ("m", 60)):
        if text.endswith(unit) and text[: -len(unit)].isdigit():
            return int(text[: -len(unit)]) * factor
    raise ValueError(text)
