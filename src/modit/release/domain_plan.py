"""Estimates what adding a domain will cost: verdicts, and time by past runs. It trains nothing and asks no scorer."""

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
from modit.data.catalog import NOT_SCORED, POSITIVE, Catalog
from modit.data.verdict_file import read_verdicts

# Number of the newest runs of the same catalogue, preset and overrides whose times count.
PAST_RUNS = 5


@dataclass(frozen=True)
class DomainPlan:
    """The cost of adding a domain: verdicts of the scorer, and seconds.

    Attributes:
        new: The domain.
        items: Number of items in the catalogue.
        labels: Number of verdicts that the budget pays for: those of a file, or those that a function will be asked
            for. Verdicts in a column are there already: 0.
        positives: Number of positives among a file's verdicts; None without a file.
        needed: Fewest positives and fewest negatives that training needs.
        looked_up: Largest number of anchors' results whose stored verdict is looked up; that costs no verdict.
        seen: Mean number of results looked up for a domain in past runs; None without such a run.
        seconds: Step -> times of past runs for a domain; empty without such a run, None where nothing is computed.
        runs: Number of past runs that were read.
    """

    new: NewDomain
    items: int
    labels: int
    positives: int | None
    needed: tuple[int, int]
    looked_up: int
    seen: float | None
    seconds: dict[str, list[float] | None]
    runs: int

    @property
    def budget(self) -> int | None:
        """Largest allowed number of verdicts; None for no limit."""
        return self.new.label_budget

    @property
    def expected(self) -> float:
        """Sum of the steps' median seconds."""
        return sum(statistics.median(each) for each in self.seconds.values() if each)

    def expect_within_budget(self) -> None:
        """Compares the verdicts with the budget, and with what training needs.

        Raises:
            ConfigError: A file has more verdicts than the budget, or there will be too few to train on.
        """
        place = f"new domain {self.new.name}"
        if self.budget is not None and self.labels > self.budget:
            raise ConfigError(f"{place}: {self.labels:,} verdicts in {self.new.file}, the budget is {self.budget:,}")
        positives, negatives = self.needed
        fewest = f"training needs at least {positives:,} positive and {negatives:,} negative items"
        if self.positives is not None:
            if self.positives < positives or self.labels - self.positives < negatives:
                found = f"{self.positives:,} positive and {self.labels - self.positives:,} negative"
                raise ConfigError(
                    f"{place}: {self.new.file} has {found} verdicts, {fewest}; `modit score-next` lists more"
                )
        elif self.new.entry_point and self.labels < positives + negatives:
            raise ConfigError(f"{place}: {self.labels:,} verdicts will be asked for, {fewest}; raise label_budget")


def plan_domain(registry: Registry, config: RunConfig, params: Any) -> DomainPlan:
    """Estimates from the run that the domain is added to, and from runs of the same catalogue and sizes beside it.

    `config` is of the run that adds the domain; `params` have its preset and overrides.

    Raises:
        ConfigError: The run adds no domain, or one that the other run has.
        ArtifactError: The other run has no catalogue, index or shared checkpoint, or the file of verdicts is missing.
        ContractError: The file of verdicts has a fault.
    """
    new = config.new_domain
    if new is None:
        raise ConfigError("field new_domain is missing: this run adds no domain")
    registry = registry.of()  # the pipeline that trains domains
    base = ArtifactStore(Storage(new.run), cache_folder())
    taken = [base.get(name) for step in registry.steps if step.new_domain != "own" for name in step.outputs]
    if new.name in (there := _domains(registry, base)):
        raise ConfigError(f"field new_domain.name: {new.name!r} is a domain of {new.run}; it has {', '.join(there)}")
    items = next(each for each in taken if each.kind == "catalog").summary["tables"]["items"]["accepted"]
    past = [ArtifactStore(run, base.cache) for run in _past_runs(base.run)]
    labelled = [run.find("retrieval_labels", domain) for run in past for domain in _domains(registry, run)]
    rows = [each.summary["rows"] for each in labelled if each]
    labels, positives = _verdicts(base, new, items)
    patterns = params.assign_patterns
    return DomainPlan(
        new,
        items,
        labels,
        positives,
        needed=(patterns.minimum * patterns.minimum_positives, patterns.minimum_negatives),
        looked_up=min(params.label_anchors.anchors, items) * params.retrieval.depth(items),
        seen=statistics.mean(rows) if rows else None,
        seconds={step.name: _seconds(registry, past, step) for step in registry.steps},
        runs=len(past),
    )


def plan_text(plan: DomainPlan) -> str:
    """The plan as lines for people."""
    seen = f" (past runs: {plan.seen:,.0f})" if plan.seen is not None else ""
    budget = "no budget" if plan.budget is None else f"budget {plan.budget:,}, {plan.budget - plan.labels:,} left"
    positives, negatives = plan.needed
    lines = [
        f"new domain {plan.new.name} on {plan.new.run}: {plan.items:,} items",
        f"verdicts: {_source(plan)}; {budget}",
        f"needed: at least {positives:,} positives and {negatives:,} negatives",
        f"looked up, at no cost: {plan.looked_up:,} results of anchors at most{seen}",
        *(f"  {name:<22} {_time(seconds)}" for name, seconds in plan.seconds.items()),
        f"time: about {_clock(plan.expected)}, step after step, by the medians of {plan.runs} past runs",
    ]
    return "\n".join([*lines, *(["the scorer's own time comes on top"] if plan.new.entry_point else [])])


def _source(plan: DomainPlan) -> str:
    new = plan.new
    if new.file:
        return f"{plan.labels:,} in {new.file}, {plan.positives:,} of them positive"
    return f"{plan.labels:,} asked of {new.scorer}" if new.entry_point else f"none asked, read from column {new.column}"


def _verdicts(base: ArtifactStore, new: NewDomain, items: int) -> tuple[int, int | None]:
    """Number of verdicts that the budget pays for, and of a file's positives."""
    if new.entry_point:
        return min(items, new.label_budget or items), None
    if not new.file:
        return 0, None
    verdicts = read_verdicts(new.file, Catalog.load(base.read("catalog")).item_ids, new.name)
    return int((verdicts != NOT_SCORED).sum()), int((verdicts == POSITIVE).sum())


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
