"""What the pipeline is compiled for: images and accelerator. Standard library only."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from modit.core.errors import ConfigError
from modit.core.step import Step

ACCELERATOR = "nvidia.com/gpu"
# What stands for a cluster without accelerators on a command line.
NO_ACCELERATOR = "none"


@dataclass(frozen=True)
class Platform:
    """What the pipeline is compiled for.

    Attributes:
        image: reference of the images; `{kind}` stands for the step's `image`.
        images: references of single kinds, which go before `image`.
        accelerator: resource name of an accelerator, such as `nvidia.com/gpu`; None for a cluster without.
    """

    image: str = "modit/{kind}:dev"
    images: Mapping[str, str] = field(default_factory=dict)
    accelerator: str | None = ACCELERATOR

    def image_of(self, step: Step) -> str:
        """The image that runs a step."""
        return self.images.get(step.image) or self.image.replace("{kind}", step.image)


def add_platform_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that `platform_of` takes."""
    parser.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="[KIND=]REFERENCE",
        help="images of the steps, {kind} stands for the step's kind; with KIND= of that kind only; may be repeated "
        f"(default: the environment's MODIT_IMAGE, else {Platform.image})",
    )
    parser.add_argument(
        "--accelerator",
        default=ACCELERATOR,
        metavar="RESOURCE",
        help=f"of the steps that can use one; {NO_ACCELERATOR}: a cluster without (default %(default)s)",
    )


def platform_of(images: Sequence[str], accelerator: str, kinds: Sequence[str]) -> Platform:
    """What to compile for, from a command line and the environment.

    Args:
        images: `REFERENCE` or `KIND=REFERENCE`.
        accelerator: resource name, or "none".
        kinds: of images that there are.

    Raises:
        ConfigError: an image is of a kind that no step has.
    """
    single = dict(text.split("=", 1) for text in images if "=" in text)
    unknown = set(single) - set(kinds)
    if unknown:
        raise ConfigError(f"--image {unknown.pop()}=...: no step has an image of this kind; known: {', '.join(kinds)}")
    general = [text for text in images if "=" not in text]
    image = general[-1] if general else os.environ.get("MODIT_IMAGE") or Platform.image
    return Platform(image, single, None if accelerator == NO_ACCELERATOR else accelerator)
