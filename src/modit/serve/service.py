"""What the routes work with: it answers a request from the release of its domain, and says whether it is ready."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from modit.release.loading import Release
from modit.release.retrieval import Found, retrieve
from modit.serve.metrics import Metrics
from modit.serve.questions import question_of
from modit.serve.releases import Releases
from modit.serve.schema import RequestError, RetrieveAnswer, RetrievedItem, RetrieveRequest
from modit.serve.settings import Settings


@dataclass(frozen=True)
class Service:
    """A running service.

    Attributes:
        releases: that answer.
        metrics: of requests.
        settings: how it runs.
        pool: where requests are answered, so that the event loop stays free.
    """

    releases: Releases
    metrics: Metrics
    settings: Settings
    pool: ThreadPoolExecutor

    def answer(self, asked: RetrieveRequest) -> tuple[RetrieveAnswer, dict[str, Any]]:
        """The answer to a request, and what the log says of it.

        Raises:
            RequestError: it is refused.
        """
        release = self._release(asked.domain)  # once: a swap in the middle does not mix two releases
        question = question_of(asked, release, self.settings.limits)
        found = retrieve(release.sampler, release.items.index, question)
        source = release.source
        facts = {"domain": source.domain, "version": source.version, "seeds": len(question.seeds), "k": question.k}
        return _answer_of(release, found, asked.return_query), facts

    def readiness(self) -> dict[str, Any]:
        """Whether every wanted domain has a release, what answers, and what is wrong."""
        state = self.releases.state
        answering = {
            domain: {"version": release.source.version, "index_digest": release.source.index_digest}
            for domain, release in state.releases.items()
        }
        return {"ready": state.ready, "releases": answering, "problems": dict(state.problems)}

    def _release(self, domain: str) -> Release:
        state = self.releases.state
        if release := state.releases.get(domain):
            return release
        if state.wanted is None or domain in state.wanted:
            later = {"Retry-After": str(max(1, round(self.settings.reload_seconds)))}
            raise RequestError("domain", domain, "later: it has no release yet, see /readyz", 503, later)
        raise RequestError("domain", domain, ", ".join(sorted(state.wanted)) or "none yet", 404)


def _answer_of(release: Release, found: Found, with_query: bool) -> RetrieveAnswer:
    source, items = release.source, release.items
    listed = zip(items.ids_of(found.rows), found.scores.tolist(), items.titles_of(found.rows), strict=True)
    return RetrieveAnswer(
        items=[RetrievedItem(item_id=item_id, score=score, title=title) for item_id, score, title in listed],
        query=found.query.tolist() if with_query else None,
        domain=source.domain,
        model=source.model,
        version=source.version,
        alias=source.alias,
        index_digest=source.index_digest,
    )
