"""The retrievers that are judged once for a catalogue. The steps that release one are declared for each of these."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from modit.core.step import Step


@dataclass(frozen=True)
class Retriever:
    """What the steps that release a retriever read, beside artifacts whose names begin with its own.

    Attributes:
        name: that it is registered and served as, and that its artifacts begin with.
        exported: artifact that the service answers from.
        stages: artifact of a training stage -> its section, and the folder of it that is released.
        versioned: further artifacts that a snapshot keeps: dataset -> artifact.
    """

    name: str
    exported: str
    stages: Mapping[str, tuple[str, str]]
    versioned: Mapping[str, str]

    @property
    def evaluation(self) -> str:
        """Artifact with the figures of its task."""
        return f"{self.name}_evaluation"

    @property
    def champion(self) -> str:
        """Artifact with what answers today."""
        return f"{self.name}_champion"

    @property
    def servability(self) -> str:
        """Artifact of the trial."""
        return f"{self.name}_servability"

    @property
    def versions(self) -> str:
        """Artifact with the versions of the data."""
        return f"{self.name}_versions"

    @property
    def verdict(self) -> str:
        """Artifact of the gate."""
        return f"{self.name}_verdict"

    @property
    def bundle(self) -> str:
        """Artifact that is promoted."""
        return f"{self.name}_bundle"

    @property
    def gate(self) -> str:
        """Section of the gate, and the step that reads it."""
        return f"gate_{self.name}"


RETRIEVERS = (
    Retriever(
        name="next_item",
        exported="exported_retriever",
        stages={
            "next_item_retriever": ("train_retriever", ""),
            "next_item_retriever_rad_dpo": ("align_rad_dpo", ""),
            "next_item_retriever_adagrpo": ("align_adagrpo", ""),
        },
        versioned={"starting_point": "starting_point"},
    ),
    Retriever(
        name="search",
        exported="exported_towers",
        stages={"towers": ("train_towers", "symmaligner")},
        versioned={},
    ),
    Retriever(
        name="fan_out",
        exported="exported_fan_out",
        stages={
            "fan_out_policy": ("train_fan_out", ""),
            "aligned_fan_out_policy": ("align_fan_out", ""),
            "set_diffusion": ("train_set_diffusion", "aligned"),
        },
        versioned={},
    ),
)


def steps(declare: Callable[[Retriever], Step]) -> tuple[Step, ...]:
    """A step for each retriever."""
    return tuple(declare(retriever) for retriever in RETRIEVERS)


def retriever_of(step: Step) -> Retriever:
    """The retriever that a step of `steps` is for."""
    (output,) = step.outputs
    return next(each for each in RETRIEVERS if output.startswith(f"{each.name}_"))
