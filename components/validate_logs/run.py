"""Checks the input against the contract; writes the catalogue, what was set aside, and why."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from modit.core.errors import ContractError
from modit.data.catalog import RETRIEVAL_LABELS
from modit.data.data_docs import INDEX
from modit.data.new_domain import extend
from modit.data.nightly import ACCEPTED, WindowValidator

if TYPE_CHECKING:
    from modit.core.run_config import NewDomain
    from modit.core.runner import StepContext


def run(context: StepContext) -> dict[str, Any]:
    """Reads the window of `run_config.catalogue`; writes `catalog`, `quarantine` and `validation`.

    In a run that adds a domain, these are what the other run accepted, with the domain's verdicts.

    Raises:
        ConfigError: the window lies ahead.
        ContractError: the window is refused; what explains it is kept in the run's `refused/validate_logs/`.
    """
    if context.run_config.new_domain:
        return _extend(context, context.run_config.new_domain)
    if context.days:
        context.days.refuse_future(datetime.now(UTC).date())
    catalog, quarantine, validation = (context.output(name) for name in context.step.outputs)
    params = context.params
    validator = WindowValidator(
        params.validate_logs,
        params.window,
        context.days,
        context.accepted_windows(),
        context.scratch,
        context.step.resources.memory_gb,
        context.needs_domains,
    )
    try:
        night = validator.run(context.catalogue(), quarantine, validation)
    except ContractError as error:
        quarantine.rename(validation / "quarantine")
        raise ContractError(f"{error}\ndata docs: {context.keep_refused(validation)}/{INDEX}", error.breaches) from None
    found = night.inspection
    found.catalog.save(catalog)
    if found.labels:
        pq.write_table(found.labels.rows, catalog / RETRIEVAL_LABELS)
    if found.queries:
        found.queries.judged.save(catalog)
    if night.record and night.outcome["outcome"] == ACCEPTED:
        context.accept_window(night.record)
    context.logger.info("%s: %s", night.outcome["outcome"], night.outcome["reason"])
    return _summary(night.outcome)


def _extend(context: StepContext, new: NewDomain) -> dict[str, Any]:
    taken = {name: context.started_from(name) for name in context.step.outputs}
    outputs = {name: context.output(name) for name in context.step.outputs}
    return _summary(extend(taken, outputs, new, lambda: context.catalogue("items"), context.scratch))


def _summary(outcome: dict[str, Any]) -> dict[str, Any]:
    return {name: outcome[name] for name in ("outcome", "reason", "new_rows", "tables")} | {"data_docs": INDEX}
