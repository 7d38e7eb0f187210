"""What Kubeflow Trainer is to a client: an API server that keeps TrainJobs, whose machines are given by the test.

A double of the server alone: the clients in the tests are Airflow's hook and the Kubernetes client.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

# Runs a TrainJob: gets it, where its first machine's log goes, and an event that is set when it is deleted; gives the
# first machine's exit status and the message that its container leaves.
Machines = Callable[[dict[str, Any], Callable[[str], None], threading.Event], tuple[int, str]]


def processes(folder: Path) -> Machines:
    """Machines that really run a TrainJob's command, as processes of this machine with caches below `folder`."""

    def run(body: dict[str, Any], log: Callable[[str], None], deleted: threading.Event) -> tuple[int, str]:
        trainer, result = body["spec"]["trainer"], folder / "termination-log"
        given = [sys.executable, *trainer["command"][1:]]
        command = [str(result) if word == "/dev/termination-log" else word for word in given]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        team = {"PET_NNODES": trainer["numNodes"], "PET_NPROC_PER_NODE": trainer["numProcPerNode"]}
        team |= {"PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": port}
        variables = os.environ | {each["name"]: each["value"] for each in trainer["env"] if "value" in each}
        variables |= {name: str(value) for name, value in team.items()}
        started = [
            subprocess.Popen(
                command,
                env=variables | {"PET_NODE_RANK": str(rank), "MODIT_CACHE": str(folder / f"cache{rank}")},
                stdout=subprocess.PIPE if rank == 0 else subprocess.DEVNULL,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for rank in range(trainer["numNodes"])
        ]
        for line in started[0].stdout or ():
            log(line.rstrip())
        statuses = [process.wait() for process in started]
        return statuses[0] or max(statuses), result.read_text() if result.exists() else ""

    return run


class Job:
    """A TrainJob, its first pod and its log."""

    def __init__(self, body: dict[str, Any], machines: Machines) -> None:
        self.body, self.lines, self.deleted, self.over = body, [], threading.Event(), threading.Event()
        self.created = datetime.now(UTC).isoformat()
        self.status: int | None = None
        self.message = ""
        self.thread = threading.Thread(target=self.run, args=(machines,), daemon=True)
        self.thread.start()

    def run(self, machines: Machines) -> None:
        self.status, self.message = machines(self.body, self.lines.append, self.deleted)
        kind = "Failed" if self.status else "Complete"
        condition = {"type": kind, "status": "True", "reason": "JobsCompleted", "message": f"jobset {kind.lower()}"}
        resumed = {"type": "Suspended", "status": "False", "reason": "Resumed", "message": ""}
        self.body["status"] = {"conditions": [resumed, condition]}
        self.over.set()

    def pod(self) -> dict[str, Any]:
        ended = {"exitCode": self.status, "message": self.message, "reason": "Error" if self.status else "Completed"}
        state = {"terminated": ended} if self.over.is_set() else {"running": {"startedAt": self.created}}
        name, image = self.body["metadata"]["name"], self.body["spec"]["trainer"]["image"]
        container = {"name": "node", "image": image, "imageID": "", "ready": True, "restartCount": 0, "state": state}
        metadata = {"name": f"{name}-node-0-0-abcde", "namespace": "modit", "creationTimestamp": self.created}
        status = {"phase": "Running", "containerStatuses": [container]}
        return {"metadata": metadata, "spec": {"containers": [{"name": "node"}]}, "status": status}


class Cluster:
    """The server; `with Cluster(machines) as cluster` runs it.

    Attributes:
        machines: what runs the next TrainJob.
        jobs: by name.
        asked: verb, API group and resource of every request.
        created: every TrainJob that was ever created.
        selectors: what pods were asked for.
    """

    def __init__(self, machines: Machines) -> None:
        self.machines = machines
        self.jobs: dict[str, Job] = {}
        self.asked: set[tuple[str, str, str]] = set()
        self.created: list[dict[str, Any]] = []
        self.selectors: set[str] = set()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"cluster": self}))

    def __enter__(self) -> Cluster:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def connect(self, folder: Path) -> None:
        """Makes this the cluster of Airflow's connection."""
        config = folder / "cluster.yaml"
        config.write_text(json.dumps(self.kubeconfig()))
        extra = {"kube_config_path": str(config), "in_cluster": False}
        os.environ["AIRFLOW_CONN_KUBERNETES_DEFAULT"] = json.dumps({"conn_type": "kubernetes", "extra": extra})

    def kubeconfig(self) -> dict[str, Any]:
        host, port = self.server.server_address[:2]
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": f"http://{host}:{port}"}}],
            "users": [{"name": "me", "user": {}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me", "namespace": "modit"}}],
        }


class Handler(BaseHTTPRequestHandler):
    cluster: Cluster

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.cluster.asked.add(("create", "trainer.kubeflow.org", "trainjobs"))
        name = body["metadata"]["name"]
        if name in self.cluster.jobs:
            return self._answer(409, {"reason": "AlreadyExists"})
        self.cluster.created.append(json.loads(json.dumps(body)))
        self.cluster.jobs[name] = Job(body, self.cluster.machines)
        return self._answer(201, body)

    def do_DELETE(self) -> None:
        self.cluster.asked.add(("delete", "trainer.kubeflow.org", "trainjobs"))
        job = self.cluster.jobs.pop(self.path.rpartition("/")[2], None)
        if job is None:
            return self._answer(404, {"reason": "NotFound"})
        job.deleted.set()
        return self._answer(200, {"status": "Success"})

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        parts = url.path.strip("/").split("/")
        if parts[0] == "apis":
            self.cluster.asked.add(("get", parts[1], parts[5]))
            job = self.cluster.jobs.get(parts[6])
            return self._answer(200, job.body) if job else self._answer(404, {"reason": "NotFound"})
        self.cluster.asked.add(("list" if len(parts) == 5 else "get", "", "/".join((parts[4], *parts[6:]))))
        if len(parts) == 5:
            self.cluster.selectors.add(query["labelSelector"])
            wanted = dict(pair.split("=") for pair in query["labelSelector"].split(","))
            job = self.cluster.jobs.get(wanted["jobset.sigs.k8s.io/jobset-name"])
            return self._answer(200, {"items": [job.pod()] if job else [], "metadata": {}})
        job = next((job for job in self.cluster.jobs.values() if job.pod()["metadata"]["name"] == parts[5]), None)
        if job is None:
            return self._answer(404, {"reason": "NotFound"})
        return self._log(job, query) if parts[-1] == "log" else self._answer(200, job.pod())

    def _log(self, job: Job, query: dict[str, str]) -> None:
        self.send_response(200)
        self.end_headers()
        sent = 0
        while True:
            over = job.over.is_set() or query.get("follow") not in ("true", "True")
            for line in job.lines[sent:]:
                self.wfile.write(f"{datetime.now(UTC).isoformat()} {line}\n".encode())
                sent += 1
            if over or job.deleted.is_set():
                return
            job.over.wait(0.05)

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""
