"""The pages as axe-core judges them, in every state, light and dark: nothing serious, nothing critical."""

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests import render
from tests.browser import assert_accessible
from tests.serving import Server, wait_until

JOB_MILLISECONDS = 120_000
COUNTS = ("completed", "failed", "cancelled", "running", "queued", "paused")


@pytest.fixture(scope="module")
def page(browser: Browser) -> Page:
    """A page in Chromium that keeps still."""
    return browser.new_page(reduced_motion="reduce", viewport={"width": 1280, "height": 900})


def open_page(page: Page, server: Server, path: str) -> None:
    """Go there, and wait until it is connected."""
    page.goto(server.url + path)
    expect(page.locator("#connection")).to_have_text("Connected")


def test_idle_with_the_library_and_a_queue(page: Page, server: Server, finished: dict[str, Any], tone: Path) -> None:
    open_page(page, server, "/")
    expect(page.locator("#demo")).to_be_visible()
    page.get_by_role("button", name=re.compile("^Delete")).first.click()
    expect(page.get_by_role("button", name=re.compile("^Really delete"))).to_be_visible()
    page.locator("details:visible").evaluate_all("all => all.forEach((one) => (one.open = true))")
    assert_accessible(page)
    page.set_input_files("#file", [tone, tone])
    expect(page.locator("#queue")).to_be_visible()
    assert_accessible(page)


def test_complete_with_player_and_karaoke(page: Page, server: Server, finished: dict[str, Any]) -> None:
    open_page(page, server, f"/?song={finished['file_id']}")
    expect(page.locator("#results")).to_be_visible()
    page.get_by_role("button", name="Mixer").click()
    page.get_by_role("button", name="Karaoke").click()
    expect(page.locator("#player")).to_have_attribute("aria-busy", "false", timeout=JOB_MILLISECONDS)
    page.get_by_role("button", name=re.compile("^Mute")).first.click()
    assert_accessible(page)


def test_music_that_is_being_made(page: Page, server: Server) -> None:
    open_page(page, server, "/")
    form = page.get_by_role("region", name="Music from text")
    form.get_by_text("More settings").click()
    form.get_by_label("Description").fill("Slow bossa nova")
    form.get_by_label("Model").select_option("small")
    (worker,) = server.worker_pids()
    os.kill(worker, signal.SIGSTOP)  # it would be done before it is judged
    try:
        form.get_by_role("button", name="Make music").click()
        expect(form.get_by_role("progressbar")).to_be_visible()
        expect(form.get_by_role("button", name="Cancel")).to_be_enabled()
        assert_accessible(page)
        form.get_by_role("button", name="Cancel").click()
    finally:
        os.kill(worker, signal.SIGCONT)
    expect(form.get_by_role("button", name="Make music")).to_be_visible(timeout=JOB_MILLISECONDS)


def test_gemma_asked_and_failed(page: Page, server: Server, finished: dict[str, Any]) -> None:
    open_page(page, server, f"/?song={finished['file_id']}")
    form = page.get_by_role("region", name="Ask Gemma about this song")
    form.get_by_label("Model").select_option("gemma-2-27b-it")
    weights = Path(server.environment["MODELS_DIR"]) / "gemma_3n" / "gemma-2-27b-it"
    aside = weights.rename(weights.with_name("aside"))
    (worker,) = server.worker_pids()
    os.kill(worker, signal.SIGSTOP)
    try:
        form.get_by_role("button", name="Ask Gemma").click()
        expect(form.get_by_role("progressbar")).to_be_visible()
        assert_accessible(page)
        os.kill(worker, signal.SIGCONT)
        expect(form.get_by_role("alert")).to_be_visible(timeout=JOB_MILLISECONDS)
    finally:
        os.kill(worker, signal.SIGCONT)
        aside.rename(weights)
    assert_accessible(page)


def test_processing_and_failed(page: Page, server: Server, tmp_path: Path) -> None:
    (worker,) = server.worker_pids()
    os.kill(worker, signal.SIGKILL)  # the next one has no model in its memory
    wait_until(lambda: server.worker_pids() not in ([], [worker]), 30)
    weights = Path(server.environment["MODELS_DIR"]) / "whisper" / "large-v3-turbo.pt"
    aside = weights.rename(weights.with_name("aside"))
    try:
        path = render.silence(tmp_path / "silence.wav", 20)
        song = server.upload(path, auto_process="true", transcription_model_variant="turbo")["file_id"]
        open_page(page, server, f"/?song={song}")
        separation = page.locator("#stage-separation")
        expect(separation).to_have_attribute("data-status", "processing", timeout=JOB_MILLISECONDS)
        assert_accessible(page)
        failed = page.locator("#stage-transcription[data-status='failed']")
        expect(failed).to_be_visible(timeout=JOB_MILLISECONDS)
    finally:
        aside.rename(weights)
    expect(page.locator("#results")).to_be_visible()
    assert_accessible(page)
    server.delete(f"/songs/{song}")


def test_the_dashboard(page: Page, server: Server, finished: dict[str, Any]) -> None:
    nothing = {"stages": [], "total": dict.fromkeys(COUNTS, 0) | {"success_rate": None}}
    page.route(
        "**/jobs/statistics*",
        lambda route: route.fulfill(json=server.get("/jobs/statistics?hours=24").json() | nothing),
    )
    open_page(page, server, "/dashboard.html")
    expect(page.get_by_role("heading", name="Nothing has run in the last day")).to_be_visible()
    assert_accessible(page)
    page.unroute("**/jobs/statistics*")
    page.reload()
    expect(page.locator("#numbers tr")).not_to_have_count(0)
    page.route("**/jobs/statistics*", lambda route: route.abort())
    page.get_by_role("radio", name="Week").check()
    expect(page.get_by_role("alert")).to_be_visible()
    assert_accessible(page)
