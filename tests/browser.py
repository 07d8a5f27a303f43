"""Chromium, as every test of a page starts it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from re import Pattern

from playwright.sync_api import Browser, BrowserContext, Page, Playwright, Route, expect, sync_playwright

STRICT_POLICY = "default-src 'self'; connect-src 'self' ws: wss:"
PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser")  # the first takes half as much of a processor
FLAGS = ("--no-sandbox", "--disable-background-networking", "--disable-quic", "--no-first-run")

PATIENCE_MILLISECONDS = 12_000  # with what comes at once, on a busy machine; a worker may be held for no more than 15 s

expect.set_options(timeout=PATIENCE_MILLISECONDS)

AXE = Path(__file__).with_name("vendor").joinpath("axe.min.js").read_text(encoding="utf-8")

# What axe-core finds serious or critical, of all its rules or of some.
JUDGE = """async (rules) => {
    const {violations} = await axe.run(document, rules ? {runOnly: {type: "rule", values: rules}} : {});
    return violations.filter(({impact}) => ["serious", "critical"].includes(impact)).flatMap(({id, help, nodes}) =>
        nodes.map(({target, failureSummary}) => `${id}: ${help}: ${target.join(" ")}: ${failureSummary}`));
}"""

# Once nothing moves for three frames: each level of a page changes its colours after the one it inherits them from.
SETTLED = """async () => {
    const ends = ({effect}) => effect.getComputedTiming().endTime < Infinity;
    for (let still = 0; still < 3; still++) {
        await new Promise(requestAnimationFrame);
        const moving = document.getAnimations().filter(ends);
        if (moving.length) still = -1;
        await Promise.all(moving.map(({finished}) => finished.catch(() => {})));
    }
}"""

# A file dropped from outside, as the browser itself would hand it to the page.
DROP = """([name, bytes]) => {
    const carried = new DataTransfer();
    carried.items.add(new File([new Uint8Array(bytes)], name, {type: "audio/wav"}));
    document.body.dispatchEvent(new DragEvent("drop", {dataTransfer: carried, bubbles: true, cancelable: true}));
}"""


def launch(playwright: Playwright, *flags: str) -> Browser:
    """A Chromium without a window, with flags beside the usual ones."""
    path = next(filter(None, map(shutil.which, PROGRAMS)), None)
    return playwright.chromium.launch(executable_path=path, args=[*FLAGS, *flags])


def watch(page: Page, complaints: list[str]) -> None:
    """Note every script of a page that fails, and every rule of its policy that is broken."""
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda line: complaints.append(line.text) if "Content Security" in line.text else None)


def under_strict_policy(page: Page, address: str | Pattern[str]) -> None:
    """Let pages of an address come with a policy that is stricter than the service's."""

    def with_policy(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, headers=answer.headers | {"content-security-policy": STRICT_POLICY})

    page.route(address, with_policy)


def close(context: BrowserContext) -> None:
    """Close all pages, also while something that a test has routed is under way."""
    for page in context.pages:
        page.unroute_all(behavior="ignoreErrors")
    context.close()


def settle(page: Page) -> None:
    """Wait until the page's transitions have ended."""
    page.evaluate(SETTLED)


def assert_accessible(page: Page) -> None:
    """What is shown has no serious and no critical violation, in light and in dark, where only colours are new."""
    page.evaluate(AXE)
    found = {}
    for scheme, rules in (("light", None), ("dark", ["color-contrast"])):
        page.emulate_media(color_scheme=scheme)
        settle(page)
        found[scheme] = page.evaluate(JUDGE, rules)
    assert found == {"light": [], "dark": []}


@contextmanager
def chromium(*flags: str) -> Iterator[Browser]:
    """A Chromium that ends with the block; only one at a time may run in a thread."""
    with sync_playwright() as playwright:
        browser = launch(playwright, *flags)
        yield browser
        browser.close()
