"""The artifact `hppo_variants`: variants of HPPO that were trained beside the row HPPO."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from modit.hppo.params import Variant

VARIANTS_FILE = "variants.json"
VARIANT_WORDS: dict[str, str] = {
    "off_policy": "off-policy",
    "adaptive": "adaptive",
    "pareto": "Pareto",
    "pareto_epsilon": "Pareto-epsilon",
}


@dataclass(frozen=True)
class TrainedVariant:
    """A variant that was trained.

    Attributes:
        name: of the variant, as in the parameters.
        folder: with model.pt, rounds.json and curve.json.
    """

    name: Variant
    folder: Path

    @property
    def row(self) -> str:
        """Name of its row."""
        return f"HPPO {VARIANT_WORDS[self.name]}"

    @property
    def stage(self) -> str:
        """Name of its training stage."""
        return f"hppo_{self.name}"


class Variants(NamedTuple):
    """Which variants there are.

    Attributes:
        hppo: the one of the row HPPO.
        trained: the others, in the order of their rows; often none.
    """

    hppo: Variant
    trained: tuple[TrainedVariant, ...]


def read_variants(folder: Path) -> Variants:
    """Reads the artifact of a domain."""
    content = json.loads((folder / VARIANTS_FILE).read_text(encoding="utf-8"))
    return Variants(content["hppo"], tuple(TrainedVariant(name, folder / name) for name in content["names"]))
