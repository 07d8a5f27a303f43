"""Music from text and Gemma on the page, in a real browser, against a real server with real workers."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from tests.browser import watch
from tests.serving import Server

JOB_MILLISECONDS = 120_000
RUNNING = re.compile(r"^[1-9]\d$")  # a percentage from 10 on
SECONDS = """audio => audio.readyState ? audio.duration
    : new Promise((go) => audio.onloadedmetadata = () => go(audio.duration))"""

RIGHT_EDGES = """form => ["[aria-label='Made so far'] > li", "textarea"]
    .map((one) => form.querySelector(one).getBoundingClientRect().right)"""


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page; at the end no script may have failed and no rule of the policy been broken."""
    complaints: list[str] = []
    opened = browser.new_page(reduced_motion="reduce")
    watch(opened, complaints)
    yield opened
    opened.close()
    assert complaints == []


def test_music_is_made_from_text_and_goes_on_from_the_song(
    page: Page, server: Server, finished: dict[str, Any]
) -> None:
    prompt = "<b>Slow</b> bossa nova"
    with _gone(Path(server.environment["MODELS_DIR"]) / "musicgen" / "medium"):
        page.goto(f"{server.url}/?song={finished['file_id']}")
        form = page.get_by_role("region", name="Music from text")
        form.get_by_label("Model").select_option("medium")
        expect(form.locator("optgroup[label='Downloaded at first use'] option")).to_have_text(["medium, 8.0 GB"])
        expect(form.get_by_label("Model")).to_have_accessible_description(re.compile("Downloads .* CC-BY-NC-4.0"))
        form.get_by_label("Description").fill(prompt)
        form.get_by_role("button", name="Make music").click()
        expect(form.get_by_role("alert")).to_contain_text(
            "python -m models.weights pull musicgen medium", timeout=JOB_MILLISECONDS
        )
    form.get_by_label("Model").select_option("small")
    form.get_by_label("Length").fill("120")
    form.get_by_role("button", name="Make music").click()
    expect(form.get_by_role("progressbar")).to_have_attribute("aria-valuenow", RUNNING, timeout=JOB_MILLISECONDS)
    form.get_by_role("button", name="Cancel").click()
    expect(form.get_by_role("button", name="Make music")).to_be_focused(timeout=JOB_MILLISECONDS)
    form.get_by_label("Length").fill("1")
    made = []
    for source, seconds in (("nothing", 1), ("song", 4)):  # the song has three, and comes first
        form.get_by_label("Begin with").select_option(source)
        form.get_by_label("Description").press("Control+Enter")
        pieces = form.get_by_role("list", name="Made so far").locator("> li")
        expect(pieces).to_have_count(len(made) + 1, timeout=JOB_MILLISECONDS)
        expect(pieces.first).to_contain_text(prompt)
        assert pieces.first.locator("audio").evaluate(SECONDS) == pytest.approx(seconds, abs=0.1)
        made.append(pieces.first.get_by_role("link", name="Download").get_attribute("href") or "")
        assert server.get(made[-1]).content.startswith(b"RIFF")
    page.set_viewport_size({"width": 390, "height": 844})
    panels = page.locator("main > .panel:visible").evaluate_all("all => all.map((one) => one.clientWidth)")
    assert len(set(panels)) == 1, "what was made makes no panel wider"
    assert panels[0] < 390
    piece, words = form.evaluate(RIGHT_EDGES)
    assert piece == pytest.approx(words, abs=1)
    assert made[0].split("/")[3] != finished["file_id"] == made[1].split("/")[3]
    requests.delete(f"{server.url}/cleanup/{made[0].split('/')[3]}", timeout=60)


def test_gemma_writes_down_what_it_hears(page: Page, server: Server, finished: dict[str, Any]) -> None:
    page.goto(f"{server.url}/?song={finished['file_id']}")
    form = page.get_by_role("region", name="Ask Gemma about this song")
    form.get_by_label("Model").select_option("gemma-2-2b-it")
    expect(form.get_by_label("Task")).to_have_accessible_description(re.compile("does not hear it"))
    form.get_by_label("Model").select_option("gemma-3n-E2B-it")
    form.get_by_label("Task").select_option("Write down its words")
    expect(form.get_by_label("Task")).to_have_accessible_description("Hears the song itself.")
    form.get_by_role("button", name="Ask Gemma").click()
    analyse = page.get_by_role("button", name="Analyse key and tempo")  # not there where another test has asked for it
    assert analyse.count() == 0 or analyse.is_enabled()
    expect(form).to_contain_text("Words by gemma-3n-E2B-it", timeout=JOB_MILLISECONDS)
    jobs = server.get(f"/status/{finished['file_id']}").json()["jobs"]
    answer = next(job["result"]["audio_analysis"] for job in jobs if job["model"] == "gemma_3n")
    assert answer
    expect(form.get_by_label("Answer")).to_have_text(answer)
    file = "analysis_gemma-3n-E2B-it_transcribe.txt"
    expect(page.locator(f"#downloads a[download='{file}']")).to_be_visible()


@contextmanager
def _gone(path: Path) -> Iterator[None]:
    """A file or folder is elsewhere inside the block."""
    aside = path.rename(path.with_name(f"{path.name}.aside"))
    try:
        yield
    finally:
        aside.rename(path)
