"""The pages of the service. They load one style sheet and one script of their own, and nothing from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from modit.data.splits import HOLDOUTS
from modit.inference.items import TITLE
from modit.release.bundle.loading import SeedsRelease
from modit.serve.explore import HEIGHT, MOST_K, WIDTH, TitleMatches, compare, find
from modit.serve.schema import RequestError
from modit.serve.service import Service
from modit.serve.tasks import values_at

_HERE = Path(__file__).parent
_STATIC = {"pages.css": "text/css", "pages.js": "text/javascript", "favicon.svg": "image/svg+xml"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_templates = Environment(
    loader=FileSystemLoader(_HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
# What the page's choice means for a request.
RERANKS = {"": None, "on": True, "off": False}
router = APIRouter(include_in_schema=False)


def page(name: str, status: int = 200, headers: Mapping[str, str] | None = None, **content: Any) -> HTMLResponse:
    """Renders a page from a template, which escapes all that it is given.

    Links are relative to the page's folder, so that pages work under any path of a reverse proxy.

    Args:
        name: of the template.
        status: of the answer.
        headers: beside those of all pages.
        **content: what the template shows.
    """
    return HTMLResponse(_templates.get_template(name).render(**content), status, _HEADERS | dict(headers or {}))


@router.get("/")
async def home() -> Response:
    """Sends a browser to the first page, by a relative address."""
    return RedirectResponse("explore")


@router.get("/static/{name}")
async def static(name: str) -> Response:
    """Answers one of the files that pages load."""
    if name not in _STATIC:
        raise RequestError("path", f"/static/{name}", ", ".join(_STATIC), 404)
    return FileResponse(
        _HERE / "static" / name, media_type=_STATIC[name], headers={"X-Content-Type-Options": "nosniff"}
    )


@router.get("/explore")
async def explore(
    request: Request,
    domain: str = "",
    q: str = "",
    seed: Annotated[list[str] | None, Query()] = None,
    guidance: str = "",
    k: str = "10",
    rerank: str = "",
) -> Response:
    """Shows what the mean of some seeds finds beside what the generated query finds."""
    service: Service = request.app.state.service
    releases, limits = service.releases.state.releases, service.settings.limits
    served = {name: each for name, each in releases.items() if isinstance(each, SeedsRelease)}
    domains = sorted(served)
    chosen, seeds = domain or next(iter(domains), ""), list(dict.fromkeys(seed or []))
    shown: dict[str, Any] = {"found": TitleMatches(), "view": None, "titles": {}, "most_seeds": 0}

    def work() -> None:
        release = service.release(chosen, SeedsRelease)
        titles, rows = release.items.columns.get(TITLE), release.items.rows_of(seeds)
        shown["most_seeds"] = release.sampler.info.maximum_seeds
        shown["found"] = find(release.items, q.strip(), limits)
        shown["titles"] = dict(zip(seeds, values_at(titles, rows), strict=True))
        if seeds:
            scale = _number("guidance", guidance) if guidance.strip() else None
            patterns, count = service.releases.patterns_of(release), int(_number("k", k))
            if rerank not in RERANKS:
                raise RequestError("rerank", rerank, ", ".join(filter(None, RERANKS)))
            shown["view"] = compare(release, service.retrieve, patterns, seeds, scale, count, RERANKS[rerank])

    given = {"domains": domains, "domain": chosen, "q": q, "seeds": seeds, "guidance": guidance, "k": k}
    given |= {"untrained": [name for name in domains if served[name].untrained]}
    given |= {"rerank": rerank, "reranks": list(RERANKS)}
    bounds = {"most_k": MOST_K, "most_guidance": limits.guidance, "width": WIDTH, "height": HEIGHT}
    return await _worked_out(service, work, "explore.html", shown, **given, **bounds)


@router.get("/releases")
async def releases(
    request: Request, domain: str = "", version: Annotated[list[int] | None, Query()] = None
) -> Response:
    """Shows the versions of each domain with their verdicts, and compares two of them."""
    service: Service = request.app.state.service
    chosen = sorted(set(version or []))
    shown: dict[str, Any] = {"histories": [], "pair": None, "names": []}

    def work() -> None:
        shown["histories"] = histories = service.histories()
        if chosen:
            of = next((each for each in histories if each.domain == domain), None)
            found = [of.version(number) for number in chosen] if of else []
            if len(found) != 2 or None in found:
                message = "Tick exactly two versions of one domain to compare them."
                raise RequestError("version", chosen, "two versions of one domain", message=message)
            shown["pair"], shown["names"] = found, sorted({name for each in found if each for name in each.figures})

    return await _worked_out(service, work, "releases.html", shown, domain=domain, chosen=chosen, splits=HOLDOUTS)


async def _worked_out(
    service: Service, work: Callable[[], None], name: str, shown: dict[str, Any], **given: Any
) -> Response:
    """A page whose content a worker fills into `shown`; where it is refused, the page says why."""
    error = None
    try:
        await service.workers.run(work)
    except RequestError as refusal:
        error = refusal
    return page(name, error.status_code if error else 200, error=error, **shown, **given)


def _number(field: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not abs(number) < 1e6:
        raise RequestError(field, text, "a number")
    return number
