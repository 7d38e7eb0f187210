"""What every pod must be: the Pod Security Standard `restricted`, and the rules of this project."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]

VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
PROFILES = ("RuntimeDefault", "Localhost")


def containers(spec: Json) -> list[Json]:
    """All containers of a pod, those that run before included."""
    return [*spec.get("initContainers", []), *spec["containers"]]


def breaches(spec: Json) -> list[str]:
    """What is wrong with a pod, a line each."""
    return [*_pod(spec), *(f"{each['name']}: {line}" for each in containers(spec) for line in _container(each, spec))]


def _pod(spec: Json) -> Iterator[str]:
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(name):
            yield name
    if "serviceAccountName" not in spec:
        yield "no service account of its own"
    for volume in spec.get("volumes", []):
        kinds = set(volume) - {"name"}
        if not kinds <= VOLUMES:
            yield f"volume {volume['name']} of kind {kinds}"


def _container(container: Json, spec: Json) -> Iterator[str]:
    own, pod = container.get("securityContext", {}), spec.get("securityContext", {})
    both = pod | own
    if own.get("privileged"):
        yield "privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "may gain privileges"
    if own.get("capabilities") != {"drop": ["ALL"]}:
        yield "keeps capabilities"
    if not both.get("runAsNonRoot") or both.get("runAsUser") == 0:
        yield "may be root"
    if both.get("seccompProfile", {}).get("type") not in PROFILES:
        yield "no seccomp profile"
    if not own.get("readOnlyRootFilesystem"):
        yield "writable root file system"
    yield from _sizes(container)
    yield from _image(container["image"])


def _sizes(container: Json) -> Iterator[str]:
    resources = container.get("resources", {})
    for kind, names in (("requests", ("cpu", "memory")), ("limits", ("memory",))):
        for name in names:
            if name not in resources.get(kind, {}):
                yield f"no {kind}.{name}"
    if any("hostPort" in port for port in container.get("ports", [])):
        yield "host port"


def _image(image: str) -> Iterator[str]:
    tag = image.rpartition("/")[2].partition(":")[2]
    if "@sha256:" not in image and tag in ("", "latest"):
        yield f"image {image} has no version"
