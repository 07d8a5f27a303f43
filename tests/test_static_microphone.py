"""The microphone section in Chromium, whose microphone plays a file; and what makes its sound the server's, in Node."""

import json
import re
import shutil
import subprocess
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright._impl._driver import compute_driver_executable
from playwright.sync_api import Page, expect, sync_playwright

from tests import render, tiny_weights
from tests.browser import assert_accessible, launch, watch
from tests.serving import ROOT, Server, wait_until

PATIENCE_MS = 180_000  # the live worker loads torch first
WORDS = "".join(tiny_weights.WORDS).strip()
OpenPage = Callable[..., Page]

# Lets the browser ask for the microphone until answer() is called.
ASKING = """() => {
  const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  const answered = new Promise((resolve) => (window.answer = resolve));
  navigator.mediaDevices.getUserMedia = async (wishes) => {
    await answered;
    return (window.given = await ask(wishes));
  };
}"""

# What a piecewise downsampled sine has of its own frequency, and of everything else; and how many samples came.
DOWNSAMPLED = """
const { createDownsampler } = await import(process.argv[2]);
const [from, frequency] = process.argv.slice(3).map(Number);
const downsample = createDownsampler(from, 16000);
const found = [];
for (let at = 0; at < from * 2; at += 128) {
  const sine = (n) => 0.5 * Math.sin((2 * Math.PI * frequency * (at + n)) / from);
  found.push(...downsample(Float32Array.from({ length: 128 }, (_, n) => sine(n))));
}
console.log(JSON.stringify(found));
"""


@pytest.fixture
def open_page(tmp_path: Path, server: Server) -> Iterator[OpenPage]:
    """Opens the page in a Chromium that hears a file; at the end no script may have failed."""
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browsers = []

        def open_it(sound: np.ndarray, *, allowed: bool = True, **look: str) -> Page:
            heard = f"--use-file-for-fake-audio-capture={_wav(tmp_path / 'heard.wav', sound)}%noloop"
            asked = "--use-fake-ui-for-media-stream" + ("" if allowed else "=deny")
            browsers.append(launch(playwright, "--use-fake-device-for-media-stream", heard, asked))
            context = browsers[-1].new_context(
                viewport={"width": 375, "height": 800}, reduced_motion="reduce", permissions=[], **look
            )
            if allowed:
                context.grant_permissions(["microphone"])
            page = context.new_page()
            watch(page, complaints)
            page.goto(server.url)
            return page

        yield open_it
        for browser in browsers:
            browser.close()
    assert complaints == []


def test_what_is_said_is_read_first_grey_then_for_good(open_page: OpenPage) -> None:
    said = render.say("silver river carry me home over the mountain")
    page = open_page(np.concatenate([np.zeros(render.RATE), said, np.zeros(20 * render.RATE)]))
    about, final = page.locator("#microphone-about"), page.locator("#microphone-final")
    expect(page.get_by_role("meter")).to_be_hidden()
    page.get_by_role("button", name="Start", exact=True).click()
    expect(about).to_have_text("Listening…", timeout=PATIENCE_MS)
    expect(page.get_by_role("meter")).to_be_visible()
    expect(page.locator("#microphone-meter[data-voice=true]")).to_be_visible(timeout=PATIENCE_MS)
    expect(final).to_contain_text(WORDS.split()[0], timeout=PATIENCE_MS)
    colours = [page.locator(part).evaluate("part => getComputedStyle(part).color")
               for part in ("#microphone-final", "#microphone-partial")]  # fmt: skip
    assert colours[0] != colours[1], "what may change looks different"
    assert page.evaluate("document.documentElement.scrollWidth") == 375, "a phone would have to scroll sideways"
    assert_accessible(page)
    page.get_by_role("button", name="Stop").click()
    expect(about).to_have_text("That is all.", timeout=PATIENCE_MS)
    assert set(final.inner_text().split()) <= set(WORDS.split())
    expect(page.get_by_role("meter")).to_be_hidden()
    expect(page.get_by_role("button", name="Start again")).to_be_visible()


def test_silence_ends_in_an_honest_empty_result(open_page: OpenPage) -> None:
    page = open_page(np.zeros(5 * render.RATE))
    page.get_by_label("Singing").check()
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.locator("#microphone-about")).to_have_text("Listening…", timeout=PATIENCE_MS)
    expect(page.locator("#microphone-meter[data-voice=false]")).to_be_visible()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#microphone-about")).to_have_text("No words were heard.", timeout=PATIENCE_MS)
    expect(page.locator("#microphone-paper")).to_be_hidden()
    expect(page.locator("#microphone-problem")).to_be_hidden()


def test_who_stops_while_the_browser_still_asks_is_not_recorded(open_page: OpenPage) -> None:
    page = open_page(np.zeros(render.RATE))
    page.evaluate(ASKING)
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.locator("#microphone-about")).to_have_text("Asking for the microphone…")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Start again")).to_be_enabled()
    page.evaluate("window.answer()")
    wait_until(lambda: page.evaluate("window.given?.getTracks().every(track => track.readyState === 'ended')"), 30)
    expect(page.locator("#microphone-about")).to_have_text("No words were heard.")
    page.get_by_role("button", name="Start again").click()
    expect(page.locator("#microphone-about")).to_have_text("Listening…", timeout=PATIENCE_MS)


def test_who_does_not_allow_the_microphone_is_told_what_to_do(open_page: OpenPage) -> None:
    page = open_page(np.zeros(render.RATE), allowed=False)
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.locator("#microphone-problem")).to_contain_text("was not allowed to use the microphone")
    expect(page.get_by_role("button", name="Start again")).to_be_enabled()
    page.evaluate("Object.defineProperty(navigator, 'mediaDevices', {value: undefined})")
    page.get_by_role("button", name="Start again").click()
    expect(page.locator("#microphone-problem")).to_contain_text(re.compile("https:// or on this same computer"))


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
def test_sound_comes_down_to_the_servers_rate_whole_and_without_echoes_of_higher_tones(
    rate: int, tmp_path: Path
) -> None:
    module, script = tmp_path / "downsample.mjs", tmp_path / "measure.mjs"
    shutil.copy(ROOT / "static" / "js" / "microphone" / "downsample.js", module)
    script.write_text(DOWNSAMPLED)

    def downsampled(frequency: float) -> np.ndarray:
        command = [compute_driver_executable()[0], script, module, str(rate), str(frequency)]
        printed = subprocess.run(command, capture_output=True, check=True, text=True, timeout=120).stdout
        return np.array(json.loads(printed))

    heard = downsampled(1000)
    sent = -(-2 * rate // 128) * 128 * 16000 / rate
    assert 0 <= sent - len(heard) < 16, "no sample is lost or made, but for those of the filter's end"
    true = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(len(heard)) / 16000)
    assert np.abs(heard - true)[200:-200].max() < 0.005, "and each is at its time"
    if rate > 16000:
        assert np.abs(downsampled(10_000)[200:]).max() < 0.005, "no tone that the lower rate cannot carry comes back"


def _wav(path: Path, sound: np.ndarray) -> Path:
    """Samples (n,) at render.RATE in a file that Chromium's microphone can play."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, render.RATE, 0, "NONE", ""))
        file.writeframes((sound * 32767).astype("<i2").tobytes())
    return path
