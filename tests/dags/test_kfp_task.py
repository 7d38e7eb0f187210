"""What runs in a container of Kubeflow Pipelines: the step's own command, and references for KFP to keep."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from modit.core.run_config import RunConfig
from modit.core.storage import Storage
from pipelines.kfp_platform import RUN_PARAMETERS
from pipelines.kfp_task import executor_output, run_conf, step_command

ROOT = Path(__file__).resolve().parents[2]
VALUES = {
    "catalogue": "s3://bucket/world",
    "run_root": "s3://bucket/runs/",
    "run": "one",
    "domains": "all",
    "seed": 7.0,  # KFP's parameters are protobuf numbers
    "preset": "tiny",
    "overrides": {"pretrain.steps": 5},
    "window": "",
}
# A step that says what it was told and ends as it is told.
COMPONENTS = """
import json, os, signal, sys, time
time.sleep(float(os.environ.get("SLEEP", "0")))
if os.environ["KILL"] == "1":
    os.kill(os.getppid(), signal.SIGKILL)
print("a line of the step's own")
print(json.dumps({"arguments": sys.argv[1:], **json.loads(os.environ["LINE"])}))
print("what went wrong", file=sys.stderr)
sys.exit(int(os.environ["STATUS"]))
"""
LINE = {
    "step": "render_report",
    "status": "ran",
    "outputs": {
        "report": {"uri": 's3://bucket/runs/"one"/report', "digest": "d" * 64},
        "patterns": {"uri": "s3://bucket/runs/one/patterns", "digest": "e" * 64},
    },
    "domains": ["a", "b"],
}


class Task:
    """A task as KFP starts it, in a folder where `python -m components` is the step above."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "components.py").write_text(COMPONENTS)
        artifacts = {
            "report": [{"name": "report", "uri": "s3://kfp/report", "type": {"schemaTitle": "system.HTML"}}],
            "patterns": [{"name": "patterns", "uri": "s3://kfp/patterns", "type": {"schemaTitle": "system.Artifact"}}],
        }
        self.executor_input = {
            "inputs": {"parameterValues": VALUES},
            "outputs": {
                "artifacts": {name: {"artifacts": listed} for name, listed in artifacts.items()},
                "parameters": {
                    name: {"outputFile": str(folder / name)}
                    for name in ("eligible_domains", "outcome", "patterns_digest")
                },
                "outputFile": str(folder / "kfp_outputs" / "output.json"),
            },
        }

    def run(
        self, line: dict, status: int = 0, last: tuple[str, ...] = (), killed: bool = False, **more: str
    ) -> subprocess.CompletedProcess[str]:
        references = [part for name in ("report", "patterns") for part in ("--reference", name, str(self.at(name)))]
        arguments = [
            "render_report",
            "--timeout-minutes",
            "1",
            "--pipeline",
            "retrain",
            "--executor-input",
            json.dumps(self.executor_input),
        ]
        paths = os.pathsep.join((str(self.folder), str(ROOT), str(ROOT / "src")))
        environment = {**os.environ, "PYTHONPATH": paths, "LINE": json.dumps(line), "STATUS": str(status), **more}
        environment |= {"KILL": str(int(killed))}
        command = [sys.executable, "-m", "pipelines.kfp_task", *arguments, *references, *last]
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)

    def at(self, name: str) -> Path:
        return self.folder / "artifacts" / name / "file"

    def output(self) -> dict:
        return json.loads((self.folder / "kfp_outputs" / "output.json").read_text())


@pytest.fixture
def task(tmp_path):
    return Task(tmp_path)


def test_the_command_is_the_one_that_runs_a_step_anywhere():
    command = step_command("finetune", {**VALUES, "domain": "a"}, "retrain")
    assert command[1:6] == ["-m", "components", "finetune", "--run", "s3://bucket/runs/one"]
    assert json.loads(command[command.index("--conf") + 1]) == run_conf(VALUES, "retrain")
    assert command[-2:] == ["--domain", "a"]
    assert not {"--domain", "--shard"} & set(step_command("pretrain", VALUES, "retrain"))
    sharded = step_command("label_anchors", {**VALUES, "domain": "a", "shard": "2/4"}, "retrain")
    assert sharded[-2:] == ["--shard", "2/4"]


def test_the_conf_is_one_that_a_run_takes():
    assert set(VALUES) == set(RUN_PARAMETERS)
    conf = run_conf({**VALUES, "domains": "b,a,b", "window": ":2026-02-01"}, "retrain")
    config = RunConfig.model_validate(conf)
    assert conf["domains"] == ["a", "b"] and config.seed == 7
    assert str(config.window.end) == "2026-02-01" and config.promote is True
    assert RunConfig.model_validate(run_conf(VALUES, "retrain")).domains == "all"


def test_kfp_keeps_address_and_digest_and_its_own_artifacts(task):
    assert task.run(LINE).returncode == 0
    output = task.output()
    for name, entry in LINE["outputs"].items():
        assert output["artifacts"][name]["artifacts"] == [{"name": name, "uri": f"s3://kfp/{name}", "metadata": entry}]
    assert output["parameterValues"] == {"eligible_domains": ["a", "b"], "outcome": "", "patterns_digest": "e" * 64}


def test_an_artifacts_file_is_a_reference_and_html_shows_as_a_link(task):
    task.run(LINE)
    assert json.loads(task.at("patterns").read_text()) == LINE["outputs"]["patterns"]
    page = task.at("report").read_text()
    assert '<a href="s3://bucket/runs/&quot;one&quot;/report">' in page and "d" * 64 in page


def test_what_the_step_printed_is_seen(task):
    result = task.run(LINE)
    assert result.stdout.startswith("a line of the step's own\n") and result.stderr == "what went wrong\n"


@pytest.mark.parametrize("status", [1, 2, 3, 137])
def test_the_exit_status_is_the_steps_and_nothing_is_handed_on(task, status):
    result = task.run(LINE, status)
    assert result.returncode == status and result.stderr == "what went wrong\n"
    assert not (task.folder / "kfp_outputs").exists() and not task.at("report").exists()


@pytest.fixture
def of_domain(task):
    """The task of one domain, in a run on this machine."""
    values = {**VALUES, "run_root": str(task.folder / "runs"), "domain": "a"}
    task.executor_input["inputs"]["parameterValues"] = values
    task.executor_input["outputs"]["parameters"].pop("eligible_domains")
    return task


@pytest.mark.parametrize("status", [3, 5])
def test_a_domain_that_is_refused_hands_on_empty_references_so_that_the_others_go_on(of_domain, status):
    result = of_domain.run(LINE, status, last=("--retries", "2"))
    assert result.returncode == 0 and "domain a is left out" in result.stderr
    assert json.loads(of_domain.at("patterns").read_text()) == {"uri": "", "digest": ""}
    assert of_domain.output()["parameterValues"] == {"outcome": "", "patterns_digest": ""}
    assert not failures_of(of_domain)  # the step itself notes why


def failures_of(task: Task) -> dict[str, dict]:
    return {path.name: json.loads(path.read_text()) for path in (task.folder / "runs" / "one" / ".failed").glob("*")}


@pytest.mark.parametrize("status", [1, 4, 137])
def test_a_domain_that_crashes_is_tried_again_and_left_out_with_its_last_attempt(of_domain, status):
    for _ in range(2):
        assert of_domain.run(LINE, status, last=("--retries", "2")).returncode == status
        assert not of_domain.at("patterns").exists() and not failures_of(of_domain)
    assert of_domain.run(LINE, status, last=("--retries", "2")).returncode == 0
    assert json.loads(of_domain.at("patterns").read_text()) == {"uri": "", "digest": ""}
    reason = f"ended with status {status}"
    assert failures_of(of_domain) == {
        "render_report.a.json": {"step": "render_report", "domain": "a", "reason": reason}
    }


def test_what_a_step_said_of_its_failure_stays(of_domain):
    noted = {"step": "render_report", "domain": "a", "reason": "RuntimeError: no luck"}
    Storage(str(of_domain.folder / "runs" / "one" / ".failed")).write_json("render_report.a.json", noted)
    assert of_domain.run(LINE, 1).returncode == 0
    assert failures_of(of_domain) == {"render_report.a.json": noted}


def test_where_the_container_of_every_attempt_was_killed_the_one_more_leaves_the_domain_out(of_domain):
    for _ in range(2):
        assert of_domain.run(LINE, last=("--retries", "1"), killed=True).returncode == -signal.SIGKILL
    result = of_domain.run(LINE, last=("--retries", "1"))
    assert result.returncode == 0 and "a line of the step's own" not in result.stdout
    assert failures_of(of_domain)["render_report.a.json"]["reason"] == "the container of attempt 2 was killed"


def test_another_run_of_the_pipeline_counts_anew(of_domain):
    assert of_domain.run(LINE, 1, last=("--retries", "1")).returncode == 1
    of_domain.executor_input["outputs"]["artifacts"]["report"]["artifacts"][0]["uri"] = "s3://kfp/second/report"
    assert of_domain.run(LINE, 1, last=("--retries", "1")).returncode == 1
    assert of_domain.run(LINE, last=("--retries", "1")).returncode == 0
    assert json.loads(of_domain.at("patterns").read_text()) == LINE["outputs"]["patterns"]


def test_the_last_task_fails_and_names_the_domains_that_failed(task):
    result = task.run({**LINE, "left_out": {"b": "step finetune failed: no memory"}}, last=("--last",))
    assert result.returncode == 3
    assert "the run has no result for domain b: step finetune failed: no memory" in result.stderr
    assert task.run({**LINE, "left_out": {"b": "step finetune failed"}}).returncode == 0
    assert task.run(LINE, last=("--last",)).returncode == 0


def test_a_night_without_new_data_says_so_in_the_parameter_that_the_rest_hangs_on(task):
    assert task.run({**LINE, "outcome": "SKIPPED_NO_DATA", "reason": "nothing"}).returncode == 0
    assert task.output()["parameterValues"]["outcome"] == "SKIPPED_NO_DATA"


def test_a_pipeline_that_cannot_leave_out_the_rest_ends_there(task):
    del task.executor_input["outputs"]["parameters"]["outcome"]
    result = task.run({**LINE, "outcome": "SKIPPED_NO_DATA", "reason": "nothing new"})
    assert result.returncode == 3 and "SKIPPED_NO_DATA: nothing new" in result.stderr
    assert not (task.folder / "kfp_outputs").exists()


def test_a_task_says_only_what_it_is_asked():
    assert executor_output({"outputFile": "x"}, LINE) == {"artifacts": {}, "parameterValues": {}}


def test_a_step_that_takes_longer_than_its_declaration_allows_is_ended_and_may_be_tried_again(task):
    result = task.run(LINE, SLEEP="60", MODIT_TIMEOUT_SCALE="0.02")
    assert result.returncode == 1 and "render_report: ended after its timeout of 1.2 s" in result.stderr
