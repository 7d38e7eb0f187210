"""The HTTP application: `create_app` and its routes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.routing import Route

from modit import __version__
from modit.serve import pages
from modit.serve.access import Access, RateLimit
from modit.serve.history import ask_history
from modit.serve.metrics import Metrics
from modit.serve.middleware import RequestMiddleware, refusals, refused
from modit.serve.releases import AskRegistry, Releases, Watcher, ask_registry
from modit.serve.request_log import RequestLog
from modit.serve.schema import (
    BatchAnswer,
    BatchRequest,
    Refusal,
    Refusals,
    RequestError,
    RetrieveAnswer,
    RetrieveRequest,
    shown,
)
from modit.serve.service import Service
from modit.serve.settings import Settings
from modit.serve.workers import Workers

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Refusals, "description": text}
    for status, text in {
        400: "the body is no text that JSON could be in",
        401: "no key, or an unknown one",
        404: "no such domain",
        413: "the body is too long",
        422: "a value is not allowed",
        429: "the client asks too often",
        503: "no release of the domain is loaded yet, or too many requests wait",
        504: "it took too long",
    }.items()
}
router = APIRouter()


@router.post(
    "/v1/retrieve",
    response_model=RetrieveAnswer,
    responses=_PROBLEMS,
    summary="Items that have the attribute of the domain and are like the seeds",
)
async def retrieve(asked: RetrieveRequest, request: Request) -> Response:
    """Writes one query from the seeds and searches the index with it. The same request has the same answer while the
    same version answers.
    """
    service: Service = request.app.state.service
    request.state.facts["domain"] = shown(asked.domain)
    answer, facts = await service.workers.run(lambda: service.answer(asked, request.state.request_id))
    request.state.facts.update(facts)
    return Response(answer.model_dump_json(exclude_none=True), media_type="application/json")


@router.post("/v1/retrieve/batch", response_model=BatchAnswer, responses=_PROBLEMS, summary="Several of these at once")
async def retrieve_batch(asked: BatchRequest, request: Request) -> Response:
    """Faster than one by one: the sampler runs once for all requests of a domain. A request that is refused refuses the
    batch.
    """
    service: Service = request.app.state.service
    name: str = request.state.request_id
    count, most = len(asked.requests), service.settings.limits.batch
    if not 1 <= count <= most:
        raise RequestError("number of requests", count, f"1..{most}")
    if service.rate and count > 1:
        service.rate.spend(request.state.client, count - 1)
    answers, facts = await service.workers.run(lambda: service.answer_all(asked.requests, name, "requests.{}."))
    request.state.facts.update(facts)
    content = BatchAnswer(answers=answers).model_dump_json(exclude_none=True)
    return Response(content, media_type="application/json")


@router.get("/healthz", summary="Whether the process lives")
async def healthz() -> dict[str, str]:
    """Always the same."""
    return {"status": "alive"}


@router.get("/readyz", summary="Whether every wanted domain has a release", responses={503: {"description": "not yet"}})
async def readyz(request: Request) -> Response:
    """503 with the reasons until then."""
    service: Service = request.app.state.service
    content = service.readiness()
    return JSONResponse(content, 200 if content["ready"] else 503)


@router.get("/metrics", summary="Figures for Prometheus", response_class=Response)
async def metrics(request: Request) -> Response:
    """In its text format."""
    return Response(request.app.state.service.metrics.text(), media_type=CONTENT_TYPE_LATEST)


def create_app(settings: Settings, ask: AskRegistry | None = None) -> FastAPI:
    """The application; its releases are loaded in the background as soon as it starts.

    Args:
        settings: how it runs.
        ask: the registry; None takes the one of the settings.
    """
    figures = Metrics(lambda: releases.state)
    rate = RateLimit(settings.rate) if settings.rate else None
    source = ask or ask_registry(settings.registry, settings.alias)
    releases = Releases(source, settings.alias, settings.domains, figures.reloaded, settings.precision)

    history = ask_history(settings.registry)
    log = RequestLog(settings.log_requests, count=figures.logged) if settings.log_requests else None

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        watcher = Watcher(releases, settings.reload_seconds)
        with Workers(settings.threads, settings.queue, settings.timeout_seconds) as workers:
            app.state.service = Service(releases, figures, settings, workers, history, rate, log)
            watcher.start()
            if log:
                log.start()
            yield
            watcher.stop()
        if log:
            log.stop()

    app = FastAPI(title="modit retrieval", version=__version__, lifespan=lifespan, redoc_url=None)
    app.include_router(router)
    app.include_router(pages.router)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    routes = [route.path for route in app.routes if isinstance(route, Route)]
    access, limit = Access(settings.keys, settings.oidc), settings.limits.body_bytes
    app.add_middleware(RequestMiddleware, metrics=figures, access=access, rate=rate, body_bytes=limit, routes=routes)
    return app


async def _on_http_error(request: Request, error: Exception) -> Response:
    if isinstance(error, RequestError):
        return refused(error)
    assert isinstance(error, HTTPException)
    of = {404: ("path", request.url.path, "see /openapi.json"), 405: ("method", request.method, "see /openapi.json")}
    field, value, allowed = of.get(error.status_code, ("body", error.detail, "a JSON object in UTF-8"))
    return refused(RequestError(field, value, allowed, error.status_code, dict(error.headers or {})))


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return refusals([_refusal_of(each) for each in error.errors()], 422)


def _refusal_of(problem: dict[str, Any]) -> Refusal:
    """What pydantic says of one value."""
    place = ".".join(map(str, problem["loc"][1:]))
    if problem["type"] == "json_invalid":
        return Refusal(field="body", value=f"no JSON at character {place}", allowed=problem["ctx"]["error"])
    return Refusal(field=shown(place)[1:-1] or "body", value=shown(problem["input"]), allowed=problem["msg"])
