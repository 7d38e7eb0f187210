"""The running service: it answers requests of any task, each from the release of its domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from modit.release.bundle.loading import Release
from modit.serve.access import RateLimit
from modit.serve.feature_seeds import FeatureSeeds
from modit.serve.history import AskHistory, History
from modit.serve.item_annotations import AnnotationLoader
from modit.serve.metrics import Metrics
from modit.serve.releases import Releases
from modit.serve.request_log import LoggedRequest, RequestLog
from modit.serve.retrieve import RetrieveTask
from modit.serve.schema import ItemsRequest, RequestError, shown
from modit.serve.settings import Settings
from modit.serve.tasks import A, Placed, Q, R, Task
from modit.serve.workers import Workers


@dataclass(frozen=True)
class Service:
    """A running service.

    Attributes:
        releases: that answer.
        metrics: of requests.
        settings: how it runs.
        workers: that answer, so that the event loop stays free.
        ask_history: asks for the versions of all domains.
        retrieve: the task of `/v1/retrieve`.
        annotations: reads what pages show of items.
        features: the online store that seeds are read from, or None.
        rate: of a client, or None.
        log: of answered requests, or None.
    """

    releases: Releases
    metrics: Metrics
    settings: Settings
    workers: Workers
    ask_history: AskHistory
    retrieve: RetrieveTask
    annotations: AnnotationLoader
    features: FeatureSeeds | None = None
    rate: RateLimit | None = None
    log: RequestLog | None = None

    def answer(
        self, task: Task[R, Q, A], requests: Sequence[R], request_id: str, field: str = ""
    ) -> tuple[list[A], dict[str, Any]]:
        """Answers several requests, those of a domain by one release and in one search.

        Args:
            task: of all requests.
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
            domain = each.request.domain
            with each.refusals():
                # Once for each domain: a swap of releases in between must not mix two of them.
                releases[domain] = releases.get(domain) or self.release(domain)
            numbers.setdefault(domain, []).append(number)
        queries: dict[int, Q] = {}
        for domain, these in numbers.items():
            read = task.read([placed[number] for number in these], releases[domain])
            queries.update(zip(these, read, strict=True))
        answers: dict[int, A] = {}
        for domain, these in numbers.items():
            chosen, release = [queries[number] for number in these], releases[domain]
            for number, query, result in zip(these, chosen, task.search(chosen, release), strict=True):
                answers[number] = task.answer(query, result, release)
        in_order = range(len(requests))
        self._log(releases, requests, [task.anchors(queries[number]) for number in in_order], request_id)
        facts = _facts_of(releases, requests, [task.size(queries[number]) for number in in_order])
        return [answers[number] for number in in_order], facts

    def _log(
        self,
        releases: dict[str, Release],
        requests: Sequence[ItemsRequest],
        anchors: list[list[tuple[str, int]]],
        request_id: str,
    ) -> None:
        if self.log is None:
            return
        now = datetime.now(UTC)
        for number, (request, found) in enumerate(zip(requests, anchors, strict=True)):
            if found:
                name = request_id if len(requests) == 1 else f"{request_id}-{number}"
                self.log.add(LoggedRequest(name, now, found, releases[request.domain]))

    def readiness(self) -> dict[str, Any]:
        """Whether every wanted domain has a release, what answers, and what is wrong."""
        state = self.releases.state
        answering = {
            domain: {"version": release.source.version, "index_digest": release.source.index_digest}
            for domain, release in state.releases.items()
        }
        problems = dict(state.problems)
        if self.features and self.features.problem:
            problems["features"] = self.features.problem
        return {"ready": state.ready, "releases": answering, "problems": problems}

    def history(self) -> list[History]:
        """The versions of each domain.

        Raises:
            RequestError: the registry does not answer.
        """
        try:
            return self.ask_history()
        except Exception as error:  # of MLflow, its database or its server: any of them may be away for a while
            later = {"Retry-After": str(max(1, round(self.settings.reload_seconds)))}
            message = "The registry does not answer at the moment; the service goes on with the releases that it has."
            raise RequestError(
                "registry", type(error).__name__, "a registry that answers", 503, later, message
            ) from error

    def release(self, domain: str) -> Release:
        """What answers for a domain.

        Raises:
            RequestError: nothing, and whether it will.
        """
        state = self.releases.state
        if release := state.releases.get(domain):
            return release
        if state.wanted is None or domain in state.wanted:
            later = {"Retry-After": str(max(1, round(self.settings.reload_seconds)))}
            message = f"The domain {shown(domain)} has no release yet; /readyz says why. Try again in a moment."
            raise RequestError("domain", domain, "a domain that has a release", 503, later, message)
        served = ", ".join(sorted(state.wanted))
        message = (
            f"There is no domain {shown(domain)}; {f'the domains are {served}' if served else 'there is none yet'}."
        )
        raise RequestError("domain", domain, served or "none yet", 404, message=message)


def _facts_of(releases: dict[str, Release], requests: Sequence[ItemsRequest], sizes: list[int]) -> dict[str, Any]:
    """The fields of the access log; `seeds` counts the inputs of any task."""
    if len(requests) == 1:
        [(domain, release)] = releases.items()
        return {"domain": domain, "version": release.source.version, "seeds": sizes[0], "k": requests[0].k}
    named = sorted(releases.items())
    return {
        "domain": ",".join(domain for domain, _ in named),
        "version": ",".join(str(release.source.version) for _, release in named),
        "requests": len(requests),
        "seeds": sum(sizes),
        "k": sum(each.k for each in requests),
    }
