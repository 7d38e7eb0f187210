"""Tokens are held to issuer, audience, time and the keys that a real server publishes."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from modit.core.errors import ConfigError
from modit.serve import oidc
from modit.serve.oidc import NoKeys, OidcSettings, Tokens
from tests.unit.serve.conftest import running

ASKED = {"domain": "drama", "seeds": {"item_ids": ["item-1"]}}


class Issuer:
    """An issuer on loopback: its discovery document and its keys, which can be changed."""

    def __init__(self) -> None:
        self.keys = {"first": rsa.generate_private_key(65537, 2048)}
        self.asked, self.up = 0, True
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200 if issuer.up else 500)
                self.end_headers()
                self.wfile.write(json.dumps(issuer.answer(self.path)).encode())

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, path):
        if path.endswith("/openid-configuration"):
            return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        self.asked += 1
        keys = {kid: jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), True) for kid, key in self.keys.items()}
        return {"keys": [key | {"kid": kid, "use": "sig", "alg": "RS256"} for kid, key in keys.items()]}

    def token(self, kid="first", key=None, algorithm="RS256", **claims):
        now = int(time.time())
        given = {"iss": self.url, "aud": "modit", "sub": "ada", "iat": now, "exp": now + 60} | claims
        given = {name: value for name, value in given.items() if value is not None}
        return jwt.encode(given, key or self.keys["first"], algorithm, {"kid": kid})


@pytest.fixture
def issuer():
    found = Issuer()
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture
def tokens(issuer):
    return Tokens(OidcSettings(issuer.url, "modit"))


def public(key):
    kind = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, kind)


def test_a_service_answers_those_with_a_token_or_a_key_and_nobody_else(bundle, issuer):
    settings = {"oidc": OidcSettings(issuer.url, "modit"), "keys": ("one",), "wrong_keys_rate": 100.0}
    now, stranger = int(time.time()), rsa.generate_private_key(65537, 2048)
    head, body, signature = issuer.token().split(".")
    unsigned = jwt.encode({"iss": issuer.url, "aud": "modit", "sub": "ada", "exp": now + 60}, None, "none")
    refused = {
        "expired": issuer.token(exp=now - 60),
        "not yet": issuer.token(nbf=now + 600),
        "without end": issuer.token(exp=None),
        "without subject": issuer.token(sub=None),
        "other audience": issuer.token(aud="another"),
        "other issuer": issuer.token(iss="https://elsewhere"),
        "unknown key": issuer.token(kid="second"),
        "signed by a stranger": issuer.token(key=stranger),
        "unsigned": unsigned,
        "cut": f"{head}.{body}.",
        "changed": f"{head}.{body[:-2]}AA.{signature}",
        "no token": "a.b.c",
    }
    with running(lambda: [bundle.named("drama")], **settings) as client:

        def ask(token):
            return client.post("/v1/retrieve", json=ASKED, headers={"Authorization": f"Bearer {token}"})

        assert {ask(token).status_code for token in (issuer.token(), issuer.token(aud=["x", "modit"]), "one")} == {200}
        assert {name: ask(token).status_code for name, token in refused.items()} == dict.fromkeys(refused, 401)
        answer = ask(refused["expired"])
        assert "expired" in answer.json()["errors"][0]["value"] and answer.headers["www-authenticate"] == "Bearer"


def test_a_public_key_does_not_pass_for_a_shared_secret(issuer, tokens):
    """PyJWT refuses to sign so; a forger would not."""
    import base64
    import hashlib
    import hmac

    def part(content):
        return base64.urlsafe_b64encode(content).rstrip(b"=")

    claims = {"iss": issuer.url, "aud": "modit", "sub": "ada", "exp": int(time.time()) + 60}
    signed = part(json.dumps({"alg": "HS256", "kid": "first"}).encode()) + b"." + part(json.dumps(claims).encode())
    secret = public(issuer.keys["first"])
    forged = signed + b"." + part(hmac.new(secret, signed, hashlib.sha256).digest())
    with pytest.raises(oidc.NoToken):
        tokens.subject(forged.decode())


def test_a_new_key_is_fetched_but_strangers_cannot_make_the_service_fetch_all_the_time(issuer, tokens, monkeypatch):
    assert tokens.subject(issuer.token()) == "ada"
    for _ in range(5):
        with pytest.raises(oidc.NoToken, match="not one of the issuer's"):
            tokens.subject(issuer.token(kid="second"))
    assert issuer.asked == 1
    issuer.keys["second"] = rsa.generate_private_key(65537, 2048)
    monkeypatch.setattr(oidc, "_PAUSE_SECONDS", -1)
    assert tokens.subject(issuer.token(kid="second", key=issuer.keys["second"])) == "ada"
    assert issuer.asked == 2


def test_known_keys_stay_good_while_the_issuer_is_away_and_a_service_without_any_says_so(issuer, tokens, monkeypatch):
    monkeypatch.setattr(oidc, "_PAUSE_SECONDS", -1)
    issuer.up = False
    with pytest.raises(NoKeys, match="HTTP Error 500"):
        tokens.subject(issuer.token())
    issuer.up = True
    assert tokens.subject(issuer.token()) == "ada"
    issuer.up = False
    monkeypatch.setattr(oidc, "_OLD_SECONDS", -1)
    assert tokens.subject(issuer.token()) == "ada"


def test_a_key_that_may_have_been_revoked_ends_when_the_issuer_is_away_for_too_long(issuer, tokens, monkeypatch):
    hour, now = 3600.0, time.monotonic()
    monkeypatch.setattr(oidc.time, "monotonic", lambda: now)
    assert tokens.subject(issuer.token()) == "ada"
    issuer.up = False
    now += 3.9 * hour
    assert tokens.subject(issuer.token()) == "ada"
    now += 0.2 * hour
    with pytest.raises(NoKeys, match="are 4 hours old; it does not answer"):
        tokens.subject(issuer.token())
    issuer.up, now = True, now + 60
    assert tokens.subject(issuer.token()) == "ada"


def test_without_keys_of_the_issuer_a_request_is_told_to_come_later(bundle, issuer):
    issuer.up = False
    with running(lambda: [bundle.named("drama")], oidc=OidcSettings(issuer.url, "modit")) as client:
        answer = client.post("/v1/retrieve", json=ASKED, headers={"Authorization": f"Bearer {issuer.token()}"})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"MODIT_OIDC_ISSUER": "https://a"}, "MODIT_OIDC_AUDIENCE"),
        ({"MODIT_OIDC_JWKS": "https://a"}, "MODIT_OIDC_ISSUER"),
        ({"MODIT_OIDC_ISSUER": "a.example", "MODIT_OIDC_AUDIENCE": "b"}, "MODIT_OIDC_ISSUER is 'a.example'"),
        (
            {"MODIT_OIDC_ISSUER": "https://a", "MODIT_OIDC_AUDIENCE": "b", "MODIT_OIDC_JWKS": "file:///etc/passwd"},
            "MODIT_OIDC_JWKS is 'file",
        ),
    ],
)
def test_a_wrong_setting_is_refused_by_name(environment, message):
    with pytest.raises(ConfigError, match=message):
        OidcSettings.of(environment)


def test_settings_are_read_from_the_environment():
    assert OidcSettings.of({}) is None
    given = {"MODIT_OIDC_ISSUER": "https://a", "MODIT_OIDC_AUDIENCE": "b"}
    assert OidcSettings.of(given) == OidcSettings("https://a", "b", None)
