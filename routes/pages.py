"""The demo page, the dashboard, the API's description and its documentation page; none loads from other hosts."""

import mimetypes
from importlib.resources import files as package_files
from pathlib import Path
from typing import cast

from flask import Blueprint, Response, current_app, jsonify, send_from_directory
from flask_openapi3 import OpenAPI

from routes.headers import DOCS_POLICY

bp = Blueprint("pages", __name__)

# Windows takes it from its registry, where it may be text/plain, and then no module runs.
mimetypes.add_type("text/javascript", ".js")

STATIC = Path(__file__).resolve().parent.parent / "static"
SWAGGER_UI = Path(str(package_files("flask_openapi3_swagger"))) / "templates" / "swagger"


@bp.get("/")
@bp.get("/test_progress.html")
def demo() -> Response:
    """The demo page."""
    return _page("test_progress.html")


@bp.get("/dashboard.html")
def dashboard() -> Response:
    """The page of statistics."""
    return _page("dashboard.html")


@bp.get("/docs")
def docs() -> Response:
    """The API's documentation page."""
    page = _page("docs.html")
    page.headers["Content-Security-Policy"] = DOCS_POLICY
    return page


@bp.get("/docs/assets/<path:name>")
def docs_asset(name: str) -> Response:
    """Swagger UI's own files, from its package."""
    return send_from_directory(SWAGGER_UI, name)


@bp.get("/openapi.json")
def openapi() -> Response:
    """The OpenAPI 3.1 description."""
    return jsonify(cast(OpenAPI, current_app).api_doc)


def _page(name: str) -> Response:
    """A page of ours."""
    return send_from_directory(STATIC, name)
