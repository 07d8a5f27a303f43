"""The page's demo song in a real browser: one button, the bundled models, and no others."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import watch
from tests.serving import Server

JOB_MILLISECONDS = 300_000  # real models, though small ones


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    """The page, connected; at the end no script may have failed."""
    complaints: list[str] = []
    opened = browser.new_page(reduced_motion="reduce")
    watch(opened, complaints)
    opened.goto(server.url)
    expect(opened.locator("#connection")).to_have_text("Connected")
    yield opened
    opened.close()
    assert complaints == []


def test_the_button_sends_the_demo_song_to_the_demo_models(page: Page, server: Server) -> None:
    button = page.get_by_role("button", name="Try the demo song")
    expect(button).to_have_accessible_description(re.compile("trained on synthesised songs alone"))
    button.press("Enter")
    expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    expect(button).to_be_hidden()
    for select in ("Separation model", "Transcription model"):
        expect(page.get_by_label(select)).to_have_value("demo")
    expect(page.locator("#separation-about")).to_contain_text("trained on synthesised songs alone")
    separation = page.locator("#stage-separation")
    expect(separation).to_have_attribute("data-status", "processing", timeout=JOB_MILLISECONDS)
    expect(page.locator("#song-title")).to_have_text("Studio demo")
    page.get_by_role("button", name="Cancel").click()  # that it comes out well is shown by tests/test_demo.py
    expect(separation).to_have_attribute("data-status", "cancelled", timeout=JOB_MILLISECONDS)
    file_id = page.url.partition("?song=")[2]
    used = {job["model"]: job["model_variant"] for job in server.get(f"/status/{file_id}").json()["jobs"]}
    assert used["demucs"] == "demo"
    page.get_by_role("button", name="Process another song").click()
    expect(button).to_be_visible()
    expect(page.get_by_label("Separation model")).to_have_value("htdemucs")
    expect(page.get_by_label("Transcription model")).to_have_value("medium")
    assert server.delete(f"/songs/{file_id}").ok


def test_a_demo_song_that_is_missing_is_said(page: Page) -> None:
    page.route("**/static/demo/song.mp3", lambda route: route.fulfill(status=404, json={"error": "There is no song."}))
    button = page.get_by_role("button", name="Try the demo song")
    button.click()
    expect(page.get_by_role("alert")).to_contain_text("There is no song.")
    expect(button).to_be_enabled()
