"""What every request passes: on the way in key, rate and size, on the way out a count and a line in the log."""

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

from modit.serve.access import Access, RateLimit
from modit.serve.metrics import Metrics
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
        metrics: Metrics,
        access: Access,
        rate: RateLimit | None,
        body_bytes: int,
        routes: Collection[str],
    ) -> None:
        """Args: `app` behind; `access` to all but the open paths; `rate` of a client; `body_bytes` at most; `routes`
        that are counted under their own name.
        """
        self._app, self._metrics, self._routes = app, metrics, frozenset(routes)
        self._access, self._rate, self._body_bytes = access, rate, body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or refuses it. What the answer is about is taken from `request.state.facts`; who asks is
        `request.state.client`.
        """
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500
        state = scope.setdefault("state", {})
        request_id = state["request_id"] = uuid.uuid4().hex
        facts = state.setdefault("facts", {})

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            await send(message)

        with self._metrics.in_flight.track_inprogress():
            try:
                try:
                    await self._let_in(scope)
                except RequestError as error:
                    await refused(error)(scope, receive, noting)
                else:
                    await self._app(scope, self._bounded(receive), noting)
            finally:
                self._note(scope, status, time.perf_counter() - started, facts)

    async def _let_in(self, scope: Scope) -> None:
        if scope["path"] not in OPEN:
            scope["state"]["client"] = client = await self._access.client(scope)
            if self._rate:
                self._rate.spend(client)
        length = Headers(scope=scope).get("content-length", "0")
        if length.isdecimal() and int(length) > self._body_bytes:
            raise self._too_long(length)

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

    def _note(self, scope: Scope, status: int, seconds: float, facts: dict[str, Any]) -> None:
        route = scope["path"] if scope["path"] in self._routes else "other"
        self._metrics.answered(route, status, seconds)
        client = scope["client"][0] if scope.get("client") else None
        line = {"method": scope["method"], "route": route, "status": status, "ms": round(1000 * seconds, 2)}
        line["request_id"] = scope["state"]["request_id"]
        _logger.info("request", extra={FIELDS: {**line, "client": client, **facts}})


def refused(error: RequestError) -> Response:
    """The answer to a request that is refused."""
    refusal = Refusal(field=error.field, value=error.value, allowed=error.allowed)
    return refusals([refusal], error.status_code, error.headers)


def refusals(found: Iterable[Refusal], status: int, headers: Any = None) -> Response:
    """The answer that lists refusals; ASCII, since a field may be named by half of a surrogate pair."""
    content = json.dumps({"errors": [refusal.model_dump() for refusal in found]})
    return Response(content, status, headers, "application/json")
