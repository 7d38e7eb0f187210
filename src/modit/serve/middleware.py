"""ASGI middleware: authenticates, rate-limits and bounds each request, then counts and logs it."""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Collection, Iterable
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modit.serve.access import Access, RateLimit, address_of, wants_page
from modit.serve.metrics import IN_FLIGHT, REQUEST_SECONDS, REQUESTS
from modit.serve.pages import page
from modit.serve.schema import Refusal, RequestError

# A log record has a dictionary of further fields: `logger.info(..., extra={FIELDS: {...}})`.
FIELDS = "fields"
OPEN = frozenset({"/healthz", "/readyz", "/metrics"})
_logger = logging.getLogger("modit.access")


class RequestMiddleware:
    """ASGI middleware around the whole application."""

    def __init__(
        self,
        app: ASGIApp,
        access: Access,
        rate: RateLimit | None,
        wrong_keys: RateLimit,
        body_bytes: int,
        routes: Collection[str],
    ) -> None:
        """Wraps an application.

        Args:
            app: that answers.
            access: authenticates all but the open paths.
            rate: of a client, or None.
            wrong_keys: of an address, for requests that access refuses.
            body_bytes: of a body, at most.
            routes: that are counted under their own name; others are counted as "other".
        """
        self._app, self._routes, self._body_bytes = app, frozenset(routes), body_bytes
        self._access, self._rate, self._wrong_keys = access, rate, wrong_keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or refuses it.

        `request.state.client` names who asks. The log line has what the route puts into `request.state.facts`.
        """
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500
        state = scope.setdefault("state", {})
        state["request_id"], state["facts"] = uuid.uuid4().hex, {}

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", state["request_id"].encode())]
            await send(message)

        with IN_FLIGHT.track_inprogress():
            try:
                try:
                    await self._let_in(scope)
                except RequestError as error:
                    await refused(error, wants_page(scope))(scope, receive, noting)
                else:
                    await self._app(scope, self._bounded(receive), noting)
            finally:
                self._note(scope, status, time.perf_counter() - started)

    async def _let_in(self, scope: Scope) -> None:
        if route_of(scope) not in OPEN:
            scope["state"]["client"] = client = await self._authenticated(scope)
            if self._rate:
                self._rate.spend(client)
        length = Headers(scope=scope).get("content-length", "0")
        if length.isdecimal() and int(length) > self._body_bytes:
            raise self._too_long(length)

    async def _authenticated(self, scope: Scope) -> str:
        """Names the client. Too many wrong keys of one address: its next key is refused unread."""
        address = f"wrong keys of {address_of(scope)}"
        self._wrong_keys.expect_one(address)
        try:
            return await self._access.client(scope)
        except RequestError as error:
            if error.status_code == 401:
                self._wrong_keys.take(address)
            raise

    def _bounded(self, receive: Receive) -> Receive:
        received = 0

        async def bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._body_bytes:
                raise self._too_long(f"more than {self._body_bytes}")
            return message

        return bounded

    def _too_long(self, length: str) -> RequestError:
        return RequestError("body", f"{length} bytes", f"at most {self._body_bytes} bytes", 413)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route, state = route_of(scope), scope["state"]
        route = route if route in self._routes else "other"
        REQUESTS.labels(route, str(status)).inc()
        REQUEST_SECONDS.labels(route).observe(seconds)
        line = {"method": scope["method"], "route": route, "status": status, "ms": round(1000 * seconds, 2)}
        line |= {"request_id": state["request_id"], "client": address_of(scope), **state["facts"]}
        _logger.info("request", extra={FIELDS: line})


def route_of(scope: Scope) -> str:
    """The path below the root path, whether or not a proxy has stripped that."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


def refused(error: RequestError, as_page: bool = False) -> Response:
    """The answer to a request that is refused: a page for a person, else JSON."""
    if as_page:
        return page("error.html", error.status_code, error.headers, error=error)
    return refusals([error.refusal], error.status_code, error.headers)


def refusals(found: Iterable[Refusal], status: int, headers: Any = None) -> Response:
    """The answer that lists refusals; ASCII, since a field may be named by half of a surrogate pair."""
    content = json.dumps({"errors": [refusal.model_dump() for refusal in found]})
    return Response(content, status, headers, "application/json")
