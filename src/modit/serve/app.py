"""The HTTP application: `create_app` and its routes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.routing import Route

from modit import __version__
from modit.index import search_threads
from modit.serve.front import Front, refusals, refused
from modit.serve.metrics import Metrics
from modit.serve.releases import AskRegistry, Releases, Watcher, ask_registry
from modit.serve.schema import Refusal, Refusals, RequestError, RetrieveAnswer, RetrieveRequest, shown
from modit.serve.service import Service
from modit.serve.settings import Settings

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Refusals, "description": text}
    for status, text in {
        400: "the body is no text that JSON could be in",
        401: "no key, or an unknown one",
        404: "no such domain",
        413: "the body is too long",
        422: "a value is not allowed",
        503: "no release of the domain is loaded yet",
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
    answer, facts = await asyncio.get_running_loop().run_in_executor(service.pool, service.answer, asked)
    request.state.facts.update(facts)
    return Response(answer.model_dump_json(exclude_none=True), media_type="application/json")


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
    source = ask or ask_registry(settings.registry, settings.alias)
    releases = Releases(source, settings.alias, settings.domains, figures.reloaded)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        watcher = Watcher(releases, settings.reload_seconds)
        with ThreadPoolExecutor(settings.threads, "search", initializer=search_threads, initargs=(1,)) as pool:
            app.state.service = Service(releases, figures, settings, pool)
            watcher.start()
            yield
            watcher.stop()

    app = FastAPI(title="modit retrieval", version=__version__, lifespan=lifespan, redoc_url=None)
    app.include_router(router)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    routes = [route.path for route in app.routes if isinstance(route, Route)]
    limit = settings.limits.body_bytes
    app.add_middleware(Front, metrics=figures, keys=settings.keys, body_bytes=limit, routes=routes)
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
