"""One task of a run: a step, for a domain and a shard where it has those, and all that its outputs depend on."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import cached_property

from modit.core.key import KeyParts
from modit.core.shards import WHOLE, Shard
from modit.core.step import Step
from modit.core.storage import digest_of


@dataclass(frozen=True)
class Task:
    """What is to be done.

    Attributes:
        step: the declaration.
        domain: of a step that runs per domain, or None.
        shard: which share of the items; it is no part of the key.
        parts: what the key is made of.
        force: do it even if nothing has changed.
    """

    step: Step
    domain: str | None
    shard: Shard = WHOLE
    parts: KeyParts = field(default_factory=dict)
    force: bool = False

    @cached_property
    def key(self) -> str:
        """Hash of all that the outputs depend on."""
        return digest_of(self.parts)

    @property
    def logger(self) -> logging.Logger:
        """Of the step and its domain."""
        return logging.getLogger(".".join(filter(None, ("modit", self.step.name, self.domain))))
