"""Signing in on the pages, in a real browser, against a real service with API keys."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from api_keys import hash_of, new_key
from tests.browser import watch
from tests.serving import Server
from tests.test_static_accessibility import assert_accessible

KEY = new_key()


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Server]:
    """A service with a key, and no workers."""
    server = Server(tmp_path, tmp_path, START_WORKERS="false", API_KEYS=f"alice:{hash_of(KEY)}").start(ready=False)
    yield server
    assert server.stop() == 0


def sign_in(page: Page, key: str) -> None:
    """Fill in the form."""
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()


def test_who_signs_in_uses_the_pages_as_ever_until_signing_out(locked: Server, browser: Browser, tone: Path) -> None:
    with tone.open("rb") as file:
        sent = requests.post(f"{locked.url}/upload", files={"file": file}, headers={"X-API-Key": KEY}, timeout=60)
    complaints: list[str] = []
    page = browser.new_page(reduced_motion="reduce")
    watch(page, complaints)
    page.goto(locked.url)
    expect(page.get_by_role("dialog", name="Sign in")).to_be_visible()
    page.keyboard.press("Escape")
    sign_in(page, "studio_wrong")
    expect(page.get_by_role("dialog").get_by_role("alert")).to_have_text("That API key is not valid here.")
    assert_accessible(page)
    sign_in(page, KEY)
    expect(page.locator("#connection")).to_have_text("Connected")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.locator("#library-songs")).to_contain_text("River")
    assert page.evaluate("document.cookie + JSON.stringify(localStorage)").count("studio_") == 0
    with page.expect_download() as download:
        page.evaluate("""path => {
            const link = document.createElement("a");
            Object.assign(link, {href: path, download: ""});
            link.click();
        }""", f"/download/{sent.json()['file_id']}")
    assert download.value.path().read_bytes() == tone.read_bytes()
    page.goto(f"{locked.url}/dashboard.html")
    expect(page.locator("#connection")).to_have_text("Connected")
    page.get_by_role("button", name="Sign out alice").click()
    expect(page.get_by_role("dialog", name="Sign in")).to_be_visible()
    page.goto(f"{locked.url}/docs")
    expect(page.get_by_role("button", name=re.compile("Authorize"))).to_be_visible()
    page.close()
    assert complaints == []
