"""The Helm chart, rendered for many values: valid for Kubernetes, and its times fit together.

`make test-deploy` builds Helm. There is no cluster: that pods start is not tested here.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
from itertools import product
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from bench.autoscaling.day import simulate, summary
from bench.autoscaling.rules import rules_of
from sse_node.config.reading import all_settings, read_settings, variable_of
from tests.deploy.chart_schema import FILE, OWN, settings_schema

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "sse-node"
HELM = ROOT / ".tools" / "bin" / "helm"
KUBERNETES = "1.33"
DOCUMENT = (ROOT / "docs" / "deploying.md").read_text("utf-8")
RECORDED = json.loads((ROOT / "tests" / "public_surface.json").read_text("utf-8"))
# Without schemas in kubernetes-validate: their API and the members that matter are checked below.
CUSTOM = {
    "ScaledObject": "keda.sh/v1alpha1",
    "ServiceMonitor": "monitoring.coreos.com/v1",
    "PrometheusRule": "monitoring.coreos.com/v1",
    "HTTPRoute": "gateway.networking.k8s.io/v1",
    "VirtualService": "networking.istio.io/v1",
    "DestinationRule": "networking.istio.io/v1",
}
REDIS = {
    "single": {"url": "redis://redis:6379"},
    "sentinel": {"existingSecret": "redis"},
    "cluster": {"url": "redis+cluster://a:6379,b:6379"},
}
AUTH: dict[str, dict[str, Any]] = {
    "none": {"mode": "none"},
    "jwt": {"mode": "jwt", "jwt": {"existingSecret": "t"}, "apiKeys": {"existingSecret": "k"}},
}
SCALING = ["none", "hpa", "keda"]


def helm(*words: str, values: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    assert HELM.exists(), "expected Helm: make test-deploy builds it"
    command, *rest = words
    return subprocess.run(
        [HELM, command, *rest, CHART, "--kube-version", KUBERNETES, "-f", "-"],
        input=json.dumps(values), capture_output=True, text=True, check=False,
    )  # fmt: skip


def render(**values: object) -> dict[str, dict[str, Any]]:
    """Return the manifests by kind; the pod of `helm test` is a Pod."""
    values = {"redis": REDIS["single"], "auth": AUTH["none"]} | values
    rendered = helm("template", "demo", values=values)
    assert rendered.returncode == 0, rendered.stderr
    manifests = [each for each in yaml.safe_load_all(rendered.stdout) if each]
    by_kind = {each["kind"]: each for each in manifests}
    assert len(by_kind) == len(manifests)
    return by_kind


def container_of(manifests: dict[str, dict[str, Any]]) -> dict[str, Any]:
    containers = manifests["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert len(containers) == 1
    return dict(containers[0])


def environment_of(manifests: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Return the variables of a pod's node; what comes from elsewhere has a made-up value."""
    from_elsewhere = {"SSE_NODE_SERVER_ID": "pod-1", "REDIS_URL": "redis://secret"}
    return {
        each["name"]: each.get("value") or from_elsewhere[each["name"]]
        for each in container_of(manifests)["env"]
    }


def check(manifest: dict[str, Any]) -> None:
    """Raise unless Kubernetes would accept a manifest, every member of it included."""
    if manifest["kind"] in CUSTOM:
        assert manifest["apiVersion"] == CUSTOM[manifest["kind"]]
    else:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


@pytest.mark.parametrize("values", sorted((CHART / "ci").glob("*.yaml")), ids=lambda p: p.stem)
def test_lint(values: Path) -> None:
    linted = helm("lint", "--strict", values=yaml.safe_load(values.read_text()))
    assert linted.returncode == 0, linted.stdout


@pytest.mark.parametrize(
    ("redis", "auth", "scaling", "istio"),
    [*product(REDIS, AUTH, SCALING, [False, True])],
)
def test_every_combination_is_valid(redis: str, auth: str, scaling: str, istio: bool) -> None:
    manifests = render(
        redis=REDIS[redis],
        auth=AUTH[auth],
        autoscaling={"kind": scaling},
        istio={"enabled": istio, "hosts": ["events.example"]},
        networkPolicy={"enabled": True},
        ingress={"enabled": True, "host": "events.example", "tlsSecret": "tls"},
        gateway={"enabled": True, "parentRefs": [{"name": "public"}]},
        metrics={
            "serviceMonitor": {"enabled": True, "keySecret": "key" if auth == "jwt" else ""},
            "prometheusRule": {"enabled": True},
        },
        podAnnotations={"a": "b"},
    )
    for manifest in manifests.values():
        check(manifest)
    expected = {"none": set(), "hpa": {"HorizontalPodAutoscaler"}, "keda": {"ScaledObject"}}
    scalers = {"HorizontalPodAutoscaler", "ScaledObject"} & manifests.keys()
    assert scalers == expected[scaling]
    assert ("replicas" in manifests["Deployment"]["spec"]) == (scaling == "none")
    assert ({"VirtualService", "DestinationRule"} <= manifests.keys()) == istio
    environment = environment_of(manifests)
    assert environment["REDIS_URL"] == REDIS[redis].get("url", "redis://secret")
    settings = read_settings({}, environment | {"REDIS_URL": "redis://redis"})
    assert settings.access.auth == auth


def test_a_wrong_member_would_be_found() -> None:
    deployment = render()["Deployment"]
    deployment["spec"]["template"]["spec"]["enableServiceLink"] = False
    with pytest.raises(kubernetes_validate.ValidationError, match="enableServiceLink"):
        check(deployment)


# Times


@pytest.mark.parametrize(
    ("max_streams", "delay", "rate"),
    [(10_000, 15, 500), (1, 0, 1), (100_000, 30, 1000), (9_999, 1, 100), (1_000_000, 300, 400)],
)
def test_a_full_pod_drains_within_its_grace_period(max_streams: int, delay: int, rate: int) -> None:
    manifests = render(
        maxStreams=max_streams,
        drain={"delaySeconds": delay, "rate": rate},
        istio={"enabled": True, "hosts": ["a"]},
    )
    pod = manifests["Deployment"]["spec"]["template"]
    settings = read_settings({}, environment_of(manifests) | {"SSE_NODE_MAX_STREAMS": "1"})
    node, grace_s = settings.node, pod["spec"]["terminationGracePeriodSeconds"]
    assert environment_of(manifests)["SSE_NODE_MAX_STREAMS"] == str(max_streams)
    # The node keeps 2 s of its time for the last bytes (server.py), and ends before it is killed.
    drain_s = node.drain_delay + math.ceil(max_streams / node.drain_rate)
    assert (node.drain_delay, node.drain_rate) == (delay, rate)
    assert drain_s + 2 < node.timeout_graceful_shutdown < grace_s
    annotation = yaml.safe_load(pod["metadata"]["annotations"]["proxy.istio.io/config"])
    assert annotation["terminationDrainDuration"] == f"{grace_s}s"


def test_probes_fit_the_drain_and_the_watch_over_workers() -> None:
    manifests = render()
    container, settings = container_of(manifests), read_settings({}, environment_of(manifests))
    ready, live = container["readinessProbe"], container["livenessProbe"]
    assert ready["httpGet"]["path"] == "/health/ready"
    assert live["httpGet"]["path"] == container["startupProbe"]["httpGet"]["path"] == "/health/live"
    # Balancers that look at readiness see it before the listener closes.
    assert ready["periodSeconds"] * ready["failureThreshold"] <= settings.node.drain_delay
    # A worker that hangs is restarted by its supervisor before the pod is.
    restarted_s = live["periodSeconds"] * live["failureThreshold"]
    assert settings.node.timeout_worker_healthcheck < restarted_s


@pytest.mark.parametrize("scaling", SCALING)
def test_a_roll_out_and_an_eviction_take_one_pod_at_a_time(scaling: str) -> None:
    manifests = render(autoscaling={"kind": scaling})
    deployment = manifests["Deployment"]["spec"]
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    budget = manifests["PodDisruptionBudget"]["spec"]
    least = {
        "none": lambda: deployment["replicas"],
        "hpa": lambda: manifests["HorizontalPodAutoscaler"]["spec"]["minReplicas"],
        "keda": lambda: manifests["ScaledObject"]["spec"]["minReplicaCount"],
    }[scaling]()
    assert least > budget["maxUnavailable"] == 1
    assert budget["selector"] == deployment["selector"]
    assert deployment["selector"]["matchLabels"] == manifests["Service"]["spec"]["selector"]
    assert "app.kubernetes.io/instance" in budget["selector"]["matchLabels"]
    assert manifests["Pod"]["metadata"]["labels"]["app.kubernetes.io/instance"] != "demo"


@pytest.mark.parametrize("scaling", ["hpa", "keda"])
def test_scaling_in_is_slower_than_a_drain(scaling: str) -> None:
    manifests = render(autoscaling={"kind": scaling})
    if scaling == "hpa":
        spec = manifests["HorizontalPodAutoscaler"]["spec"]
        behavior, target = spec["behavior"], spec["metrics"][0]["pods"]["target"]["averageValue"]
    else:
        spec = manifests["ScaledObject"]["spec"]
        behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        target = spec["triggers"][0]["metadata"]["threshold"]
    deployment = manifests["Deployment"]["spec"]
    grace_s = deployment["template"]["spec"]["terminationGracePeriodSeconds"]
    (policy,) = behavior["scaleDown"]["policies"]
    assert policy["value"] == 1
    assert policy["periodSeconds"] >= grace_s + deployment["minReadySeconds"]
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] >= 600
    assert behavior["scaleUp"]["stabilizationWindowSeconds"] <= 30
    # What a lost pod had fits into the others, from three pods on.
    limit = int(environment_of(manifests)["SSE_NODE_MAX_STREAMS"])
    assert int(target) == 0.65 * limit
    assert int(target) * 3 / 2 <= limit


@pytest.mark.parametrize("scaling", ["hpa", "keda"])
def test_a_simulated_day_goes_well(scaling: str) -> None:
    """No pod is over its limit, nobody is refused, and the number follows the two peaks only."""
    rules = rules_of(render(autoscaling={"kind": scaling}).values())
    day = simulate(rules)
    figures = summary(day, rules)
    assert figures["streams of the fullest pod"] < rules.max_streams
    assert figures["streams told to come later"] == 0
    assert figures["turns between more and fewer"] <= 3
    assert figures["seconds until 99 % are back after the storm"] < 10
    for what, value in figures.items():
        assert f"| {what} | {value:,} |" in DOCUMENT, f"{what}: {value:,}"


# Security, networks


def test_a_pod_may_do_little() -> None:
    for pod in (render()["Deployment"]["spec"]["template"]["spec"], render()["Pod"]["spec"]):
        assert pod["enableServiceLinks"] is False
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}


def test_secrets_are_referred_to() -> None:
    manifests = render(redis=REDIS["sentinel"], auth=AUTH["jwt"])
    pod = manifests["Deployment"]["spec"]["template"]["spec"]
    secrets = {each["secret"]["secretName"] for each in pod["volumes"] if "secret" in each}
    assert secrets == {"t", "k"}
    (redis,) = (each for each in container_of(manifests)["env"] if each["name"] == "REDIS_URL")
    assert redis["valueFrom"]["secretKeyRef"] == {"name": "redis", "key": "url"}
    mounts = {each["name"]: each["mountPath"] for each in container_of(manifests)["volumeMounts"]}
    environment = environment_of(manifests)
    assert environment["SSE_NODE_JWT_KEY"] == f"{mounts['jwt']}/jwt-key"
    assert environment["SSE_NODE_API_KEYS"] == f"{mounts['keys']}/api-keys"


def test_no_proxy_ends_a_stream_or_sends_a_post_twice() -> None:
    manifests = render(
        istio={"enabled": True, "hosts": ["a"]},
        gateway={"enabled": True, "parentRefs": [{"name": "public"}]},
        ingress={"enabled": True, "host": "a"},
    )
    reads, writes = manifests["VirtualService"]["spec"]["http"]
    assert reads["match"] == [{"method": {"exact": "GET"}}]
    assert reads["timeout"] == writes["timeout"] == "0s"
    assert writes["retries"] == {"attempts": 0}
    assert "503" not in reads["retries"]["retryOn"]
    policy = manifests["DestinationRule"]["spec"]["trafficPolicy"]
    assert policy["loadBalancer"] == {"simple": "LEAST_REQUEST"}
    assert policy["connectionPool"]["tcp"]["maxConnections"] >= 10_000
    (rule,) = manifests["HTTPRoute"]["spec"]["rules"]
    assert rule["timeouts"] == {"request": "0s", "backendRequest": "0s"}
    annotations = manifests["Ingress"]["metadata"]["annotations"]
    assert annotations["nginx.ingress.kubernetes.io/proxy-buffering"] == "off"
    ping_s = read_settings({}, environment_of(manifests)).streams.ping_interval
    assert int(annotations["nginx.ingress.kubernetes.io/proxy-read-timeout"]) >= 3 * ping_s


def test_rules_and_queries_name_metrics_that_exist() -> None:
    manifests = render(
        metrics={"prometheusRule": {"enabled": True, "labels": {"release": "p"}}},
        autoscaling={"kind": "keda"},
    )
    rule, scaled = manifests["PrometheusRule"], manifests["ScaledObject"]["spec"]
    assert rule["metadata"]["labels"]["release"] == "p"
    expressions = [each["expr"] for each in rule["spec"]["groups"][0]["rules"]]
    expressions.append(scaled["triggers"][0]["metadata"]["query"])
    for expression in expressions:
        for name in re.findall(r"sse_node_\w+", expression):
            assert re.sub(r"_(total|bucket)$", "", name) in RECORDED["metrics"], name
        assert expression.count("(") == expression.count(")")


# Values


def test_the_schema_knows_every_setting() -> None:
    schema = json.loads(FILE.read_text("utf-8"))
    expected = json.loads(json.dumps(settings_schema()))
    assert schema["properties"]["settings"] == expected, "python -m tests.deploy.chart_schema"
    assert OWN.isdisjoint(expected["properties"])


def test_settings_become_variables() -> None:
    manifests = render(
        settings={"write-limit-total": 268435456, "channels": "news,room:*", "event-names": True,
                  "redis-timeout": 0.75}
    )  # fmt: skip
    environment = environment_of(manifests)
    assert environment.keys() <= {variable_of(item) for _, item in all_settings()} | {"REDIS_URL"}
    settings = read_settings({}, environment)
    assert settings.streams.write_limit_total == 268435456
    assert settings.events.channels == ("news", "room:*")
    assert settings.events.event_names is True
    assert settings.redis.timeout == 0.75


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"auth": {}}, "at '/auth/mode': value must be one of 'jwt', 'proxy', 'none'"),
        ({"redis": {}}, "redis: expected url or existingSecret"),
        ({"redis": {"url": "redis://a", "existingSecret": "b"}}, "expected one of url and"),
        ({"redis": {"url": "http://a"}}, "at '/redis/url': 'http://a' does not match pattern"),
        ({"redis": {"url": "redis://u:password@a"}}, "at '/redis/url'"),
        ({"auth": {"mode": "jwt"}}, "auth.jwt: expected existingSecret or jwksUrl"),
        ({"replicas": 1}, "at '/replicas': minimum: got 1, want 2"),
        ({"replica": 2}, "additional properties 'replica' not allowed"),
        ({"settings": {"prot": 1}}, "additional properties 'prot' not allowed"),
        ({"auth": {"mode": "proxy"}}, "settings.forwarded-allow-ips: expected"),
        ({"settings": {"workers": 2}}, "additional properties 'workers' not allowed"),
        ({"settings": {"max-streams": 1}}, "additional properties 'max-streams' not allowed"),
        ({"settings": {"backlog": 0}}, "at '/settings/backlog': minimum: got 0, want 1"),
        ({"settings": {"retry": "soon"}}, "at '/settings/retry': got string, want integer"),
        ({"settings": {"audit-interval": 301}}, "maximum: got 301, want 300"),
        ({"settings": {"log-level": "loud"}}, "at '/settings/log-level': value must be one of"),
        ({"settings": {"shards": 3}}, "at '/settings/shards': value must be one of 1, 2, 4"),
        ({"drain": {"rate": 0}}, "at '/drain/rate': minimum: got 0, want 1"),
        ({"drain": {"rate": 1}}, "expected at most 3600: a higher rate, or fewer maxStreams"),
        ({"autoscaling": {"kind": "vpa"}}, "at '/autoscaling/kind': value must be one of"),
        ({"autoscaling": {"kind": "hpa", "minReplicas": 5, "maxReplicas": 4}}, "minReplicas up to"),
        ({"autoscaling": {"scaleDownWindowSeconds": 60}}, "minimum: got 60, want 300"),
        ({"auth": AUTH["jwt"], "metrics": {"serviceMonitor": {"enabled": True}}}, "the right obs"),
        ({"ingress": {"enabled": True}}, "ingress.host: expected"),
        ({"gateway": {"enabled": True}}, "gateway.parentRefs: expected"),
        ({"istio": {"enabled": True}}, "istio.hosts: expected"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_wrong_values_are_answered_clearly(values: dict[str, Any], message: str) -> None:
    values = {"redis": REDIS["single"], "auth": AUTH["none"]} | values
    rendered = helm("template", "demo", values=values)
    assert rendered.returncode != 0
    assert message in rendered.stderr
