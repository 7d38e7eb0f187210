"""Holds the releases that answer now, and the thread that follows the registry."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from modit.release.bundle.loading import Release, ReleaseSource, load_release
from modit.release.model_registry.model_version import NamedVersion
from modit.release.model_registry.registry_access import existing_registry
from modit.release.model_registry.release_state import ChampionResolver, UnresolvedChampion

_logger = logging.getLogger(__name__)
_NICE = 10
REGISTRY, LOADED, FAILED = "registry", "loaded", "failed"

AskRegistry = Callable[[], Iterable[NamedVersion | UnresolvedChampion]]


@dataclass(frozen=True)
class State:
    """What the service knows at one moment; a new one takes its place as a whole.

    Attributes:
        releases: domain -> what answers.
        wanted: domains to answer for; None while the registry has not said.
        problems: domain, or "registry" -> why it is not as it should be.
        ready: whether every wanted domain had a release once. A domain that comes later does not change it: it would
            take the others with it.
    """

    releases: Mapping[str, Release] = field(default_factory=dict)
    wanted: tuple[str, ...] | None = None
    problems: Mapping[str, str] = field(default_factory=lambda: {REGISTRY: "not asked yet"})
    ready: bool = False


class Releases:
    """The releases of a service. `refresh` is called by one thread at a time, `state` is read by any."""

    def __init__(
        self,
        ask: AskRegistry,
        alias: str,
        domains: tuple[str, ...] | None = None,
        count: Callable[[str], None] = lambda result: None,
    ) -> None:
        """Prepares; `refresh` asks and loads.

        Args:
            ask: names the versions that have the alias.
            alias: of the versions to answer from.
            domains: to answer for; None takes those that the registry names.
            count: is told "loaded" or "failed" of each attempt.
        """
        self.state = State(wanted=domains)
        self._ask, self._alias, self._domains, self._count = ask, alias, domains, count

    def refresh(self) -> None:
        """Asks the registry and loads what is new. A failure is noted and counted, and leaves the old one answering."""
        try:
            named = {version.domain: version for version in self._ask()}
        except Exception as error:  # of MLflow, its database or its server: any of them may be away for a while
            self._fail(REGISTRY, error)
            return
        wanted = self._domains or tuple(sorted(named.keys() | self.state.releases.keys()))
        problem = None if wanted else f"no model has a version with the alias {self._alias!r}"
        self.state = replace(self.state, wanted=wanted)
        self._note(REGISTRY, problem)
        for domain in wanted:
            self._refresh_domain(domain, named.get(domain))
        if wanted and set(wanted) <= self.state.releases.keys():
            self.state = replace(self.state, ready=True)

    def _refresh_domain(self, domain: str, named: NamedVersion | UnresolvedChampion | None) -> None:
        try:
            if isinstance(named, UnresolvedChampion):
                raise named.error
            if named is None:
                self._note(domain, f"no version of modit-{domain} has the alias {self._alias!r}")
                return
            source, old = ReleaseSource.of(named), self.state.releases.get(domain)
            if old is None or old.source != source:
                self._swap(load_release(source, self.state.releases.values()))
        except Exception as error:  # a bundle can be wrong in more ways than can be listed; the old one goes on
            self._fail(domain, error)
        else:
            self._note(domain, None)

    def _swap(self, release: Release) -> None:
        source = release.source
        self.state = replace(self.state, releases={**self.state.releases, source.domain: release})
        self._count(LOADED)
        _logger.info("%s answers, from %s with index %s", source.label, source.run_uri, source.index_digest)

    def _fail(self, name: str, error: Exception) -> None:
        self._count(FAILED)
        self._note(name, f"{type(error).__name__}: {error}".splitlines()[0])

    def _note(self, name: str, problem: str | None) -> None:
        if problem and self.state.problems.get(name) != problem:  # said once, not at every look
            _logger.warning("%s: %s", name, problem)
        others = {key: text for key, text in self.state.problems.items() if key != name}
        self.state = replace(self.state, problems=others | ({name: problem} if problem else {}))


class Watcher(threading.Thread):
    """Refreshes at once, then every few seconds, until it is stopped."""

    def __init__(self, releases: Releases, seconds: float) -> None:
        """Prepares; `start` begins.

        Args:
            releases: to refresh.
            seconds: between the end of a refresh and the next.
        """
        super().__init__(name="watcher", daemon=True)
        self._releases, self._seconds, self._stopped = releases, seconds, threading.Event()

    def run(self) -> None:
        """Until `stop`."""
        if sys.platform == "linux":  # where a thread has a priority of its own: what loads gives way to what answers
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        self._releases.refresh()
        while not self._stopped.wait(self._seconds):
            self._releases.refresh()

    def stop(self) -> None:
        """Ends it after the refresh that may be going on, which is not waited for."""
        self._stopped.set()


def ask_registry(uri: str, alias: str) -> AskRegistry:
    """Asks an MLflow registry for the versions that have an alias and that the release log agrees on.

    Args:
        uri: of the registry; it is connected to when it is asked first.
        alias: wanted.
    """
    connections: list[ChampionResolver] = []

    def ask() -> list[NamedVersion | UnresolvedChampion]:
        if not connections:
            connections.append(ChampionResolver(existing_registry(uri), alias))
        return connections[0].versions()

    return ask
