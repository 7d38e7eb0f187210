"""Runs the nights: delivers each night's files, runs the DAG on its window, and checks the results."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from components.registry import REGISTRY
from dags.demo_nights.checks import observe, read_result
from dags.demo_nights.delivery import ItemChange, deliver
from dags.demo_nights.scenario import CHANGE_DAY, NEW_ITEMS, OVERRIDES, PRESET, REMOVED_ITEMS, SCENARIO, WORLD, Night
from dags.demo_nights.table import Ended, departures, night_table
from dags.local_airflow import airflow_environment, run_dag
from dags.progress import Progress
from modit.core.errors import ModitError
from modit.core.storage import Storage
from modit.data.demo import DemoFault, write_demo_world
from modit.features.store import FOLDER_VARIABLE
from modit.release.model_registry.registry_access import TRACKING_VARIABLE, local_registry


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the nights and shows them.

    Returns:
        0 when every night ended as the scenario says, 1 otherwise.
    """
    parser = argparse.ArgumentParser(description="Run nights of a demo world under Airflow, one of them bad.")
    parser.add_argument("--runs", default="runs", help="folder of runs; everything goes into demo-nights in it")
    parser.add_argument(
        "--nights", type=int, choices=range(1, len(SCENARIO) + 1), default=len(SCENARIO), help="how many"
    )
    chosen = parser.parse_args(arguments)
    folder = Path(chosen.runs).resolve() / "demo-nights"
    try:
        nights = DemoNights(folder).run(SCENARIO[: chosen.nights])
    except ModitError as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    table, wrong = night_table(nights, folder), list(departures(nights))
    (folder / "nights.md").write_text(table, encoding="utf-8")
    print("", table, f"in {folder}, with this table in nights.md", sep="\n", flush=True)
    print(*(f"FAILED: {sentence}" for sentence in wrong), sep="\n", end="\n" if wrong else "", file=sys.stderr)
    return 1 if wrong else 0


class DemoNights:
    """Nights in a folder: the catalogue that they read, their runs, one registry and one feature store."""

    def __init__(self, folder: Path) -> None:
        """Prepares the nights.

        Args:
            folder: holds the catalogue, the runs and the registry; nights that it already holds are resumed.
        """
        self.folder, self.catalogue = folder, folder / "catalogue"
        self.registry = local_registry(str(folder / "night"))
        # Whatever the shell has: a demo has registry and feature store beside its runs, and touches no other.
        self.environment = airflow_environment(folder) | {TRACKING_VARIABLE: "", FOLDER_VARIABLE: ""}

    def run(self, scenario: Sequence[Night]) -> list[Ended]:
        """Runs nights one after the other; one that is refused does not end the others.

        Raises:
            ModitError: a night ended before its logs were judged.
        """
        print(f"preset {PRESET}, overrides {json.dumps(OVERRIDES)}", flush=True)
        sound = self._world(())
        change = ItemChange.choose(sound, CHANGE_DAY, NEW_ITEMS, REMOVED_ITEMS)
        ended: list[Ended] = []
        for night in scenario:
            deliver(self.catalogue, self._world(night.faults), night.end, change.absent(night.end))
            published = [each.night.name for each in ended if each.result.registration]
            ended.append(self._run_night(night, published[-1] if published else None))
        return ended

    def _run_night(self, night: Night, before: str | None) -> Ended:
        print(f"\nnight {night.name}: {night.logs}; must be {night.expected}", flush=True)
        conf = {
            "catalogue": str(self.catalogue),
            "preset": PRESET,
            "overrides": OVERRIDES,
            "run_root": str(self.folder),
            "run": night.name,
            "window": {"end": str(night.end)},
        }
        status, _ = run_dag(REGISTRY.pipeline().job, conf, self.environment, Progress(sys.stdout, sys.stderr))
        run = str(self.folder / night.name)
        result = read_result(run)
        before_uri = str(self.folder / before) if before else None
        seen = observe(run, result, before_uri, self.registry, Storage(str(self.folder / "observed")))
        return Ended(night, status, result, seen)

    def _world(self, faults: Sequence[str]) -> Path:
        world = self.folder / "-".join(["world", *(fault.partition(":")[0] for fault in faults)])
        write_demo_world(world, WORLD, [DemoFault.parse(fault) for fault in faults])
        return world


if __name__ == "__main__":
    sys.exit(main())
