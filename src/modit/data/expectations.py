"""Great Expectations' part: suites from files judge small tables of facts, and render their data docs."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pandas as pd

from modit.core.errors import ConfigError
from modit.data.drift import Drift
from modit.data.facts import TABLES, Fact
from modit.data.params import DriftParams

if TYPE_CHECKING:
    from great_expectations.core import ExpectationSuiteValidationResult

DRIFT_SUITE = "drift"


@dataclass
class Judgement:
    """What the suites say of a window.

    Attributes:
        failed: (table, rule) of critical expectations that were not met; the table of drift is `drift`.
        warned: the same of expectations of lower severity.
        pages: suite -> its page of the data docs, HTML that fetches nothing.
        unmeasured: suite -> rules that had no fact, such as a volume without history.
    """

    failed: set[tuple[str, str]] = field(default_factory=set)
    warned: set[tuple[str, str]] = field(default_factory=set)
    pages: dict[str, str] = field(default_factory=dict)
    unmeasured: dict[str, list[str]] = field(default_factory=dict)

    def failing(self, facts: Sequence[Fact]) -> list[Fact]:
        """The facts behind the critical failures."""
        drifted = {rule for table, rule in self.failed if table == DRIFT_SUITE}
        return [
            fact
            for fact in facts
            if (fact.table, fact.rule) in self.failed or (fact.rule in drifted and fact.is_breached)
        ]


def read_suite(name: str) -> dict[str, Any]:
    """A suite as its file in `suites/` has it."""
    return json.loads((files("modit.data") / "suites" / f"{name}.json").read_text(encoding="utf-8"))


def judge(facts: Sequence[Fact], drifts: Sequence[Drift], params: DriftParams) -> Judgement:
    """Lets the suites judge the facts of each table, and the drift of each column.

    Args:
        facts: what was measured; the range of a fact comes from the parameters.
        drifts: how far columns have moved; none without a reference.
        params: levels of drift.

    Raises:
        ConfigError: Great Expectations is not installed.
    """
    engine, judgement = _Engine(), Judgement()
    for table in TABLES:
        mine = [fact for fact in facts if fact.table == table and not fact.rule.startswith("drift_")]
        if mine:
            frame = pd.DataFrame({fact.rule: [fact.value] for fact in mine})
            bounds = {f"{fact.rule}_{end}": getattr(fact, name) for fact in mine for end, name in _ENDS}
            engine.run(table, frame, bounds, judgement)
    if drifts:
        moved = [drift.beyond_chance(params.significance) for drift in drifts]
        frame = pd.DataFrame(moved, columns=["psi", "distance"])
        frame.insert(0, "column", [drift.column for drift in drifts])
        levels = ("psi_warn", "psi_fail", "distance_warn", "distance_fail")
        engine.run(DRIFT_SUITE, frame, {level: getattr(params, level) for level in levels}, judgement)
    return judgement


_ENDS = (("min", "low"), ("max", "high"))


class _Engine:
    """One context of Great Expectations, in memory, that tells nobody anything."""

    def __init__(self) -> None:
        os.environ["GX_ANALYTICS_ENABLED"] = "false"
        try:
            import great_expectations as gx  # seven seconds, only where it is needed
            from great_expectations.data_context.types.base import ProgressBarsConfig
        except ImportError as error:
            raise ConfigError(
                f"validation needs Great Expectations: pip install 'modit[validation]' ({error})"
            ) from error
        _quieten()  # importing it sets levels of its own
        self._gx = gx
        self._context = gx.get_context(mode="ephemeral")
        for site in (self._context.variables.data_docs_sites or {}).values():
            shutil.rmtree(site["store_backend"]["base_directory"], ignore_errors=True)  # a site that we do not use
        self._context.variables.progress_bars = ProgressBarsConfig(globally=False)
        self._source = self._context.data_sources.add_pandas("modit")

    def run(self, name: str, frame: pd.DataFrame, bounds: dict[str, float], judgement: Judgement) -> None:
        """Runs the suite of a name over a frame and notes what came out."""
        content = read_suite(name)
        measured = [e for e in content["expectations"] if e["kwargs"]["column"] in frame]
        judgement.unmeasured[name] = [e["meta"]["rule"] for e in content["expectations"] if e not in measured]
        suite = self._gx.ExpectationSuite(name=name, expectations=measured, meta=content["meta"])
        batch = self._source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("window")
        definition = self._gx.ValidationDefinition(name=name, data=batch, suite=self._context.suites.add(suite))
        result = self._context.validation_definitions.add(definition).run(
            batch_parameters={"dataframe": frame},
            expectation_parameters=bounds,
            result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["column"]}
            if name == DRIFT_SUITE
            else "SUMMARY",
        )
        for each in result.results:
            config = each.expectation_config
            if "observed_value" in each.result:
                each.result["observed_value"] = float(each.result["observed_value"])  # its renderer knows no numpy
            if config is not None and not each.success:
                critical = str(config.severity).rpartition(".")[2].lower() == "critical"
                (judgement.failed if critical else judgement.warned).add((name, config.meta["rule"]))
        judgement.pages[name] = _page(result)


def _quieten() -> None:
    for name, known in logging.root.manager.loggerDict.items():
        if name.partition(".")[0] in ("great_expectations", "posthog") and isinstance(known, logging.Logger):
            known.setLevel(logging.WARNING)


def _page(result: ExpectationSuiteValidationResult) -> str:
    from great_expectations.render.renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView

    return DefaultJinjaPageView().render(ValidationResultsPageRenderer().render(result))
