"""A real Prometheus scrapes the real exporter and raises the alerts that the runs call for; Airflow's own metrics."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from maderuns import finish_run, refuse_run, start_run

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "infra" / "monitoring"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def started(*command, log):
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT) as child:
        try:
            yield
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait(30)


def until(ask, seconds=60):
    """The first answer that is not empty; fails when there is none in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if answer := ask():
                return answer
        except OSError:
            pass  # not listening yet
        time.sleep(0.5)
    raise AssertionError(f"nothing in {seconds} s")


@pytest.fixture
def runs(tmp_path):
    """Yesterday's run failed at the gate, today's input was refused, another catalogue's run is under way."""
    now, root = time.time(), tmp_path / "runs"
    finish_run(root, "yesterday", started=now - 86_400, status="FAIL")
    refuse_run(root, "today", started=now - 600)
    other = start_run(root, "other", started=now - 7 * 3600)
    (other / "run.json").write_text(json.dumps({"catalogue": "/data/other", "preset": "base"}))
    os.utime(other / "run.json", (now - 7 * 3600, now - 7 * 3600))
    return root


@pytest.fixture
def prometheus(runs, tmp_path):
    """Gives what a query answers: a list of (labels, value)."""
    if shutil.which("prometheus") is None:
        pytest.skip("no prometheus (Debian: prometheus)")
    exporter, port = free_port(), free_port()
    config = yaml.safe_load((MONITORING / "prometheus.yaml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(MONITORING / "rules.yaml")]
    config["scrape_configs"] = [
        {"job_name": "modit-exporter", "static_configs": [{"targets": [f"127.0.0.1:{exporter}"]}]}
    ]
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(config))
    base = f"http://127.0.0.1:{port}/api/v1"

    def get(path, **query):
        with urllib.request.urlopen(f"{base}/{path}?{urllib.parse.urlencode(query)}", timeout=10) as answer:
            return json.load(answer)["data"]

    command = [sys.executable, "-m", "modit.cli", "exporter", "--runs", str(runs), "--port", str(exporter)]
    server = [
        "prometheus",
        f"--config.file={tmp_path / 'prometheus.yaml'}",
        f"--storage.tsdb.path={tmp_path / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with started(*command, log=tmp_path / "exporter.log"), started(*server, log=tmp_path / "prometheus.log"):
        yield get


def test_prometheus_sees_the_runs_and_alerts_on_them(prometheus):
    def query(expression):
        return [
            (found["metric"], float(found["value"][1])) for found in prometheus("query", query=expression)["result"]
        ]

    (labels, value), *others = until(lambda: query('modit_verdict{status="FAIL"}'))
    assert (labels["run"], labels["domain"], value, others) == ("yesterday", "popular", 1, [])
    assert query("modit_runs")[0][1] == 3
    newest = until(lambda: query("modit:newest_run"))
    assert {(found["run"], found["catalogue"]) for found, _ in newest} == {
        ("today", "/data/shop"),
        ("other", "/data/other"),
    }

    wanted = {
        ("ModitVerdictFail", "yesterday", "firing"),
        ("ModitInputRefused", "today", "firing"),
        ("ModitQuarantineShareHigh", "today", "firing"),
        ("ModitRunTooLong", "other", "pending"),
    }

    def alerts():
        raised = prometheus("alerts")["alerts"]
        return {(alert["labels"]["alertname"], alert["labels"].get("run"), alert["state"]) for alert in raised}

    until(lambda: wanted <= alerts())


# As Airflow's scheduler does it.
EMIT = """
from airflow._shared.observability.metrics import stats
from airflow.configuration import conf
from airflow.observability.metrics import stats_utils
legacy = conf.getboolean("metrics", "legacy_names_on")
stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=legacy)
stats.gauge("pool.queued_slots", 3, tags={"pool_name": "default_pool"})
"""


def test_airflow_sends_names_and_tags_as_the_mapping_expects_them(tmp_path):
    """With the settings of the manifests, one gauge of Airflow's own, received by a socket."""
    settings = (ROOT / "infra/kubernetes/base/kustomization.yaml").read_text()
    environment = dict(re.findall(r"- (AIRFLOW__METRICS__\w+)=(\S+)", settings))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(30)
        port = str(server.getsockname()[1])
        environment |= {"AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1", "AIRFLOW__METRICS__STATSD_PORT": port}
        environment |= {"AIRFLOW_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
        subprocess.run([sys.executable, "-c", EMIT], env=environment, check=True, capture_output=True, timeout=60)
        # Loading Airflow sends timers of its own before; without the gauge the socket times out.
        while "pool" not in (received := server.recv(1000).decode()):
            pass
    assert received == "airflow.pool.queued_slots,pool_name=default_pool:3|g"
