"""Checks the input against the contract; writes the catalogue, what was set aside, and why."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from modit.core.artifacts import MANIFEST
from modit.core.errors import ContractError
from modit.data.catalog import RETRIEVAL_LABELS, Catalog
from modit.data.data_docs import INDEX
from modit.data.new_domain import add_domain
from modit.data.nightly import ACCEPTED, OUTCOME_FILE, WindowValidator

if TYPE_CHECKING:
    from modit.core.new_domain import NewDomain
    from modit.core.runner import StepContext


def run(context: StepContext) -> dict[str, Any]:
    """Reads the window of `run_config.catalogue`; writes `catalog`, `quarantine` and `validation`.

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
    validator = WindowValidator(params.validate_logs, params.window, context.days, context.accepted_windows())
    try:
        night = validator.run(context.catalogue(), quarantine, validation)
    except ContractError as error:
        quarantine.rename(validation / "quarantine")
        raise ContractError(f"{error}\ndata docs: {context.keep_refused(validation)}/{INDEX}", error.breaches) from None
    found = night.inspection
    night.catalog.save(catalog)
    if found.labels:
        pq.write_table(
            found.labels.as_table(found.items.item_ids, sorted(found.items.attributes)),
            catalog / RETRIEVAL_LABELS,
        )
    if night.record and night.outcome["outcome"] == ACCEPTED:
        context.accept_window(night.record)
    context.logger.info("%s: %s", night.outcome["outcome"], night.outcome["reason"])
    return _summary(night.outcome)


def _extend(context: StepContext, new: NewDomain) -> dict[str, Any]:
    """What another run has accepted, with one more domain."""
    catalog, quarantine, validation = (context.output(name) for name in context.step.outputs)
    for target in (catalog, quarantine, validation):
        shutil.copytree(
            context.started_from(target.name), target, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST)
        )
    base = Catalog.load(context.started_from(catalog.name))
    extended = add_domain(base, new, lambda: context.catalogue("items"), context.scratch)
    extended.save(catalog)
    positives = int(extended.attributes[new.name].sum())
    context.logger.info("domain %s is added to %s: %d of %d items", new.name, new.run, positives, len(extended))
    return _summary(json.loads((validation / OUTCOME_FILE).read_text(encoding="utf-8")))


def _summary(outcome: dict[str, Any]) -> dict[str, Any]:
    return {name: outcome[name] for name in ("outcome", "reason", "new_rows", "tables")} | {"data_docs": INDEX}
