"""Tries every attack of `tests/unit/release/attacks` and prints the table of docs/explanation/results.md.

    python -m benchmarks.attack_table

Each attack runs in a domain of its own with real bundles, a real MLflow registry and a real release log. An attack that
succeeds ends the script with an error.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from modit.export.sampler import export_sampler
from modit.release.model_registry.mlflow_registry import MlflowRegistry
from tests.unit.release.attacks.all_attacks import ATTACKS
from tests.unit.release.world import World
from tests.unit.samplers import build_sampler, describe, translate

_LONGEST = 150


def main() -> None:
    """Prints a row for each."""
    print("| # | what is tried | refused as | what it says |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="modit-") as name:
        folder = Path(name)
        sampler = build_sampler()
        export_sampler(sampler, translate(sampler), describe(), folder / "sampler.onnx")
        registry = MlflowRegistry(f"sqlite:///{folder}/mlflow.db", f"file://{folder}/artifacts")
        for number, attack in enumerate(ATTACKS, 1):
            world = World(folder / str(number), registry, folder / "sampler.onnx")
            said = attack.act(world).removeprefix(f"refused ({attack.name}): ").replace(f"{world.root}/", "")
            print(f"| {number} | {attack.words} | `{attack.name}` | {_short(said)} |")


def _short(said: str) -> str:
    said = re.sub(r"\b[0-9a-f]{64}\b", lambda digest: f"{digest[0][:6]}…", said.splitlines()[0]).replace("|", "/")
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST]}…"


if __name__ == "__main__":
    main()
