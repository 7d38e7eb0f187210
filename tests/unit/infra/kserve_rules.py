"""What KServe's API takes, and what its operator makes of an InferenceService in the mode RawDeployment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from rendered import Json

FIELDS = json.loads((Path(__file__).parent / "kserve-0.21.json").read_text())
KINDS = {"int": int, "str": str, "bool": bool, "list": list, "dict": dict}
# Of the predictor, what is KServe's own or goes elsewhere; all else is the pod.
SCALING = ("minReplicas", "maxReplicas", "scaleMetric", "scaleTarget")
OWN = (*SCALING, "deploymentStrategy", "labels")
CONTAINER = "kserve-container"


def breaches(service: Json) -> Iterator[str]:
    """Fields that KServe does not know or of another type, and what its webhooks refuse or change."""
    yield from _against("InferenceService", service)
    yield from _against("spec", service["spec"])
    predictor = service["spec"]["predictor"]
    yield from _against("predictor", predictor)
    if service["metadata"]["annotations"].get("serving.kserve.io/deploymentMode") != "RawDeployment":
        yield "not in the mode RawDeployment"
    (container,) = predictor["containers"]
    if container["name"] != CONTAINER:
        yield f"container {container['name']} is not {CONTAINER}"
    if missing := {"cpu", "memory"} - set(container["resources"]["limits"]):
        yield f"KServe would set limits of its own for {missing}"


def _against(kind: str, found: Json) -> Iterator[str]:
    for name, value in found.items():
        known = FIELDS[kind].get(name)
        if known is None:
            yield f"{kind} has no field {name}"
        elif not isinstance(value, KINDS.get(known.partition("[")[0].partition("(")[0], dict)):
            yield f"{kind}.{name} is no {known}"


def as_operated(objects: list[Json]) -> list[Json]:
    """The objects with those that the operator makes in the place of an InferenceService."""
    return [made for each in objects for made in (_made_of(each) if each["kind"] == "InferenceService" else [each])]


def _made_of(service: Json) -> list[Json]:
    metadata, predictor = service["metadata"], service["spec"]["predictor"]
    name, namespace = f"{metadata['name']}-predictor", metadata["namespace"]
    own = {"app": f"isvc.{name}"}
    labels = metadata["labels"] | predictor["labels"] | own
    place = {"metadata": {"name": name, "namespace": namespace, "labels": labels}}
    pod = {key: value for key, value in predictor.items() if key not in OWN}
    port = pod["containers"][0]["ports"][0]
    average = {"type": "Utilization", "averageUtilization": predictor["scaleTarget"]}
    scaling = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "minReplicas": predictor["minReplicas"],
        "maxReplicas": predictor["maxReplicas"],
        "metrics": [{"type": "Resource", "resource": {"name": predictor["scaleMetric"], "target": average}}],
    }
    deployment = {
        "selector": {"matchLabels": own},
        "strategy": predictor["deploymentStrategy"],
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    ports = [{"name": port["name"], "port": 80, "targetPort": port["name"]}]
    return [
        {"apiVersion": "apps/v1", "kind": "Deployment", **place, "spec": deployment},
        {"apiVersion": "v1", "kind": "Service", **place, "spec": {"selector": own, "ports": ports}},
        {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", **place, "spec": scaling},
    ]
