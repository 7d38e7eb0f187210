"""`python -m pipelines.dvc_view`: writes `dvc.yaml` from the steps' declarations; `--check` tells if it is current."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from components.registry import REGISTRY
from modit.core.registry import Registry
from modit.core.step import Step
from pipelines import view_parser, write_or_check

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "dvc.yaml"
HEADER = (
    "# Made from the steps' declarations by `make dvc.yaml`; edit those, not this file. See docs/how-to/use-dvc.md.\n"
)
# What the run is about. DVC must know the domains before it starts; the rest is what `--conf` of the first step takes.
VARS_FILE = ROOT / "pipelines" / "dvc_vars.yaml"
VARS: dict[str, Any] = yaml.safe_load(VARS_FILE.read_text(encoding="utf-8"))
CONF = '{"catalogue": "${catalogue}", "preset": "${preset}"}'
# The artifacts whose figures are compared between commits. They are small; DVC keeps them, since git does not.
COMPARED = ("evaluation", "verdict")
ROUNDS = ("joint", "item_joint", "pattern_joint")
# Later rounds may not train: a chain can end.
CURVES = ("pretrained", "continued", "finetuned", "hppo_1")


def dvc_pipeline(registry: Registry) -> dict[str, Any]:
    """The content of `dvc.yaml`: a stage a step, and a stage a domain for a step that runs per domain.

    Edges are DVC's own: an output's folder that another stage depends on. A step that runs once and reads a per-domain
    artifact depends on the folder that holds all domains.

    Args:
        registry: the steps, ordered.
    """
    return {
        "vars": [str(VARS_FILE.relative_to(ROOT))],
        "stages": {step.name: _stage(registry, step) for step in registry.steps},
        "metrics": ["${run}/verdict/metrics.json"] if "verdict" in registry.writer else [],
        "plots": _plots(registry),
    }


def chosen_steps(registry: Registry) -> Registry:
    """The steps of the pipelines that the variables name, or of all where they name none."""
    return registry.of_all(VARS["pipelines"]) if VARS.get("pipelines") else registry


def rendered(registry: Registry) -> str:
    """The text of `dvc.yaml`."""
    return HEADER + yaml.safe_dump(dvc_pipeline(registry), sort_keys=False, width=120)


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes `dvc.yaml`, or checks it; returns the exit status."""
    chosen = view_parser("dvc_view", __doc__).parse_args(arguments)
    return write_or_check(FILE, rendered(chosen_steps(REGISTRY)), "dvc.yaml", check=chosen.check)


def _stage(registry: Registry, step: Step) -> dict[str, Any]:
    domain = "/${item}" if step.per_domain else ""
    command = f"python -m components {step.name} --run ${{run}}" + (" --domain ${item}" if step.per_domain else "")
    if step.reads_catalogue:
        command += f" --conf '{CONF}'"
    stage = {
        "cmd": command,
        "deps": [
            registry.modules[step.name].replace(".", "/"),
            "src/modit",
            *step.uses_folders,
            *(["${catalogue}"] if step.reads_catalogue else []),
            *(f"${{run}}/{name}{domain if registry.writer[name].per_domain else ''}" for name in step.inputs),
        ],
        # A preset lies over the sections, so it counts for each of them.
        "params": [*step.params, "presets.${preset}", "seed"],
        # The store keeps artifacts and their digests: DVC neither copies them nor clears them before a stage.
        "outs": [{f"${{run}}/{name}{domain}": {"cache": name in COMPARED, "persist": True}} for name in step.outputs],
    }
    return {"foreach": "${domains}", "do": stage} if step.per_domain else stage


def _plots(registry: Registry) -> list[dict[str, Any]]:
    """The rounds of HPPO and the curve of each training stage, a line each domain. DVC has no loop here."""
    if "evaluation" not in registry.writer:
        return []
    domains = VARS["domains"]
    files = {domain: f"${{run}}/evaluation/{domain}" for domain in domains}
    plots: list[dict[str, Any]] = [
        {f"validation Joint@K by round, {domain}": {"x": "round", "y": {f"{folder}/rounds.csv": list(ROUNDS)}}}
        for domain, folder in files.items()
    ]
    for name in filter(registry.writer.get, CURVES):
        step = registry.writer[name]
        curves = {
            f"{files[domain]}/curves/{name}.csv": "loss" for domain in (domains if step.per_domain else domains[:1])
        }
        plots.append({f"loss of {step.name}": {"x": "step", "y": curves}})
    return plots


if __name__ == "__main__":
    sys.exit(main())
