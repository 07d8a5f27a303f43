"""The pages: served with strict headers, and nothing in them points to other hosts."""

import hashlib
import re
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from bench.screenshots import MAX_BYTES
from tests import contract

STATIC = Path(__file__).resolve().parent.parent / "static"
SPECIFICATIONS = ("http://www.w3.org/",)  # names of formats, which nobody loads


@pytest.mark.parametrize("path", ["/", "/test_progress.html", "/dashboard.html", "/docs"])
def test_a_page(reader: FlaskClient, path: str) -> None:
    answer = reader.get(path)
    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    policy = dict(rule.split(" ", 1) for rule in answer.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == policy.get("script-src", "'self'") == "'self'"
    assert (policy["object-src"], policy["base-uri"]) == ("'none'", "'none'")
    assert "http" not in answer.headers["Content-Security-Policy"]
    assert "<script>" not in answer.text, "the policy forbids scripts in the page"


def test_the_front_page_is_the_demo(reader: FlaskClient) -> None:
    page = (STATIC / "test_progress.html").read_bytes()
    assert reader.get("/").data == reader.get("/test_progress.html").data == page


@pytest.mark.parametrize("path", ["/", "/dashboard.html", "/docs"])
def test_all_that_a_page_links_to_is_here(reader: FlaskClient, path: str) -> None:
    links = re.findall(r'<(?:script|link|img)\b[^>]*?(?:src|href)="([^"]+)"', reader.get(path).text)
    assert len(links) >= 3
    for link in links:
        assert link.startswith("/"), link
        assert reader.get(link).status_code == 200, link


def test_nothing_of_ours_points_to_other_hosts() -> None:
    ours = [path for path in STATIC.rglob("*") if path.suffix in (".html", ".css", ".js", ".svg")
            and "vendor" not in path.parts]  # fmt: skip
    assert len(ours) > 10
    for path in ours:
        found = re.findall(r"""(?:https?:)?//[\w.-]+\.\w+[^\s"'`)]*""", path.read_text(encoding="utf-8"))
        assert [link for link in found if not link.startswith(SPECIFICATIONS)] == [], path


@pytest.mark.parametrize(
    "folder", [STATIC / "vendor", Path(__file__).parent / "vendor"], ids=lambda path: path.parent.name
)
def test_what_is_vendored_is_what_its_table_says(folder: Path) -> None:
    table = (folder / "README.md").read_text(encoding="utf-8")
    noted = dict(re.findall(r"^\| `(\S+)` \|.*\| `([0-9a-f]{64})` \|$", table, flags=re.MULTILINE))
    there = [path for path in folder.rglob("*.*") if path.suffix in (".js", ".woff2")]
    assert noted == {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in there}


@pytest.mark.parametrize("name", ["css/swagger-ui.css", "js/swagger-ui-bundle.js"])
def test_files_of_the_documentation_page(reader: FlaskClient, name: str) -> None:
    answer = reader.get(f"/docs/assets/{name}")
    assert answer.status_code == 200
    assert len(answer.data) > 10_000


@pytest.mark.parametrize("name", ["..%2f__init__.py", "%2e%2e/__init__.py", "nope.js", ""])
def test_no_other_files(reader: FlaskClient, name: str) -> None:
    contract.error(reader.get(f"/docs/assets/{name}"), 404, "not_found")
    contract.error(reader.get(f"/static/{name}"), 404, "not_found")


def test_the_pictures_of_the_readme_are_there_and_described() -> None:
    root = STATIC.parent
    pictures = re.findall(r"!\[(.*?)\]\((docs/.*?)\)", (root / "README.md").read_text(encoding="utf-8"))
    assert len(pictures) >= 2
    for description, path in pictures:
        assert len(description) > 20, path
        assert 0 < (root / path).stat().st_size <= MAX_BYTES, path
