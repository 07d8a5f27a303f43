"""The pictures of the README: `python -m bench.screenshots` takes the demo song through and writes docs/images/.

It starts a service of its own with the demo models, presses the page's button, and waits for the end, which takes some
minutes. `--page URL` takes the pictures of a finished song on a service that runs already, e.g.
http://127.0.0.1:5000/?song=<file_id>.
"""

import argparse
import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.browser import chromium, settle
from tests.serving import ROOT, Server, wait_until

IMAGES = ROOT / "docs" / "images"
MAX_BYTES = 250_000
QUALITY = 90  # of 100
WIDTH, HEIGHT = 1280, 720
MARGIN = 20
SONG_MILLISECONDS = 1_800_000  # of a machine that does other things too
PLAYER_MILLISECONDS = 120_000
SEEK = """(slider, seconds) => {
    slider.value = seconds;
    for (const type of ["input", "change"]) slider.dispatchEvent(new Event(type, {bubbles: true}));
}"""


def main() -> None:
    """Write both pictures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--page", help="address of the page of a finished song; without it, the demo song is made")
    given = parser.parse_args().page
    IMAGES.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        if given:
            _take(browser, given)
            return
        with _service() as server:
            _take(browser, _demo_song(browser, server.url))


@contextmanager
def _service() -> Iterator[Server]:
    """A service with no weights but those that come with the project."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder), Path(folder) / "models").start()
        try:
            yield server
        finally:
            server.stop()


def _demo_song(browser: Browser, url: str) -> str:
    """Press the button and wait; the address of the finished song."""
    page = browser.new_page()
    page.goto(url)
    page.get_by_role("button", name="Try the demo song").click()
    expect(page.locator("#stage-karaoke")).to_have_attribute("data-status", "complete", timeout=SONG_MILLISECONDS)
    expect(page.locator("#results")).to_be_visible()
    address = page.url
    page.close()
    return address


def _take(browser: Browser, address: str) -> None:
    """Both pictures of a finished song."""
    page = _open(browser, address, "light")
    _seek(page, 0.4)
    bottom = page.locator("#player").evaluate("player => player.getBoundingClientRect().bottom + scrollY")
    settle(page)
    clip = {"x": 0, "y": 0, "width": WIDTH, "height": round(bottom) + MARGIN}
    _save(page.screenshot(full_page=True, clip=clip), "page.webp")
    page.close()
    page = _open(browser, address, "dark")
    page.get_by_role("button", name="Karaoke").click()
    _seek_into_words(page)
    page.get_by_role("button", name="Full view").click()
    wait_until(lambda: page.evaluate("document.fullscreenElement !== null"), 10)  # polled here: the policy forbids eval
    page.mouse.move(0, 0)
    settle(page)
    _save(page.screenshot(), "karaoke.webp")
    page.close()


def _open(browser: Browser, address: str, scheme: str) -> Page:
    """The page of a finished song with its stems loaded."""
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme, reduced_motion="reduce")
    page.goto(address)
    expect(page.locator("#connection")).to_have_text("Connected")
    page.get_by_role("button", name="Mixer").click()
    expect(page.locator("#player")).to_have_attribute("aria-busy", "false", timeout=PLAYER_MILLISECONDS)
    stems = page.locator(".stem").count()
    expect(page.locator("[data-drawn='true']")).to_have_count(stems, timeout=PLAYER_MILLISECONDS)
    return page


def _seek(page: Page, share: float) -> None:
    """Move to that share of the song."""
    slider = page.locator("#seek")
    slider.evaluate(SEEK, share * float(slider.get_attribute("max") or 0))


def _seek_into_words(page: Page) -> None:
    """Move to where the longest line is about half sung."""
    expect(page.locator(".karaoke-line")).not_to_have_count(0)
    length = float(page.locator("#seek").get_attribute("max") or 0)
    best, found = -1.0, 0.5
    for step in range(1, 100):
        _seek(page, step / 100)
        states = page.locator("[aria-current] .karaoke-word").evaluate_all("all => all.map((one) => one.dataset.sung)")
        sung = sum(state != "no" for state in states)
        score = min(sung, len(states) - sung)
        if score > best:
            best, found = score, step / 100
    _seek(page, found)
    print(f"karaoke at {found * length:.1f} s")


def _save(screenshot: bytes, name: str) -> None:
    """A WebP, which keeps gradients smooth; it must stay small, since everyone who clones fetches it."""
    path = IMAGES / name
    Image.open(io.BytesIO(screenshot)).convert("RGB").save(path, quality=QUALITY, method=6)
    size = path.stat().st_size
    print(f"{path}: {size} bytes")
    if size > MAX_BYTES:
        raise SystemExit(f"{path} has {size} bytes, more than {MAX_BYTES}.")


if __name__ == "__main__":
    main()
