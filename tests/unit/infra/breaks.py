"""How each rule on manifests can be broken: the rule, a word of what it then says, and what breaks it."""

from __future__ import annotations


def container(cluster, name):
    return cluster.pods[name]["spec"]["containers"][0]


def rule_of(cluster, name, direction):
    return cluster.get("NetworkPolicy", name)["spec"][direction][0]


def add(cluster, kind, **fields):
    cluster.objects.append({"kind": kind, "metadata": {"name": "more", "namespace": "modit"}, **fields})


BREAKS = {
    "a field that does not exist": (
        "schemas",
        "replica",
        lambda c: c.get("Deployment", "mlflow")["spec"].update(replica=1),
    ),
    "a number that is a word": (
        "schemas",
        "port",
        lambda c: c.get("Service", "redis")["spec"]["ports"][0].update(port="x"),
    ),
    "an image without a tag": ("pods", "no version", lambda c: container(c, "redis").update(image="redis")),
    "the tag latest": ("pods", "no version", lambda c: container(c, "redis").update(image="a:5000/redis:latest")),
    "no memory limit": ("pods", "limits.memory", lambda c: container(c, "mlflow")["resources"].pop("limits")),
    "a writable root": (
        "pods",
        "writable",
        lambda c: container(c, "redis")["securityContext"].pop("readOnlyRootFilesystem"),
    ),
    "root": ("pods", "may be root", lambda c: c.pods["redis"]["spec"]["securityContext"].update(runAsUser=0)),
    "no seccomp": ("pods", "seccomp", lambda c: c.pods["redis"]["spec"]["securityContext"].pop("seccompProfile")),
    "a capability": (
        "pods",
        "capabilities",
        lambda c: container(c, "redis")["securityContext"].update(capabilities={}),
    ),
    "privileges in an init container": (
        "pods",
        "users: may gain",
        lambda c: c.pods["airflow-api-server"]["spec"]["initContainers"][1]["securityContext"].clear(),
    ),
    "a folder of the host": (
        "pods",
        "hostPath",
        lambda c: c.pods["redis"]["spec"].update(volumes=[{"name": "a", "hostPath": {"path": "/"}}]),
    ),
    "no liveness": ("probes", "livenessProbe", lambda c: container(c, "airflow-triggerer").pop("livenessProbe")),
    "no readiness": ("probes", "readinessProbe", lambda c: container(c, "modit-serve").pop("readinessProbe")),
    "a service of nobody": (
        "selectors",
        "Service redis",
        lambda c: c.get("Service", "redis")["spec"]["selector"].update(x="y"),
    ),
    "two that select the same": (
        "selectors",
        "others than its own",
        lambda c: c.pods["mlflow"]["metadata"].update(labels=dict(c.pods["redis"]["metadata"]["labels"])),
    ),
    "a budget of nobody": (
        "selectors",
        "PodDisruptionBudget",
        lambda c: c.get("PodDisruptionBudget", "modit-serve")["spec"]["selector"].update(matchLabels={"a": "b"}),
    ),
    "a peer that is nobody": (
        "selectors",
        "NetworkPolicy redis",
        lambda c: rule_of(c, "redis", "ingress")["from"][0]["podSelector"].update(matchLabels={"a": "b"}),
    ),
    "replicas beside an autoscaler": (
        "selectors",
        "autoscaler",
        lambda c: c.get("Deployment", "modit-serve")["spec"].update(replicas=1),
    ),
    "an account that is missing": (
        "references",
        "no ServiceAccount",
        lambda c: c.objects.remove(c.get("ServiceAccount", "mlflow")),
    ),
    "a map that is missing": (
        "references",
        "no ConfigMap",
        lambda c: container(c, "mlflow")["envFrom"][0]["configMapRef"].update(name="mlflow"),
    ),
    "a secret that nobody lists": (
        "references",
        "no Secret",
        lambda c: container(c, "mlflow")["envFrom"][1]["secretRef"].update(name="other"),
    ),
    "a key that nobody lists": (
        "references",
        "has no key",
        lambda c: container(c, "redis")["env"][0]["valueFrom"]["secretKeyRef"].update(key="PASS"),
    ),
    "a claim that is missing": (
        "references",
        "no PersistentVolumeClaim",
        lambda c: c.objects.remove(c.get("PersistentVolumeClaim", "airflow-logs")),
    ),
    "a volume that nobody mounts": (
        "references",
        "mounts differ",
        lambda c: c.pods["mlflow"]["spec"]["volumes"].append({"name": "more", "emptyDir": {}}),
    ),
    "a committed secret": ("secrets", "committed", lambda c: add(c, "Secret", stringData={"a": "b"})),
    "a password in a map": (
        "secrets",
        "holds POSTGRES_PASSWORD",
        lambda c: c.settings("mlflow").update(POSTGRES_PASSWORD="x"),
    ),
    "an address with a password in a map": (
        "secrets",
        "holds MLFLOW_TRACKING_URI",
        lambda c: c.settings("airflow").update(MLFLOW_TRACKING_URI="postgresql://modit:x@db/mlflow"),
    ),
    "a key in a variable": (
        "secrets",
        "MODIT_API_KEYS",
        lambda c: container(c, "modit-serve")["env"].append({"name": "MODIT_API_KEYS", "value": "x"}),
    ),
    "a port that nobody opens": (
        "ports",
        "Service mlflow",
        lambda c: c.get("Service", "mlflow")["spec"]["ports"][0].update(targetPort="web"),
    ),
    "a port of the other protocol": (
        "ports",
        "Service statsd-exporter",
        lambda c: c.get("Service", "statsd-exporter")["spec"]["ports"][0].update(protocol="TCP"),
    ),
    "a probe of no port": (
        "ports",
        "livenessProbe",
        lambda c: container(c, "mlflow")["livenessProbe"]["httpGet"].update(port="web"),
    ),
    "a policy for no port": (
        "ports",
        "nobody opens",
        lambda c: rule_of(c, "redis", "ingress")["ports"][0].update(port=1),
    ),
    "an address of nothing": (
        "ports",
        "nothing is at mlflow:5001",
        lambda c: c.settings("airflow").update(MLFLOW_TRACKING_URI="http://mlflow:5001"),
    ),
    "an open wall": ("walls", "denies everything", lambda c: c.objects.remove(c.get("NetworkPolicy", "default-deny"))),
    "a pod that no policy is about": (
        "walls",
        "about step",
        lambda c: c.objects.remove(c.get("NetworkPolicy", "step")),
    ),
    "more steps than fit": (
        "quotas",
        "requests.cpu",
        lambda c: c.settings("airflow").update(AIRFLOW__CORE__PARALLELISM="8"),
    ),
    "accelerators beyond the quota": (
        "quotas",
        "nvidia.com/gpu",
        lambda c: c.settings("airflow").update(MODIT_GPUS="1"),
    ),
    "a claim beyond the quota": (
        "quotas",
        "requests.storage",
        lambda c: c.get("PersistentVolumeClaim", "modit-data")["spec"]["resources"]["requests"].update(storage="1Ti"),
    ),
    "a verb too many": (
        "rights",
        "may",
        lambda c: c.get("Role", "modit-airflow")["rules"][0]["verbs"].append("update"),
    ),
    "a verb too few": (
        "rights",
        "lacks",
        lambda c: c.get("Role", "modit-airflow")["rules"][0]["verbs"].remove("patch"),
    ),
    "rights of the cluster": ("rights", "ClusterRole", lambda c: add(c, "ClusterRole", rules=[])),
    "rights for a step": (
        "rights",
        "bound to",
        lambda c: c.get("RoleBinding", "modit-airflow")["subjects"][0].update(name="modit-step"),
    ),
    "a token in a pod": (
        "rights",
        "modit-serve: token",
        lambda c: c.pods["modit-serve"]["spec"].update(automountServiceAccountToken=True),
    ),
    "other images for steps": (
        "names",
        "MODIT_IMAGES",
        lambda c: c.settings("airflow").update(MODIT_IMAGES="other/{image}:dev"),
    ),
    "a claim of steps that is missing": (
        "names",
        "MODIT_CLAIM",
        lambda c: c.settings("airflow").update(MODIT_CLAIM="other"),
    ),
    "runs in two places": ("names", "MODIT_RUNS", lambda c: c.settings("airflow").update(MODIT_RUNS="/data/other")),
    "another namespace": (
        "names",
        "another namespace",
        lambda c: c.get("Service", "redis")["metadata"].update(namespace="default"),
    ),
}
