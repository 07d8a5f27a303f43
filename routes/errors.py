"""Every error in the contract's one shape, and the one table from error class to HTTP status."""

import logging
from typing import Any

from flask import Flask, Response, jsonify, request
from flask_openapi3.types import ResponseDict
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from errors import (
    Conflict,
    InvalidInput,
    JobFailed,
    ModelUnavailable,
    NotFound,
    QueueFull,
    StorageBusy,
    StorageFull,
    StudioError,
    TooLarge,
    Unauthorized,
    UnsupportedAudio,
)
from logs import request_id
from routes.context import service
from routes.requests import MAX_BODY_BYTES
from storage.database import is_busy
from storage.files import FULL, is_full

STATUS: dict[type[StudioError], int] = {
    StudioError: 500,
    InvalidInput: 400,
    UnsupportedAudio: 415,
    TooLarge: 413,
    Unauthorized: 401,
    NotFound: 404,
    Conflict: 409,
    QueueFull: 429,
    StorageFull: 507,
    StorageBusy: 503,
    ModelUnavailable: 503,
    JobFailed: 500,
}
RETRY_AFTER_SECONDS = 30
CODES = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 413: "too_large", 429: "rate_limited"}

# What clients often send, and what they should send instead.
INSTEAD = {
    "model": "The model is part of the URL; its variant is the field model_variant.",
    "variant": "Use model_variant.",
    "url": "Addresses are not fetched; upload the file first (POST /upload) and use its file_id in the URL.",
    "path": "Paths are not read; upload the file first (POST /upload) and use its file_id in the URL.",
    "file_path": "Paths are not read; upload the file first (POST /upload) and use its file_id in the URL.",
    "audio_url": "Addresses are not fetched; upload the file first (POST /upload) and use its file_id in the URL.",
    "file": "Upload the file first (POST /upload) and use its file_id in the URL.",
    "file_id": "The file_id is part of the URL.",
    "text": "The description of the music is the field prompt.",
}

log = logging.getLogger(__name__)


class ErrorAnswer(BaseModel):
    """The shape of every error."""

    error: str
    details: str | dict[str, Any] | list[Any] | None = None
    code: str
    request_id: str


UNLIMITED: ResponseDict = {400: ErrorAnswer, 500: ErrorAnswer, 503: ErrorAnswer}
OPEN: dict[str, Any] = {"security": []}  # of the description of a route that takes no API key
COMMON: ResponseDict = {**UNLIMITED, 401: ErrorAnswer, 429: ErrorAnswer}  # what any route may answer besides its own


def register(app: Flask) -> None:
    """Answer every exception of an app in this shape."""
    app.register_error_handler(StudioError, _studio_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(ValidationError, lambda error: _studio_error(invalid_input(error)))
    app.register_error_handler(Exception, _unknown_error)


def invalid_input(error: ValidationError) -> InvalidInput:
    """A validation error as one sentence that names the first field, with all fields in the details."""
    problems = [_problem(found) for found in error.errors(include_url=False)]
    fields = dict(problems)
    name, sentence = problems[0]
    return InvalidInput(f"{name}: {sentence}", details={"field": name, "fields": fields})


def raise_invalid_input(error: ValidationError) -> Response:
    """What flask-openapi3 calls for a request that does not fit its class."""
    raise invalid_input(error) from error


def answer(message: str, code: str, status: int, details: object = None) -> Response:
    """An error in the contract's shape."""
    body: dict[str, Any] = {"error": message, "code": code, "request_id": request_id.get()}
    if details is not None:
        body["details"] = details
    response = jsonify(body)
    response.status_code = status
    if status == 429:
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _problem(found: Any) -> tuple[str, str]:
    """Field and sentence of one of pydantic's errors."""
    name = ".".join(str(part) for part in found["loc"]) or "body"
    if found["type"] == "extra_forbidden":
        return name, f"there is no such field. {INSTEAD.get(name, '')}".strip()
    value = repr(found.get("input"))
    given = "" if found["type"] == "missing" else f" (got {value[:80]})"
    return name, f"{found['msg']}{given}."


def _studio_error(error: StudioError) -> Response:
    """One of our own errors."""
    status = next(STATUS[cls] for cls in type(error).__mro__ if cls in STATUS)
    return answer(error.message, error.code, status, error.details)


def _http_error(error: HTTPException) -> Response:
    """Flask's and Werkzeug's own errors; their headers (Allow, Retry-After) are kept."""
    status = error.code or 500
    response = answer(_sentence(error), CODES.get(status, error.name.lower().replace(" ", "_")), status)
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response


def _sentence(error: HTTPException) -> str:
    """What a person can do about it."""
    if not isinstance(error, RequestEntityTooLarge):
        return error.description or error.name
    if request.mimetype == "multipart/form-data":
        return (f"Too large: a file may have {service().max_upload_bytes} bytes, a form {request.max_form_parts} "
                f"fields, a field {request.max_form_memory_size} bytes.")  # fmt: skip
    return (f"Too large: a body may have {MAX_BODY_BYTES} bytes, a file sent as multipart/form-data "
            f"{service().max_upload_bytes}.")  # fmt: skip


def _unknown_error(error: Exception) -> Response:
    """A bug or a broken machine: the log has it all, the client a generic sentence."""
    if is_full(error):
        return _studio_error(StorageFull(FULL))
    if is_busy(error):
        log.warning("the database is busy", exc_info=error)
        return _studio_error(StorageBusy("The database is busy for longer than this can wait; come back in a moment."))
    log.error("unexpected error", exc_info=error)
    return answer("Something went wrong on our side; the log has it under this request_id.", "internal_error", 500)
