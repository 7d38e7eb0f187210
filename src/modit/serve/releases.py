"""Holds the releases that answer now, and follows the registry."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np

from modit.core.artifacts import ArtifactStore
from modit.core.errors import ArtifactError
from modit.core.storage import Storage
from modit.index.engines.collection import EngineAddress
from modit.release.bundle.release import Release, ReleaseSource, SeedsRelease
from modit.release.model_registry.followed_registry import followed_registry
from modit.release.model_registry.model_version import NamedVersion
from modit.release.model_registry.release_state import ChampionResolver, UnresolvedChampion
from modit.serve.metrics import RELOADS

_logger = logging.getLogger(__name__)
_NICE = 10
_REGISTRY = "registry"

AskRegistry = Callable[[], Iterable[NamedVersion | UnresolvedChampion]]


@dataclass(frozen=True)
class State:
    """What the service knows at one moment; a new one takes its place as a whole.

    Attributes:
        releases: domain -> what answers.
        wanted: domains to answer for by trained models; None while the registry has not said.
        problems: domain, or "registry" -> why it is not as it should be.
        ready: whether every wanted domain had a release once. A domain that comes later does not change it: it would
            take the others with it.
    """

    releases: Mapping[str, Release] = field(default_factory=dict)
    wanted: tuple[str, ...] | None = None
    problems: Mapping[str, str] = field(default_factory=lambda: {_REGISTRY: "not asked yet"})
    ready: bool = False

    @property
    def trained(self) -> dict[str, Release]:
        """The releases of models."""
        return {domain: release for domain, release in self.releases.items() if release.untrained is None}


class Releases:
    """The releases of a service. `refresh` is called by one thread at a time, all else is read by any."""

    def __init__(
        self,
        ask: AskRegistry,
        alias: str,
        domains: tuple[str, ...] | None = None,
        verdicts: Mapping[str, str] | None = None,
        engine: EngineAddress | None = None,
    ) -> None:
        """Prepares; `refresh` asks and loads.

        Args:
            ask: names the versions that have the alias.
            alias: of the versions to answer from.
            domains: to answer for; None takes those that the registry names.
            verdicts: domain that nothing is trained for -> address of the file of its verdicts.
            engine: where lists of seeds are searched; None searches the indexes of the bundles.
        """
        self.state = State(wanted=domains)
        self._ask, self._alias, self._domains, self._verdicts = ask, alias, domains, verdicts or {}
        self._engine = engine
        self._made_of: dict[str, tuple[str, ReleaseSource]] = {}
        self._patterns: WeakKeyDictionary[SeedsRelease, np.ndarray | str] = WeakKeyDictionary()

    def follow(self, seconds: float, stopped: threading.Event) -> None:
        """Refreshes at once, then every few seconds, until it is stopped."""
        if sys.platform == "linux":  # where a thread has a priority of its own: what loads gives way to what answers
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        while True:
            self.refresh()
            self.read_patterns()
            if stopped.wait(seconds):
                return

    def refresh(self) -> None:
        """Asks the registry and loads what is new. A failure is noted and counted, and leaves the old one answering."""
        try:
            named = {version.domain: version for version in self._ask()}
        except Exception as error:  # of MLflow, its database or its server: any of them may be away for a while
            self._fail(_REGISTRY, error)
            return
        wanted = self._domains or tuple(sorted(named.keys() | self.state.trained.keys()))
        self.state = replace(self.state, wanted=wanted)
        self._note(_REGISTRY, None if wanted else f"no model has a version with the alias {self._alias!r}")
        for domain in wanted:
            self._refresh_domain(domain, named.get(domain))
        if wanted and set(wanted) <= self.state.trained.keys():
            self.state = replace(self.state, ready=True)
        for domain, file in self._verdicts.items():
            self._refresh_untrained(domain, file)

    def read_patterns(self) -> None:
        """Reads the patterns that pages show, of releases that have none yet: after all of them answer already."""
        for release in (each for each in self.state.trained.values() if isinstance(each, SeedsRelease)):
            known = self._patterns.get(release)
            if not isinstance(known, np.ndarray):
                self._patterns[release] = found = _read_patterns(release)
                if isinstance(found, str) and found != known:  # said once, not at every look
                    _logger.warning("%s: %s", release.source.label, found)

    def patterns_of(self, release: SeedsRelease) -> np.ndarray | str:
        """Number of the pattern of each item, int32 [N], or why that is not known: a sentence."""
        if release.untrained:
            return "The patterns of a domain are found when it is trained."
        loading = "The patterns of this version are being read. Load the page again in a moment."
        return self._patterns.get(release, loading)

    def _refresh_domain(self, domain: str, named: NamedVersion | UnresolvedChampion | None) -> None:
        if named is None:
            self._note(domain, f"no version of modit-{domain} has the alias {self._alias!r}")
            return
        try:
            if isinstance(named, UnresolvedChampion):
                raise named.error
            source, old = ReleaseSource.of(named), self.state.releases.get(domain)
            if old is None or old.source != source:
                from modit.serve import answering

                release = answering.load_release(source, self.state.trained.values(), self._engine)
                self.state = replace(self.state, releases={**self.state.releases, domain: release})
                RELOADS.labels("loaded").inc()
                _logger.info("%s answers, from %s with index %s", source.label, source.run_uri, source.index_digest)
        except Exception as error:  # a bundle can be wrong in more ways than can be listed; the old one goes on
            self._fail(domain, error)
        else:
            self._note(domain, None)

    def _refresh_untrained(self, domain: str, file: str) -> None:
        """Makes the release of a domain that has only verdicts anew if its file, or what it shares, has changed."""
        problem = f"verdicts of {domain}"
        if domain in (self.state.wanted or ()):  # in a problem with its model, the verdicts go on answering
            message = f"{file} is not read: a model of {domain} is registered; leave out --verdicts {domain}"
            self._note(problem, message if domain in self.state.trained else None)
            return
        base = _choose_base(self.state.trained.values())
        if base is None:
            self._note(problem, "no release answers yet whose catalogue and index could be searched")
            return
        from modit.serve import answering

        try:
            made_of = answering.sha256_of_verdicts(file), base.source
            if self._made_of.get(domain) != made_of:
                release = answering.make_untrained_release(domain, file, base)
                self.state = replace(self.state, releases={**self.state.releases, domain: release})
                self._made_of[domain] = made_of
                RELOADS.labels("loaded").inc()
                _logger.info("%s answers, from %s and the catalogue of %s", release.label, file, base.source.label)
        except Exception as error:  # people edit the file, and it may be away for a while; the old verdicts go on
            self._fail(problem, error)
        else:
            self._note(problem, None)

    def _fail(self, name: str, error: Exception) -> None:
        RELOADS.labels("failed").inc()
        self._note(name, f"{type(error).__name__}: {error}".splitlines()[0])

    def _note(self, name: str, problem: str | None) -> None:
        if problem and self.state.problems.get(name) != problem:  # said once, not at every look
            _logger.warning("%s: %s", name, problem)
        others = {key: text for key, text in self.state.problems.items() if key != name}
        self.state = replace(self.state, problems=others | ({name: problem} if problem else {}))


def _choose_base(releases: Iterable[Release]) -> SeedsRelease | None:
    """The release whose catalogue and index are shared: of those that most domains answer from, the first by domain."""
    of_seeds = [each for each in releases if isinstance(each, SeedsRelease)]
    ordered = sorted(of_seeds, key=lambda each: each.source.domain)
    places = [(each.source.run_uri, each.items.digests) for each in ordered]
    return max(ordered, key=lambda each: places.count((each.source.run_uri, each.items.digests)), default=None)


def _read_patterns(release: SeedsRelease) -> np.ndarray | str:
    source, items = release.source, len(release.items.index)
    name = f"{source.domain}.npz"
    try:
        with tempfile.TemporaryDirectory(prefix="modit-") as folder:
            store = ArtifactStore(Storage(source.run_uri), Path(folder))
            with np.load(store.read("patterns", files=(name,)) / name) as stored:
                labels = stored["labels"]
    except (ArtifactError, OSError, KeyError, ValueError) as error:
        return f"The patterns of this version cannot be read: {type(error).__name__}: {error}."
    if len(labels) != items:
        return f"The patterns of this version are of {len(labels)} items, its index has {items}."
    return labels


def ask_registry(uri: str, alias: str) -> AskRegistry:
    """Asks an MLflow registry for the versions that have an alias and that the release log agrees on.

    Args:
        uri: of the registry; it is connected to when it is asked first.
        alias: wanted.
    """
    return ChampionResolver(followed_registry(uri), alias).versions
