"""The running service: it answers requests of any task, each from the release of its domain."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from modit.release.bundle.release import Release, SeedsRelease
from modit.release.kinds import kind_of
from modit.serve.feature_seeds import FeatureSeeds
from modit.serve.history import History, read_histories
from modit.serve.releases import AskRegistry, Releases, ask_registry
from modit.serve.schema import ItemsRequest, RequestError, retry_after, shown
from modit.serve.settings import Settings
from modit.serve.tasks import L, Placed, Task, TaskQuery, domain_of
from modit.serve.workers import Workers

if TYPE_CHECKING:
    from modit.serve.request_log import RequestLog


class Service:
    """A service; it runs while its context is entered.

    Attributes:
        settings: how it runs.
        releases: that answer.
        workers: that answer, so that the event loop stays free.
        features: the online store that seeds are read from, or None.
    """

    def __init__(self, settings: Settings, ask: AskRegistry | None = None) -> None:
        """Prepares; releases are loaded in the background as soon as it runs.

        Args:
            settings: how it runs.
            ask: names the versions to answer from; None asks the registry of the settings.
        """
        self.settings = settings
        ask = ask or ask_registry(settings.registry, settings.alias)
        self.releases = Releases(ask, settings.alias, settings.domains, settings.verdicts, settings.engine)
        self.workers = Workers(settings.threads, settings.queue, settings.timeout_seconds)
        self.features: FeatureSeeds | None = None
        self._log: RequestLog | None = None
        if settings.log_requests:
            from modit.serve import answering

            self._log = answering.RequestLog(settings.log_requests)
        self._running = ExitStack()

    def __enter__(self) -> Service:
        settings, stopped = self.settings, threading.Event()
        if self._log:
            self._log.start()
            self._running.callback(self._log.stop)
        if settings.features:
            self.features = FeatureSeeds(settings.features, settings.features_timeout_seconds)
            self._running.callback(self.features.close)
        self._running.enter_context(self.workers)
        follow = (settings.reload_seconds, stopped)
        threading.Thread(target=self.releases.follow, args=follow, name="watcher", daemon=True).start()
        self._running.callback(stopped.set)  # a refresh that may be going on is not waited for
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def answer(
        self, answered_by: type[Release], requests: Sequence[ItemsRequest], request_id: str, field: str = ""
    ) -> tuple[list[Any], dict[str, Any]]:
        """Answers several requests, those of a domain by one release and in one search.

        Args:
            answered_by: the kind of release that all requests need.
            requests: at least one.
            request_id: no other call has it.
            field: where the requests stand, such as `requests.{}.`, for the refusal of one of them.

        Returns:
            The answers in the order of the requests, and what the access log says of them.

        Raises:
            RequestError: one request is refused, and with it all.
        """
        releases: dict[str, Release] = {}
        numbers: dict[str, list[int]] = {}
        placed = [Placed(each, field.format(number)) for number, each in enumerate(requests)]
        for number, each in enumerate(placed):
            domain = domain_of(each.request, answered_by)
            with each.refusals():
                # Once for each domain: a swap of releases in between must not mix two of them.
                releases[domain] = releases.get(domain) or self.release(domain, answered_by)
            numbers.setdefault(domain, []).append(number)
        task, queries = self.task(answered_by), dict[int, TaskQuery]()
        for domain, these in numbers.items():
            read = task.read([placed[number] for number in these], releases[domain])
            queries.update(zip(these, read, strict=True))
        answers: dict[int, Any] = {}
        for domain, these in numbers.items():
            chosen, release = [queries[number] for number in these], releases[domain]
            for number, query, result in zip(these, chosen, task.search(chosen, release), strict=True):
                answers[number] = task.answer(query, result, release)
        in_order = range(len(requests))
        read = [queries[number] for number in in_order]
        self._log_all([releases[domain_of(each, answered_by)] for each in requests], read, request_id)
        return [answers[number] for number in in_order], _facts_of(releases, read)

    def task(self, answered_by: type[L]) -> Task[Any, Any, Any, L]:
        """The task of a type of releases, of which there is one; searches of this thread then take one core.

        Args:
            answered_by: the kind of release that answers.
        """
        from modit.serve import answering

        answering.search_threads(1)  # requests share the cores
        return self._tasks[answered_by]

    @cached_property
    def _tasks(self) -> Mapping[type[Release], Task[Any, Any, Any, Any]]:
        from modit.serve import answering

        return answering.make_tasks(self.settings.limits, self.features)

    def _log_all(self, releases: Sequence[Release], queries: Sequence[TaskQuery], request_id: str) -> None:
        if self._log is None:
            return
        from modit.serve import answering

        now = datetime.now(UTC)
        for number, (release, query) in enumerate(zip(releases, queries, strict=True)):
            # A night refuses labels of a domain that its items do not have; sessions have no domain at all.
            if query.anchors and isinstance(release, SeedsRelease) and release.untrained is None:
                name = request_id if len(queries) == 1 else f"{request_id}-{number}"
                self._log.add(answering.LoggedRequest(name, now, query.anchors, release))

    def readiness(self) -> dict[str, Any]:
        """Whether every wanted domain has a release, what answers, and what is wrong."""
        state = self.releases.state
        answering = {domain: _answers_from(release) for domain, release in state.releases.items()}
        problems = dict(state.problems)
        if self.features and self.features.problem:
            problems["features"] = self.features.problem
        return {"ready": state.ready, "releases": answering, "problems": problems}

    def histories(self) -> list[History]:
        """The versions of each domain.

        Raises:
            RequestError: the registry does not answer.
        """
        try:
            return read_histories(self.settings.registry)
        except Exception as error:  # of MLflow, its database or its server: any of them may be away for a while
            message = "The registry does not answer at the moment; the service goes on with the releases that it has."
            later, allowed = retry_after(self.settings.reload_seconds), "a registry that answers"
            raise RequestError("registry", type(error).__name__, allowed, 503, later, message) from error

    def release(self, domain: str, answered_by: type[L]) -> L:
        """What answers for a domain.

        Args:
            domain: its name, or what stands for one.
            answered_by: the kind of release that is needed.

        Raises:
            RequestError: nothing, and whether it will.
        """
        state, kind = self.releases.state, answered_by.kind
        release = state.releases.get(domain)
        if isinstance(release, answered_by):
            return release
        known = None if state.wanted is None else {*state.wanted, *self.settings.verdicts}
        wanted = None if known is None else sorted(each for each in known if kind_of(each) is kind)
        if kind_of(domain) is kind and (wanted is None or domain in wanted):
            what = f"The {kind.called}" if kind.name else f"The domain {shown(domain)}"
            message = f"{what} has no release yet; /readyz says why. Try again in a moment."
            later = retry_after(self.settings.reload_seconds)
            raise RequestError("domain", domain, "a domain that has a release", 503, later, message)
        served = ", ".join(wanted or ())
        if kind.name:
            message = f"There is no {kind.called}: no model modit-{kind.name} is served."
            raise RequestError("path", kind.path, "/v1/retrieve", 404, message=message)
        found = f"the domains are {served}" if served else "there is none yet"
        message = f"There is no domain {shown(domain)}; {found}."
        raise RequestError("domain", domain, served or "none yet", 404, message=message)


def _answers_from(release: Release) -> dict[str, Any]:
    """What `/readyz` says of a release."""
    facts: dict[str, Any] = {"version": release.source.version, "index_digest": release.source.index_digest}
    if release.untrained:
        facts["untrained"] = {"positives": release.untrained.positives, "negatives": release.untrained.negatives}
    return facts


def _facts_of(releases: Mapping[str, Release], queries: Sequence[TaskQuery]) -> dict[str, Any]:
    """The fields of the access log; `seeds` counts the inputs of any task."""
    sums = {"seeds": sum(each.size for each in queries), "k": sum(each.request.k for each in queries)}
    if len(queries) == 1:
        [(domain, release)] = releases.items()
        return {"domain": domain, "version": release.source.version, **sums}
    named = sorted(releases.items())
    return {
        "domain": ",".join(domain for domain, _ in named),
        "version": ",".join(str(release.source.version) for _, release in named),
        "requests": len(queries),
        **sums,
    }
