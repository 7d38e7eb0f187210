"""The pages of the service: HTML made here, a style sheet and a little script, nothing from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from modit.data.splits import HOLDOUTS
from modit.serve.explore import HEIGHT, MOST_K, WIDTH, Found, compare, find
from modit.serve.schema import RequestError
from modit.serve.service import Service

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
router = APIRouter(include_in_schema=False)


def page(name: str, status: int = 200, **content: Any) -> HTMLResponse:
    """A page from a template, which escapes all that it is given."""
    return HTMLResponse(_templates.get_template(name).render(**content), status, _HEADERS)


@router.get("/")
async def home() -> Response:
    """To the first page."""
    return RedirectResponse("/explore")


@router.get("/static/{name}")
async def static(name: str) -> Response:
    """One of the files that pages load."""
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
) -> Response:
    """Seeds by title search; what their mean finds beside what the generated query finds."""
    service: Service = request.app.state.service
    releases = service.releases.state.releases
    chosen = domain or next(iter(sorted(releases)), "")
    seeds = list(dict.fromkeys(seed or []))
    given = {"domains": sorted(releases), "domain": chosen, "q": q, "seeds": seeds, "guidance": guidance, "k": k}
    shown: dict[str, Any] = {"found": Found(), "view": None, "error": None, "titles": {}}

    def work() -> None:
        release = service.release(chosen)
        shown["most_seeds"] = release.sampler.info.maximum_seeds
        shown["found"] = find(release.items, q.strip(), service.settings.limits)
        known = [each for each in seeds if release.items.rows_of([each])[0] >= 0]
        shown["titles"] = dict(zip(known, release.items.titles_of(release.items.rows_of(known)), strict=True))
        if seeds:
            scale = _number("guidance", guidance) if guidance.strip() else None
            shown["view"] = compare(release, seeds, scale, int(_number("k", k)), service.settings.limits)

    status = 200
    try:
        await service.workers.run(work)
    except RequestError as error:
        shown["error"], status = error, error.status_code
    limits = {
        "most_k": MOST_K,
        "most_guidance": service.settings.limits.guidance,
        "map": {"width": WIDTH, "height": HEIGHT},
    }
    return page("explore.html", status, **given, **({"most_seeds": 0} | shown), **limits)


@router.get("/releases")
async def releases(
    request: Request, domain: str = "", version: Annotated[list[int] | None, Query()] = None
) -> Response:
    """Versions of each domain with their verdicts; two of them compared."""
    service: Service = request.app.state.service
    chosen = sorted(set(version or []))
    shown: dict[str, Any] = {"histories": [], "pair": None, "names": [], "error": None}

    def work() -> None:
        shown["histories"] = histories = service.history()
        if chosen:
            of = next((each for each in histories if each.domain == domain), None)
            found = [of.version(number) for number in chosen] if of else []
            if len(found) != 2 or None in found:
                raise RequestError("version", chosen, "two versions of one domain")
            shown["pair"], shown["names"] = found, sorted({name for each in found if each for name in each.figures})

    status = 200
    try:
        await service.workers.run(work)
    except RequestError as error:
        shown["error"], status = error, error.status_code
    return page("releases.html", status, domain=domain, chosen=chosen, splits=HOLDOUTS, **shown)


def _number(field: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError as error:
        raise RequestError(field, text, "a number") from error
    if not abs(number) < 1e6:
        raise RequestError(field, text, "a number")
    return number
