"""Checks tokens (JWTs) of an OpenID Connect issuer with the keys that the issuer publishes."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from modit.core.errors import ConfigError

ISSUER_VARIABLE, AUDIENCE_VARIABLE = "MODIT_OIDC_ISSUER", "MODIT_OIDC_AUDIENCE"
JWKS_VARIABLE = "MODIT_OIDC_JWKS"
# Only those that the service cannot sign with itself: a public key must never pass for a shared secret.
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
_LEEWAY_SECONDS = 30
_FETCH_SECONDS, _OLD_SECONDS, _PAUSE_SECONDS = 5, 3600, 10
# Keys older than this are refused: the issuer may have revoked one since.
_LONGEST_AGE_SECONDS = 4 * 3600


class NoToken(Exception):
    """A token is not accepted; the text says why."""


class NoKeys(Exception):
    """The issuer's keys cannot be had now; the text says why."""


@dataclass(frozen=True)
class OidcSettings:
    """Whose tokens are accepted.

    Attributes:
        issuer: that `iss` must be.
        audience: that `aud` must name.
        jwks_uri: address of the keys; None asks the issuer's `/.well-known/openid-configuration`.
    """

    issuer: str
    audience: str
    jwks_uri: str | None = None

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> OidcSettings | None:
        """Reads MODIT_OIDC_ISSUER, MODIT_OIDC_AUDIENCE and MODIT_OIDC_JWKS; None if none is set.

        Raises:
            ConfigError: one of the first two is missing, or an address is no http address.
        """
        issuer, audience, jwks = (environment.get(n) for n in (ISSUER_VARIABLE, AUDIENCE_VARIABLE, JWKS_VARIABLE))
        if not (issuer or audience or jwks):
            return None
        if not (issuer and audience):
            raise ConfigError(f"tokens need both {ISSUER_VARIABLE} and {AUDIENCE_VARIABLE}; one is not set")
        for name, value in ((ISSUER_VARIABLE, issuer), (JWKS_VARIABLE, jwks or issuer)):
            if not value.startswith(("https://", "http://")):
                raise ConfigError(f"{name} is {value!r}; allowed: an address that starts with https:// or http://")
        return cls(issuer, audience, jwks or None)


class Tokens:
    """Checks tokens. Safe to use from several threads; blocks while it fetches keys."""

    def __init__(self, settings: OidcSettings) -> None:
        self._settings, self._lock = settings, threading.Lock()
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._fetched = self._tried = -float("inf")

    def subject(self, token: str) -> str:
        """Checks a token and returns its subject, `sub`.

        Raises:
            NoToken: it is not a valid token of the issuer for this audience, now.
            NoKeys: the issuer's keys cannot be had, or are too old.
        """
        try:
            key = self._key(jwt.get_unverified_header(token).get("kid"))
            claims = jwt.decode(
                token,
                key,
                algorithms=_ALGORITHMS,
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                leeway=_LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise NoToken(f"{type(error).__name__}: {error}") from error
        return str(claims["sub"])

    def _key(self, kid: str | None) -> jwt.PyJWK:
        now = time.monotonic()
        if kid not in self._keys or now - self._fetched > _OLD_SECONDS:
            with self._lock:
                # A token with an unknown key is anybody's: it must not make the service ask at every request.
                if now - self._tried > _PAUSE_SECONDS:
                    self._tried = now
                    self._fetch(now)
        if not self._keys:
            raise NoKeys(f"no keys of {self._settings.issuer} yet")
        age = now - self._fetched
        if age > _LONGEST_AGE_SECONDS:
            raise NoKeys(f"the keys of {self._settings.issuer} are {age / 3600:.0f} hours old; it does not answer")
        if kid not in self._keys:
            raise NoToken("its key is not one of the issuer's")
        return self._keys[kid]

    def _fetch(self, now: float) -> None:
        issuer = self._settings.issuer
        try:
            address = (
                self._settings.jwks_uri or _get(f"{issuer.rstrip('/')}/.well-known/openid-configuration")["jwks_uri"]
            )
            found = jwt.PyJWKSet.from_dict(_get(address)).keys
        except (OSError, ValueError, KeyError, TypeError, jwt.PyJWTError) as error:
            if not self._keys:
                raise NoKeys(f"keys of {issuer}: {type(error).__name__}: {error}") from error
            return  # those that are known stay good for a while: the issuer may be away
        self._keys = {key.key_id: key for key in found if key.public_key_use in (None, "sig")}
        self._fetched = now


def _get(address: str) -> dict[str, Any]:
    with urllib.request.urlopen(address, timeout=_FETCH_SECONDS) as answer:
        return json.load(answer)
