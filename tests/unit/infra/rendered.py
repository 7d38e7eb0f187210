"""The rendered manifests of an overlay, and questions about them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import yaml

Json = dict[str, Any]

ROOT = Path(__file__).resolve().parents[3]
KUBERNETES = ROOT / "infra" / "kubernetes"
OVERLAYS = ("overlays/local", "overlays/cloud-gpu")
KSERVE = "overlays/local-kserve"
WORKLOADS = ("Deployment", "StatefulSet")
# The pods that Airflow starts, as far as selectors see them.
STEP = {"app.kubernetes.io/component": "step"}
UNITS = {"m": 1e-3, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def render(folder: str) -> list[Json]:
    """All objects that kubectl makes of a folder; skipped, with the reason, where there is no kubectl."""
    beside = Path(sys.executable).parent / "kubectl"
    kubectl = shutil.which("kubectl") or (str(beside) if beside.is_file() else None)
    if kubectl is None:
        pytest.skip("no kubectl: make kubectl")
    done = subprocess.run([kubectl, "kustomize", KUBERNETES / folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def external_secrets() -> dict[str, set[str]]:
    """Name -> keys of the secrets that a site makes."""
    listed = yaml.safe_load_all((KUBERNETES / "external-secrets.yaml").read_text())
    return {each["metadata"]["name"]: {entry["secretKey"] for entry in each["spec"]["data"]} for each in listed}


def quantity(text: str) -> float:
    """A number of Kubernetes, such as 250m or 2Gi."""
    for unit, factor in UNITS.items():
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    return float(text)


def matches(selector: Json, labels: dict[str, str]) -> bool:
    """Whether a label selector takes labels."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for rule in selector.get("matchExpressions", []):
        assert rule["operator"] == "In", rule
        if labels.get(rule["key"]) not in rule["values"]:
            return False
    return True


class Cluster:
    """Rendered objects."""

    def __init__(self, objects: list[Json]) -> None:
        self.objects = objects

    def all(self, *kinds: str) -> list[Json]:
        return [each for each in self.objects if each["kind"] in kinds]

    def get(self, kind: str, name: str) -> Json:
        (found,) = (each for each in self.all(kind) if each["metadata"]["name"] == name)
        return found

    def names(self, kind: str) -> set[str]:
        return {each["metadata"]["name"] for each in self.all(kind)}

    def settings(self, prefix: str) -> dict[str, str]:
        """Content of the generated ConfigMap whose name is the prefix and a hash."""
        (found,) = (each for each in self.all("ConfigMap") if each["metadata"]["name"].rpartition("-")[0] == prefix)
        return found["data"]

    @cached_property
    def pods(self) -> dict[str, Json]:
        """Workload -> the template of its pods."""
        return {each["metadata"]["name"]: each["spec"]["template"] for each in self.all(*WORKLOADS)}

    @cached_property
    def labels(self) -> dict[str, dict[str, str]]:
        """Pod -> labels, the pods of steps included."""
        return {name: pod["metadata"]["labels"] for name, pod in self.pods.items()} | {"step": STEP}

    def selected(self, selector: Json) -> set[str]:
        """The pods that a selector takes; an empty one takes all."""
        return {name for name, labels in self.labels.items() if matches(selector, labels)}

    def policies_of(self, pod: str) -> list[Json]:
        found = [each["spec"] for each in self.all("NetworkPolicy")]
        return [policy for policy in found if pod in self.selected(policy["podSelector"])]

    def may_talk(self, sender: str, receiver: str, port: int, protocol: str = "TCP") -> bool:
        """Whether network policies let a pod of this namespace open a connection to another."""
        sent = self._passes(sender, "egress", "to", receiver, port, protocol)
        return sent and self._passes(receiver, "ingress", "from", sender, port, protocol)

    def _passes(self, pod: str, direction: str, peers: str, other: str, port: int, protocol: str) -> bool:
        for policy in self.policies_of(pod):
            for rule in policy.get(direction, []):
                ports = {(each["port"], each.get("protocol", "TCP")) for each in rule["ports"]}
                if (port, protocol) in ports and any(self._is(peer, other) for peer in rule[peers]):
                    return True
        return False

    def _is(self, peer: Json, pod: str) -> bool:
        return "namespaceSelector" not in peer and "podSelector" in peer and pod in self.selected(peer["podSelector"])

    def replicas(self, workload: Json) -> int:
        """The most pods of a workload at once: what its autoscaler may ask for, one more while it is rolled out."""
        targets = {each["spec"]["scaleTargetRef"]["name"]: each for each in self.all("HorizontalPodAutoscaler")}
        scaler = targets.get(workload["metadata"]["name"])
        count = scaler["spec"]["maxReplicas"] if scaler else workload["spec"]["replicas"]
        rolls = workload["kind"] == "Deployment" and workload["spec"].get("strategy", {}).get("type") != "Recreate"
        return count + rolls
