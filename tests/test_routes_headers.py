"""Security headers: on every answer, whoever gives it."""

import base64
import hashlib
import re

import pytest
from flask.testing import FlaskClient
from flask_openapi3 import OpenAPI
from werkzeug.test import TestResponse

from routes.headers import WAVEFORM_STYLE
from tests import contract
from tests.library import NOBODYS, Library
from tests.serving import ROOT

WITH_MICROPHONE = "microphone=(self)"


def secured(answer: TestResponse) -> None:
    """Check the headers of an answer, each of which is there once."""
    names = [name.lower() for name, _ in answer.headers]
    assert len(names) == len(set(names)) or names.count("set-cookie") > 1
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["X-Frame-Options"] == "SAMEORIGIN"
    assert WITH_MICROPHONE in answer.headers["Permissions-Policy"].split(", ")
    policy = dict(rule.split(" ", 1) for rule in answer.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["form-action"] == "'self'"
    assert "'unsafe-eval'" not in answer.headers["Content-Security-Policy"]
    assert not policy.get("script-src", "'self'").count("unsafe")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200), ("GET", "/dashboard.html", 200), ("GET", "/docs", 200), ("GET", "/health", 200),
        ("GET", "/openapi.json", 200), ("GET", "/static/css/theme.css", 200), ("HEAD", "/", 200),
        ("GET", "/static/js/player/peaks_worker.js", 200), ("OPTIONS", "/upload", 200), ("GET", "/nope", 404),
        ("GET", "/upload", 405), ("POST", "/upload", 400), ("POST", f"/process/demucs/{NOBODYS}", 404),
        ("GET", "/songs?limit=0", 400), ("GET", "/socket.io/?EIO=3&transport=polling", 400),
    ],
)  # fmt: skip
def test_every_answer_has_them(reader: FlaskClient, method: str, path: str, status: int) -> None:
    answer = reader.open(path, method=method)
    assert answer.status_code == status
    secured(answer)


def test_files_have_them(client: FlaskClient, library: Library) -> None:
    song = library.add_song()
    whole = client.get(f"/download/{song}")
    for answer, status in (
        (whole, 200),
        (client.get(f"/download/{song}", headers={"Range": "bytes=1-2"}), 206),
        (client.get(f"/download/{song}", headers={"If-None-Match": whole.headers["ETag"]}), 304),
    ):
        assert answer.status_code == status
        secured(answer)


def test_a_failure_of_ours_has_them(app: OpenAPI) -> None:
    def fail() -> None:
        raise ZeroDivisionError("/a/path and a secret")

    app.add_url_rule("/fail", view_func=fail)
    answer = app.test_client().get("/fail")
    secured(answer)
    assert "secret" not in str(contract.error(answer, 500, "internal_error"))


def test_styles_may_be_inline_in_the_documentation_page_alone(reader: FlaskClient) -> None:
    for path, inline in (("/", False), ("/dashboard.html", False), ("/health", False), ("/docs", True)):
        assert ("'unsafe-inline'" in reader.get(path).headers["Content-Security-Policy"]) is inline, path


def test_the_style_of_the_waveforms_is_the_one_that_is_allowed() -> None:
    code = (ROOT / "static" / "vendor" / "wavesurfer.esm.js").read_text(encoding="utf-8")
    written = re.findall(r"<style\$\{.*?\}>(.*?)</style>", code)
    assert len(written) == 1
    style = re.sub(r"\$\{this\.getHeight\(.*?\)\}", "0", written[0]).replace(r"\n", "\n")  # as waveform.js asks for it
    assert "${" not in style, "wavesurfer.js has changed: let waveform.js make its style a constant"
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" == WAVEFORM_STYLE, "wavesurfer.js has changed: WAVEFORM_STYLE is to be this"
