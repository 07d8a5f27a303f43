"""Chromium, as every test of a page starts it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Playwright, sync_playwright

FLAGS = ("--no-sandbox", "--disable-background-networking", "--disable-quic", "--no-first-run")


def launch(playwright: Playwright, *flags: str) -> Browser:
    """A Chromium without a window, with flags beside the usual ones."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    return playwright.chromium.launch(executable_path=path, args=[*FLAGS, *flags])


@contextmanager
def chromium(*flags: str) -> Iterator[Browser]:
    """A Chromium that ends with the block; only one at a time may run in a thread."""
    with sync_playwright() as playwright:
        browser = launch(playwright, *flags)
        yield browser
        browser.close()
