"""The manifests, rendered by kubectl, keep every rule; and each rule sees when it is broken."""

from __future__ import annotations

import copy
import re

import checks
import limits
import podrules
import pytest
import yaml
from breaks import BREAKS
from kserve_rules import as_operated
from rendered import KSERVE, KUBERNETES, OVERLAYS, ROOT, Cluster, external_secrets, render

from modit.cli import build_parser
from modit.core.services import FEATURE_STORE, SERVICES, secret_name

CHECKS = {
    check.__name__: check
    for check in (
        *(checks.schemas, checks.pods, checks.probes, checks.selectors, checks.references, checks.secrets),
        *(limits.ports, limits.walls, limits.quotas, limits.rights, limits.names),
    )
}
FOLDERS = ("base", *OVERLAYS, KSERVE)


@pytest.fixture(scope="module")
def rendered():
    return {folder: Cluster(as_operated(render(folder))) for folder in FOLDERS}


@pytest.fixture
def local(rendered):
    return rendered["overlays/local"]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("folder", FOLDERS)
def test_an_overlay_keeps_the_rule(rendered, folder, check):
    assert list(CHECKS[check](rendered[folder])) == []


@pytest.mark.parametrize("how", BREAKS)
def test_a_rule_sees_when_it_is_broken(local, how):
    check, word, break_it = BREAKS[how]
    broken = Cluster(copy.deepcopy(local.objects))
    break_it(broken)
    assert any(word in line for line in CHECKS[check](broken))


def test_every_rule_is_broken_once():
    assert {check for check, _, _ in BREAKS.values()} == set(CHECKS)


# Who must reach whom, and who must not: sender, receiver, port, whether.
FLOWS = (
    ("step", "mlflow", 5000, True),
    ("step", "redis", 6379, True),
    ("step", "postgresql", 5432, False),
    ("step", "airflow-api-server", 8080, False),
    ("step", "modit-serve", 8000, False),
    ("step", "step", 29500, False),
    ("airflow-scheduler", "airflow-api-server", 8080, True),
    ("airflow-api-server", "airflow-scheduler", 8793, True),
    ("airflow-api-server", "airflow-triggerer", 8794, True),
    ("airflow-scheduler", "postgresql", 5432, True),
    ("airflow-api-server", "postgresql", 5432, True),
    ("airflow-dag-processor", "postgresql", 5432, True),
    ("airflow-triggerer", "postgresql", 5432, True),
    ("airflow-scheduler", "redis", 6379, False),
    ("mlflow", "postgresql", 5432, True),
    ("mlflow", "airflow-api-server", 8080, False),
    ("modit-serve", "mlflow", 5000, True),
    ("modit-serve", "redis", 6379, True),
    ("modit-serve", "postgresql", 5432, False),
    ("modit-exporter", "mlflow", 5000, False),
    ("redis", "mlflow", 5000, False),
    ("postgresql", "mlflow", 5000, False),
)


@pytest.mark.parametrize(("sender", "receiver", "port", "expected"), FLOWS)
def test_policies_let_through_what_is_needed_and_nothing_else(local, sender, receiver, port, expected):
    assert local.may_talk(sender, receiver, port) is expected


@pytest.mark.parametrize("process", ["scheduler", "api-server", "dag-processor", "triggerer"])
def test_airflow_reaches_its_translator_of_metrics_by_udp_alone(local, process):
    assert local.may_talk(f"airflow-{process}", "statsd-exporter", 9125, "UDP")
    assert not local.may_talk(f"airflow-{process}", "statsd-exporter", 9125)


def test_the_names_of_the_cluster_are_open_to_every_pod(local):
    names = local.get("NetworkPolicy", "names")["spec"]
    assert names["podSelector"] == {} and {each["port"] for each in names["egress"][0]["ports"]} == {53}


@pytest.mark.parametrize("folder", OVERLAYS)
def test_only_who_needs_it_reaches_the_outside(rendered, folder):
    cluster = rendered[folder]
    outside = {
        (name, port["port"])
        for name in cluster.labels
        for policy in cluster.policies_of(name)
        for rule in policy.get("egress", [])
        if any("ipBlock" in peer for peer in rule["to"])
        for port in rule["ports"]
    }
    expected = {("step", 443), ("airflow-scheduler", 443), ("airflow-scheduler", 6443)}
    if folder == "overlays/cloud-gpu":
        databases = ("airflow-api-server", "airflow-dag-processor", "airflow-scheduler", "airflow-triggerer", "mlflow")
        expected |= {(name, 443) for name in ("mlflow", "modit-exporter", "modit-serve")}
        expected |= {(name, 5432) for name in databases}
    assert outside == expected


def test_the_namespace_refuses_pods_that_are_not_restricted(local):
    labels = local.get("Namespace", "modit")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_only_the_cloud_has_accelerators_and_no_database_of_its_own(rendered):
    local, cloud = (rendered[folder] for folder in OVERLAYS)
    assert "postgresql" in local.pods and "postgresql" not in cloud.pods
    assert "MODIT_GPUS" not in local.settings("airflow") and cloud.settings("airflow")["MODIT_GPUS"] == "1"


def test_every_listed_secret_is_used(rendered):
    used = {
        source
        for cluster in rendered.values()
        for pod in cluster.pods.values()
        for kind, source, _ in checks.sources(pod["spec"])
        if kind == "Secret"
    }
    pattern = rendered["overlays/local"].settings("airflow")["MODIT_SECRETS"]
    of_steps = {secret_name(pattern, service): set(each.variables) for service, each in SERVICES.items()}
    listed = external_secrets()
    assert used | set(of_steps) == set(listed)
    assert all(listed[name] <= variables for name, variables in of_steps.items())


@pytest.mark.parametrize("name", ["modit-exporter", "modit-serve"])
def test_a_container_of_modit_starts_with_options_that_its_command_has(local, name):
    (container,) = local.pods[name]["spec"]["containers"]
    *python, command = container["command"]
    assert python == ["python", "-m", "modit.cli"]
    build_parser().parse_args([command, *container["args"]])


@pytest.mark.parametrize("folder", [*OVERLAYS, KSERVE])
def test_the_service_reads_the_feature_store_that_steps_write(rendered, folder):
    cluster = rendered[folder]
    steps, name = cluster.settings("airflow"), "modit-serve-predictor" if folder == KSERVE else "modit-serve"
    spec = cluster.pods[name]["spec"]
    assert cluster.settings("modit-serve")["MODIT_FEATURES"] == steps["MODIT_FEATURES"]
    (container,) = spec["containers"]
    (mount,) = (each for each in container["volumeMounts"] if steps["MODIT_FEATURES"].startswith(each["mountPath"]))
    (volume,) = (each for each in spec["volumes"] if each["name"] == mount["name"])
    assert volume["persistentVolumeClaim"] == {"claimName": steps["MODIT_CLAIM"], "readOnly": True}
    assert mount["readOnly"]
    (redis,) = (each["valueFrom"]["secretKeyRef"] for each in container["env"] if each["name"] == "MODIT_REDIS")
    assert redis["name"] == secret_name(steps["MODIT_SECRETS"], FEATURE_STORE)
    assert cluster.may_talk(name, "redis", 6379)


def test_the_guide_makes_every_secret_that_is_listed_with_its_keys():
    text = (ROOT / "docs" / "how-to" / "run-on-kubernetes.md").read_text()
    made = {
        name: set(re.findall(r"--from-literal=([\w.]+)=", arguments))
        for name, arguments in re.findall(r"create secret generic ([\w-]+)((?:.*\\\n)*.*)", text)
    }
    listed = external_secrets()
    for name in ("modit-artifact-store", "modit-registry"):
        assert name in text
        del listed[name]  # with identities of a cloud, and the MLflow of these manifests: none
    assert made == listed


def test_the_pod_that_loads_data_is_one_that_the_namespace_takes():
    cluster = Cluster([yaml.safe_load((KUBERNETES / "loader.yaml").read_text())])
    assert list(checks.schemas(cluster)) == []
    assert podrules.breaches(cluster.get("Pod", "loader")["spec"]) == []
