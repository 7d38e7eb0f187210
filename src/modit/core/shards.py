"""How tasks share items: each item lies in one of 64 buckets, and a shard takes a range of them. Stdlib only."""

from __future__ import annotations

import re
from dataclasses import dataclass

from modit.core.errors import ConfigError

# Fixed, since a sharded step writes its artifact bucket by bucket: so nothing depends on how many shards there are.
BUCKETS = 64
ALL_BUCKETS = range(BUCKETS)
_TEXT = re.compile(r"([0-9]{1,3})/([0-9]{1,3})")


@dataclass(frozen=True)
class Shard:
    """One of the tasks that share the items of a step.

    Attributes:
        number: of the task, in [1, count].
        count: how many tasks there are, in [1, 64].
    """

    number: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count <= BUCKETS:
            raise ConfigError(f"shard {self}; allowed: I/N with 1 <= I <= N <= {BUCKETS}")

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Reads `I/N`.

        Raises:
            ConfigError: the text is something else, or out of range.
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            raise ConfigError(f"shard {text!r}; allowed: I/N with 1 <= I <= N <= {BUCKETS}, such as 2/4")
        return cls(int(match[1]), int(match[2]))

    @classmethod
    def all_of(cls, count: int) -> list[Shard]:
        """The shards of so many tasks.

        Raises:
            ConfigError: the number is out of range.
        """
        if not 1 <= count <= BUCKETS:
            raise ConfigError(f"{count} shards; allowed: 1 to {BUCKETS}")
        return [cls(number, count) for number in range(1, count + 1)]

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def name(self) -> str:
        """As a part of a file's name."""
        return f"{self.number}-of-{self.count}"

    @property
    def buckets(self) -> range:
        """The buckets of this shard; those of all shards together are each bucket once."""
        return range(BUCKETS * (self.number - 1) // self.count, BUCKETS * self.number // self.count)


# The shard of a task that nobody shares.
WHOLE = Shard()
