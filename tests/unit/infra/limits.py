"""Rules on what objects may reach, use and do; what is wrong, a line each."""

from __future__ import annotations

import re
from collections.abc import Iterator

import podrules
from checks import of_service
from rendered import WORKLOADS, Cluster, Json, quantity

from components.registry import REGISTRY

_PODS = ("create", "get", "list", "watch", "patch", "delete")
# What KubernetesPodOperator and its pod manager call (provider 10.5).
CALLS = {
    *(("pods", verb) for verb in _PODS),
    ("pods/log", "get"),
    ("pods/exec", "create"),
    ("pods/exec", "get"),
    ("events", "list"),
}


def ports(cluster: Cluster) -> Iterator[str]:
    """Ports of Services, probes, policies and addresses are those that containers open."""
    opened = {
        name: {port["name"]: port for each in pod["spec"]["containers"] for port in each.get("ports", [])}
        for name, pod in cluster.pods.items()
    }
    services = {each["metadata"]["name"]: each for each in cluster.all("Service")}
    for name, service in services.items():
        for pod in cluster.selected(of_service(service)):
            for port in service["spec"]["ports"]:
                target = opened[pod].get(port["targetPort"])
                if target is None or target.get("protocol", "TCP") != port.get("protocol", "TCP"):
                    yield f"Service {name}: {pod} opens no {port['targetPort']}"
                elif service["spec"].get("clusterIP") == "None" and target["containerPort"] != port["port"]:
                    yield f"Service {name} has no address of its own and must have the port of {pod}"
    for name, pod in cluster.pods.items():
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            asked = pod["spec"]["containers"][0].get(probe, {})
            port = asked.get("httpGet", asked.get("tcpSocket", {})).get("port")
            if port is not None and port not in opened[name]:
                yield f"{name}: {probe} asks port {port}"
    yield from _policy_ports(cluster, opened)
    for each in cluster.all("ConfigMap"):
        for value in each["data"].values():
            for host, port in re.findall(r"^http://([\w-]+):(\d+)", value):
                if host not in services or int(port) not in {
                    entry["port"] for entry in services[host]["spec"]["ports"]
                }:
                    yield f"ConfigMap {each['metadata']['name']}: nothing is at {host}:{port}"


def _policy_ports(cluster: Cluster, opened: dict[str, dict[str, Json]]) -> Iterator[str]:
    for each in cluster.all("NetworkPolicy"):
        policy = each["spec"]
        pods = cluster.selected(policy["podSelector"]) - {"step"}
        there = {(p["containerPort"], p.get("protocol", "TCP")) for pod in pods for p in opened[pod].values()}
        asked = {(p["port"], p.get("protocol", "TCP")) for rule in policy.get("ingress", []) for p in rule["ports"]}
        if wrong := asked - there:
            yield f"NetworkPolicy {each['metadata']['name']}: nobody opens {sorted(wrong)}"


def walls(cluster: Cluster) -> Iterator[str]:
    """Nothing talks unless a policy says so, and each pod has one of its own."""
    closed = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    if closed not in [each["spec"] for each in cluster.all("NetworkPolicy")]:
        yield "no policy denies everything to all pods"
    for pod in cluster.labels:
        if not any(policy["podSelector"] for policy in cluster.policies_of(pod)):
            yield f"no policy is about {pod}"


def quotas(cluster: Cluster) -> Iterator[str]:
    """All servers at their largest, and as many steps as Airflow starts, fit the quota."""
    hard = cluster.get("ResourceQuota", "modit")["spec"]["hard"]
    for name, needed in _needs(cluster).items():
        if needed > quantity(hard[name]):
            yield f"{name}: {needed:g} are needed, the quota is {hard[name]}"


def _needs(cluster: Cluster) -> dict[str, float]:
    settings = cluster.settings("airflow")
    steps, largest = int(settings["AIRFLOW__CORE__PARALLELISM"]), [step.resources for step in REGISTRY.steps]
    sidecar = quantity("64Mi")
    memory = steps * (max(each.memory_gb for each in largest) * 2**30 + sidecar)
    needs = {
        "requests.cpu": steps * (max(each.cpus for each in largest) + 0.01),
        "requests.memory": memory,
        "limits.memory": memory,
        "requests.nvidia.com/gpu": float(steps * max(each.gpus for each in largest))
        * (settings.get("MODIT_GPUS") == "1"),
        "pods": float(steps),
        "requests.storage": 0.0,
        "persistentvolumeclaims": 0.0,
    }
    for workload in cluster.all(*WORKLOADS):
        count = cluster.replicas(workload)
        needs["pods"] += count
        for container in workload["spec"]["template"]["spec"]["containers"]:
            for kind, sizes in container["resources"].items():
                for name, size in sizes.items():
                    if (key := f"{kind}.{name}") in needs:
                        needs[key] += count * quantity(size)
    claims = [claim["spec"] for claim in cluster.all("PersistentVolumeClaim")]
    for each in cluster.all("StatefulSet"):
        claims += [claim["spec"] for claim in each["spec"]["volumeClaimTemplates"]] * each["spec"]["replicas"]
    needs["persistentvolumeclaims"] += len(claims)
    needs["requests.storage"] += sum(quantity(claim["resources"]["requests"]["storage"]) for claim in claims)
    return needs


def rights(cluster: Cluster) -> Iterator[str]:
    """One account has rights, those that starting pods needs, in this namespace; one pod has its token."""
    for kind in ("ClusterRole", "ClusterRoleBinding"):
        yield from (f"{kind} {name}" for name in cluster.names(kind))
    for each in cluster.all("ServiceAccount"):
        if each.get("automountServiceAccountToken") is not False:
            yield f"ServiceAccount {each['metadata']['name']} hands its token to pods"
    for name, pod in cluster.pods.items():
        if pod["spec"].get("automountServiceAccountToken", False) != (name == "airflow-scheduler"):
            yield f"{name}: token of its account"
    subjects = [subject["name"] for each in cluster.all("RoleBinding") for subject in each["subjects"]]
    if subjects != ["modit-airflow"]:
        yield f"rights are bound to {subjects}"
    rules = [rule for each in cluster.all("Role") for rule in each["rules"]]
    given = {(resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}
    if missing := CALLS - given:
        yield f"Airflow lacks {sorted(missing)}"
    if more := given - CALLS - {("events", "get"), ("events", "watch")}:
        yield f"Airflow may {sorted(more)}"


def names(cluster: Cluster) -> Iterator[str]:
    """What Airflow is told of images, claim, account and namespace is what is there."""
    settings = cluster.settings("airflow")
    for kind in ("airflow", "data", "release", "serve"):
        image = settings["MODIT_IMAGES"].format(image=kind)
        used = {each["image"] for pod in cluster.pods.values() for each in podrules.containers(pod["spec"])}
        if image not in used:
            yield f"MODIT_IMAGES says {image}; the manifests have {sorted(used)}"
    for variable, kind in (
        ("MODIT_CLAIM", "PersistentVolumeClaim"),
        ("MODIT_SERVICE_ACCOUNT", "ServiceAccount"),
        ("MODIT_NAMESPACE", "Namespace"),
    ):
        if settings[variable] not in cluster.names(kind):
            yield f"{variable}: no {kind} {settings[variable]}"
    if settings["MODIT_RUNS"] != cluster.settings("modit-exporter")["MODIT_RUNS"]:
        yield "MODIT_RUNS differs between Airflow and the exporter"
    for each in cluster.objects:
        if each["kind"] != "Namespace" and each["metadata"].get("namespace") != settings["MODIT_NAMESPACE"]:
            yield f"{each['kind']} {each['metadata']['name']} is in no or another namespace"
