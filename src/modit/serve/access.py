"""Authenticates requests by key or token, and limits the rate of each client."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import Scope

from modit.serve.oidc import NoKeys, NoToken, OidcSettings, Tokens
from modit.serve.schema import RequestError, retry_after
from modit.serve.settings import KEYS_VARIABLE

_RETRY_SECONDS = 10
_CLIENTS = 10_000  # remembered by the rate limit; one that is forgotten starts anew


class Access:
    """Authenticates requests, by API key or token. Without keys and issuer every request is let in."""

    def __init__(self, keys: tuple[str, ...], oidc: OidcSettings | None) -> None:
        self._keys, self._tokens = [key.encode() for key in keys], Tokens(oidc) if oidc else None
        names = [f"one of {KEYS_VARIABLE}"] if keys else []
        self._allowed = "Bearer and " + " or ".join([*names, f"a token of {oidc.issuer}"] if oidc else names)

    async def client(self, scope: Scope) -> str:
        """A name for who asks, which is no secret.

        A key comes as `Authorization: Bearer KEY`, or from a browser, which can only send it so, as the password of
        `Basic`. A token comes as `Bearer`.

        Raises:
            RequestError: 401, neither key nor token is one that is known; 503, tokens cannot be checked now.
        """
        if not (self._keys or self._tokens):
            return address_of(scope)
        given = Headers(scope=scope).get("authorization")
        key = _key_of(given or "")
        # All are compared, each in constant time: how long it takes says nothing of any.
        if any([hmac.compare_digest(key, each) for each in self._keys]):
            return "key " + hashlib.sha256(key).hexdigest()[:8]
        reason = "another" if given is not None else "missing"
        if self._tokens and key.count(b".") == 2:
            try:
                return "subject " + await asyncio.to_thread(self._tokens.subject, key.decode("latin-1"))
            except NoKeys as error:
                message = f"Tokens cannot be checked now: {error}. Try again in {_RETRY_SECONDS} seconds."
                later = retry_after(_RETRY_SECONDS)
                raise RequestError("Authorization", str(error), "a token, later", 503, later, message) from error
            except NoToken as error:
                reason = str(error)
        message = f"The header Authorization does not let you in ({reason}). Needed: {self._allowed}."
        headers = {"WWW-Authenticate": _challenge(scope)}
        raise RequestError("Authorization", reason, self._allowed, 401, headers, message)


def address_of(scope: Scope) -> str:
    """The address of who asks."""
    return str(scope["client"][0]) if scope.get("client") else "unknown"


def wants_page(scope: Scope) -> bool:
    """Whether a browser asks for a page."""
    return "text/html" in Headers(scope=scope).get("accept", "")


def _key_of(authorization: str) -> bytes:
    scheme, _, content = authorization.partition(" ")
    content = content.strip()
    if scheme.lower() == "bearer":
        return content.encode()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(content, validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            pass
    return b""


def _challenge(scope: Scope) -> str:
    """What a browser answers with a form for the key, where a person opens a page."""
    return 'Basic realm="modit: any name, an API key as password", charset="UTF-8"' if wants_page(scope) else "Bearer"


class RateLimit:
    """A token bucket for each client, which holds the requests of one second. For one thread, the event loop."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Begins with full buckets.

        Args:
            rate: requests a second of a client, > 0.
            clock: in seconds.
        """
        self._rate, self._most, self._clock = rate, max(1.0, rate), clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when

    def take(self, client: str, count: int = 1) -> float:
        """Takes requests out of a client's bucket: all of them, or none.

        More than fit into a bucket are given when it is full, and leave a debt.

        Returns:
            0.0, or the seconds after which there are enough.
        """
        tokens = self._tokens(client)
        lacking = min(count, self._most) - tokens
        self._buckets[client] = (tokens if lacking > 0 else tokens - count, self._clock())
        self._buckets.move_to_end(client)
        if len(self._buckets) > _CLIENTS:
            self._buckets.popitem(last=False)
        return max(0.0, lacking / self._rate)

    def expect_one(self, client: str) -> None:
        """Refuses a client whose bucket has no request left; takes nothing.

        Raises:
            RequestError: 429, it has none.
        """
        self._refuse_for((1 - self._tokens(client)) / self._rate)

    def spend(self, client: str, count: int = 1) -> None:
        """Takes requests out of a client's bucket, or refuses.

        Raises:
            RequestError: 429, there are not enough.
        """
        self._refuse_for(self.take(client, count))

    def _tokens(self, client: str) -> float:
        now = self._clock()
        tokens, since = self._buckets.get(client, (self._most, now))
        return min(self._most, tokens + (now - since) * self._rate)

    def _refuse_for(self, seconds: float) -> None:
        if seconds > 0:
            later, allowed = retry_after(seconds), f"{self._rate:g} a second"
            wait = later["Retry-After"]
            message = f"Too many requests of this client: {allowed} are allowed. Try again in {wait} seconds."
            raise RequestError("requests of this client", "too many", allowed, 429, later, message)
