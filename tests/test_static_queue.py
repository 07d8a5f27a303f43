"""Several songs at once on the page, in a real browser, against a real server with real workers."""

import io
import os
import signal
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser import close, watch
from tests.serving import Server

RATE = 8000
UPLOAD_BYTES_PER_SECOND = 30_000
JOB_MILLISECONDS = 120_000

# Notes what the page tells: notifications, questions for the permission, tones, and every value of its bars.
TOLD = """(() => {
    const asked = Notification.requestPermission, start = OscillatorNode.prototype.start;
    window.told = {notifications: [], asked: 0, tones: 0};
    window.bars = {};
    new MutationObserver((changes) => changes.forEach(({target}) => {
        (bars[target.getAttribute("aria-label")] ??= []).push(Number(target.getAttribute("aria-valuenow")));
    })).observe(document, {subtree: true, attributeFilter: ["aria-valuenow"]});
    window.Notification = class extends Notification {
        constructor(title, options) {
            super(title, options);
            told.notifications.push(`${title}: ${options.body}`);
        }
        static get permission() {
            return "granted";  // Chromium without a window forgets what it was granted
        }
        static requestPermission() {
            told.asked++;
            return asked.call(Notification);
        }
    };
    OscillatorNode.prototype.start = function (at) {
        told.tones++;
        return start.call(this, at);
    };
})()"""

# Seconds left of a song of 100 s in its separation, for the paces and the time of the stage that the server has told.
SECONDS_LEFT = """async ([rates, etaSeconds, words]) => {
    const {pacesOf, secondsLeft} = await import("/static/js/left.js");
    const {INITIAL, withStage} = await import("/static/js/state.js");
    const measured = [["separation", "demucs", {demo: 2}], ["transcription", "gemma_3n", {tiny: 9}], ...rates];
    const stages = measured.map(([stage, model, run_seconds_per_song_second_by_variant]) => (
        {stage, model, run_seconds_per_song_second_by_variant}));
    const song = {duration_seconds: 100, variants: {model_variant: "demo", transcription_model_variant: words}};
    const state = {...INITIAL, phase: "processing", song, paces: pacesOf(stages)};
    return secondsLeft(withStage(state, "separation", {status: "processing", etaSeconds}));
}"""


@pytest.fixture
def page(browser: Browser, studio: Server) -> Iterator[Page]:
    """The page, connected; at the end no script may have failed."""
    complaints: list[str] = []
    context = browser.new_context(reduced_motion="reduce", permissions=["notifications"])
    context.add_init_script(TOLD)
    opened = context.new_page()
    watch(opened, complaints)
    opened.goto(studio.url)
    expect(opened.locator("#connection")).to_have_text("Connected")
    yield opened
    close(context)
    assert complaints == []


def test_several_songs_go_one_after_another_and_a_refused_one_holds_up_nothing(
    page: Page, server: Server, tmp_path: Path
) -> None:
    assert page.evaluate("told.asked") == 0, "nobody is asked before it is wished"
    page.get_by_role("button", name="Notify me").click()
    page.get_by_role("button", name="Sound").click()
    expect(page.locator(".switch[aria-pressed=true]")).to_have_count(2)
    text = tmp_path / "<b>lyrics.mp3"
    text.write_text("These are only words. " * 50)
    songs = [_tone(tmp_path / f"Dusk - {name}.wav") for name in ("River", "Hill", "Meadow")]
    page.set_input_files("#file", [songs[0], text, *songs[1:]])
    expect(page.locator(".queue-name")).to_have_text([songs[0].name, text.name, songs[1].name, songs[2].name])
    page.get_by_role("button", name="Remove: Dusk - Meadow.wav").press("Enter")
    expect(page.locator(".queue-row")).to_have_count(3)
    page.select_option("#transcription-variant", "tiny")
    _slow_uploads(page)
    with _held(server.worker_pids()):
        page.get_by_role("button", name="Start processing 3 songs").click()
        expect(_row(page, "Hill")).to_have_attribute("data-status", "queued", timeout=20_000)
        bars = page.evaluate("bars")
        for name in ("All uploads", "Upload of Dusk - River.wav", "Upload of Dusk - Hill.wav"):
            assert any(0 < percent < 100 for percent in bars[name]), bars
        assert bars["All uploads"] == sorted(bars["All uploads"]), "together they never go back"
        expect(_row(page, "lyrics")).to_contain_text("The file is text")
        expect(page.locator("#song-title")).to_have_text("River")
        expect(_row(page, "River").get_by_role("button").first).to_have_attribute("aria-current", "true")
        page.get_by_role("button", name="Cancel: Dusk - Hill.wav").click()
        expect(_row(page, "Hill")).to_have_attribute("data-status", "cancelled")
    expect(_row(page, "River")).to_have_attribute("data-status", "complete", timeout=JOB_MILLISECONDS)
    assert page.evaluate("told.asked") == 1
    assert page.evaluate("told.notifications.slice(1)") == ["Your queue has finished: 1 ready, 1 failed"]
    assert page.evaluate("told.tones") == 6, "three to try it, three at the end"
    expect(page.locator("#queue-about")).to_have_text("3 songs · 1 ready · 1 failed · 1 cancelled")
    expect(page.locator("#results-heading")).to_have_text("Your song is ready")
    _row(page, "Hill").get_by_role("button").first.click()
    expect(page.locator("#song-title")).to_have_text("Hill")
    expect(page.locator("#stage-separation")).to_have_attribute("data-status", "cancelled")
    page.reload()
    expect(_row(page, "River")).to_have_attribute("data-status", "complete")
    expect(_row(page, "Hill")).to_have_attribute("data-status", "cancelled")
    expect(page.locator(".switch[aria-pressed=true]")).to_have_count(2)
    assert page.evaluate("told") == {"notifications": [], "asked": 0, "tones": 0}, "old ends are no news"
    page.get_by_role("button", name="Clear finished").click()
    expect(page.locator("#queue")).to_be_hidden()


def test_the_time_left_in_all_is_told_when_all_of_it_was_measured(page: Page) -> None:
    whisper, karaoke = {"tiny": 0.5, "large": 8.0}, {"full": 0.1}

    def left(
        whisper: dict[str, float], karaoke: dict[str, float], stage_seconds: float | None, words: str | None = "tiny"
    ) -> float | None:
        rates = [["transcription", "whisper", whisper], ["karaoke", "karaoke", karaoke]]
        seconds: float | None = page.evaluate(SECONDS_LEFT, [rates, stage_seconds, words])
        return seconds

    assert left(whisper, karaoke, 30) == 90
    assert [left(whisper, karaoke, None), left({}, karaoke, 30), left(whisper, {}, 30)] == [None] * 3
    assert left(whisper, karaoke, 30, "large") == 840, "at the pace of its own variant"
    assert left(whisper, karaoke, 30, "medium") is None, "no pace of another variant is a measurement"
    assert left(whisper, karaoke, 30, None) is None


def _row(page: Page, name: str) -> Locator:
    """The queue's row of a song."""
    return page.locator(".queue-row", has_text=name)


def _slow_uploads(page: Page) -> None:
    """Let uploads take their time."""
    limits = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": UPLOAD_BYTES_PER_SECOND}
    page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", limits)


@contextmanager
def _held(pids: list[int]) -> Iterator[None]:
    """Processes stand still inside the block."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _tone(path: Path, seconds: float = 2) -> Path:
    """A file with an A major chord in it, 16-bit mono."""
    time = np.arange(int(seconds * RATE)) / RATE
    chord = sum(np.sin(2 * np.pi * 440 * 2 ** (step / 12) * time) for step in (0, 4, 7, 12)) / 5
    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((chord * 32767).astype("<i2").tobytes())
    path.write_bytes(written.getvalue())
    return path
