"""Steps, pipelines, artifacts, images and services, from the steps' declarations."""

from __future__ import annotations

import re
from collections.abc import Iterable

from components.registry import REGISTRY
from docs.tables.markdown import code, table
from modit.core.services import ARTIFACT_STORE, SERVICES
from modit.core.step import IMAGES, Step


def _numbered(steps: Iterable[Step]) -> list[Step]:
    """The steps without the repeats of a group: of `hppo_round_1` to `_4` only the first."""
    seen: set[str] = set()
    chosen = []
    for step in steps:
        name = _general(step.name)
        if name not in seen:
            seen.add(name)
            chosen.append(step)
    return chosen


def _general(name: str) -> str:
    """`hppo_round_2` and `hppo_2` as `hppo_round_R` and `hppo_R`; other names as they are."""
    return re.sub(r"_\d+$", "_R", name)


def _generals(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(_general(name) for name in names))


def steps() -> str:
    """What each step reads and writes, how often it runs, and what it needs."""
    rows = []
    for step in _numbered(REGISTRY.steps):
        resources = step.resources
        needs = f"{resources.cpus:g} CPU, {resources.memory_gb:g} GiB" + (", GPU" if resources.gpus else "")
        reads = (["the input catalogue"] if step.reads_catalogue else []) + [code(_generals(step.inputs))]
        runs = "each domain" if step.per_domain else "once"
        rows.append(
            [
                f"`{_general(step.name)}`",
                runs + (", in shards" if step.sharded else ""),
                ", ".join(filter(None, reads)),
                code(_generals(step.outputs)),
                code(step.params),
                needs,
            ]
        )
    return table(["step", "runs", "reads", "writes", "parameters", "resources"], rows)


def pipelines() -> str:
    """The pipelines, with what each is for."""
    rows = []
    for each in REGISTRY.pipelines:
        steps = len(REGISTRY.of(each.name).steps)
        rows.append([f"`{each.name}`", each.description, code(each.ends), f"`{each.job}`", str(steps)])
    return table(["pipeline", "purpose", "end artifacts", "Airflow DAG", "steps"], rows)


def artifacts() -> str:
    """Which step writes each artifact, and which steps read it."""
    rows = []
    for step in _numbered(REGISTRY.steps):
        for output in step.outputs:
            general = _general(output)
            place = f"`{general}/DOMAIN/`" if step.per_domain else f"`{general}/`"
            readers = _generals(each.name for each in REGISTRY.steps if general in _generals(each.inputs))
            rows.append([place, f"`{_general(step.name)}`", code(readers)])
    return table(["artifact", "written by", "read by"], rows)


def images() -> str:
    """The steps that run in each image."""
    rows = [[f"`{name}`", code(_generals(s.name for s in REGISTRY.steps if s.image == name))] for name in IMAGES]
    return table(["image", "steps"], rows)


def services() -> str:
    """The variables of each service, and the steps that get them."""
    rows = []
    for name, service in SERVICES.items():
        needing = [step.name for step in REGISTRY.steps if name in step.needs]
        steps = "every step" if name == ARTIFACT_STORE else code(needing)
        rows.append([f"`{name}`", steps, code(service.settings), code(service.secrets)])
    return table(["service", "steps", "variables", "secret variables"], rows)
