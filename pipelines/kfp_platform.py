"""What the pipeline is compiled for: images, accelerator, variables. Standard library only."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from modit.core.errors import ConfigError
from modit.core.step import Step

ACCELERATOR = "nvidia.com/gpu"
# What stands for a cluster without accelerators on a command line.
NO_ACCELERATOR = "none"
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")


@dataclass(frozen=True)
class Platform:
    """What the pipeline is compiled for.

    Attributes:
        pattern: reference of the images; `{image}` stands for the kind that the step's declaration names.
        images: references of single kinds, which go before the pattern.
        accelerator: resource name of an accelerator, such as `nvidia.com/gpu`; None for a cluster without.
        environment: variables of every task; nothing secret, since it stands in the compiled file.
        shards: how many tasks share the items of a step that is sharded.
    """

    pattern: str = "modit/{image}:dev"
    images: Mapping[str, str] = field(default_factory=dict)
    accelerator: str | None = ACCELERATOR
    environment: Mapping[str, str] = field(default_factory=dict)
    shards: int = 1

    def image_of(self, step: Step) -> str:
        """The image that runs a step."""
        return self.images.get(step.image) or self.pattern.replace("{image}", step.image)


def add_platform_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that `platform_of` takes."""
    parser.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="[KIND=]REFERENCE",
        help="images of the steps, {image} stands for the step's kind; with KIND= of that kind only; may be repeated "
        f"(default: the environment's MODIT_IMAGES, else {Platform.pattern})",
    )
    parser.add_argument(
        "--accelerator",
        default=ACCELERATOR,
        metavar="RESOURCE",
        help=f"of the steps that can use one; {NO_ACCELERATOR}: a cluster without (default %(default)s)",
    )
    parser.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="variable of every task, such as MLFLOW_TRACKING_URI; nothing secret; may be repeated",
    )
    parser.add_argument(
        "--shards",
        type=int,
        metavar="N",
        help="tasks that share the items of a step that is sharded (default: the environment's MODIT_SHARDS, else 1)",
    )


def platform_of(chosen: argparse.Namespace, kinds: Sequence[str]) -> Platform:
    """What to compile for, from the options above and the environment.

    Args:
        chosen: the options.
        kinds: of images that there are.

    Raises:
        ConfigError: an image is of a kind that no step has, or a variable has no value.
    """
    single = dict(text.split("=", 1) for text in chosen.image if "=" in text)
    unknown = set(single) - set(kinds)
    if unknown:
        raise ConfigError(f"--image {unknown.pop()}=...: no step has an image of this kind; known: {', '.join(kinds)}")
    wrong = [text for text in chosen.env if not VARIABLE.match(text)]
    if wrong:
        raise ConfigError(f"--env {wrong[0]!r}; allowed: NAME=VALUE")
    general = [text for text in chosen.image if "=" not in text]
    pattern = general[-1] if general else os.environ.get("MODIT_IMAGES") or Platform.pattern
    accelerator = None if chosen.accelerator == NO_ACCELERATOR else chosen.accelerator
    environment = dict(text.split("=", 1) for text in chosen.env)
    shards = int(os.environ.get("MODIT_SHARDS") or 1) if chosen.shards is None else chosen.shards
    return Platform(pattern, single, accelerator, environment, shards)
