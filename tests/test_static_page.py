"""The page in a real browser, against a real server with real workers."""

import colorsys
import io
import os
import re
import signal
import time
import wave
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import APIResponse, Browser, Locator, Page, Response, Route, expect

from tests.browser import DROP, close, settle, under_strict_policy, watch
from tests.serving import Server

STAGES = ("upload", "separation", "transcription", "karaoke")
RATE = 44100
JOB_MILLISECONDS = 120_000
TYPING_MILLISECONDS, SECOND_THOUGHT_MILLISECONDS = 200, 4000  # as in static/js/cards/library.js
OpenPage = Callable[..., Page]

# Adds up how far what is seen jumps, except where the person at the screen has just done something.
SHIFTS = """(() => {
    window.shifted = [];
    new PerformanceObserver((list) => shifted.push(...list.getEntries().filter(({hadRecentInput}) => !hadRecentInput)))
        .observe({type: "layout-shift", buffered: true});
})()"""

# What has moved so far, once the browser has drawn what was done: how much, and what it was.
MOVED = """async () => {
    for (let frame = 0; frame < 3; frame++) await new Promise(requestAnimationFrame);
    const about = ({node, previousRect: before, currentRect: now}) => `${node?.id}: ${before.y} to ${now.y}`;
    return shifted.filter(({value}) => value > 0.0005).map(({value, sources}) => [value, ...sources.map(about)]);
}"""

# A file from outside is moved over the page.
DRAG = """(type) => {
    const carried = new DataTransfer();
    carried.items.add(new File([], "song.wav"));
    document.body.dispatchEvent(new DragEvent(type, {dataTransfer: carried, bubbles: true, cancelable: true}));
}"""

STYLE = "(one, [part, name]) => getComputedStyle(one, part)[name]"
MARKUP = "<script>alert(1)</script> <img src=x onerror=alert(2)>"
TONES = {"waiting": "grey", "processing": "blue", "complete": "green", "failed": "red"}

# What the page makes of a failed stage that runs again: asked for here, told by an event, asked for elsewhere.
RUNS_AGAIN = """async () => {
    const {INITIAL, withCaughtUp, withEvent, withRetry} = await import("/static/js/state.js");
    const event = {file_id: "a", job_id: "b", stage: "separation", message: "", progress: 100, error: "No room."};
    const failed = withEvent({...INITIAL, song: {file_id: "a"}, phase: "ended"}, {...event, seq: 5});
    const begun = withEvent(failed, {...event, seq: 6, progress: 20, error: null});
    const told = {seq: 5, jobs: [{job_id: "b", status: "queued"}]};
    const waiting = [withRetry(failed, "b"), withCaughtUp(failed, true, told)];
    const known = [withRetry(begun, "b"), withCaughtUp(failed, true, {...told, seq: 4}),
        withCaughtUp(failed, false, {seq: 5, jobs: [{job_id: "b", status: "failed"}]})];
    return [begun, ...waiting, ...known].map(({phase, stages, generation}) => [
        phase, stages.separation.status, stages.separation.progress, generation > failed.generation]);
}"""


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Opens the page under the strict policy; at the end no script may have failed and no rule been broken."""
    complaints: list[str] = []
    context = browser.new_context(reduced_motion="reduce")

    def open_it(server: Server, path: str = "/") -> Page:
        page = context.new_page()
        under_strict_policy(page, re.compile(rf"{server.url}/(\?.*)?$"))
        watch(page, complaints)
        page.goto(server.url + path)
        expect(page.locator("#connection")).to_have_text("Connected")
        return page

    yield open_it
    close(context)
    assert complaints == []


def test_a_song_chosen_by_click_goes_through_and_everything_downloads(
    studio: Server, open_page: OpenPage, tmp_path: Path
) -> None:
    page = open_page(studio)
    with page.expect_file_chooser() as chooser:
        page.get_by_text("choose a file").click()
    chooser.value.set_files(_tone(tmp_path / "Dusk - River.wav", seconds=4))
    expect(page.locator("#song-card")).to_contain_text("Dusk - River.wav")
    expect(page.locator("#song-facts")).to_contain_text("WAV")
    _start(page)
    for stage in STAGES:
        expect(_card(page, stage)).to_have_attribute("data-status", "complete", timeout=JOB_MILLISECONDS)
        expect(_card(page, stage)).to_contain_text("✓ Complete")
    expect(page.locator("#results-heading")).to_have_text("Your song is ready")
    expect(page.locator("#metadata")).to_contain_text("44.1 kHz")
    expect(page.locator("#song-artist")).to_have_text("Dusk")
    names = _assert_links_work(page, studio)
    assert {"vocals.mp3", "transcription_tiny.lrc"} <= names
    assert len(_archive(page, studio)) == len(names)
    page.set_viewport_size({"width": 340, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") == 340, "a phone would have to scroll sideways"


def test_key_and_tempo_on_request(studio: Server, open_page: OpenPage, tmp_path: Path) -> None:
    song = studio.upload(_tone(tmp_path / "tone.wav", seconds=4))
    page = open_page(studio, f"/?song={song['file_id']}")
    page.get_by_role("button", name="Analyse key and tempo").click()
    expect(page.locator("#analysis .figure-value").first).to_have_text("A major", timeout=JOB_MILLISECONDS)
    picture = page.locator("#analysis img")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
    expect(page.get_by_role("list", name="Chords")).to_have_text(re.compile(r"^0:0\d A"))
    page.get_by_title("Show it larger").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_text_called_mp3_shows_the_servers_sentence(studio: Server, open_page: OpenPage, tmp_path: Path) -> None:
    path = tmp_path / "lyrics.mp3"
    path.write_text("These are only words. " * 50)
    page = open_page(studio)
    with page.expect_file_chooser() as chooser:
        page.locator("#file").press("Space")
    chooser.value.set_files(path)
    with page.expect_response("**/upload*") as answer:
        _start(page)
    sentence = _error(answer.value, status=415)
    expect(page.get_by_role("alert")).to_contain_text(sentence)
    expect(_card(page, "upload")).to_contain_text("❌ Failed")
    expect(_card(page, "upload")).to_contain_text(sentence)
    expect(_card(page, "separation")).to_contain_text("⏳ Waiting")


def test_a_dropped_file_with_markup_in_its_name_shows_as_text(studio: Server, open_page: OpenPage) -> None:
    page = open_page(studio)
    name = "<img src=x onerror=alert(1)> - <script>alert(2)<&>.wav"
    page.evaluate(DROP, [name, list(_wav(seconds=0.5))])
    expect(page.locator("#song-title")).to_have_text(name)
    _start(page)
    expect(page.locator("#song-artist")).to_have_text("<img src=x onerror=alert(1)>")
    expect(page.locator("#song-title")).to_have_text("<script>alert(2)<&>")
    assert page.locator("#song img, #song script").count() == 0


def test_colours_follow_the_system_or_the_switch(studio: Server, open_page: OpenPage) -> None:
    page = open_page(studio)

    def is_dark() -> bool:
        return page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"

    seen = []
    for _ in ("system", "light", "dark"):
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            seen.append(is_dark())
        page.get_by_role("button", name="Colours").click()
    assert seen == [False, True, False, False, True, True]
    page.get_by_role("button", name="Colours: as the system has them").click()
    page.reload()
    expect(page.get_by_role("button", name="Colours: light")).to_be_visible()
    assert not is_dark(), "the choice outlives a reload"


def test_badge_follows_the_server(open_page: OpenPage, tmp_path: Path, weights_dir: Path) -> None:
    server = Server(tmp_path, weights_dir, START_WORKERS="false").start(ready=False)
    page = open_page(server)
    badge = page.locator("#connection")
    expect(badge).to_have_attribute("data-status", "connected")
    assert _pulse(page) == ("pulse", "green")
    assert server.stop() == 0
    expect(badge).to_have_text("Disconnected")
    expect(badge).to_have_attribute("data-status", "disconnected")
    assert _pulse(page) == ("pulse", "red")
    server.start(ready=False)
    expect(badge).to_have_text("Connected", timeout=15_000)
    assert server.stop() == 0


def test_the_page_looks_as_it_was_wished(studio: Server, open_page: OpenPage) -> None:
    page = open_page(studio)
    sky = [_hue(colour) for colour in re.findall(r"rgb\([^)]*\)", _style(page.locator("body"), "backgroundImage"))]
    assert (sky[0], sky[-1]) == ("purple", "blue")
    dropzone, icon = page.locator(".dropzone"), page.locator(".dropzone-icon svg")
    expect(icon).to_be_visible()
    before = [_style(dropzone, name) for name in ("borderTopStyle", "borderTopColor", "backgroundColor")]
    dropzone.hover()
    settle(page)
    after = [_style(dropzone, name) for name in ("borderTopStyle", "borderTopColor", "backgroundColor")]
    assert before[0] == after[0] == "dashed"
    assert before[1] != after[1]
    assert before[2] != after[2]
    card = _card(page, "separation")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for status, tone in TONES.items():
            card.evaluate("(one, status) => (one.dataset.status = status)", status)
            settle(page)
            assert _hue(_style(card.locator(".stage-status"), "color")) == tone, (scheme, status)
            moving = [_style(card.locator(part), "animationName") for part in (".glyph", ".bar-fill")]
            assert moving == (["turn", "flow"] if status == "processing" else ["none", "none"])
            drawn = _style(card.locator(".bar-fill"), "backgroundImage")
            assert drawn.startswith("linear-gradient" if status != "waiting" else "none")


@pytest.mark.parametrize("width", [1280, 800, 390])
def test_nothing_jumps_while_the_page_starts_and_while_a_song_arrives(
    studio: Server, browser: Browser, tmp_path: Path, width: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 1400}, reduced_motion="reduce")
    page.add_init_script(SHIFTS)
    script, models = _kept_back(page, "**/js/page.js"), _kept_back(page, "**/models")
    with page.expect_request("**/js/page.js"):
        page.goto(studio.url, wait_until="commit")
    page.evaluate("document.fonts.ready")
    page.evaluate(MOVED)
    script[0].continue_()
    expect(page.locator("#connection")).to_have_text("Connected")
    assert page.evaluate(MOVED) == [], "the stage cards"
    models[0].continue_()
    expect(page.locator("#demo-about")).not_to_be_empty()
    expect(page.locator("#demo-start")).to_be_visible()
    assert page.evaluate(MOVED) == [], "the models"
    page.set_input_files("#file", _tone(tmp_path / "Dusk - River.wav", seconds=1))
    pause, cancel = page.locator("#pause"), page.locator("#cancel")
    with _held(studio.worker_pids()):
        upload = _kept_back(page, "**/upload*")
        _start(page)
        expect(pause).to_have_attribute("aria-disabled", "true")
        left, right = pause.bounding_box(), cancel.bounding_box()
        assert left
        assert right
        assert (left["y"], left["width"]) == (right["y"], pytest.approx(right["width"], abs=1))
        assert right["x"] - left["x"] - left["width"] >= 8, "the buttons stand apart"
        stages = page.locator("#stages").bounding_box()
        page.evaluate(MOVED)
        page.evaluate("void (shifted.length = 0)")
        upload[0].continue_()
        expect(page.locator("#song-facts")).to_contain_text("44.1 kHz")
        expect(pause).to_have_attribute("aria-disabled", "false")
        assert page.evaluate(MOVED) == [], "the song"
        told = "Step 2 of 4: Separation, about 50 s left in all at the pace of earlier songs"
        page.locator("#progress-summary").evaluate("(line, told) => (line.textContent = told)", told)
        assert page.locator("#stages").bounding_box() == stages, "a time that is told"
        cancel.click()
        another = page.get_by_role("button", name="Process another song")
        expect(another).to_be_visible()
        whole = another.bounding_box()
        assert whole
        assert whole["width"] > 2 * left["width"], "one button takes the place of two"
        assert (whole["y"], whole["height"]) == (left["y"], left["height"])
    page.close()


def test_the_focus_goes_on_when_what_had_it_is_gone(studio: Server, open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(studio)
    button = page.get_by_role("button")
    cancel, another = page.locator("#cancel"), page.locator("#another")
    page.set_input_files("#file", _tone(tmp_path / "Dusk - River.wav", seconds=1))
    with _held(studio.worker_pids()):
        page.locator("#start").press("Enter")
        expect(cancel).to_be_focused()
        expect(page.locator("#song-facts")).to_contain_text("44.1 kHz")
        cancel.press("Enter")
        expect(another).to_be_focused()
        page.get_by_role("button", name="Try again: separation").press("Enter")
        expect(cancel).to_be_focused()
        cancel.press("Enter")
        expect(another).to_be_focused()
        page.reload()
        page.get_by_role("button", name="Try again: separation").press("Enter")
        expect(cancel).to_be_focused()
        cancel.press("Enter")
        expect(another).to_be_focused()
        another.press("Enter")
        expect(page.locator("#file")).to_be_focused()
        for name in ("Hill", "Meadow"):
            studio.upload(_tone(tmp_path / "tone.wav", seconds=1), name=f"Dusk Focus - {name}.wav")
        search = page.get_by_label("Search songs")
        search.fill("Dusk Focus")
        expect(page.locator("#library .library-title")).to_have_text(["Meadow", "Hill"])
        for name, next_one in (("Meadow", button.filter(has_text="Hill")), ("Hill", search)):
            page.get_by_role("button", name=f"Delete {name}").press("Enter")
            page.get_by_role("button", name=f"Really delete {name}").press("Enter")
            expect(page.locator("#library .library-title").filter(has_text=name)).to_have_count(0)
            expect(next_one).to_be_focused()


def test_what_is_tried_again_is_not_ended_by_its_past(studio: Server, open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(studio)
    begun, waiting = ["processing", "processing", 20, True], ["processing", "waiting", 0, True]
    ended = ["ended", "failed", 100, False]
    assert page.evaluate(RUNS_AGAIN) == [begun, waiting, waiting, begun, ended, ended]
    again = page.get_by_role("button", name="Try again: separation")
    cancel, another = page.locator("#cancel"), page.locator("#another")
    page.set_input_files("#file", _tone(tmp_path / "Dusk - River.wav", seconds=1))
    with _held(studio.worker_pids()):
        _start(page)
        expect(page.locator("#song-facts")).to_contain_text("44.1 kHz")
        cancel.click()
        expect(another).to_be_visible()
        page.route("**/socket.io/**", lambda route: route.abort())
        page.reload()
        expect(another).to_be_visible()
        assert _style(page.locator(".stage-again").first, "visibility") == "hidden", "before its past is here"
        asked = _kept_back(page, "**/status/*")
        with page.expect_request("**/status/*"):
            page.unroute("**/socket.io/**")
        expect(again).to_be_visible()
        assert asked
        old = [(route, route.fetch()) for route in asked]
        with page.expect_response("**/retry"):
            again.click()
        expect(_card(page, "separation")).to_have_attribute("data-status", "waiting")
        for route, answer in old:
            with page.expect_response("**/status/*"):
                route.fulfill(response=answer)
        settle(page)
        expect(cancel).to_be_visible()
        page.unroute("**/status/*")
        page.reload()
        expect(_card(page, "upload")).to_have_attribute("data-status", "complete")
        settle(page)
        expect(_card(page, "separation")).to_have_attribute("data-status", "waiting")
        cancel.click()
        expect(another).to_be_visible()


def test_a_stage_tried_again_as_the_page_goes_on_leaves_the_next_song_alone(
    studio: Server, open_page: OpenPage, tmp_path: Path
) -> None:
    hill = studio.upload(_tone(tmp_path / "tone.wav", seconds=1), name="Dusk - Hill.wav")
    page = open_page(studio)
    page.set_input_files("#file", _tone(tmp_path / "Dusk - River.wav", seconds=1))
    with _held(studio.worker_pids()):
        _start(page)
        expect(page.locator("#song-facts")).to_contain_text("44.1 kHz")
        page.locator("#cancel").click()
        retries = _kept_back(page, "**/retry")
        with page.expect_request("**/retry"):
            page.get_by_role("button", name="Try again: separation").click()
        page.locator(f"[data-song='{hill['file_id']}'] .library-song").click()
        expect(page.locator("#song-title")).to_have_text("Hill")
        expect(page.locator("#another")).to_be_visible()
        with page.expect_response("**/retry"):
            retries[0].continue_()
        settle(page)
        expect(page.locator("#another")).to_be_visible()


def test_a_song_can_be_dropped_after_another_and_beside_it(studio: Server, open_page: OpenPage, tmp_path: Path) -> None:
    song = studio.upload(_tone(tmp_path / "tone.wav", seconds=1), name="Dusk - River.wav")
    page = open_page(studio, f"/?song={song['file_id']}")
    expect(page.locator("#another")).to_be_visible()
    page.evaluate(DRAG, "dragover")
    expect(page.locator("body")).to_have_class("dragging")
    page.evaluate(DROP, ["Hill.wav", list(_wav(seconds=0.5))])
    expect(page.locator("body")).to_have_class("")
    expect(page.locator("#song-title")).to_have_text("Hill.wav")
    expect(page.locator("#results")).to_be_hidden()
    assert page.url == f"{studio.url}/"
    with _held(studio.worker_pids()):
        _start(page)
        expect(page.locator("#song-title")).to_have_text("Hill")
        page.evaluate(DROP, ["Meadow.wav", list(_wav(seconds=0.5))])
        row = page.locator(".queue-row", has_text="Meadow.wav")
        expect(row).to_have_attribute("data-status", "queued")
        expect(page.locator("#song-title")).to_have_text("Hill")
        page.get_by_role("button", name="Cancel: Meadow.wav").press("Enter")
        expect(row).to_have_attribute("data-status", "cancelled")
        expect(row.get_by_role("button")).to_be_focused()
        page.get_by_role("button", name="Clear finished").press("Enter")
        expect(page.locator("#queue")).to_be_hidden()
        expect(page.locator("#cancel")).to_be_focused()


def test_markup_in_the_words_shows_as_text(studio: Server, open_page: OpenPage, finished: dict[str, Any]) -> None:
    page = open_page(studio)
    heard = {"text": MARKUP, "text_file": None}

    def with_markup(route: Route) -> None:
        """What the service answers, but for what was heard."""
        answer = route.fetch()
        body = answer.json()
        (job,) = [job for job in body["jobs"] if job["model"] == "whisper"]
        job["result"] |= heard
        job["files"].append(job["files"][0] | {"filename": "words.txt", "download_url": "/words.txt"})
        route.fulfill(response=answer, json=body)

    page.route("**/status/*", with_markup)
    page.route("**/words.txt", lambda route: route.fulfill(body=f"Line by line: {MARKUP}"))
    page.goto(f"{studio.url}/?song={finished['file_id']}")
    expect(page.locator("#lyrics .lyrics-text")).to_have_text(MARKUP)
    heard["text_file"] = "words.txt"
    page.reload()
    expect(page.locator("#lyrics .lyrics-text")).to_have_text(f"Line by line: {MARKUP}")
    assert page.locator("#lyrics :is(script, img)").count() == 0


def test_reload_in_mid_job_comes_back_and_follows(studio: Server, open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(studio)
    _separate(_tone(tmp_path / "Dusk - Long.wav", seconds=6), page)
    with _held(studio.worker_pids()):
        seen = _percent(page, "separation")
        page.reload()
        expect(_card(page, "upload")).to_have_attribute("data-status", "complete")
        expect(_card(page, "separation")).to_have_attribute("data-status", "processing")
        expect(page.locator("#song-title")).to_have_text("Long")
        assert _percent(page, "separation") >= seen >= 10
    expect(_card(page, "karaoke")).to_have_attribute("data-status", "complete", timeout=JOB_MILLISECONDS)
    expect(page.locator("#results-heading")).to_have_text("Your song is ready")


def test_two_tabs_of_a_song_show_the_same(studio: Server, open_page: OpenPage, tmp_path: Path) -> None:
    first = open_page(studio)
    _separate(_tone(tmp_path / "Dusk - Long.wav", seconds=6), first)
    with _held(studio.worker_pids()):
        second = open_page(studio, first.url.removeprefix(studio.url))
        expect(_card(second, "separation")).to_have_attribute("data-status", "processing")
        expect(second.locator("#song-title")).to_have_text("Long")
        second.get_by_role("button", name="Cancel").click()
    for page in (first, second):
        expect(_card(page, "separation")).to_have_attribute("data-status", "cancelled", timeout=JOB_MILLISECONDS)
    first.get_by_role("button", name="Try again: separation").click()
    for page in (second, first):
        expect(_card(page, "karaoke")).to_have_attribute("data-status", "complete", timeout=JOB_MILLISECONDS)
        expect(page.locator("#results-heading")).to_have_text("Your song is ready")
    choice = second.get_by_label("Transcription model")
    expect(choice).to_have_value("tiny")  # as the song was made, not as a new one would be
    second.get_by_role("button", name="Process another song").click()
    expect(choice).to_have_value("medium")
    expect(first.locator("#results-heading")).to_have_text("Your song is ready")


def test_a_paused_song_shows_so_in_every_tab_and_goes_on(studio: Server, open_page: OpenPage, tmp_path: Path) -> None:
    first = open_page(studio)
    _separate(_tone(tmp_path / "Dusk - Long.wav", seconds=6), first)
    with _held(studio.worker_pids()):
        second = open_page(studio, first.url.removeprefix(studio.url))
        second.get_by_role("button", name="Pause", exact=True).click()
        expect(second.get_by_role("button", name="Pausing…")).to_be_visible()
    for page in (first, second):
        expect(_card(page, "separation")).to_contain_text("⏸ Paused", timeout=JOB_MILLISECONDS)
        expect(page.locator("#progress-summary")).to_have_text("Paused in step 2 of 4: Separation")
    seen = _percent(first, "separation")
    first.reload()
    expect(_card(first, "separation")).to_have_attribute("data-status", "paused")
    assert _percent(first, "separation") == seen
    expect(first.locator("#library .library-status").first).to_have_text("Paused")
    first.get_by_role("button", name="Resume").click()
    for page in (second, first):
        expect(_card(page, "karaoke")).to_have_attribute("data-status", "complete", timeout=JOB_MILLISECONDS)
        expect(page.get_by_role("button", name="Resume")).to_be_hidden()


def test_the_library_is_searched_opened_and_tidied(studio: Server, open_page: OpenPage, tmp_path: Path) -> None:
    for name in ("Nightfall - Creek", "Dawn - <b>Hill", "Nightfall - Meadow"):
        studio.upload(_tone(tmp_path / "tone.wav", seconds=1), name=f"{name}.wav")
    page = open_page(studio)
    titles = page.locator("#library .library-title")
    expect(titles.filter(has_text="<b>Hill")).to_have_count(1)
    page.get_by_label("Search songs").fill("nightfall")
    expect(titles).to_have_text(["Meadow", "Creek"])
    page.get_by_label("Search songs").fill("nobody sang this")
    expect(page.locator("#library-about")).to_have_text("No song is called that")
    page.get_by_label("Search songs").fill("creek")
    expect(titles).to_have_text(["Creek"])
    titles.first.click()
    expect(page.locator("#song-title")).to_have_text("Creek")
    expect(page.locator("#song-artist")).to_have_text("Nightfall")
    page.clock.install()
    page.clock.pause_at(time.time() + 5)  # from here on its timers run when they are told to
    page.get_by_role("button", name="Delete Creek").click()
    assert len(studio.get("/songs?search=creek").json()["songs"]) == 1, "one press is not enough"
    really = page.get_by_role("button", name="Really delete Creek")
    row = page.locator(".library-row").element_handle()
    page.get_by_label("Search songs").fill("reek")
    page.clock.run_for(TYPING_MILLISECONDS)
    page.wait_for_function("row => !row.isConnected", arg=row)  # the row was made anew; the press still counts
    expect(really).to_be_visible()
    page.clock.run_for(SECOND_THOUGHT_MILLISECONDS)
    expect(really).to_have_count(0)
    page.get_by_role("button", name="Delete Creek").click()
    asked, sent = _kept_back(page, "**/songs*"), []
    page.on("request", lambda request: sent.append(request.method))
    with page.expect_response(lambda answer: answer.request.method == "DELETE") as deleted:
        really.click()
    assert deleted.value.ok
    really.click(force=True)  # while the list is asked for anew
    page.unroute("**/songs*")
    for route in asked:
        route.continue_()
    expect(page.locator("#library-about")).to_have_text("No song is called that")
    assert sent.count("DELETE") == 1
    expect(page.locator("#picker")).to_be_visible()
    assert studio.get("/songs?search=creek").json()["total"] == 0


def test_cancel(studio: Server, open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(studio)
    page.set_input_files("#file", _tone(tmp_path / "long.wav", seconds=30))
    _start(page)
    expect(_card(page, "separation")).to_have_attribute("data-status", "processing", timeout=JOB_MILLISECONDS)
    late: list[Route] = []
    page.route("**/status/*", lambda route: late.append(route))
    page.get_by_role("button", name="Cancel").click()
    expect(_card(page, "separation")).to_have_attribute("data-status", "cancelled", timeout=JOB_MILLISECONDS)
    expect(_card(page, "karaoke")).to_have_attribute("data-status", "skipped")
    page.get_by_role("button", name="Process another song").click()
    expect(page.locator("#picker")).to_be_visible()
    with page.expect_response("**/status/*"):  # what there is of a song that the page has left
        late[0].continue_()
    page.wait_for_timeout(100)
    expect(page.locator("#picker")).to_be_visible()


def test_a_failed_stage_shows_its_reason_and_can_be_tried_again(
    studio: Server, open_page: OpenPage, tmp_path: Path
) -> None:
    page = open_page(studio)
    again = page.get_by_role("button", name="Try again: transcription")
    page.set_input_files("#file", _tone(tmp_path / "tone.wav", seconds=4))
    with _gone(Path(studio.environment["MODELS_DIR"]) / "whisper" / "small.pt"):  # which no test has loaded so far
        _start(page, "small")
        expect(_card(page, "transcription")).to_contain_text("❌ Failed", timeout=JOB_MILLISECONDS)
        expect(_card(page, "transcription")).to_contain_text("small.pt")
        expect(_card(page, "separation")).to_have_attribute("data-status", "complete")
        expect(_card(page, "karaoke")).to_have_attribute("data-status", "skipped")
        assert "vocals.mp3" in _assert_links_work(page, studio)
        answered: list[tuple[Route, APIResponse]] = []
        page.route("**/retry", lambda route: answered.append((route, route.fetch())))
        with page.expect_response("**/status/*", timeout=JOB_MILLISECONDS):
            again.click()  # the page hears that it failed once more before it hears that it is tried again
        route, answer = answered[0]
        with page.expect_response("**/retry"):
            route.fulfill(response=answer)
        settle(page)
        expect(page.locator("#another")).to_be_visible()
        page.unroute("**/retry")
    again.click()
    expect(_card(page, "karaoke")).to_have_attribute("data-status", "complete", timeout=JOB_MILLISECONDS)
    expect(page.locator("#results-heading")).to_have_text("Your song is ready")


def _kept_back(page: Page, address: str) -> list[Route]:
    """Requests for an address, none of which goes on by itself."""
    kept: list[Route] = []
    page.route(address, lambda route: kept.append(route))
    return kept


def _style(part: Locator, name: str, pseudo: str | None = None) -> str:
    """How a part of the page is drawn."""
    value: str = part.evaluate(STYLE, [pseudo, name])
    return value


def _pulse(page: Page) -> tuple[str, str]:
    """How the badge's dot moves, and its colour."""
    dot = page.locator(".badge-dot")
    return _style(dot, "animationName", "::after"), _hue(_style(dot, "backgroundColor", "::after"))


def _hue(colour: str) -> str:
    """The name of a colour as the browser tells it."""
    red, green, blue = (int(part) / 255 for part in re.findall(r"\d+", colour)[:3])
    hue, _, _ = colorsys.rgb_to_hls(red, green, blue)
    if max(red, green, blue) - min(red, green, blue) < 0.2:
        return "grey"
    names = {20: "red", 160: "green", 240: "blue", 300: "purple", 361: "red"}
    return next(name for end, name in names.items() if 360 * hue < end)


def _start(page: Page, transcription: str = "tiny") -> None:
    """Start, with a transcription model."""
    page.select_option("#transcription-variant", transcription)
    page.get_by_role("button", name="Start processing").click()


def _separate(song: Path, page: Page) -> None:
    """Have a song taken apart; returns while it is."""
    page.set_input_files("#file", song)
    _start(page)
    expect(_card(page, "separation")).to_have_attribute("data-status", "processing", timeout=JOB_MILLISECONDS)


def _card(page: Page, stage: str) -> Locator:
    """A stage's card."""
    return page.locator(f"#stage-{stage}")


def _percent(page: Page, stage: str) -> int:
    """What a stage's bar shows."""
    return int(_card(page, stage).get_by_role("progressbar").get_attribute("aria-valuenow") or 0)


def _assert_links_work(page: Page, server: Server) -> set[str]:
    """Every file that was made has a link, and the link gives all of it; the names."""
    file_id = page.url.partition("?song=")[2]
    files = [file for job in server.get(f"/status/{file_id}").json()["jobs"] for file in job["files"]]
    expect(page.locator("#downloads a")).to_have_count(len(files))
    for file in files:
        link = page.locator(f"#downloads a[download='{file['filename']}']")
        answer = server.get(link.get_attribute("href") or "")
        assert answer.status_code == 200
        assert len(answer.content) == file["size_bytes"]
    return {file["filename"] for file in files}


def _archive(page: Page, server: Server) -> list[str]:
    """The names in the archive that the page links to."""
    answer = server.get(page.get_by_role("link", name="Download all").get_attribute("href") or "")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        return archive.namelist()


def _error(response: Response, status: int) -> str:
    """The sentence of the server's error."""
    assert response.status == status
    sentence: str = response.json()["error"]
    return sentence


@contextmanager
def _held(pids: list[int]) -> Iterator[None]:
    """Processes stand still inside the block."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):  # killed for its silence, where a test waited in vain
                os.kill(pid, signal.SIGCONT)


@contextmanager
def _gone(path: Path) -> Iterator[None]:
    """A file is elsewhere inside the block."""
    aside = path.rename(path.with_name(f"{path.name}.aside"))
    try:
        yield
    finally:
        aside.rename(path)


def _tone(path: Path, seconds: float) -> Path:
    """A file with an A major chord in it."""
    path.write_bytes(_wav(seconds))
    return path


def _wav(seconds: float) -> bytes:
    """An A major chord, 16-bit stereo."""
    time = np.arange(int(seconds * RATE)) / RATE
    chord = sum(np.sin(2 * np.pi * 440 * 2 ** (step / 12) * time) for step in (0, 4, 7, 12)) / 5
    samples = np.repeat((chord * 32767).astype("<i2")[:, None], 2, axis=1)
    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.tobytes())
    return written.getvalue()
