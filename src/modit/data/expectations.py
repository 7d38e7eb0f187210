"""Great Expectations' part: suites made from the rules judge what the engine counted over every row."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from modit.core.errors import ConfigError
from modit.data.drift import Drift
from modit.data.measurements import Measurement
from modit.data.params import ValidationParams
from modit.data.rules import RULES, TABLES

if TYPE_CHECKING:
    from great_expectations.data_context import EphemeralDataContext

DRIFT_SUITE = "drift"
_DRIFT_LEVELS = ("psi_warn", "psi_fail", "distance_warn", "distance_fail")


@dataclass(frozen=True)
class Verdict:
    """The result of one expectation.

    Attributes:
        rule: a key of `RULES`.
        success: whether it is met.
        is_critical: whether the window is refused where it is not.
        observed: what it looked at, in words.
        expected: the range, in words.
    """

    rule: str
    success: bool
    is_critical: bool
    observed: str
    expected: str


@dataclass
class Judgement:
    """The results of all suites of a window.

    Attributes:
        suites: suite -> results of its expectations; one suite for each table, and `drift`.
        unmeasured: suite -> rules without a measurement, such as a volume without history.
    """

    suites: dict[str, list[Verdict]] = field(default_factory=dict)
    unmeasured: dict[str, list[str]] = field(default_factory=dict)

    @property
    def failed(self) -> set[tuple[str, str]]:
        """(suite, rule) of critical expectations that are not met."""
        return self._unmet(is_critical=True)

    @property
    def warned(self) -> set[tuple[str, str]]:
        """(suite, rule) of other expectations that are not met."""
        return self._unmet(is_critical=False)

    def failing(self, measurements: Sequence[Measurement]) -> list[Measurement]:
        """The measurements behind the critical failures."""
        drifted = {rule for suite, rule in self.failed if suite == DRIFT_SUITE}
        return [
            each
            for each in measurements
            if (each.table, each.rule) in self.failed or (each.rule in drifted and each.is_breached)
        ]

    def _unmet(self, is_critical: bool) -> set[tuple[str, str]]:
        return {
            (suite, verdict.rule)
            for suite, verdicts in self.suites.items()
            for verdict in verdicts
            if not verdict.success and verdict.is_critical == is_critical
        }


def suite_rules(table: str) -> list[str]:
    """The rules that the suite of a table judges."""
    return [name for name, rule in RULES.items() if table in rule.ranges and not name.startswith("drift_")]


def judge(measurements: Sequence[Measurement], drifts: Sequence[Drift], params: ValidationParams) -> Judgement:
    """Lets the suites judge the measurements of each table, and the drift of each column.

    A batch of a table has a column for each rule, with a value for each measurement of it; that of the drift has a
    column for each figure and a row for each column of the input. The limits are those of the rules and of the
    parameters.

    Raises:
        ConfigError: Great Expectations is not installed.
    """
    context, judgement = _context(), Judgement()
    for table in TABLES:
        mine = [each for each in measurements if each.table == table and not each.rule.startswith("drift_")]
        if mine:
            values = {rule: [each.value for each in mine if each.rule == rule] for rule in suite_rules(table)}
            judgement.unmeasured[table] = [rule for rule, measured in values.items() if not measured]
            batch = pd.DataFrame({rule: pd.Series(measured) for rule, measured in values.items() if measured})
            expectations = [_of_rule(rule, *RULES[rule].bounds(table, params)) for rule in batch]
            judgement.suites[table] = _run_suite(context, table, batch, expectations)
    if drifts:
        moved = [(drift.column, *drift.beyond_chance(params.drift.significance)) for drift in drifts]
        batch = pd.DataFrame(moved, columns=["column", "psi", "distance"])
        expectations = [_of_drift(name, getattr(params.drift, name)) for name in _DRIFT_LEVELS]
        judgement.suites[DRIFT_SUITE] = _run_suite(context, DRIFT_SUITE, batch, expectations)
    return judgement


def _of_rule(rule: str, low: float, high: float) -> dict[str, Any]:
    return _between(rule, low, high, rule, "critical")


def _of_drift(level: str, high: float) -> dict[str, Any]:
    column = level.partition("_")[0]
    return _between(column, 0.0, high, f"drift_{column}", "critical" if level.endswith("fail") else "warning")


def _between(column: str, low: float, high: float, rule: str, severity: str) -> dict[str, Any]:
    return {"column": column, "min_value": low, "max_value": high, "severity": severity, "meta": {"rule": rule}}


def _context() -> EphemeralDataContext:
    """A context of Great Expectations in memory, which tells nobody anything."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    try:
        import great_expectations as gx  # seconds, only where it is needed
        from great_expectations.data_context.types.base import ProgressBarsConfig
    except ImportError as error:
        raise ConfigError(f"validation needs Great Expectations: pip install 'modit[validation]' ({error})") from error
    for name, known in logging.root.manager.loggerDict.items():  # importing it sets levels of its own
        if name.partition(".")[0] in ("great_expectations", "posthog") and isinstance(known, logging.Logger):
            known.setLevel(logging.WARNING)
    context = gx.get_context(mode="ephemeral")
    for site in (context.variables.data_docs_sites or {}).values():
        shutil.rmtree(site["store_backend"]["base_directory"], ignore_errors=True)  # a site that we do not use
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return context


def _run_suite(
    context: EphemeralDataContext, name: str, frame: pd.DataFrame, expectations: list[dict[str, Any]]
) -> list[Verdict]:
    import great_expectations as gx

    between = gx.expectations.ExpectColumnValuesToBeBetween
    suite = context.suites.add(gx.ExpectationSuite(name=name, expectations=[between(**each) for each in expectations]))
    asset = context.data_sources.add_pandas(name).add_dataframe_asset(name)
    definition = gx.ValidationDefinition(
        name=name, data=asset.add_batch_definition_whole_dataframe("window"), suite=suite
    )
    found = definition.run(batch_parameters={"dataframe": frame}, result_format="BOOLEAN_ONLY")
    return [_verdict(each, frame) for each in found.to_json_dict()["results"]]


def _verdict(result: dict[str, Any], frame: pd.DataFrame) -> Verdict:
    config = result["expectation_config"]
    rule, found = config["meta"]["rule"], config["kwargs"]
    if result["exception_info"].get("raised_exception"):
        raise ConfigError(f"Great Expectations could not judge {rule}: {result['exception_info']}")
    values = frame[found["column"]].dropna()
    greatest = f"{float(values.max()):.4g}"
    return Verdict(
        rule,
        result["success"],
        config["severity"] == "critical",
        greatest if len(values) == 1 else f"at most {greatest} in {len(values)} columns",
        f"{found['min_value']:.4g} to {found['max_value']:.4g}",
    )
