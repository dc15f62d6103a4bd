"""The manifests: they render with kubectl, fit Kubernetes' schemas, and do what their comments say."""

import re

import kubernetes_validate
import pytest
import render
import yaml
from conftest import DEPLOY, run

# These kinds are the Prometheus Operator's; Kubernetes has no schemas for them.
CUSTOM = {"ServiceMonitor", "PrometheusRule"}
# The oldest and the newest Kubernetes that the manifests support.
VERSIONS = ["1.31", "1.36"]

everywhere = pytest.mark.parametrize("name", render.ALL)


@everywhere
@pytest.mark.parametrize("version", VERSIONS)
def test_objects_are_valid(name, version):
    objects = render.render(name)
    assert objects
    for found in objects:
        if found["kind"] not in CUSTOM:
            kubernetes_validate.validate(found, version, strict=True)


@everywhere
def test_objects_lie_in_one_namespace(name):
    (namespace,) = render.of_kind(name, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for found in render.render(name):
        if found["kind"] != "Namespace":
            assert found["metadata"]["namespace"] == namespace["metadata"]["name"]


@pytest.mark.parametrize("component", render.COMPONENTS)
def test_component_is_rendered_somewhere(component):
    files = render.HOME.glob("*/*/kustomization.yaml")
    used = [path for path in files if f"../../components/{component}" in (yaml.safe_load(path.read_text()).get("components") or [])]
    assert used, "no overlay or example includes it, so nothing checks it"


@everywhere
def test_settings_are_accepted(name, server, tmp_path):
    file, key = tmp_path / "hubbub.toml", tmp_path / "key"
    key.write_text("a key that is made elsewhere".replace(" ", "-"))
    text = re.sub(r'(key_file = )"/etc/hubbub-api/[\w-]+"', rf'\1"{key}"', render.settings_text(name))
    file.write_text(text)
    environment = {entry["name"]: entry["value"] for entry in render.container(name).get("env", [])}
    api = environment.get("HUBBUB_API_LISTEN")
    if api:
        # At the top, where settings of the whole server stand.
        file.write_text(f'api_listen = "{api}"\n{text}')
    run(server, "config", "check", file)


@everywhere
def test_grace_covers_the_drain(name):
    settings = render.settings(name)
    drain = render.seconds(settings["drain_delay"]) + render.seconds(settings["drain_timeout"])
    assert render.pod(name)["terminationGracePeriodSeconds"] >= drain + 10


@everywhere
def test_drain_delay_outlasts_the_readiness_probe(name):
    probe = render.container(name)["readinessProbe"]
    if name != "overlays/dev":
        noticed = probe["periodSeconds"] * probe["failureThreshold"]
        assert render.seconds(render.settings(name)["drain_delay"]) >= 2 * noticed


@everywhere
def test_probes_wait_longer_than_the_server_takes(name):
    # docs/limits.md says how long /healthz waits for a core; /readyz waits for nothing.
    (patience,) = re.findall(r"a core has (\d+) s to answer", (DEPLOY.parent / "docs/limits.md").read_text())
    container = render.container(name)
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["timeoutSeconds"] >= 2 * int(patience)
        # A machine may stand still for a moment.
        assert container[probe]["failureThreshold"] >= 2


@everywhere
def test_pod_is_restricted(name):
    pod, container = render.pod(name), render.container(name)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] >= 1000
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@everywhere
def test_driver_and_seccomp_profile_agree(name):
    profile = render.pod(name)["securityContext"]["seccompProfile"]
    environment = {entry["name"]: entry["value"] for entry in render.container(name).get("env", [])}
    driver = environment.get("HUBBUB_DRIVER", render.settings(name)["driver"])
    if driver == "io_uring":
        assert profile == {"type": "Localhost", "localhostProfile": "profiles/hubbub-io-uring.json"}
    else:
        assert (driver, profile) == ("epoll", {"type": "RuntimeDefault"})


def has_state(name):
    return "HUBBUB_STATE_DIR" in {entry["name"] for entry in render.container(name).get("env", [])}


@everywhere
def test_state_lies_on_a_volume_of_one_pod(name):
    claims = {volume["name"]: volume["persistentVolumeClaim"]["claimName"] for volume in render.pod(name)["volumes"] if "persistentVolumeClaim" in volume}
    if not has_state(name):
        assert not claims
        return
    (directory,) = [entry["value"] for entry in render.container(name)["env"] if entry["name"] == "HUBBUB_STATE_DIR"]
    (mount,) = [mount for mount in render.container(name)["volumeMounts"] if mount["mountPath"] == directory]
    claim = render.one(name, "PersistentVolumeClaim", claims[mount["name"]])
    assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]
    assert render.pod(name)["securityContext"]["fsGroup"] == render.pod(name)["securityContext"]["runAsGroup"]
    settings = render.settings(name)
    drain = render.seconds(settings["drain_delay"]) + render.seconds(settings["drain_timeout"])
    assert render.pod(name)["terminationGracePeriodSeconds"] >= drain + 10 + 5, "state_timeout comes behind the drain"


@everywhere
def test_rollout_leaves_none_unavailable(name):
    spec = render.one(name, "Deployment")["spec"]
    if has_state(name):
        assert (spec["strategy"], spec["replicas"]) == ({"type": "Recreate"}, 1), "two pods would want one directory"
        return
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    container = render.container(name)
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] == "internal"
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


@everywhere
def test_cores_are_those_of_the_limit(name):
    assert int(render.container(name)["resources"]["limits"]["cpu"]) == render.settings(name)["cores"]


@everywhere
def test_memory_holds_the_connections(name):
    """The limit follows the sum in docs/operations.md, "Memory"; the bounds of the queues grow with it."""
    connections = render.settings(name)["max_connections"]
    kib = 5 * 1024 + connections * (0.6 + 4) + 256 * 1024 * min(1, connections / 10000)
    limit = render.container(name)["resources"]["limits"]["memory"]
    assert kib * 1024 <= size(limit), f"{kib / 1024:.0f} MiB are needed, {limit} is the limit"


def size(text):
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", text).groups()
    return int(number) * {"Mi": 1 << 20, "Gi": 1 << 30}[unit]


@everywhere
def test_services_find_the_pod_and_keep_the_ports_apart(name):
    labels = render.one(name, "Deployment")["spec"]["template"]["metadata"]["labels"]
    ports = {port["name"]: port["containerPort"] for port in render.container(name)["ports"]}
    listens = render.settings(name)
    assert listens["listen"] == [f"0.0.0.0:{ports['public']}"]
    assert listens["internal_listen"] == f"0.0.0.0:{ports['internal']}"
    public, internal = render.one(name, "Service"), render.one(name, "Service", "hubbub-internal")
    for service in (public, internal):
        assert service["spec"]["selector"].items() <= labels.items()
    assert [port["targetPort"] for port in public["spec"]["ports"]] == ["public"]
    assert [port["targetPort"] for port in internal["spec"]["ports"]] == ["internal"]
    for ingress in render.of_kind(name, "Ingress"):
        assert "hubbub-internal" not in str(ingress)


@everywhere
def test_api_has_a_port_a_service_and_a_policy_of_its_own(name):
    services = [service["metadata"]["name"] for service in render.of_kind(name, "Service")]
    ports = {port["name"]: port["containerPort"] for port in render.container(name)["ports"]}
    if "components/api" not in str((render.HOME / name / "kustomization.yaml").read_text()):
        assert "hubbub-api" not in services and "api" not in ports
        return
    environment = {entry["name"]: entry["value"] for entry in render.container(name)["env"]}
    assert environment["HUBBUB_API_LISTEN"] == f"0.0.0.0:{ports['api']}"
    assert ports["api"] not in (ports["public"], ports["internal"])
    service = render.one(name, "Service", "hubbub-api")["spec"]
    assert [port["targetPort"] for port in service["ports"]] == ["api"] and service["type"] == "ClusterIP"
    policy = render.one(name, "NetworkPolicy", "hubbub-api")["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= service["selector"].items()
    for rule in policy["ingress"]:
        assert [port["port"] for port in rule["ports"]] == ["api"]
        assert rule["from"] and all(one["podSelector"]["matchLabels"] for one in rule["from"])
    others = render.one(name, "NetworkPolicy")["spec"]["ingress"]
    assert "api" not in [port["port"] for rule in others for port in rule["ports"]]
    for ingress in render.of_kind(name, "Ingress"):
        assert "hubbub-api" not in str(ingress)


def test_api_key_is_mounted_where_the_settings_look_for_it():
    name = "examples/api"
    assert render.settings_text(name).startswith(render.settings_text("overlays/production"))
    (mount,) = [mount for mount in render.container(name)["volumeMounts"] if mount["name"] == "api-keys"]
    assert mount["readOnly"] is True
    (volume,) = [volume for volume in render.pod(name)["volumes"] if volume["name"] == "api-keys"]
    assert volume["secret"]["secretName"] == "hubbub-api-keys"
    for key in render.settings(name)["api_keys"].values():
        assert key["key_file"].startswith(mount["mountPath"] + "/")


def test_production_is_one_pod_that_may_not_be_evicted():
    name = "overlays/production"
    assert render.one(name, "Deployment")["spec"]["replicas"] == 1
    assert render.one(name, "PodDisruptionBudget")["spec"]["minAvailable"] == 1
    assert not render.of_kind(name, "HorizontalPodAutoscaler")
    for kind in ("NetworkPolicy", "ServiceMonitor", "PrometheusRule", "Ingress"):
        assert render.one(name, kind)
    requests = render.container(name)["resources"]
    assert requests["requests"] == requests["limits"], "not of the Guaranteed class"


def test_network_policy_fences_the_internal_port_in():
    policy = render.one("overlays/production", "NetworkPolicy")["spec"]
    assert policy["egress"] == []
    for rule in policy["ingress"]:
        ports = [port["port"] for port in rule["ports"]]
        assert ports == ["public"] or (ports == ["internal"] and rule["from"])


def test_autoscaled_pods_stand_behind_a_router_by_path():
    name = "examples/by-room-path"
    assert "replicas" not in render.one(name, "Deployment")["spec"], "two would set it"
    scaler = render.one(name, "HorizontalPodAutoscaler")["spec"]
    assert scaler["behavior"]["scaleDown"]["stabilizationWindowSeconds"] >= 1800
    target = scaler["metrics"][0]["pods"]["target"]["averageValue"]
    assert int(target) <= 0.67 * render.settings(name)["max_connections"]
    ingress = render.one(name, "Ingress")["spec"]
    (path,) = ingress["rules"][0]["http"]["paths"]
    assert path["backend"]["service"]["name"] == "hubbub-router"
    (map_,) = [found for found in render.of_kind(name, "ConfigMap") if "haproxy.cfg" in found["data"]]
    namespace = map_["metadata"]["namespace"]
    assert f"hubbub-pods.{namespace}.svc.cluster.local:8000" in map_["data"]["haproxy.cfg"]


def test_router_settings_are_valid(tmp_path):
    text = (render.HOME / "examples/by-room-path/haproxy.cfg").read_text()
    version = run("haproxy", "-v").split("version ")[1]
    if tuple(int(part) for part in version.split(".")[:2]) < (3, 0):
        # The image has a newer HAProxy than this machine; the rest is the same.
        assert " hash-key addr " in text
        text = text.replace(" hash-key addr ", " ")
    file = tmp_path / "haproxy.cfg"
    file.write_text(text)
    run("haproxy", "-c", "-f", file)


def test_operator_has_the_rules_of_the_files():
    rule = yaml.safe_load((render.HOME / "components/monitoring/prometheus-rule.yaml").read_text())
    groups = []
    for file in ("recording.yaml", "alerts.yaml"):
        groups += yaml.safe_load((DEPLOY / "prometheus" / file).read_text())["groups"]
    assert rule["spec"]["groups"] == groups, "run deploy/kubernetes/components/monitoring/update"


@everywhere
def test_monitor_and_rules_carry_the_label_that_selects_them(name, operations):
    for kind in ("ServiceMonitor", "PrometheusRule"):
        for found in render.of_kind(name, kind):
            assert found["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    assert "`release: kube-prometheus-stack`" in operations


@everywhere
def test_proxies_are_trusted_only_behind_an_ingress(name):
    trusted = render.settings(name)["trusted_proxies"]
    assert bool(trusted) == bool(render.of_kind(name, "Ingress"))
    assert not [network for network in trusted if network.endswith("/0")]


@everywhere
def test_monitor_finds_the_internal_service_alone(name):
    for monitor in render.of_kind(name, "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        services = render.of_kind(name, "Service")
        found = [one["metadata"]["name"] for one in services if wanted <= one["metadata"]["labels"].items()]
        assert found == ["hubbub-internal"]
        (endpoint,) = monitor["spec"]["endpoints"]
        assert endpoint["port"] == render.one(name, "Service", "hubbub-internal")["spec"]["ports"][0]["name"]
        label = monitor["spec"]["jobLabel"]
        assert render.one(name, "Service", "hubbub-internal")["metadata"]["labels"][label] == "hubbub"
