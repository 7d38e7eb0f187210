"""The pages of the service. They load one style sheet and one script of their own, and nothing from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from modit.data.splits import HOLDOUTS
from modit.release.bundle.release import SeedsRelease
from modit.serve.explore_map import HEIGHT, WIDTH
from modit.serve.schema import RequestError, expect_range
from modit.serve.service import Service

if TYPE_CHECKING:
    from modit.release.bundle.examples import WorkedExample

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
DEFAULT_K = 10
MOST_K = 50
_EXAMPLE_WORDS = {25: "A small gain (25th percentile)", 50: "The median gain", 75: "A large gain (75th percentile)"}
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
    k: str = "",
    rerank: str = "",
    example: str = "",
    version: str = "",
) -> Response:
    """Shows worked examples, or what the mean of some seeds, a simple row and the model find."""
    service: Service = request.app.state.service
    releases, limits = service.releases.state.releases, service.settings.limits
    served = {name: each for name, each in releases.items() if isinstance(each, SeedsRelease)}
    chosen, seeds = domain or next(iter(sorted(served)), ""), tuple(dict.fromkeys(seed or []))
    asked = Asked(chosen, seeds, q, guidance, k, rerank, example, version)
    shown: dict[str, Any] = {"found": None, "view": None, "release": None, "examples": [], "titles": []}

    def work() -> None:
        release = shown["release"] = service.release(chosen, SeedsRelease)
        from modit.serve.answering import explore as content

        patterns = service.releases.patterns_of(release)
        if release.examples and not seeds:
            shown["examples"] = [
                (each, content.titles_of(release.items, each.seeds)) for each in release.examples.examples
            ]
        shown["titles"] = content.titles_of(release.items, seeds)
        shown["found"] = content.find(release.items, q.strip(), limits)
        if example:
            shown["view"] = content.as_judged(release, patterns, _example(release, example))
        elif seeds:
            scale = _number("guidance", guidance) if guidance.strip() else None
            count = int(_number("k", k)) if k.strip() else DEFAULT_K
            if rerank not in RERANKS:
                raise RequestError("rerank", rerank, ", ".join(filter(None, RERANKS)))
            expect_range("k", count, 1, MOST_K)
            task = service.task(SeedsRelease)
            shown["view"] = content.compare(release, task, patterns, seeds, scale, count, RERANKS[rerank])

    given = {
        "asked": asked,
        "example_words": _EXAMPLE_WORDS,
        "domains": [(name, served[name].untrained) for name in sorted(served)],
    }
    bounds = {"reranks": list(RERANKS), "most_k": MOST_K, "most_guidance": limits.guidance, "default_k": DEFAULT_K}
    return await _worked_out(service, work, "explore.html", shown, **given, **bounds, width=WIDTH, height=HEIGHT)


@dataclass(frozen=True)
class Asked:
    """What the address of the page *Explore* says; the fields are its parameters.

    Attributes:
        domain: The attribute.
        seeds: Ids.
        q: Text that titles are searched for.
        guidance: Empty for that of the release.
        k: Results; empty for the default.
        rerank: A key of `RERANKS`.
        example: Percentile of a worked example; empty for none.
        version: That answered when a link was made; empty for any.
    """

    domain: str
    seeds: tuple[str, ...] = ()
    q: str = ""
    guidance: str = ""
    k: str = ""
    rerank: str = ""
    example: str = ""
    version: str = ""

    def link(self, **changes: Any) -> str:
        """The relative address of this page with some fields changed; without those that are empty."""
        state = asdict(replace(self, **changes))
        seeds = [("seed", each) for each in state.pop("seeds")]
        return "explore?" + urlencode([(name, value) for name, value in state.items() if value] + seeds)

    def with_seed(self, item_id: str) -> str:
        """The address with one more seed."""
        return self.link(seeds=(*self.seeds, item_id), version="")

    def without_seed(self, item_id: str) -> str:
        """The address with one seed less."""
        return self.link(seeds=tuple(each for each in self.seeds if each != item_id), version="")


def _example(release: SeedsRelease, percentile: str) -> WorkedExample:
    known = {
        str(each.percentile): each for each in (release.examples.examples if release.examples else []) if each.lists
    }
    if percentile not in known:
        raise RequestError("example", percentile, ", ".join(known) or f"none of {release.label}")
    return known[percentile]


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
