"""Ways to promote, or to serve, what should not be, in the order of the table in docs/explanation/results.md."""

from __future__ import annotations

from tests.unit.release.attacks import files, logs, orders, rollbacks, verdicts

ATTACKS = [*files.ATTACKS, *verdicts.ATTACKS, *orders.ATTACKS, *logs.ATTACKS, *rollbacks.ATTACKS]
