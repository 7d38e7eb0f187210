"""Rules that rendered objects must keep, each by itself and those that name each other; what is wrong, a line each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import kubernetes_validate
import podrules
from rendered import WORKLOADS, Cluster, Json, external_secrets

from modit.core.services import is_secret

SECRET_NAME = re.compile(r"PASSWORD|SECRET(?!S$)|TOKEN|_KEYS?$|CREDENTIAL")


def schemas(cluster: Cluster) -> Iterator[str]:
    """Every object keeps the newest schema, without a field that it does not know."""
    for each in cluster.objects:
        if wrong := _against_schema(json.dumps(each, sort_keys=True)):
            yield f"{each['kind']} {each['metadata']['name']}: {wrong}"


@cache
def _against_schema(content: str) -> str:
    # Most objects are the same in all overlays.
    try:
        kubernetes_validate.validate(json.loads(content), kubernetes_validate.latest_version(), strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"{'.'.join(map(str, error.path))}: {error.message}"
    return ""


def pods(cluster: Cluster) -> Iterator[str]:
    """Every pod is restricted, has its sizes, and an image with a version."""
    for name, pod in cluster.pods.items():
        yield from (f"{name}: {line}" for line in podrules.breaches(pod["spec"]))


def probes(cluster: Cluster) -> Iterator[str]:
    """What runs for ever is watched; what a Service sends requests to says when it is ready."""
    served = {name for each in cluster.all("Service") for name in cluster.selected(of_service(each))}
    for name, pod in cluster.pods.items():
        container = pod["spec"]["containers"][0]
        if "livenessProbe" not in container:
            yield f"{name} has no livenessProbe"
        if name in served and "readinessProbe" not in container:
            yield f"{name} has no readinessProbe"


def selectors(cluster: Cluster) -> Iterator[str]:
    """Every selector takes the pods that it is for, and some."""
    for each in cluster.all(*WORKLOADS):
        name = each["metadata"]["name"]
        if cluster.selected(each["spec"]["selector"]) != {name}:
            yield f"{each['kind']} {name} selects others than its own pods"
    for kind, name, selector in _selectors(cluster):
        if not cluster.selected(selector):
            yield f"{kind} {name} selects no pod: {selector}"
    for each in cluster.all("HorizontalPodAutoscaler"):
        target = each["spec"]["scaleTargetRef"]
        if target["name"] not in cluster.names(target["kind"]):
            yield f"HorizontalPodAutoscaler scales no {target}"
        elif "replicas" in cluster.get(target["kind"], target["name"])["spec"]:
            yield f"{target['name']} has replicas and an autoscaler"


def _selectors(cluster: Cluster) -> Iterator[tuple[str, str, Json]]:
    for each in cluster.all("Service"):
        yield "Service", each["metadata"]["name"], of_service(each)
    for each in cluster.all("PodDisruptionBudget"):
        yield "PodDisruptionBudget", each["metadata"]["name"], each["spec"]["selector"]
    for each in cluster.all("NetworkPolicy"):
        name, policy = each["metadata"]["name"], each["spec"]
        yield "NetworkPolicy", name, policy["podSelector"]
        for rule in (*policy.get("egress", []), *policy.get("ingress", [])):
            for peer in (*rule.get("to", []), *rule.get("from", [])):
                if "podSelector" in peer:
                    yield "NetworkPolicy", name, peer["podSelector"]
    for name, pod in cluster.pods.items():
        for spread in pod["spec"].get("topologySpreadConstraints", []):
            yield "spread of", name, spread["labelSelector"]


def of_service(service: Json) -> Json:
    return {"matchLabels": service["spec"]["selector"]}


def references(cluster: Cluster) -> Iterator[str]:
    """Every account, claim, map and secret that a pod names is there, with its key."""
    for name, pod in cluster.pods.items():
        spec = pod["spec"]
        if spec.get("serviceAccountName") not in cluster.names("ServiceAccount"):
            yield f"{name}: no ServiceAccount {spec.get('serviceAccountName')}"
        for kind, source, key in sources(spec):
            if source not in (known := _known(cluster, kind)):
                yield f"{name}: no {kind} {source}"
            elif key is not None and key not in known[source]:
                yield f"{name}: {kind} {source} has no key {key}"
        mounted = {mount["name"] for each in podrules.containers(spec) for mount in each.get("volumeMounts", [])}
        if mounted != {volume["name"] for volume in spec.get("volumes", [])} | _templates(cluster, name):
            yield f"{name}: volumes and mounts differ"


def sources(spec: Json) -> Iterator[tuple[str, str, str | None]]:
    for container in podrules.containers(spec):
        for each in container.get("envFrom", []):
            for field, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
                if field in each:
                    yield kind, each[field]["name"], None
        for each in container.get("env", []):
            for field, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
                if field in each.get("valueFrom", {}):
                    yield kind, each["valueFrom"][field]["name"], each["valueFrom"][field]["key"]
    for volume in spec.get("volumes", []):
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"], None
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"], None
        for item in volume.get("secret", {}).get("items", []):
            yield "Secret", volume["secret"]["secretName"], item["key"]


def _known(cluster: Cluster, kind: str) -> dict[str, Any]:
    if kind == "Secret":
        return external_secrets()
    return {each["metadata"]["name"]: each.get("data", {}) for each in cluster.all(kind)}


def _templates(cluster: Cluster, name: str) -> set[str]:
    sets = {each["metadata"]["name"]: each["spec"] for each in cluster.all("StatefulSet")}
    return {claim["metadata"]["name"] for claim in sets.get(name, {}).get("volumeClaimTemplates", [])}


def secrets(cluster: Cluster) -> Iterator[str]:
    """No secret is committed, and nothing that is named like one has a value."""
    yield from (f"a Secret is committed: {name}" for name in cluster.names("Secret"))
    for each in cluster.all("ConfigMap"):
        for key, value in each["data"].items():
            named = SECRET_NAME.search(key) and not key.endswith("_FILE")
            if named or ("\n" not in value and is_secret(key, value)):
                yield f"ConfigMap {each['metadata']['name']} holds {key}"
    for name, pod in cluster.pods.items():
        for container in podrules.containers(pod["spec"]):
            for variable in container.get("env", []):
                if SECRET_NAME.search(variable["name"]) and "value" in variable:
                    yield f"{name} holds {variable['name']}"
