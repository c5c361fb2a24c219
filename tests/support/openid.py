"""A real OpenID provider on loopback, whose answers a test may change on the way, as an attacker would."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import flask
import httpx
import werkzeug.serving
from joserfc import jwt
from joserfc.jwk import RSAKey

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it uses a part of Authlib that is to go
    import oidc_provider_mock

Claims = dict[str, Any]
REDIRECT = "/login/oidc/callback"


@dataclass
class Provider:
    """The provider.

    Attributes:
        url: its issuer.
        answers: the bodies of its token endpoint's answers, as they were sent.
        change_claims: changes the claims of an ID token before it is signed.
        sign: makes the ID token of claims and the provider's key; by default as the provider does.
        change_metadata: changes what the provider says of itself.
        change_answer: changes the answer of its token endpoint.
        requests: the forms that its token endpoint got.
        challenges: the challenge of each code that was issued.
    """

    url: str = ""
    answers: list[dict[str, Any]] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    change_claims: Callable[[Claims], Any] | None = None
    sign: Callable[[Claims, RSAKey], str] | None = None
    change_metadata: Callable[[dict[str, Any]], Any] | None = None
    change_answer: Callable[[dict[str, Any]], Any] | None = None
    challenges: dict[str, str] = field(default_factory=dict)

    def authorize(self, address: str, person: str = "anna") -> str:
        """Log a person in at the provider; the address that it sends the browser to."""
        query = parse_qs(urlsplit(address).query)
        assert query["code_challenge_method"] == ["S256"]
        answer = httpx.post(address, data={"sub": person})
        assert answer.status_code == 302, answer.text
        location = answer.headers["location"]
        self.challenges[parse_qs(urlsplit(location).query)["code"][0]] = query["code_challenge"][0]
        return str(location)

    def check_verifier(self) -> tuple[flask.Response, int] | None:
        """Refuse a code whose verifier is wrong: this provider ignores PKCE."""
        if flask.request.path != "/oauth2/token":
            return None
        form = flask.request.form.to_dict()
        self.requests.append({**form, "authorization": flask.request.headers.get("Authorization", "")})
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        right = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if self.challenges.get(form["code"]) == right:
            return None
        return flask.jsonify(error="invalid_grant"), 400

    def alter(self, response: flask.Response) -> flask.Response:
        """An answer, changed as the test wants it."""
        if flask.request.path == "/.well-known/openid-configuration" and self.change_metadata:
            metadata = response.get_json()
            self.change_metadata(metadata)
            response.data = json.dumps(metadata)
        if flask.request.path == "/oauth2/token" and response.status_code == 200:
            answer = response.get_json()
            if self.change_claims or self.sign:
                claims = json.loads(decoded(answer["id_token"].split(".")[1]))
                (self.change_claims or (lambda _: None))(claims)
                key = flask.g.oidc_provider_mock_storage.jwk
                own = RSAKey.import_key(key.as_dict(is_private=True))
                answer["id_token"] = (self.sign or signed)(claims, own)
            (self.change_answer or (lambda _: None))(answer)
            response.data = json.dumps(answer)
            self.answers.append(answer)
        return response


def decoded(part: str) -> bytes:
    """A part of a token."""
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def encoded(value: object) -> str:
    """A value as a part of a token."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def signed(claims: Claims, key: RSAKey) -> str:
    """An ID token as the provider signs it."""
    return jwt.encode({"alg": "RS256", "kid": key.kid}, claims, key)


@contextmanager
def opened_provider(**people: Claims) -> Iterator[Provider]:
    """A provider at which these people have these claims."""
    users = [oidc_provider_mock.User(sub=name, claims=claims) for name, claims in people.items()]
    provider = Provider()
    app = oidc_provider_mock.app(user_claims=users)
    app.before_request(provider.check_verifier)
    app.after_request(provider.alter)
    server = werkzeug.serving.make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Quiet)
    provider.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Quiet(werkzeug.serving.WSGIRequestHandler):
    """Logs no request."""

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - its name there
        """Nothing."""
