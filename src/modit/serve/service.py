"""What the routes work with: it answers a request from the release of its domain, and says whether it is ready."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from modit.inference.retrieval import SearchResult, retrieve_all
from modit.release.bundle.loading import Release
from modit.serve.access import RateLimit
from modit.serve.history import AskHistory, History
from modit.serve.metrics import Metrics
from modit.serve.queries import query_of
from modit.serve.releases import Releases
from modit.serve.request_log import Asked, RequestLog
from modit.serve.schema import RequestError, RetrieveAnswer, RetrievedItem, RetrieveRequest
from modit.serve.settings import Settings
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
        rate: of a client, or None.
        log: of answered requests, or None.
    """

    releases: Releases
    metrics: Metrics
    settings: Settings
    workers: Workers
    ask_history: AskHistory
    rate: RateLimit | None = None
    log: RequestLog | None = None

    def answer(self, asked: RetrieveRequest, request_id: str) -> tuple[RetrieveAnswer, dict[str, Any]]:
        """The answer to a request, and what the log says of it.

        Raises:
            RequestError: it is refused.
        """
        answers, facts = self.answer_all([asked], request_id)
        return answers[0], facts

    def answer_all(
        self, asked: Sequence[RetrieveRequest], request_id: str, field: str = ""
    ) -> tuple[list[RetrieveAnswer], dict[str, Any]]:
        """The answers to several requests, those of a domain by one release in one run of its sampler.

        Args:
            asked: at least one.
            request_id: no other call has it.
            field: where the requests stand, such as `requests.{}.`, for the refusal of one of them.

        Raises:
            RequestError: one is refused, and with it all.
        """
        releases: dict[str, Release] = {}
        numbers: dict[str, list[int]] = {}
        questions = []
        for number, each in enumerate(asked):
            try:
                # once a domain: a swap in the middle does not mix two releases
                release = releases.get(each.domain) or releases.setdefault(each.domain, self.release(each.domain))
                questions.append(query_of(each, release, self.settings.limits))
            except RequestError as error:
                raise error.within(field.format(number)) from error
            numbers.setdefault(each.domain, []).append(number)
        answers: dict[int, RetrieveAnswer] = {}
        for domain, these in numbers.items():
            release = releases[domain]
            found = retrieve_all(release.sampler, release.items.index, [questions[number] for number in these])
            for number, one in zip(these, found, strict=True):
                answers[number] = _answer_of(release, one, asked[number].return_query)
        self._note(asked, releases, request_id)
        versions = {domain: release.source.version for domain, release in sorted(releases.items())}
        facts = _facts_of(versions, [len(question.seeds) for question in questions], [each.k for each in questions])
        return [answers[number] for number in range(len(asked))], facts

    def _note(self, asked: Sequence[RetrieveRequest], releases: dict[str, Release], request_id: str) -> None:
        if self.log is None:
            return
        now = datetime.now(UTC)
        for number, each in enumerate(asked):
            if each.seeds.item_ids:
                name = request_id if len(asked) == 1 else f"{request_id}-{number}"
                self.log.add(Asked(name, now, each.domain, each.seeds.item_ids, releases[each.domain].items))

    def readiness(self) -> dict[str, Any]:
        """Whether every wanted domain has a release, what answers, and what is wrong."""
        state = self.releases.state
        answering = {
            domain: {
                "version": release.source.version,
                "precision": release.precision,
                "index_digest": release.source.index_digest,
            }
            for domain, release in state.releases.items()
        }
        return {"ready": state.ready, "releases": answering, "problems": dict(state.problems)}

    def history(self) -> list[History]:
        """The versions of each domain.

        Raises:
            RequestError: the registry does not answer.
        """
        try:
            return self.ask_history()
        except Exception as error:  # of MLflow, its database or its server: any of them may be away for a while
            later = {"Retry-After": str(max(1, round(self.settings.reload_seconds)))}
            raise RequestError("registry", type(error).__name__, "one that answers", 503, later) from error

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
            raise RequestError("domain", domain, "later: it has no release yet, see /readyz", 503, later)
        raise RequestError("domain", domain, ", ".join(sorted(state.wanted)) or "none yet", 404)


def _facts_of(versions: dict[str, int], seeds: list[int], k: list[int]) -> dict[str, Any]:
    if len(seeds) == 1:
        [(domain, version)] = versions.items()
        return {"domain": domain, "version": version, "seeds": seeds[0], "k": k[0]}
    domains = {"domain": ",".join(versions), "version": ",".join(map(str, versions.values()))}
    return domains | {"requests": len(seeds), "seeds": sum(seeds), "k": sum(k)}


def _answer_of(release: Release, found: SearchResult, with_query: bool) -> RetrieveAnswer:
    source, items = release.source, release.items
    listed = zip(items.ids_of(found.rows), found.scores.tolist(), items.titles_of(found.rows), strict=True)
    return RetrieveAnswer(
        items=[RetrievedItem(item_id=item_id, score=score, title=title) for item_id, score, title in listed],
        query=found.query.tolist() if with_query else None,
        domain=source.domain,
        model=source.model,
        version=source.version,
        alias=source.alias,
        precision=release.precision,
        index_digest=source.index_digest,
    )
