"""The HTTP application: `create_app` and its routes."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import Route

from modit import __version__
from modit.index.engines.collection import EngineError
from modit.release.bundle.release import FanOutRelease, NextItemRelease, Release, SearchRelease, SeedsRelease
from modit.serve import pages
from modit.serve.access import Access, RateLimit, wants_page
from modit.serve.metrics import metrics_text
from modit.serve.middleware import RequestMiddleware, refusals, refused
from modit.serve.releases import AskRegistry
from modit.serve.schema import (
    BatchAnswer,
    BatchRequest,
    FanOutAnswer,
    FanOutRequest,
    ItemsRequest,
    RecommendAnswer,
    RecommendRequest,
    Refusal,
    Refusals,
    RequestError,
    RetrieveAnswer,
    RetrieveRequest,
    SearchAnswer,
    SearchRequest,
    expect_range,
    retry_after,
    shown,
)
from modit.serve.service import Service
from modit.serve.settings import Settings
from modit.serve.tasks import domain_of

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Refusals, "description": text}
    for status, text in {
        400: "The body is not text in UTF-8.",
        401: "The key or token is missing, unknown or expired.",
        404: "There is no such domain, or no retriever of the next item or by text.",
        413: "The body is too long.",
        422: "A value is not allowed.",
        429: "The client sends too many requests.",
        503: "The domain has no release yet, the index engine does not answer, or too many requests are waiting.",
        504: "The answer took too long.",
    }.items()
}
router = APIRouter()
_logger = logging.getLogger(__name__)


@router.post(
    "/v1/retrieve",
    response_model=RetrieveAnswer,
    responses=_PROBLEMS,
    summary="Find items that have the attribute of a domain and are like the seeds",
)
async def retrieve(asked: RetrieveRequest, request: Request) -> Response:
    """Generates a query from the seeds and searches the index with it.

    The same request gets the same answer as long as the same version answers and the vectors of its seeds are the same.
    """
    [answer] = await _answers(request, SeedsRelease, [asked])
    return _as_json(answer)


@router.post(
    "/v1/retrieve/batch",
    response_model=BatchAnswer[RetrieveAnswer],
    responses=_PROBLEMS,
    summary="Send several retrieve requests at once",
)
async def retrieve_batch(asked: BatchRequest[RetrieveRequest], request: Request) -> Response:
    """Faster than single requests: the sampler runs once for all requests of a domain.

    If one request is refused, the whole batch is refused.
    """
    answers = await _answers(request, SeedsRelease, asked.requests, "requests.{}.")
    return _as_json(BatchAnswer[Any](answers=answers))


@router.post(
    "/v1/recommend",
    response_model=RecommendAnswer,
    responses=_PROBLEMS,
    summary="Find items that are likely to be next in a session",
)
async def recommend(asked: RecommendRequest, request: Request) -> Response:
    """Generates semantic IDs after those of the items of the session, within the IDs that items have.

    The same request gets the same answer as long as the same version answers.
    """
    [answer] = await _answers(request, NextItemRelease, [asked])
    return _as_json(answer)


@router.post(
    "/v1/recommend/batch",
    response_model=BatchAnswer[RecommendAnswer],
    responses=_PROBLEMS,
    summary="Send several recommend requests at once",
)
async def recommend_batch(asked: BatchRequest[RecommendRequest], request: Request) -> Response:
    """Faster than single requests: the IDs of all sessions are decoded together.

    If one request is refused, the whole batch is refused.
    """
    answers = await _answers(request, NextItemRelease, asked.requests, "requests.{}.")
    return _as_json(BatchAnswer[Any](answers=answers))


@router.post(
    "/v1/search",
    response_model=SearchAnswer,
    responses=_PROBLEMS,
    summary="Find items that a text describes",
)
async def search(asked: SearchRequest, request: Request) -> Response:
    """Fuses two lists: items whose titles share words with the text, and the nearest ones by two text towers.

    The same request gets the same answer as long as the same version answers.
    """
    [answer] = await _answers(request, SearchRelease, [asked])
    return _as_json(answer)


@router.post(
    "/v1/search/batch",
    response_model=BatchAnswer[SearchAnswer],
    responses=_PROBLEMS,
    summary="Send several search requests at once",
)
async def search_batch(asked: BatchRequest[SearchRequest], request: Request) -> Response:
    """Faster than single requests: the towers read all texts at once.

    If one request is refused, the whole batch is refused.
    """
    answers = await _answers(request, SearchRelease, asked.requests, "requests.{}.")
    return _as_json(BatchAnswer[Any](answers=answers))


@router.post(
    "/v1/fan_out",
    response_model=FanOutAnswer,
    responses=_PROBLEMS,
    summary="Find a varied set of items for an intent",
)
async def fan_out(asked: FanOutRequest, request: Request) -> Response:
    """Samples several queries for the intent, searches with each, and merges their lists without repeats.

    The same request gets the same answer as long as the same version answers.
    """
    [answer] = await _answers(request, FanOutRelease, [asked])
    return _as_json(answer)


@router.post(
    "/v1/fan_out/batch",
    response_model=BatchAnswer[FanOutAnswer],
    responses=_PROBLEMS,
    summary="Send several intents at once",
)
async def fan_out_batch(asked: BatchRequest[FanOutRequest], request: Request) -> Response:
    """Faster than single requests: the queries of all intents are sampled at once.

    If one request is refused, the whole batch is refused.
    """
    answers = await _answers(request, FanOutRelease, asked.requests, "requests.{}.")
    return _as_json(BatchAnswer[Any](answers=answers))


async def _answers(
    request: Request, answered_by: type[Release], asked: Sequence[ItemsRequest], field: str = ""
) -> list[Any]:
    """Answers requests of one kind, which count one by one for the rate; `field` is the place of each in a batch."""
    service, state = request.app.state.service, request.state
    expect_range("number of requests", len(asked), 1, service.settings.limits.batch)
    if rate := request.app.state.rate:
        rate.spend(state.client, len(asked) - 1)  # the middleware counted one
    state.facts["domain"] = shown(",".join(sorted({domain_of(each, answered_by) for each in asked})))
    answers, facts = await service.workers.run(lambda: service.answer(answered_by, asked, state.request_id, field))
    state.facts.update(facts)
    return answers


def _as_json(answer: BaseModel) -> Response:
    return Response(answer.model_dump_json(exclude_unset=True), media_type="application/json")


@router.get("/healthz", summary="Tell whether the process is alive")
async def healthz() -> dict[str, str]:
    """Answers 200 as long as the process runs."""
    return {"status": "alive"}


@router.get(
    "/readyz",
    summary="Tell whether every wanted domain has a release",
    responses={503: {"description": "Not every wanted domain has a release yet."}},
)
async def readyz(request: Request) -> Response:
    """Answers 503 with the reasons until every wanted domain has had a release, then 200."""
    content = request.app.state.service.readiness()
    return JSONResponse(content, 200 if content["ready"] else 503)


@router.get("/metrics", summary="Give the metrics to Prometheus", response_class=Response)
async def metrics(request: Request) -> Response:
    """Answers in the text format of Prometheus."""
    releases = request.app.state.service.releases.state.releases
    return Response(metrics_text(releases.values()), media_type=CONTENT_TYPE_LATEST)


def create_app(settings: Settings, ask: AskRegistry | None = None) -> FastAPI:
    """Makes the application. It loads its releases in the background as soon as it starts.

    Args:
        settings: how it runs.
        ask: names the versions to answer from; None asks the registry of the settings.
    """
    service = Service(settings, ask)
    rate = RateLimit(settings.rate) if settings.rate else None

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with service:
            yield

    root = settings.root_path
    app = FastAPI(title="modit", version=__version__, lifespan=lifespan, redoc_url=None, root_path=root)
    app.state.service, app.state.rate = service, rate
    app.include_router(router)
    app.include_router(pages.router)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(EngineError, _on_engine_error)
    app.add_middleware(
        RequestMiddleware,
        access=Access(settings.keys, settings.oidc),
        rate=rate,
        wrong_keys=RateLimit(settings.wrong_keys_rate),
        body_bytes=settings.limits.body_bytes,
        routes=[route.path for route in app.routes if isinstance(route, Route)],
    )
    return app


async def _on_http_error(request: Request, error: Exception) -> Response:
    as_page = wants_page(request.scope)
    if isinstance(error, RequestError):
        return refused(error, as_page)
    assert isinstance(error, HTTPException)
    path, method = request.url.path, request.method
    field, value, allowed, message = {
        404: ("path", path, "see /openapi.json", f"There is no page or path {shown(path)}."),
        405: ("method", method, "see /openapi.json", f"The method {method} is not allowed at {shown(path)}."),
    }.get(error.status_code, ("body", error.detail, "a JSON object in UTF-8", None))
    headers = dict(error.headers or {})
    return refused(RequestError(field, value, allowed, error.status_code, headers, message), as_page)


async def _on_engine_error(request: Request, error: Exception) -> Response:
    _logger.warning("%s", error)
    message = "The index does not answer at the moment. Try again in a moment."
    problem = RequestError("index", type(error).__name__, "an index that answers", 503, retry_after(1), message)
    return refused(problem, wants_page(request.scope))


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return refusals([_refusal_of(each) for each in error.errors()], 422)


def _refusal_of(problem: dict[str, Any]) -> Refusal:
    """A refusal from what pydantic says of one value."""
    place = ".".join(map(str, problem["loc"][1:]))
    if problem["type"] == "json_invalid":
        reason = problem["ctx"]["error"]
        message = f"The body is not JSON: {reason} at character {place}."
        return Refusal(field="body", value=f"no JSON at character {place}", allowed=reason, message=message)
    return RequestError(shown(place)[1:-1] or "body", problem["input"], problem["msg"]).refusal
