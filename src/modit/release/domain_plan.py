"""Estimates what adding a domain will cost: labels, and time by past runs. It computes and labels nothing."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from modit.core.artifacts import ArtifactStore
from modit.core.errors import ConfigError
from modit.core.registry import Registry
from modit.core.run_config import RUN_FILE, NewDomain, RunConfig
from modit.core.step import Step
from modit.core.storage import Storage
from modit.core.workspace import cache_folder

# Number of the newest runs of the same catalogue, preset and overrides whose times count.
PAST_RUNS = 5


@dataclass(frozen=True)
class DomainPlan:
    """The cost of adding a domain: verdicts of the scorer, and seconds.

    Attributes:
        budget: Largest allowed number of verdicts.
        items: Number of items in the catalogue.
        asked: Number of items that a scorer function is asked about; 0 where a column has the verdicts.
        anchors: Largest number of anchors' results that are labelled.
        seen: Mean number of results labelled for a domain in past runs; None without such a run.
        seconds: Step -> times of past runs for a domain; empty without such a run, None where nothing is computed.
        runs: Number of past runs that were read.
    """

    new: NewDomain
    budget: int
    items: int
    asked: int
    anchors: int
    seen: float | None
    seconds: dict[str, list[float] | None]
    runs: int

    @property
    def labels(self) -> int:
        """Largest number of all verdicts."""
        return self.asked + self.anchors

    @property
    def expected(self) -> float:
        """Sum of the steps' median seconds."""
        return sum(statistics.median(each) for each in self.seconds.values() if each)

    def expect_within_budget(self) -> None:
        """Compares the labels with the budget.

        Raises:
            ConfigError: The plan needs more labels than the budget has.
        """
        if self.labels > self.budget:
            hint = "; a scorer that is a column need not be asked" if self.asked else ""
            raise ConfigError(
                f"new domain {self.new.name}: {self.labels:,} labels, the budget is {self.budget:,}; raise it, or "
                f"lower label_anchors.anchors in the overrides{hint}"
            )


def plan_domain(registry: Registry, config: RunConfig, params: Any, budget: int) -> DomainPlan:
    """Estimates from the run that the domain is added to, and from runs of the same catalogue and sizes beside it.

    `config` is of the run that adds the domain; `params` have its preset and overrides.

    Raises:
        ConfigError: The run adds no domain, or one that the other run has.
        ArtifactError: The other run has no catalogue, index or shared checkpoint.
    """
    new = config.new_domain
    if new is None:
        raise ConfigError("field new_domain is missing: this run adds no domain")
    base = ArtifactStore(Storage(new.run), cache_folder())
    taken = [base.get(name) for step in registry.steps if step.new_domain != "own" for name in step.outputs]
    if new.name in (there := _domains(registry, base)):
        raise ConfigError(f"field new_domain.name: {new.name!r} is a domain of {new.run}; it has {', '.join(there)}")
    items = next(each for each in taken if each.kind == "catalog").summary["tables"]["items"]["accepted"]
    past = [ArtifactStore(run, base.cache) for run in _past_runs(base.run)]
    labelled = [run.find("retrieval_labels", domain) for run in past for domain in _domains(registry, run)]
    rows = [each.summary["rows"] for each in labelled if each]
    return DomainPlan(
        new,
        budget,
        items,
        asked=items if new.entry_point else 0,
        anchors=min(params.label_anchors.anchors, items) * params.retrieval.depth(items),
        seen=statistics.mean(rows) if rows else None,
        seconds={step.name: _seconds(registry, past, step) for step in registry.steps},
        runs=len(past),
    )


def plan_text(plan: DomainPlan) -> str:
    """The plan as lines for people."""
    seen = f" (past runs: {plan.seen:,.0f})" if plan.seen is not None else ""
    asked = f"{plan.asked:,} items asked of {plan.new.scorer}, " if plan.asked else ""
    told = "" if plan.asked else f", read from column {plan.new.column}"
    lines = [
        f"new domain {plan.new.name} on {plan.new.run}: {plan.items:,} items",
        f"labels: {asked}{plan.anchors:,} results of anchors at most{seen}{told}: {plan.labels:,}, "
        f"budget {plan.budget:,}",
        *(f"  {name:<22} {_time(seconds)}" for name, seconds in plan.seconds.items()),
        f"time: about {_clock(plan.expected)}, step after step, by the medians of {plan.runs} past runs",
    ]
    return "\n".join([*lines, *(["the scorer's own time comes on top"] if plan.asked else [])])


def _domains(registry: Registry, store: ArtifactStore) -> list[str]:
    step = registry.domain_step
    found = store.find(step.outputs[0]) if step else None
    return list(found.summary.get("domains", [])) if found else []


def _past_runs(base: Storage) -> Iterator[Storage]:
    """The run itself and the newest runs beside it of the same catalogue, preset and overrides."""
    yield base
    config = base.read_json(RUN_FILE) or {}
    same = {name: config.get(name) for name in ("catalogue", "preset", "overrides")}
    files, root = base.filesystem, base.parent
    found = 1
    for path in sorted(files.glob(f"{root.root}/*/{RUN_FILE}"), key=files.modified, reverse=True):
        run = Storage(files.unstrip_protocol(path.removesuffix(f"/{RUN_FILE}")))
        if found < PAST_RUNS and run.uri != base.uri and same.items() <= (run.read_json(RUN_FILE) or {}).items():
            found += 1
            yield run


def _seconds(registry: Registry, past: Sequence[ArtifactStore], step: Step) -> list[float] | None:
    """What a step took for a domain in past runs; None for a step whose outputs are taken as they are."""
    if step.new_domain == "taken":
        return None
    found = [
        run.find(step.outputs[0], domain)
        for run in past
        for domain in (_domains(registry, run) if step.per_domain else [None])
    ]
    return [each.seconds for each in found if each and each.seconds is not None and each.origin is None]


def _time(seconds: list[float] | None) -> str:
    if seconds is None:
        return "taken as it is"
    if not seconds:
        return "no past run says"
    return f"{_clock(statistics.median(seconds)):>9}  ({_clock(min(seconds))} to {_clock(max(seconds))})"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{seconds:.1f} s" if seconds < 60 else f"{minutes:.0f} min {rest:.0f} s"
