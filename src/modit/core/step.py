"""The declaration of a step: what it reads, writes and needs. Standard library only, so that DAG files parse fast."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from modit.core.errors import ConfigError
from modit.core.services import NEEDS

# Fixed, since a sharded step writes its artifact bucket by bucket: so nothing depends on how many shards there are.
BUCKETS = 64
ALL_BUCKETS = range(BUCKETS)
_SHARD = re.compile(r"([0-9]{1,3})/([0-9]{1,3})")
NAME = re.compile(r"[a-z][a-z0-9_]*")
# The container images that steps run in, targets of infra/Dockerfile: what a step imports decides which.
IMAGES = ("data", "train", "features", "release")


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
        """Reads `I/N`; ConfigError if the text is something else, or out of range."""
        match = _SHARD.fullmatch(text)
        if match is None:
            raise ConfigError(f"shard {text!r}; allowed: I/N with 1 <= I <= N <= {BUCKETS}, such as 2/4")
        return cls(int(match[1]), int(match[2]))

    @classmethod
    def all_of(cls, count: int) -> list[Shard]:
        """Returns the shards of `count` tasks; ConfigError if the number is out of range."""
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


@dataclass(frozen=True)
class Resources:
    """Resources of one task of a step.

    Attributes:
        cpus: processor cores, > 0.
        memory_gb: GiB of memory, > 0.
        gpus: accelerators of each machine, >= 0; a step that can use one also runs without.
        nodes: machines that compute together, >= 1; more than one only where there are accelerators.
    """

    cpus: float = 1.0
    memory_gb: float = 2.0
    gpus: int = 0
    nodes: int = 1


@dataclass(frozen=True)
class Step:
    """Declaration of a step. Edges are not declared: an input comes from the step whose output has its name.

    Attributes:
        name: lower case, unique.
        inputs: names of artifacts to read.
        outputs: names of artifacts to write; at least one.
        params: sections of params.yaml that can change what the step writes; only these count for skipping.
        per_domain: runs once per eligible domain and reads its own domain's artifacts.
        sharded: several tasks may share its items, as many as the orchestrator is set to; each writes the files of its
            buckets, and what the artifact is does not depend on how many there are.
        totals: of a sharded step, the fields of its summary that add up over the shards (numbers, or numbers by name).
            A rate does not add up: count what it is made of.
        lists: of a sharded step, the fields of its summary whose lists are joined. Any other field keeps the value that
            all shards have, or becomes the list of their values where those differ.
        image: the container image it runs in, one of `IMAGES`.
        resources: what a task needs.
        retries: how often an orchestrator tries again.
        needs: what it reaches beside the store of its run, of `NEEDS`; in a container it has the variables and secrets
            of these services, and no others.
        timeout_minutes: the longest that one try may take, > 0; far more than a night needs, so that only what hangs
            meets it.
        reads_catalogue: reads the run's input catalogue, whose content then counts for skipping.
        decides_domains: writes `domains.json` into its first output: the eligible domains, and why others are skipped.
        effort: how long a task takes beside one that only reads and writes, > 0; for estimates of what is left.
        group: tasks of one group are shown together.
        reusable: whether the artifact of another run with an equal key will do; not where the step changes something
            outside of its run.
        new_domain: of a run that adds a domain to another run: `own` makes the artifacts as ever, `taken` takes those
            of the other run byte for byte, `extended` makes them of those of the other run.
        of_started_from: of a run that adds a domain to another run, artifacts of the other run's domains that the step
            reads beside its inputs, of those domains that have them.
        watches: folders beside the run that only grow, such as a log of releases; which files are in them counts for
            skipping, of a step that runs per domain those of its domain.
        uses_folders: folders of the repository that it uses besides what `run` imports; their content counts for
            skipping.
    """

    name: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    params: tuple[str, ...] = ()
    per_domain: bool = False
    sharded: bool = False
    totals: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    image: str = "data"
    resources: Resources = field(default_factory=Resources)
    retries: int = 2
    needs: frozenset[str] = frozenset()
    timeout_minutes: float = 60.0
    effort: float = 1.0
    reads_catalogue: bool = False
    decides_domains: bool = False
    group: str | None = None
    reusable: bool = True
    new_domain: Literal["own", "taken", "extended"] = "own"
    of_started_from: tuple[str, ...] = ()
    watches: tuple[str, ...] = ()
    uses_folders: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in (self.name, *self.inputs, *self.outputs):
            if not NAME.fullmatch(name):
                raise ValueError(f"step {self.name!r}: {name!r} is not a name; allowed: {NAME.pattern}")
        if self.image not in IMAGES:
            raise ValueError(f"step {self.name!r}: no image {self.image!r}; allowed: {', '.join(IMAGES)}")
        if unknown := self.needs.difference(NEEDS):
            raise ValueError(f"step {self.name!r}: needs {min(unknown)!r}; allowed: {', '.join(NEEDS)}")
        if not self.timeout_minutes > 0:
            raise ValueError(f"step {self.name!r}: timeout_minutes is {self.timeout_minutes}; allowed: more than 0")
        if not self.effort > 0:
            raise ValueError(f"step {self.name!r}: effort is {self.effort}; allowed: more than 0")
        if not self.outputs:
            raise ValueError(f"step {self.name!r} has no outputs; a step writes at least one artifact")
        if self.decides_domains and (self.per_domain or self.sharded):
            raise ValueError(f"step {self.name!r} decides the domains, so it cannot run per domain or be sharded")

    def shards(self, count: int) -> list[str]:
        """Returns the values of `--shard` for `count` tasks that share the items; none if one task does all."""
        shards = Shard.all_of(count)
        return [str(shard) for shard in shards] if self.sharded and count > 1 else []
