"""The shape that every error has, whoever raises it."""

import json
import re
from typing import Any


def error(answer: Any, status: int, code: str | None = None) -> dict[str, Any]:
    """Check an answer of the test client or of requests against the contract; the error's body."""
    assert answer.status_code == status, f"{answer.status_code} {answer.text}"
    assert answer.headers["Content-Type"] == "application/json"
    body: dict[str, Any] = json.loads(answer.text)
    assert {"error", "code", "request_id"} <= body.keys() <= {"error", "code", "request_id", "details"}
    assert isinstance(body["error"], str)
    assert len(body["error"]) > 10
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", body["code"])
    assert code in (None, body["code"])
    assert isinstance(body.get("details", {}), str | dict)
    assert body["request_id"] == answer.headers["X-Request-ID"]
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    return body
