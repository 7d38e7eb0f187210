"""What a pipeline is compiled for, and what its definition and its tasks agree on. Standard library only.

The tasks' containers have no kfp.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from modit.core.errors import ConfigError
from modit.core.services import SERVICES, is_secret, secret_name, services_of
from modit.core.step import Step

# Parameters of the pipeline, which every task gets; `pipelines.kfp_task.run_conf` reads them.
RUN_PARAMETERS: dict[str, type] = {
    "catalogue": str,
    "run_root": str,
    "run": str,
    "domains": str,
    "seed": int,
    "preset": str,
    "overrides": dict,
    "window": str,
}
# The parameters of a task of one domain, and of one that shares the items with others.
DOMAIN, SHARD = "domain", "shard"
# Output parameters: of the step that decides the domains, and of the first step, which may find nothing new.
ELIGIBLE_DOMAINS, OUTCOME = "eligible_domains", "outcome"
# The output parameter with an artifact's digest, where steps of a later loop read the artifact.
DIGEST = "{artifact}_digest"

ACCELERATOR = "nvidia.com/gpu"
# What stands for a cluster without accelerators on a command line.
NO_ACCELERATOR = "none"
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
CLAIM = re.compile(r"(?P<name>[a-z0-9]([-a-z0-9.]*[a-z0-9])?)=(?P<path>/[^:]+)")


@dataclass(frozen=True)
class Platform:
    """What the pipeline is compiled for.

    Attributes:
        pattern: reference of the images; `{image}` stands for the kind that the step's declaration names.
        images: references of single kinds, which go before the pattern.
        accelerator: resource name of an accelerator, such as `nvidia.com/gpu`; None for a cluster without.
        environment: variables of the tasks; nothing secret, since it stands in the compiled file.
        secrets: name of the Kubernetes secret of a service; `{service}` stands for it; None: pods have an identity.
        shards: how many tasks share the items of a step that is sharded.
        claims: name of a persistent volume claim -> where it lies in every task's container.
    """

    pattern: str = "modit/{image}:dev"
    images: Mapping[str, str] = field(default_factory=dict)
    accelerator: str | None = ACCELERATOR
    environment: Mapping[str, str] = field(default_factory=dict)
    shards: int = 1
    secrets: str | None = None
    claims: Mapping[str, str] = field(default_factory=dict)

    def image_of(self, step: Step) -> str:
        """The image that runs a step."""
        return self.images.get(step.image) or self.pattern.replace("{image}", step.image)

    def environment_of(self, step: Step) -> dict[str, str]:
        """The variables of a step's tasks: all but those of services that it does not need."""
        needed = services_of(step.needs)
        others = {name for key, each in SERVICES.items() if key not in needed for name in each.variables}
        return {name: value for name, value in sorted(self.environment.items()) if name not in others}

    def secrets_of(self, step: Step) -> dict[str, tuple[str, ...]]:
        """The Kubernetes secrets that a step's tasks need -> the keys that become variables of their name."""
        if self.secrets is None:
            return {}
        return {
            secret_name(self.secrets, key): tuple(name for name in each.variables if name not in self.environment)
            for key, each in services_of(step.needs).items()
        }


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
        help="variable of the tasks that need it, such as MLFLOW_TRACKING_URI; nothing secret; may be repeated",
    )
    parser.add_argument(
        "--secrets",
        metavar="PATTERN",
        help="names of Kubernetes secrets, such as modit-{service}, whose keys become variables of the tasks that "
        "need the service (default: none, pods have an identity)",
    )
    parser.add_argument(
        "--claim",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="persistent volume claim, and where it lies in every task's container; may be repeated",
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
        ConfigError: an image is of a kind that no step has, a variable has no value or a secret one, or a claim is no
            name with an absolute path.
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
    if secret := [name for name, value in environment.items() if is_secret(name, value)]:
        raise ConfigError(f"--env {secret[0]}=...: the pipeline would show it; put it into a secret, see --secrets")
    shards = int(os.environ.get("MODIT_SHARDS") or 1) if chosen.shards is None else chosen.shards
    claims = dict(claim_of(text) for text in chosen.claim)
    return Platform(pattern, single, accelerator, environment, shards, chosen.secrets, claims)


def claim_of(text: str) -> tuple[str, str]:
    """A persistent volume claim and where it lies.

    Raises:
        ConfigError: it is not NAME=PATH.
    """
    if not (found := CLAIM.fullmatch(text)):
        raise ConfigError(f"--claim {text!r}; allowed: NAME=PATH, the name of a claim and an absolute path")
    return found["name"], found["path"]
