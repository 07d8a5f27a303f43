"""The page's player and karaoke in a real browser: what is heard is read where it leaves the page.

No hook of the page is needed. Before the page's own scripts run, TAP lets an AnalyserNode listen to whatever is
connected to the speakers. A snapshot of it is taken apart into the stems by least squares: the factors are how loud
each stem is heard, and since they are fitted at one common place of all stems, hardly anything is left only if all of
them are at that place to the sample.
"""

import base64
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from models import audio
from tests import render
from tests.browser import chromium, close, settle, watch
from tests.serving import Server, wait_until

LYRICS = "<script>alert(1)</script> silver river\ncarry me home & <b>over</b> the mountain"
SILENT_SECONDS, SUNG_SECONDS = 5.0, 10.0  # of the song: a rest to be counted down, then voice and band
LEFT_OVER = 0.01  # of the heard sound's level: what no factors explain
SAME_PLACE_SECONDS = 0.005
NEAR_SAMPLES = 40  # how far the best correlation may be from the place, since stems are alike
LOADED_MILLISECONDS = 60_000

TAP = """(() => {
    const connect = AudioNode.prototype.connect, start = AudioBufferSourceNode.prototype.start;
    window.heard = {analyser: null, starts: []};
    AudioNode.prototype.connect = function (target, ...rest) {
        if (target instanceof AudioDestinationNode) {
            const known = heard.analyser?.context === this.context;
            if (!known) heard.analyser = new AnalyserNode(this.context, {fftSize: 32768});
            connect.call(this, heard.analyser);
        }
        return connect.call(this, target, ...rest);
    };
    AudioBufferSourceNode.prototype.start = function (when, offset) {
        heard.starts.push(when - offset);
        return start.call(this, when, offset);
    };
    heard.base64 = (samples) => {
        const bytes = new Uint8Array(samples.buffer);
        let text = "";
        for (let at = 0; at < bytes.length; at += 32768) text += String.fromCharCode(...bytes.subarray(at, at + 32768));
        return btoa(text);
    };
})()"""
# The last 0.7 s that were heard, once all of it came after this call.
SNAPSHOT = """async () => {
    const {context, fftSize} = heard.analyser, from = context.currentTime;
    for (let tries = 0; context.currentTime < from + 1.3 * fftSize / context.sampleRate; tries++) {
        if (tries > 500) throw new Error(`The sound stands still at ${context.currentTime} s, ${context.state}.`);
        await new Promise((go) => setTimeout(go, 20));
    }
    const samples = new Float32Array(fftSize);
    heard.analyser.getFloatTimeDomainData(samples);
    return heard.base64(samples);
}"""
# A stem as this browser decodes it, both channels in one as an AnalyserNode hears them.
DECODED = """async (url) => {
    const bytes = await (await fetch(url)).arrayBuffer();
    const buffer = await new OfflineAudioContext(2, 1, heard.analyser.context.sampleRate).decodeAudioData(bytes);
    const [left, right] = [0, buffer.numberOfChannels - 1].map((channel) => buffer.getChannelData(channel));
    return heard.base64(left.map((value, at) => (value + right[at]) / 2));
}"""
SEEK = """(slider, seconds) => {
    slider.value = seconds;
    for (const type of ["input", "change"]) slider.dispatchEvent(new Event(type, {bubbles: true}));
}"""
# Peaks of five minutes that get louder, and the longest time the page stood still meanwhile.
LONG_SONG = """async () => {
    const {createPeaks} = await import("/static/js/player/peaks.js");
    const buffer = new AudioBuffer({length: 300 * 44100, numberOfChannels: 2, sampleRate: 44100});
    const right = buffer.getChannelData(1);
    for (let at = 0; at < right.length; at++) right[at] = (at % 2 ? -1 : 1) * at / right.length;
    let longest = 0, last = performance.now(), measuring = true;
    const watch = () => {
        longest = Math.max(longest, performance.now() - last);
        last = performance.now();
        if (measuring) setTimeout(watch);
    };
    await new Promise((go) => setTimeout(go, 100));
    last = performance.now();
    watch();
    const peaks = createPeaks();
    const found = [...await peaks.of(buffer)];
    measuring = false;
    peaks.close();
    const began = performance.now();
    for (let at = 0, peak = 0; at < 2 * right.length; at++) peak = Math.max(peak, Math.abs(right[at >> 1]));
    return {found, longest, at_once: performance.now() - began};
}"""


@dataclass(frozen=True)
class Player:
    """The player on a page, what was asked of the network, and what is heard."""

    page: Page
    server: Server
    file_id: str
    requested: list[str]

    def stem(self, name: str) -> Locator:
        """A stem's row."""
        return self.page.locator(f"[data-stem='{name}']")

    @property
    def play_button(self) -> Locator:
        return self.page.locator("#play")

    @property
    def position(self) -> float:
        """Where the song stands, as the slider has it."""
        return float(self.page.locator("#seek").input_value())

    def seek(self, seconds: float) -> None:
        """Move the slider there, as a hand does."""
        self.page.locator("#seek").evaluate(SEEK, seconds)

    def load(self) -> "Player":
        """Open the mixer and wait until all stems are there."""
        self.page.get_by_role("button", name="Mixer").click()
        return self.loaded()

    def loaded(self) -> "Player":
        expect(self.page.locator("#player")).to_have_attribute("aria-busy", "false", timeout=LOADED_MILLISECONDS)
        expect(self.page.locator("[data-drawn='true']")).to_have_count(len(self.tracks), timeout=LOADED_MILLISECONDS)
        return self

    @cached_property
    def tracks(self) -> list[str]:
        """The stems, as the separation's result lists them."""
        jobs = self.server.get(f"/status/{self.file_id}").json()["jobs"]
        return list(next(job["result"]["tracks"] for job in jobs if job["model"] == "demucs"))

    @cached_property
    def stems(self) -> np.ndarray:
        """Every stem as the browser decodes it: (stems, samples)."""
        urls = [f"/download/demucs/{self.file_id}/{name}.mp3" for name in self.tracks]
        return np.stack([_samples(self.page.evaluate(DECODED, url)) for url in urls])

    def heard(self, seconds: float) -> dict[str, float]:
        """How loud each stem is heard when it plays from a place."""
        assert len(self.stems) == len(self.tracks)  # loaded before it plays: the song is short
        if self.play_button.get_attribute("aria-label") == "Play":
            self.play_button.click()
        self.seek(seconds)
        sound = _samples(self.page.evaluate(SNAPSHOT))
        assert np.any(sound), "nothing is heard"
        fits = [_explained(sound, self.stems, at) for at in _places(sound, self.stems)]
        rest, factors = min(fits, key=lambda fit: fit[0])
        assert rest < LEFT_OVER, f"stems are not at one place: {rest:.4f} of the sound is none of them"
        return dict(zip(self.tracks, factors, strict=True))


OpenPlayer = Callable[..., Player]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a window; a page may sound only after a click or a key, as for people."""
    with chromium("--autoplay-policy=document-user-activation-required") as running:
        yield running


@pytest.fixture(scope="module")
def file_id(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A song with stems and a karaoke package of given words; it begins with a long rest."""
    path = render.song(tmp_path_factory.mktemp("song") / "Dusk - River.wav", 12).path
    blocks = list(audio.decode(path, sample_rate=render.RATE, channels=2))
    music = np.concatenate(blocks, axis=1)[:, : round(SUNG_SECONDS * render.RATE)]
    render.save(path, np.pad(music, ((0, 0), (round(SILENT_SECONDS * render.RATE), 0))))
    song = str(server.upload(path)["file_id"])
    for model, options in {
        "demucs": {}, "whisper": {"model_variant": "tiny", "lyrics": LYRICS}, "karaoke": {"lyrics": LYRICS},
    }.items():  # fmt: skip
        answer = server.post(f"/process/{model}/{song}", **options)
        assert answer.ok, answer.text
    yield song
    server.delete(f"/songs/{song}")


@pytest.fixture(scope="module")
def lines(server: Server, file_id: str) -> list[dict[str, Any]]:
    """The lines of the song's sync file."""
    found: list[dict[str, Any]] = server.get(f"/download/karaoke/{file_id}/karaoke.json").json()["lines"]
    assert len(found) == 2
    return found


@pytest.fixture
def open_player(browser: Browser, server: Server, file_id: str) -> Iterator[OpenPlayer]:
    """Opens a finished song's page; at the end no script may have failed and no rule of its policy been broken."""
    complaints: list[str] = []
    contexts = []

    def open_it(song: str = file_id, **options: Any) -> Player:
        context = browser.new_context(**{"reduced_motion": "reduce"} | options)
        contexts.append(context)
        page, requested = context.new_page(), []
        page.add_init_script(TAP)
        watch(page, complaints)
        page.on("request", lambda request: requested.append(request.url))
        page.goto(f"{server.url}/?song={song}")
        expect(page.locator("#player")).to_be_visible()
        return Player(page, server, song, requested)

    yield open_it
    for context in contexts:
        close(context)
    assert complaints == []


def test_stems_load_when_wanted_and_play_together_to_the_sample(open_player: OpenPlayer) -> None:
    player = open_player()
    page = player.page
    expect(page.locator("#player-about")).to_have_text(" · ".join(name.capitalize() for name in player.tracks))
    expect(page.locator("#player-total")).to_have_text("0:15")
    page.wait_for_load_state("networkidle")
    assert not [url for url in player.requested if "/download/demucs/" in url or "wavesurfer" in url], "not yet wanted"
    held: list[Any] = []
    page.route("**/vocals.mp3*", lambda route: held.append(route))
    player.play_button.click()
    expect(page.locator("#player-about")).to_have_text(re.compile(r"Loading 4 stems… \d+%"))
    expect(player.play_button).to_have_accessible_name("Loading, press to stop")
    expect(page.locator("#stems .stem")).to_have_count(4)
    wait_until(lambda: page.evaluate("1") and held, 10)
    held.pop().continue_()
    page.unroute("**/vocals.mp3*")
    player.loaded()
    expect(player.play_button).to_have_accessible_name("Pause")
    assert player.heard(SILENT_SECONDS + 2) == pytest.approx(dict.fromkeys(player.tracks, 1.0), abs=0.02)
    page.locator(".stem-wave").nth(1).click(position={"x": 0, "y": 20})
    assert player.position < 3, "a click on the waveform's beginning"
    assert player.heard(SILENT_SECONDS + 4) == pytest.approx(dict.fromkeys(player.tracks, 1.0), abs=0.02)
    starts = page.evaluate("heard.starts")
    assert len(starts) >= 4 * 4, "a start and three seeks"
    for first in range(0, len(starts), 4):
        assert np.ptp(starts[first : first + 4]) < SAME_PLACE_SECONDS
    page.reload()
    expect(page.locator("#stems")).to_be_hidden()
    expect(player.play_button).to_have_accessible_name("Play")
    player.play_button.click()
    expect(player.play_button).to_have_accessible_name("Pause", timeout=LOADED_MILLISECONDS)
    wait_until(lambda: player.position > 0.3, 10)


def test_it_plays_on_while_the_page_hears_what_happened_before(open_player: OpenPlayer) -> None:
    player = open_player()
    page, held = player.page, []
    page.goto("about:blank")
    page.route("**/socket.io/**", lambda route: held.append(route))
    page.goto(f"{player.server.url}/?song={player.file_id}")
    player.play_button.click()
    expect(player.play_button).to_have_accessible_name("Pause", timeout=LOADED_MILLISECONDS)
    while held:
        held.pop().continue_()
    page.unroute("**/socket.io/**")
    expect(page.locator("#connection")).to_have_text("Connected")
    expect(page.locator("#stage-karaoke")).to_contain_text("Complete")
    expect(player.play_button).to_have_accessible_name("Pause")


def test_mute_solo_and_volume_are_heard(open_player: OpenPlayer) -> None:
    player = open_player().load()

    def assert_heard(**factors: float) -> None:
        assert player.heard(SILENT_SECONDS + 2) == pytest.approx(dict.fromkeys(player.tracks, 1.0) | factors, abs=0.02)

    mute, solo = player.stem("drums").locator(".stem-mute"), player.stem("bass").get_by_role("button", name="Solo Bass")
    mute.click()
    expect(mute).to_have_attribute("aria-pressed", "true")
    assert_heard(drums=0)
    solo.click()
    expect(solo).to_have_attribute("aria-pressed", "true")
    assert_heard(drums=0, vocals=0, other=0)
    solo.click()
    mute.click()
    player.page.get_by_label("Volume of Other").fill("50")
    expect(mute).to_have_attribute("aria-pressed", "false")
    assert_heard(other=0.25)


def test_karaoke_of_a_soloed_voice_is_not_silent(open_player: OpenPlayer) -> None:
    player = open_player().load()
    page = player.page
    page.get_by_role("button", name="Solo Vocals").click()
    expect(player.stem("bass")).to_have_attribute("data-heard", "false")
    page.get_by_role("button", name="Karaoke").click()
    expect(player.stem("vocals")).to_have_attribute("data-heard", "false")
    others = dict.fromkeys(player.tracks, 1.0) | {"vocals": 0}
    assert player.heard(SILENT_SECONDS + 2) == pytest.approx(others, abs=0.02)
    page.get_by_role("button", name="Karaoke").click()
    expect(player.stem("vocals")).to_have_attribute("data-heard", "true")
    expect(player.stem("bass")).to_have_attribute("data-heard", "false")


def test_karaoke_tells_and_changes_whether_the_voice_is_heard_beside_a_soloed_stem(open_player: OpenPlayer) -> None:
    player = open_player().load()
    page, vocals, bass = player.page, player.stem("vocals"), player.stem("bass")
    page.get_by_role("button", name="Solo Bass").click()
    page.get_by_role("button", name="Karaoke").click()
    voice = page.get_by_role("button", name="Vocals", exact=True)
    for heard in ("false", "true", "false"):
        expect(voice).to_have_attribute("aria-pressed", heard)
        expect(vocals).to_have_attribute("data-heard", heard)
        expect(bass).to_have_attribute("data-heard", "true")
        expect(player.stem("drums")).to_have_attribute("data-heard", "false")
        voice.click()
    expect(vocals).to_have_attribute("data-heard", "true")
    page.get_by_role("button", name="Karaoke").click()
    expect(vocals).to_have_attribute("data-heard", "false")
    page.get_by_role("button", name="Solo Bass").click()
    expect(player.stem("drums")).to_have_attribute("data-heard", "true")


def test_keys(open_player: OpenPlayer) -> None:
    player = open_player().load()
    page, play = player.page, player.play_button
    page.locator("#player").focus()
    page.keyboard.press("Space")
    expect(play).to_have_accessible_name("Pause")
    page.keyboard.press("Space")
    expect(play).to_have_accessible_name("Play")
    player.seek(3)
    page.keyboard.press("ArrowRight")
    assert player.position == pytest.approx(8)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert player.position == 0
    page.locator("#seek").press("ArrowRight")
    assert player.position == pytest.approx(5)
    expect(page.locator("#seek")).to_have_attribute("aria-valuetext", "0:05 of 0:15")
    volume = page.get_by_role("slider", name="Volume of Bass")
    volume.press("ArrowLeft")
    expect(volume).to_have_value("99")
    assert player.position == pytest.approx(5), "an arrow on a volume is for the volume"
    volume.press("m")
    expect(page.get_by_role("button", name="Mute Bass", pressed=True)).to_be_visible()
    volume.press("S")
    expect(page.get_by_role("button", name="Solo Bass", pressed=True)).to_be_visible()
    page.get_by_role("button", name="Mute Drums").press("Space")
    expect(page.get_by_role("button", name="Mute Drums", pressed=True)).to_be_visible()
    expect(play).to_have_accessible_name("Play")
    volume.press("Space")
    expect(play).to_have_accessible_name("Pause")


def test_karaoke_follows_the_sync_file_without_the_voice(open_player: OpenPlayer, lines: list[dict[str, Any]]) -> None:
    player = open_player(reduced_motion="no-preference")
    page, button = player.page, player.page.get_by_role("button", name="Karaoke")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    player.loaded()
    expect(page.locator(".karaoke-line")).to_have_text([line["text"] for line in lines])
    assert page.locator("#karaoke script, #karaoke b").count() == 0, "words are text"
    for number, line in enumerate(lines):
        for before, word in enumerate(line["words"]):
            middle = (word["start"] + word["end"]) / 2
            if middle > SILENT_SECONDS + SUNG_SECONDS:
                continue  # small random models time a last word beyond the end
            player.seek(middle)
            expect(page.locator("[aria-current]")).to_have_text(line["text"])
            marks = page.locator("[aria-current] .karaoke-word")
            states = marks.evaluate_all("marks => marks.map((mark) => mark.dataset.sung)")
            assert states == ["yes"] * before + ["now"] + ["no"] * (len(states) - before - 1), word
            share = marks.nth(before).evaluate("mark => mark.style.getPropertyValue('--sung')")
            assert float(share) == pytest.approx(0.5, abs=0.1)
        expect(page.locator(".karaoke-line[data-time='to-come']")).to_have_count(len(lines) - 1 - number)
    first = lines[0]["start"]
    assert first > 4, "there is a rest to count down"
    for left, dots in ((3.5, "4"), (2.5, "3"), (1.5, "2"), (0.5, "1"), (-0.01, "0")):
        player.seek(first - left)
        expect(page.locator(".karaoke-countdown").first).to_have_attribute("data-left", dots)
    others = dict.fromkeys(player.tracks, 1.0) | {"vocals": 0}
    assert player.heard(SILENT_SECONDS + 2) == pytest.approx(others, abs=0.02)
    page.get_by_role("button", name="Vocals", exact=True).click()
    assert player.heard(SILENT_SECONDS + 2)["vocals"] == pytest.approx(1, abs=0.02)
    button.click()
    expect(page.locator("#karaoke")).to_be_hidden()
    expect(page.get_by_role("button", name="Mute Vocals")).to_have_attribute("aria-pressed", "false")


def test_karaoke_moves_with_the_sound_and_keeps_still_for_who_wants_it(
    open_player: OpenPlayer, lines: list[dict[str, Any]]
) -> None:
    player = open_player(reduced_motion="reduce")
    page = player.page
    page.get_by_role("button", name="Karaoke").click()
    player.loaded()
    player.seek(lines[0]["start"] - 0.5)
    player.play_button.click()
    words = [word for line in lines for word in line["words"]]
    seen = page.evaluate("""(until) => new Promise((done) => {
        const seen = [];
        const look = () => {
            const words = [...document.querySelectorAll(".karaoke-word")];
            const last = words.findLastIndex((word) => word.dataset.sung === "now" || word.dataset.sung === "yes");
            const at = Number(document.querySelector("#seek").value);
            seen.push([at, last, words[Math.max(last, 0)].style.getPropertyValue("--sung")]);
            if (at < until) requestAnimationFrame(look);
            else done(seen);
        };
        look();
    })""", words[3]["end"])  # fmt: skip
    assert len(seen) > 10
    assert {share for _, _, share in seen} <= {"0", "1"}, "a word is lit at once, not filled"
    for at, last, _ in seen:
        assert last == sum(word["start"] < at for word in words) - 1, at


def test_full_view(open_player: OpenPlayer) -> None:
    player = open_player()
    page, stage = player.page, player.page.locator("#player-stage")
    page.get_by_role("button", name="Karaoke").click()
    full = page.get_by_role("button", name="Full view")
    full.click()
    expect(full).to_have_attribute("aria-pressed", "true")
    wait_until(lambda: page.evaluate("document.fullscreenElement?.id === 'player-stage'"), 10)
    size = page.viewport_size
    assert size is not None
    box = stage.bounding_box()
    assert box is not None
    assert (box["x"], box["y"], box["width"]) == (0, 0, size["width"])
    expect(player.play_button).to_be_visible()
    full.click()
    wait_until(lambda: page.evaluate("document.fullscreenElement === null"), 10)
    expect(full).to_have_attribute("aria-pressed", "false")
    page.evaluate("() => { Element.prototype.requestFullscreen = undefined; }")  # as on a telephone
    full.click()
    box = stage.bounding_box()
    assert box is not None
    assert (box["y"], box["height"]) == (0, size["height"])
    seen = set()
    for _ in range(8):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("((at) => `${at.closest('#player-stage, body').id} ${at.id}`)(document.activeElement)"))
    assert "player-stage play" in seen
    assert all(place.startswith("player-stage ") or place == " " for place in seen), f"behind the full view: {seen}"
    page.locator("#karaoke-screen").click()  # the focus is nowhere in the stage
    page.keyboard.press("Escape")
    expect(full).to_have_attribute("aria-pressed", "false")
    assert page.locator("[inert]").count() == 0


def test_a_song_without_words_says_so(open_player: OpenPlayer, server: Server, tmp_path: Path) -> None:
    path = render.silence(tmp_path / "silence.wav", 2)
    song = server.upload(path, auto_process="true", wait="true", transcription_model_variant="tiny")
    player = open_player(song["file_id"])
    player.page.get_by_role("button", name="Karaoke").click()
    expect(player.page.locator("#karaoke-note")).to_have_text("No voice was found, so the package has no lyrics.")
    player.loaded()
    server.delete(f"/songs/{song['file_id']}")


def test_a_stem_that_does_not_come_says_what_to_do(open_player: OpenPlayer) -> None:
    player = open_player()
    page = player.page
    page.route("**/bass.mp3*", lambda route: route.abort())
    player.play_button.click()
    alert = page.locator("#player-problem")
    expect(alert).to_contain_text("“Bass” could not be loaded. Check that the server runs, then try again.")
    expect(player.play_button).to_have_accessible_name("Play")
    page.unroute("**/bass.mp3*")
    alert.get_by_role("button", name="Try again").click()
    player.loaded()
    expect(alert).to_be_hidden()
    expect(page.locator(".stem-wave > div")).to_have_count(len(player.tracks))
    page.route("**/bass.mp3*", lambda route: route.fulfill(status=200, body="not a sound"))
    page.reload()
    player.play_button.click()
    expect(alert).to_contain_text("cannot decode “Bass”")


def test_a_song_too_long_for_the_browsers_memory_is_told_so(open_player: OpenPlayer) -> None:
    player = open_player()
    page = player.page

    def lengthened(route: Route) -> None:
        body = route.fetch().json()
        for job in body["jobs"]:
            if job["model"] == "karaoke":
                job["result"]["duration"] = 2000
        route.fulfill(json=body)

    page.route("**/status/*", lengthened)
    page.reload()
    player.play_button.click()
    alert = page.locator("#player-problem")
    expect(alert).to_contain_text("This song lasts 33:20; with 4 stems the player takes 21 minutes at most")
    expect(alert).to_contain_text("Download the stems below")
    expect(alert.get_by_role("button")).to_have_count(0)
    expect(page.locator("#stems")).to_be_hidden()
    expect(player.play_button).to_have_accessible_name("Play")


def test_it_fits_and_can_be_read(open_player: OpenPlayer) -> None:
    player = open_player()
    page = player.page
    page.get_by_role("button", name="Karaoke").click()
    player.loaded()
    for scheme, width in product(("light", "dark"), (1280, 390)):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 800})
        settle(page)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        for control in page.locator("#player button:visible, #player input:visible").all():
            box = control.bounding_box()
            assert box is not None
            assert 0 <= box["x"] < box["x"] + box["width"] <= width
            assert control.evaluate("e => e.ariaLabel || e.textContent.trim()"), "no name for a screen reader"
        row = player.stem("bass")
        text = row.locator(".stem-name").evaluate("name => getComputedStyle(name).color")
        assert _contrast(text, row.evaluate("row => getComputedStyle(row).backgroundColor")) > 4.5
    tools, screen = (page.locator(part).bounding_box() for part in (".karaoke-tools", "#karaoke-screen"))
    assert tools is not None
    assert screen is not None
    assert tools["y"] + tools["height"] <= screen["y"], "buttons on the words, on a phone"
    page.set_viewport_size({"width": 340, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") == 340


def test_a_long_song_does_not_freeze_the_page(open_player: OpenPlayer) -> None:
    page = open_player().page
    measured: list[dict[str, Any]] = []

    def stood_still() -> bool:
        at_once = min(run["at_once"] for run in measured)
        return min(run["longest"] for run in measured) >= max(100, at_once / 4)  # milliseconds

    while not measured or (stood_still() and len(measured) < 8):  # another process may have had the core
        measured.append(page.evaluate(LONG_SONG))
    assert not stood_still(), measured
    for low, high in pairwise(measured[0]["found"]):
        assert low < high
    assert measured[0]["found"][-1] == pytest.approx(1, abs=1e-3)


def _places(sound: np.ndarray, stems: np.ndarray) -> set[int]:
    """Where in the stems a sound may be from: around the best correlation with each of them."""
    count = stems.shape[1] - len(sound)
    spectra = np.conj(np.fft.rfft(sound, stems.shape[1])) * np.fft.rfft(stems)
    energy = np.cumsum(np.pad(stems**2, ((0, 0), (1, 0))), axis=1)
    energy = energy[:, len(sound) : -1] - energy[:, :count]
    likeness = np.abs(np.fft.irfft(spectra, stems.shape[1]))[:, :count] / np.sqrt(np.maximum(energy, 1e-3))
    best = likeness.argmax(axis=1)
    return {min(max(at + near, 0), count - 1) for at in best for near in range(-NEAR_SAMPLES, NEAR_SAMPLES + 1)}


def _explained(sound: np.ndarray, stems: np.ndarray, at: int) -> tuple[float, np.ndarray]:
    """The share of a sound that the stems at a place do not explain, and the factors of those."""
    pieces = stems[:, at : at + len(sound)]
    shared = pieces @ sound
    factors = np.linalg.lstsq(pieces @ pieces.T, shared, rcond=None)[0]
    level = float(sound @ sound)
    return float(np.sqrt(max(0.0, level - shared @ factors) / level)), factors


def _samples(base64_text: str) -> np.ndarray:
    """Float samples as TAP packs them."""
    return np.frombuffer(base64.b64decode(base64_text), "<f4").astype(np.float64)


def _contrast(one: str, other: str) -> float:
    """Of two colours as the browser gives them, after WCAG 2."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    dark, light = sorted(map(luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)
