"""The dashboard in a real browser: what a real server counts, by itself, also after the server was away."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import close, under_strict_policy, watch
from tests.serving import Server

STATISTICS = re.compile("/jobs/statistics")
EVERY_MILLISECONDS = 4000  # between two questions of a tab that is seen
JOB_MILLISECONDS = 60_000
OpenDashboard = Callable[..., Page]

# The tab as if another one were before it, or as if it came back.
HIDE = """(hidden) => {
    Object.defineProperty(document, "hidden", {configurable: true, value: hidden});
    document.dispatchEvent(new Event("visibilitychange"));
}"""


@pytest.fixture
def open_dashboard(browser: Browser) -> Iterator[OpenDashboard]:
    """Opens the dashboard under the strict policy; at the end no script may have failed and no rule been broken."""
    complaints: list[str] = []
    context = browser.new_context(reduced_motion="reduce", viewport={"width": 390, "height": 844})

    def open_it(server: Server, query: str = "") -> Page:
        page = context.new_page()
        page.clock.install()
        under_strict_policy(page, "**/dashboard.html*")
        watch(page, complaints)
        page.goto(f"{server.url}/dashboard.html{query}")
        expect(page.locator("#connection")).to_have_text("Connected")
        return page

    yield open_it
    close(context)
    assert complaints == []


def cells(page: Page, stage: str) -> list[str]:
    """A row of the table."""
    return page.locator("#numbers tr", has_text=stage).locator("td").all_inner_texts()


def test_it_shows_what_the_server_counts_and_follows(
    server: Server, finished: dict[str, Any], open_dashboard: OpenDashboard, tone: Path
) -> None:
    page = open_dashboard(server, "?hours=168")
    expect(page.get_by_role("radio", name="Week")).to_be_checked()
    expect(page.locator("#charts")).to_be_visible()
    expect(page.locator("#empty")).to_be_hidden()
    counted = server.get("/jobs/statistics?hours=168").json()
    separation = next(stage for stage in counted["stages"] if stage["model"] == "demucs")
    assert separation["completed"] >= 1
    shown = cells(page, "Separation")
    assert [int(text) for text in shown[:3]] == [separation[how] for how in ("completed", "failed", "cancelled")]
    assert all(re.fullmatch(r"\d+(\.\d)? (ms|s)|\d+ min \d+ s", text) for text in shown[6:]), shown
    for chart in ("times", "endings"):
        bars = page.locator(f"#{chart} [data-stage='separation']")
        expect(bars).to_contain_text("Separation demucs")
    average, part = page.locator("#times .chart-value").first, page.locator("#endings .chart-value").first
    expect(average).to_have_text(f"{shown[6]} average")
    expect(part).to_contain_text(f"{shown[5]}, {separation['completed']} of")
    expect(page.locator("#queues .queue-state")).to_have_text(["Ready, on cpu"] * 2)
    expect(page.locator("#figures dd.figure-value").last).to_have_text("2")

    analyses = next((s["completed"] for s in counted["stages"] if s["model"] == "pitch_analysis"), 0)
    song = server.upload(tone)["file_id"]
    assert server.post(f"/process/pitch_analysis/{song}").ok
    row = page.locator("#numbers tr", has_text="pitch_analysis")
    expect(row.locator("td").first).to_have_text(str(analyses + 1), timeout=JOB_MILLISECONDS)
    server.delete(f"/songs/{song}")

    with page.expect_response(re.compile(r"/jobs/statistics$")):
        page.get_by_role("radio", name="All").check()
    assert page.url.endswith("?hours=")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.set_viewport_size({"width": 1280, "height": 800})
    page.get_by_role("link", name="Studio", exact=True).click()
    page.get_by_role("contentinfo").get_by_role("link", name="Dashboard").click()
    expect(page.get_by_role("heading", name="Dashboard")).to_be_visible()


def test_an_empty_service_that_goes_and_comes_back(
    open_dashboard: OpenDashboard, tmp_path: Path, weights_dir: Path
) -> None:
    server = Server(tmp_path, weights_dir, START_WORKERS="false").start(ready=False)
    page = open_dashboard(server, "?hours=")
    expect(page.get_by_role("heading", name="Nothing has run yet")).to_be_visible()
    expect(page.locator("#charts")).to_be_hidden()
    expect(page.locator("#figures dd.figure-value")).to_have_text(["–", "0", "0", "0"])
    expect(page.locator("#figures")).to_contain_text("none is alive")

    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if STATISTICS.search(request.url) else None)
    with page.expect_response(STATISTICS):
        page.clock.fast_forward(EVERY_MILLISECONDS)
    page.evaluate(HIDE, True)
    asked.clear()
    page.clock.fast_forward(3 * EVERY_MILLISECONDS)
    assert asked == []
    with page.expect_response(STATISTICS):
        page.evaluate(HIDE, False)

    assert server.stop() == 0
    expect(page.get_by_role("alert")).to_contain_text("The server cannot be reached")
    expect(page.get_by_role("alert")).to_contain_text("What is shown was so at")
    expect(page.locator("#connection")).to_have_text("Disconnected")
    server.start(ready=False)
    expect(page.locator("#connection")).to_have_text("Connected", timeout=15_000)
    expect(page.locator("#notice")).to_be_hidden()
    assert server.stop() == 0
