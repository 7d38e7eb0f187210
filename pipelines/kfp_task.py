"""`python -m pipelines.kfp_task STEP --executor-input JSON`: a Kubeflow Pipelines task, around `python -m components`.

It runs in the step's container, which has no kfp. What KFP keeps of an artifact is a reference: a small file, and
metadata, with the address and digest of the artifact in the run's own store.

A domain that fails does not stop the others: its task succeeds with references that are empty, the run itself notes the
failure, later tasks of the domain do nothing, and the last task fails. A refusal is final; a task that crashes is first
tried again. KFP does not tell a task which attempt it is, so the run keeps count, and KFP tries a task of a domain once
more than its step declares: if the container of the last attempt was killed, that one only leaves the domain out.
"""

from __future__ import annotations

import argparse
import html
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modit.core.command import FAILED, REFUSED, UPSTREAM_FAILED
from modit.core.failures import note_failure
from modit.core.names import SKIPPED_NO_DATA
from modit.core.step import WHOLE, Shard
from modit.core.storage import Storage, digest_of
from modit.core.window import named_window
from pipelines.kfp_platform import DIGEST, DOMAIN, ELIGIBLE_DOMAINS, OUTCOME, SHARD

ATTEMPTS_FOLDER = ".kfp_attempts"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one task.

    Args:
        arguments: the command line without the program's name; that of the process if None.

    Returns:
        The exit status of the step: 0, 2 for a wrong command line, 3 for a refusal, 1 or another for a failure.
    """
    chosen = _parser().parse_args(arguments)
    executor_input = json.loads(chosen.executor_input)
    values, outputs = executor_input["inputs"]["parameterValues"], executor_input["outputs"]
    if DOMAIN in values:
        status, line = _run_for_domain(chosen, values, digest_of(executor_input))
    else:
        status, line, _ = _run_step(chosen, values)
    if status:
        return status
    if line.get("outcome") == SKIPPED_NO_DATA and OUTCOME not in outputs.get("parameters", {}):
        print(f"{SKIPPED_NO_DATA}: {line['reason']}; this pipeline cannot leave out the rest", file=sys.stderr)
        return REFUSED
    for name, path in chosen.reference:
        _write(Path(path), _reference(line["outputs"][name], _schema(executor_input, name)))
    _write(Path(outputs["outputFile"]), json.dumps(executor_output(outputs, line)))
    if chosen.last and line.get("left_out"):
        failed = "; ".join(f"domain {name}: {why}" for name, why in sorted(line["left_out"].items()))
        print(f"the run has no result for {failed}", file=sys.stderr)
        return REFUSED
    return 0


def count_attempt(step: str, values: Mapping[str, Any], task: str) -> int:
    """Counts the attempts of a task in its run; returns the number of this one, 1 for the first.

    Args:
        step: its name.
        values: the task's parameters.
        task: what KFP's attempts at one task have in common, and no other task has.
    """
    place = Storage(run_of(values)).at(ATTEMPTS_FOLDER)
    name = ".".join([step, *(values[axis].replace("/", "-of-") for axis in (DOMAIN, SHARD) if axis in values), "json"])
    noted = place.read_json(name) or {}
    attempt = noted["attempt"] + 1 if noted.get("task") == task else 1
    place.write_json(name, {"task": task, "attempt": attempt})
    return attempt


def _run_for_domain(chosen: argparse.Namespace, values: Mapping[str, Any], task: str) -> tuple[int, dict[str, Any]]:
    """Runs the step, or leaves the domain out: then the status is 0, and the references are empty."""
    line: dict[str, Any] = {}
    attempt = count_attempt(chosen.step, values, task)
    if attempt > chosen.retries + 1:
        status, why = FAILED, f"the container of attempt {attempt - 1} was killed"
    else:
        status, line, why = _run_step(chosen, values)
    is_final = status in (REFUSED, UPSTREAM_FAILED)  # the step itself has noted why
    if not status or not (is_final or attempt > chosen.retries):
        return status, line
    if not is_final:
        shard = Shard.parse(values.get(SHARD, str(WHOLE)))
        note_failure(Storage(run_of(values)), chosen.step, values[DOMAIN], shard, why)
    print(f"domain {values[DOMAIN]} is left out from here on; the other domains go on", file=sys.stderr)
    return 0, {"outputs": {name: {"uri": "", "digest": ""} for name, _ in chosen.reference}}


def _run_step(chosen: argparse.Namespace, values: Mapping[str, Any]) -> tuple[int, dict[str, Any], str]:
    """Runs the step; returns its exit status, the JSON line that it ended with, and why it failed."""
    command = step_command(chosen.step, values, chosen.pipeline)
    seconds = 60 * chosen.timeout_minutes * float(os.environ.get("MODIT_TIMEOUT_SCALE", "1"))
    try:
        result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, timeout=seconds)
    except subprocess.TimeoutExpired:
        why = f"ended after its timeout of {seconds:g} s"
        print(f"step {chosen.step}: {why}", file=sys.stderr)
        return FAILED, {}, why
    print(result.stdout, end="", flush=True)
    if result.returncode:
        return result.returncode, {}, f"ended with status {result.returncode}"
    return 0, json.loads(result.stdout.splitlines()[-1]), ""


def run_of(values: Mapping[str, Any]) -> str:
    """Address of the run."""
    return f"{values['run_root'].rstrip('/')}/{values['run']}"


def step_command(step: str, values: Mapping[str, Any], pipeline: str) -> list[str]:
    """The command that runs the step anywhere.

    Args:
        step: its name.
        values: the task's parameters: those of the pipeline, `domain` of a step that runs per domain, `shard` of one
            that is sharded.
        pipeline: name of the pipeline.
    """
    axes = [part for name in (DOMAIN, SHARD) if name in values for part in (f"--{name}", values[name])]
    conf = json.dumps(run_conf(values, pipeline))
    return [sys.executable, "-m", "components", step, "--run", run_of(values), "--conf", conf, *axes]


def run_conf(values: Mapping[str, Any], pipeline: str) -> dict[str, Any]:
    """Returns the fields of `run.json`.

    Args:
        values: the pipeline's parameters.
        pipeline: its name.
    """
    return {
        "pipeline": pipeline,
        "catalogue": values["catalogue"],
        "domains": "all" if values["domains"] == "all" else sorted(set(values["domains"].split(","))),
        "seed": int(values["seed"]),
        "preset": values["preset"],
        "overrides": values["overrides"],
        "window": named_window(values["window"]),
    }


def executor_output(outputs: Mapping[str, Any], line: Mapping[str, Any]) -> dict[str, Any]:
    """What KFP is told: its own artifacts with our address and digest as metadata, and the output parameters.

    Args:
        outputs: the part of the same name of KFP's executor input.
        line: the JSON line that the step ended with.
    """
    digests = {DIGEST.format(artifact=name): output["digest"] for name, output in line["outputs"].items()}
    said = {ELIGIBLE_DOMAINS: line.get("domains"), OUTCOME: line.get("outcome", ""), **digests}
    artifacts = {
        name: {"artifacts": [{"name": name, "uri": listed["artifacts"][0]["uri"], "metadata": line["outputs"][name]}]}
        for name, listed in outputs.get("artifacts", {}).items()
    }
    return {"artifacts": artifacts, "parameterValues": {name: said[name] for name in outputs.get("parameters", {})}}


def _schema(executor_input: Mapping[str, Any], name: str) -> str:
    return executor_input["outputs"]["artifacts"][name]["artifacts"][0]["type"]["schemaTitle"]


def _reference(output: Mapping[str, str], schema: str) -> str:
    """The file that stands for an artifact; KFP's pages show those of HTML artifacts as they are."""
    if schema != "system.HTML":
        return json.dumps(output, sort_keys=True)
    uri = html.escape(output["uri"], quote=True)
    return f'<!doctype html><meta charset="utf-8"><p><a href="{uri}">{uri}</a></p><p>{output["digest"]}</p>'


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipelines.kfp_task", description="Run one step as a KFP task.")
    parser.add_argument("step", metavar="STEP", help="which step")
    # KFP's language has no word for a task's timeout.
    parser.add_argument("--timeout-minutes", type=float, required=True, metavar="M", help="end the step after these")
    parser.add_argument("--pipeline", required=True, metavar="NAME", help="pipeline that the run consists of")
    parser.add_argument("--retries", type=int, default=0, metavar="N", help="how often a domain's task is tried again")
    parser.add_argument("--last", action="store_true", help="fail if the step did without a domain that had failed")
    parser.add_argument("--executor-input", required=True, metavar="JSON", help="what KFP puts in for {{$}}")
    parser.add_argument(
        "--reference",
        nargs=2,
        action="append",
        default=[],
        metavar=("ARTIFACT", "PATH"),
        help="where KFP takes the file of an output artifact from",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
