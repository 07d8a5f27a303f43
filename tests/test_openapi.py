"""The description: valid, complete, equal to the classes that check requests, and true of what is answered."""

from pathlib import Path
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from playwright.sync_api import Browser, Page

import models
from routes.upload import UploadOptions
from tests.serving import Server

UNDOCUMENTED = {"/", "/test_progress.html", "/dashboard.html", "/docs", "/docs/assets/{name}", "/openapi.json",
                "/static/{filename}", "/process/{model_name}/{file_id}"}  # fmt: skip
RANGE = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "enum", "default",
         "type", "anyOf", "description")  # fmt: skip


@pytest.fixture(scope="module")
def description(reader: FlaskClient) -> dict[str, Any]:
    """The description."""
    answer = reader.get("/openapi.json")
    assert (answer.status_code, answer.mimetype) == (200, "application/json")
    found: dict[str, Any] = answer.json
    return found


def operations(description: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Every operation by method and path."""
    return {(method.upper(), path): operation for path, item in description["paths"].items()
            for method, operation in item.items()}  # fmt: skip


def body_schema(description: dict[str, Any], method: str, path: str, kind: str = "application/json") -> dict[str, Any]:
    """The schema of a request's body."""
    reference = description["paths"][path][method.lower()]["requestBody"]["content"][kind]["schema"]["$ref"]
    schema: dict[str, Any] = description["components"]["schemas"][reference.rpartition("/")[2]]
    return schema


def test_it_is_valid(description: dict[str, Any]) -> None:
    assert description["openapi"].startswith("3.1.")
    assert [error.message for error in OpenAPIV31SpecValidator(description).iter_errors()] == []


def test_every_route_is_in_it_and_nothing_else(reader: FlaskClient, description: dict[str, Any]) -> None:
    routes = set()
    for rule in reader.application.url_map.iter_rules():
        path = rule.rule
        for argument in rule.arguments:
            path = path.replace(f"<path:{argument}>", f"{{{argument}}}").replace(f"<{argument}>", f"{{{argument}}}")
        if path not in UNDOCUMENTED:
            routes |= {(method, path) for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}}
    assert operations(description).keys() == routes
    assert len(routes) > 30


def test_every_operation_says_what_it_does_and_how_it_fails(description: dict[str, Any]) -> None:
    for (method, path), operation in operations(description).items():
        assert operation["summary"], path
        assert operation["tags"], path
        good = [status for status in operation["responses"] if status.startswith("2")]
        assert good, f"{method} {path} has no good answer"
        for status, answer in operation["responses"].items():
            if not status.startswith(("2", "3")):
                assert answer["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorAnswer"), path
        named = {found["name"] for found in operation.get("parameters", ()) if found["in"] == "path"}
        assert named == {part[1:-1] for part in path.split("/") if part.startswith("{")}
    names = [operation["operationId"] for operation in operations(description).values()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", models.REGISTRY)
def test_parameters_are_those_that_are_checked(description: dict[str, Any], name: str) -> None:
    spec, path = models.spec(name), f"/process/{name}/{{file_id}}"
    described = body_schema(description, "POST", path)
    checked = spec.module.Request.model_json_schema()
    assert described["properties"].keys() == checked["properties"].keys() | {"model_variant", "force", "webhook_url"}
    for field, rules in checked["properties"].items():
        for rule in RANGE:
            assert described["properties"][field].get(rule) == rules.get(rule), f"{field} {rule}"
    variant = described["properties"]["model_variant"]
    assert (variant["enum"], variant["default"]) == (list(spec.variants), spec.default_variant)
    assert described.get("required", []) == checked.get("required", [])
    assert described["additionalProperties"] is False
    required = description["paths"][path]["post"]["requestBody"].get("required", False)
    assert required == bool(checked.get("required")), "the body is optional unless something must be said"


@pytest.mark.parametrize("path", ["/upload", "/upload/{model_name}"])
def test_upload_options_may_be_in_form_and_query(description: dict[str, Any], path: str) -> None:
    form = body_schema(description, "POST", path, "multipart/form-data")
    assert form["properties"].keys() == UploadOptions.model_fields.keys() | {"file"}
    assert form["required"] == ["file"]
    query = {found["name"] for found in description["paths"][path]["post"]["parameters"] if found["in"] == "query"}
    assert query == UploadOptions.model_fields.keys()


def test_lists_tell_their_ranges(description: dict[str, Any]) -> None:
    for path in ("/songs", "/karaoke/songs", "/jobs"):
        found = {each["name"]: each["schema"] for each in description["paths"][path]["get"]["parameters"]}
        assert (found["limit"]["minimum"], found["limit"]["maximum"], found["limit"]["default"]) == (1, 500, 50)
        assert found["offset"]["minimum"] == 0


def test_answers_are_as_described(
    description: dict[str, Any], server: Server, finished: dict[str, Any], tone: Path
) -> None:
    song, job = finished["file_id"], finished["job_id"]
    ids = {"file_id": song, "job_id": job, "model_name": "whisper"}

    def check(method: str, path: str, **sent: Any) -> requests.Response:
        answer = requests.request(method, server.url + path.format(**ids), timeout=120, **sent)
        described = description["paths"][path.partition("?")[0]][method.lower()]["responses"]
        assert str(answer.status_code) in described, f"{method} {path} {answer.status_code} {answer.text}"
        schema = described[str(answer.status_code)]["content"]["application/json"]["schema"]
        errors = Draft202012Validator({**schema, "components": description["components"]}).iter_errors(answer.json())
        assert [f"{method} {path}: {error.message}" for error in errors] == []
        return answer

    for path in ("/health", "/health/ready", "/gpu-status", "/status", "/models", "/models/{model_name}", "/songs",
                 "/jobs", "/jobs/{job_id}", "/jobs/statistics?hours=24", "/status/{file_id}",
                 "/karaoke/songs"):  # fmt: skip
        assert check("GET", path).status_code == 200
    for path in ("/process/demucs/{file_id}", "/process/karaoke/{file_id}", "/analyze/chroma/{file_id}",
                 "/separate/{file_id}"):  # fmt: skip
        assert check("POST", path).status_code == 200
    assert check("POST", "/analyze/batch", json={"file_ids": [song, "x"]}).status_code == 200
    assert check("POST", "/jobs/{job_id}/cancel").status_code == 409
    for action in ("retry", "pause", "resume"):
        assert check("POST", f"/jobs/{{job_id}}/{action}").status_code == 409
    assert check("POST", "/process/demucs/{file_id}", json={"shifts": -1}).status_code == 400
    assert check("POST", "/upload", files={"file": ("x.mp3", b"x")}).status_code == 415
    new = check("POST", "/upload", files={"file": ("x.wav", tone.read_bytes())}).json()
    ids["file_id"] = new["file_id"]
    assert check("POST", "/process/karaoke/{file_id}").status_code == 409
    queued = check("POST", "/process/demucs/{file_id}?async=true")
    ids["job_id"] = queued.json()["job_id"]
    assert queued.status_code == 202
    assert check("POST", "/jobs/{job_id}/pause").status_code == 200
    assert check("POST", "/jobs/{job_id}/resume").status_code == 202
    assert check("POST", "/jobs/{job_id}/cancel").status_code == 200
    assert check("DELETE", "/cleanup/{file_id}").status_code == 200
    assert check("GET", "/status/{file_id}").status_code == 404


@pytest.fixture
def page(browser: Browser) -> Page:
    """A page in Chromium."""
    return browser.new_page()


def test_the_page_shows_every_operation_and_loads_nothing_from_elsewhere(
    server: Server, description: dict[str, Any], page: Page
) -> None:
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    page.goto(f"{server.url}/docs")
    page.wait_for_selector(".opblock")
    shown = page.locator(".opblock-summary-path").all_inner_texts()
    assert len(shown) == len(operations(description))
    assert {text.replace("\u200b", "") for text in shown} == description["paths"].keys()
    page.locator("#operations-process-process_demucs .opblock-summary").click()
    page.wait_for_selector("#operations-process-process_demucs .opblock-body")
    assert asked
    elsewhere = [url for url in asked if not url.startswith((f"{server.url}/", "data:", "blob:"))]
    assert (elsewhere, complaints) == ([], [])
