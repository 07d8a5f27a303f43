"""Who asks: API keys by header, or by the cookie that the page gets for one; none are needed unless some are set."""

from typing import Any, cast

from flask import Flask, Response, current_app, g, jsonify, request
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, ConfigDict, Field

from api_keys import COOKIE, KeyRing, given, is_same_origin
from errors import Conflict, Unauthorized
from routes.errors import COMMON, OPEN, ErrorAnswer

TAG = Tag(name="session", description="Sign the page in, where API keys are set")
bp = APIBlueprint("keys", __name__, abp_responses=COMMON, abp_tags=[TAG])

# What needs no key: pages, which hold nothing of anybody, signs of life, and the way in and out.
OPEN_BLUEPRINTS = {"pages", "keys"}
OPEN_ENDPOINTS = {"static", "health.health", "health.live", "health.ready", "health.status"}

SCHEMES: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "cookie": {"type": "apiKey", "in": "cookie", "name": COOKIE},
}


class SignInBody(BaseModel):
    """The key."""

    model_config = ConfigDict(extra="forbid")

    # Of any type, since what is said of a wrong one would show it.
    api_key: Any = Field(json_schema_extra={"type": "string"})


class SessionAnswer(BaseModel):
    """Who is signed in."""

    keys_required: bool
    name: str | None = Field(description="Whose key the request carried; null when it carried none that is valid.")


def description(ring: KeyRing) -> dict[str, Any]:
    """What the OpenAPI description as a whole says of keys."""
    return {"security": [{name: []} for name in SCHEMES]} if ring else {}


def identify() -> None:
    """Note whose key the present request carries; comes before the rates, which count by it."""
    g.owner = _ring().identify(request.environ)


def admit() -> None:
    """Let nobody pass without a key; comes after the rates, so that whoever tries keys is counted, too.

    Raises
    ------
    Unauthorized
    """
    if not _ring() or g.owner is not None or request.method == "OPTIONS":
        return
    if request.blueprint not in OPEN_BLUEPRINTS and request.endpoint not in OPEN_ENDPOINTS:
        raise refusal(given(request.environ) is not None)


def refusal(wrong: bool) -> Unauthorized:
    """What is said to who gave no key, or a wrong one."""
    if wrong:
        return Unauthorized("That API key is not valid here.")
    return Unauthorized("An API key is needed: send it as Authorization: Bearer KEY, or as X-API-Key: KEY.")


def keep_private(response: Response) -> Response:
    """Tell caches on the way that an answer is for who asked alone."""
    if g.get("owner") is not None:
        response.cache_control.private = True
    return response


@bp.get("/session", responses={200: SessionAnswer}, openapi_extensions=OPEN)
def session() -> Response:
    """Whether keys are needed, and whose the request carries."""
    return _session(g.owner)


@bp.post("/session", responses={200: SessionAnswer, 409: ErrorAnswer}, openapi_extensions=OPEN)
def sign_in(body: SignInBody) -> Response:
    """Get a cookie for a key, with which a browser needs no header."""
    if not _ring():
        raise Conflict("There is nothing to sign in to: no API keys are set here.")
    if not is_same_origin(request.environ):  # it would have the browser work under a key of its own
        raise Unauthorized("Only a page of this service may sign a browser in.")
    name = _ring().name_of(body.api_key.strip()) if isinstance(body.api_key, str) else None
    if name is None:
        raise refusal(wrong=True)
    response = _session(name)
    # A proxy that does TLS speaks HTTP to us, but the browser says where the page is from.
    secure = request.is_secure or request.headers.get("Origin", "").startswith("https://")
    response.set_cookie(COOKIE, body.api_key.strip(), secure=secure, httponly=True, samesite="Strict")
    return response


@bp.delete("/session", responses={200: SessionAnswer}, openapi_extensions=OPEN)
def sign_out() -> Response:
    """Forget the cookie."""
    response = _session(None)
    response.delete_cookie(COOKIE, httponly=True, samesite="Strict")
    return response


def _session(name: str | None) -> Response:
    """Who is signed in."""
    return jsonify(SessionAnswer(keys_required=bool(_ring()), name=name).model_dump())


def _ring() -> KeyRing:
    """The service's keys."""
    return cast(KeyRing, current_app.extensions["keys"])


def register(app: Flask) -> None:
    """Let nobody but holders of keys reach an app's routes, where there are keys; to be called after the rates' own."""
    app.before_request(admit)
    app.after_request(keep_private)
