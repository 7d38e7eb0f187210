"""A domain with a registry and runs beside it, where anything may be tampered with."""

from __future__ import annotations

import itertools
import json
from datetime import date
from pathlib import Path

import pytest

from modit.core.artifacts import digest_of_files, list_files
from modit.core.storage import Storage
from modit.release.bundle.loading import load_release
from modit.release.bundle.release import ReleaseSource
from modit.release.model_registry.mlflow_registry import MlflowRegistry
from modit.release.model_registry.refusals import Refused
from modit.release.model_registry.release_log import Approval, ReleaseLog
from modit.release.model_registry.release_state import read_release_state
from modit.release.promotion.promotion import Order, carry_out
from tests.unit.serve.bundles import OF_DOMAIN, Bundle

DAY = date(2026, 1, 31)
_domains = (f"domain{number}" for number in itertools.count())


class World:
    """A domain, its runs, its registry and its log."""

    def __init__(self, root: Path, registry: MlflowRegistry, sampler_file: Path) -> None:
        self.root, self.registry, self.sampler_file = root, registry, sampler_file
        self.domain, self.bundles = next(_domains), dict[int, Bundle]()
        self.log = ReleaseLog(Storage(str(root / "runs" / ".releases" / self.domain)))

    def version(self, *, held_back: str | None = None, **how) -> int:
        """Registers a run that passed, judged against today's champion."""
        number = len(self.bundles) + 1
        run, scratch = self.root / "runs" / f"run-{number}", self.root / f"scratch-{number}"
        how = {"champion": self.champion, "ends": DAY, "order": number} | how
        bundle = Bundle(str(run), scratch, self.sampler_file, [self.domain], **how)
        registered = self.registry.register(bundle.submission(self.domain, held_back=held_back)).version
        self.bundles[registered] = bundle
        return registered

    @property
    def champion(self) -> int | None:
        entries = self.log.read()
        return entries[-1].champion_after if entries else None

    @property
    def aliases(self) -> dict[str, int]:
        return self.registry.aliases(self.domain)

    def order(self, action: str, version: int | None = None, **how) -> object:
        verdict = self.registry.version(self.domain, version).tags["verdict_digest"] if version else ""
        how = {"who": "ann", "verdict": verdict, "reason": "it is better", "approval": Approval()} | how
        settings = {name: how.pop(name) for name in ("lease_seconds", "approval_hours") if name in how}
        return carry_out(self.registry, Order(action, self.domain, version=version, **how), **settings)

    def approve(self, version: int, **how) -> object:
        return self.order("approve", version, **how)

    def promoted(self, **how) -> int:
        """A version that was registered and approved."""
        version = self.version(**how)
        self.approve(version)
        return version

    def file(self, version: int, name: str) -> Path:
        """A file of a version's run; `bundle` and artifacts of `OF_DOMAIN` lie in the domain's folder."""
        artifact, _, file = name.partition("/")
        domain = self.domain if artifact in (*OF_DOMAIN, "bundle") else ""
        return Path(self.bundles[version].run, artifact, domain, file)

    def tag(self, version: int, name: str, value: str) -> None:
        self.registry.tag_version(self.registry.version(self.domain, version), name, value)

    def serve(self, alias: str = "champion") -> object:
        read_release_state(self.registry, self.domain)
        return load_release(ReleaseSource.of(self.registry.named_version(self.domain, alias)))

    def refused(self, name: str, act, *arguments, **how) -> str:
        """Expects a refusal of this name that leaves log and champion as they were; gives what it said."""
        entries = sorted(path.name for path in Path(self.log.uri).glob("*.json"))
        champion = self.aliases.get("champion")
        with pytest.raises(Refused) as caught:
            act(*arguments, **how)
        assert caught.value.name == name, caught.value
        assert sorted(path.name for path in Path(self.log.uri).glob("*.json")) == entries
        assert self.aliases.get("champion") == champion
        return str(caught.value)


def write_again(path: Path) -> None:
    """Makes the manifest beside a file say what is there: the attacker knows how artifacts are sealed."""
    place = path.parent / "manifest.json"
    files = list_files(path.parent)
    content = json.loads(place.read_text())
    content["files"], content["digest"] = [vars(entry) for entry in files], digest_of_files(files)
    place.write_text(json.dumps(content))
