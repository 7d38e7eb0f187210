"""Checks the input catalogue against the contract; writes the catalogue and what was set aside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from modit.data.interactions import Tolerance
from modit.data.validate import validate_logs

if TYPE_CHECKING:
    from modit.core.runner import StepContext


def run(context: StepContext) -> None:
    """Reads `run_config.catalogue`; writes `catalog` and `quarantine` (rows, and `report.json` with counts per rule).

    Raises:
        ContractError: the input breaks the contract.
    """
    quarantine = context.output("quarantine")
    section = context.params.validate_logs
    tolerance = Tolerance(
        unknown_item_share_max=section.unknown_item_share_max,
        null_share_max=section.null_share_max,
        duplicate_share_max=section.duplicate_share_max,
    )
    catalog, report = validate_logs(Path(context.run_config.catalogue), quarantine, tolerance)
    catalog.save(context.output("catalog"))
    report.save(quarantine)
    context.logger.info(
        "%d items, %d sequences, %d interactions set aside",
        report.items,
        report.interactions.sequences,
        sum(report.interactions.quarantined.values()),
    )
