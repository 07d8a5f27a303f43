"""The progress guide: every fenced block of it runs, in Chromium, Python or a shell, against one service.

A block says after its language what it is: a file's name or a role. Tests say with `runs` which ones they run; a block
that nobody runs is an error. Blocks run as they stand: the browser is told where the guide's address is, and only in
blocks for Python and the shell is it replaced.
"""

import json
import mimetypes
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests
from playwright.sync_api import BrowserContext, Page, WebSocket, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from jobs.events import MAX_PAYLOAD_BYTES, STAGES
from tests import render
from tests.browser import PATIENCE_MILLISECONDS, chromium
from tests.serving import ROOT, Server, wait_until

GUIDE = (ROOT / "docs" / "PROGRESS_FEEDBACK_GUIDE.md").read_text(encoding="utf-8")
VENDOR = Path(__file__).parent / "vendor"
FENCE = re.compile(r"^[ \t]*(?P<fence>`{3,}|~{3,})(?P<label>.*)\n(?P<text>(?s:.*?))^[ \t]*(?P=fence)[ \t]*$", re.M)
ADDRESS = "http://127.0.0.1:5000"  # of the service, in the guide
ORIGIN = "http://localhost:3000"  # of the pages; another origin than the service's
PIPELINE = ("upload", "separation", "transcription", "karaoke")
SECONDS = 300
NULL = "null"
# What a developer's bundler would resolve.
IMPORTS = {
    "react": "/react.js",
    "vue": "/vue.runtime.esm-browser.prod.js",
    "socket.io-client": f"{ADDRESS}/static/vendor/socket.io.esm.min.js",
}
HEAD = f'<!doctype html><title>.</title><script type="importmap">{json.dumps({"imports": IMPORTS})}</script>'
# Pages that use the blocks: `seen` is every state of the song, `choose(id)` makes it another song.
HARNESS = {
    "/react.js": "export const { useCallback, useEffect, useMemo, useReducer, useRef, useState } = window.React;",
    "/connect.html": HEAD + '<script type="module" src="connect.js"></script>',
    "/react.html": HEAD + """<div id="root"></div>
        <script src="react.production.min.js"></script><script src="react-dom.production.min.js"></script>
        <script type="module">
        import { useProgress } from "./useProgress.react.js";
        window.seen = [];
        function Song() {
            const [fileId, setFileId] = React.useState(null);
            const song = useProgress(fileId);
            Object.assign(window, { choose: setFileId, now: song });
            window.seen.push(song);
            return song?.stages.complete?.message ?? "";
        }
        ReactDOM.createRoot(document.querySelector("#root")).render(React.createElement(Song));
        </script>""",
    "/vue.html": HEAD + """<div id="root"></div>
        <script type="module">
        import { createApp, ref, watchEffect } from "vue";
        import { useProgress } from "./useProgress.vue.js";
        window.seen = [];
        createApp({ setup() {
            const fileId = ref(null);
            const song = useProgress(fileId);
            window.choose = (id) => { fileId.value = id; };
            watchEffect(() => { window.now = song.value; window.seen.push(song.value); }, { flush: "sync" });
            return () => song.value?.stages.complete?.message ?? "";
        } }).mount("#root");
        </script>""",
}

Marked = TypeVar("Marked")
RUN: set[str] = set()


def runs(*labels: str) -> Callable[[Marked], Marked]:
    """Says that a test or fixture runs the blocks of these labels."""
    RUN.update(labels)
    return lambda marked: marked


def _blocks() -> dict[str, list[str]]:
    """The texts of the guide's blocks by their labels."""
    found = defaultdict(list)
    for match in FENCE.finditer(GUIDE):
        found[match["label"].strip()].append(match["text"])
    return dict(found)


BLOCKS = _blocks()


def block(label: str) -> str:
    """The one block of a label."""
    (text,) = BLOCKS[label]
    return text


class Service(Server):
    """The service as the guide's commands start it, in a folder where `python` is ours; its workers outlive it."""

    def __init__(self, folder: Path, weights_dir: Path) -> None:
        super().__init__(folder, folder / "tiny_weights", START_WORKERS="false", SILENCE_SECONDS=600)
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        python = folder / "bin" / "python"
        python.parent.mkdir(parents=True)
        # To build the weights takes a quarter of a minute: they are those that all tests share.
        python.write_text(f"""#!/bin/sh
            script="{ROOT}/$1"
            if [ "$1" = tests/tiny_weights.py ] && [ -f "$script" ]; then exec ln -sfn "{weights_dir}" "$2"; fi
            [ -f "$script" ] || script="$1"
            shift
            exec "{sys.executable}" "$script" "$@"
        """)
        python.chmod(0o755)
        self.environment |= {"PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}

    def start_by(self, label: str) -> None:
        """Start the web process with a block of the guide."""
        script = block(label).replace(ADDRESS, self.url)
        assert script.count("python app.py") == 1
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["sh", "-ec", script.replace("python app.py", "exec python app.py")],  # so that the signals reach it
                cwd=self.folder, env=self.environment, stdout=log, stderr=log,
            )  # fmt: skip
        self.wait_for("/health")

    def start_workers(self) -> None:
        """Start a worker for each queue and wait until they live."""
        for queue in ("gpu", "cpu"):
            with (self.folder / f"{queue}.log").open("wb") as log:
                self.workers[queue] = subprocess.Popen(
                    [sys.executable, "-m", "jobs.worker", "--queue", queue],
                    cwd=ROOT, env=self.environment, stdout=log, stderr=log,
                )  # fmt: skip
        self.wait_for("/health/ready")

    def shell(self, label: str, **variables: str) -> str:
        """What a block of shell commands prints."""
        script = block(label)
        assert ADDRESS in script
        done = subprocess.run(["sh", "-ec", script.replace(ADDRESS, self.url)], cwd=self.folder, timeout=SECONDS,
                              env=self.environment | variables, capture_output=True, text=True)  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    @contextmanager
    def held(self) -> Iterator[None]:
        """The heavy worker stands still inside the block."""
        self.workers["gpu"].send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.workers["gpu"].send_signal(signal.SIGCONT)

    def sent(self, file_id: str) -> list[dict[str, Any]]:
        """Every event of a song, as a client gets it."""
        listener = self.listen()
        listener.subscribe(file_id)
        listener.close()
        return listener.events

    def ended(self, file_id: str) -> list[dict[str, Any]]:
        """Every event of a song when it has come to its end."""
        self.wait_for_end(file_id)
        return self.sent(file_id)

    def wait_for_end(self, file_id: str) -> None:
        """Return when the last event of a song is stored."""
        wait_until(lambda: ("complete", 100) in [row[1:] for row in self.stored_events(file_id)], SECONDS)


@dataclass
class Seen:
    """One song, followed by every client of the guide while the web process was killed and started again."""

    file_id: str = ""
    client_status: int = -1
    client_lines: list[str] = field(default_factory=list)
    in_mid_job: dict[str, Any] = field(default_factory=dict)  # the acknowledgement
    drawn: list[list[int]] = field(default_factory=list)  # the page's bars before and after a reload
    animations: list[str] = field(default_factory=list)  # of a running bar: as usual, with reduced motion
    said_disconnected: bool = False
    events: list[dict[str, Any]] = field(default_factory=list)


@runs("sh serve", "sh cors")
@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, weights_dir: Path) -> Iterator[Service]:
    """The service, started as the guide says, without the weights of one model."""
    folder = tmp_path_factory.mktemp("guide")
    for model in ("demucs", "whisper"):
        shutil.copytree(weights_dir / model, folder / "weights" / model, copy_function=os.link,
                        ignore=shutil.ignore_patterns("mdx_extra.yaml"))  # fmt: skip
    time = np.arange(5 * render.RATE) / render.RATE
    tone = (0.3 * np.sin(2 * np.pi * 220 * time)).astype("f4")
    running = Service(folder / "service", folder / "weights")
    render.save(running.folder / "song.wav", np.stack([tone, tone]))
    running.start_by("sh serve")
    running.start_workers()
    yield running
    for worker in running.workers.values():
        worker.terminate()
    assert [worker.wait(60) for worker in running.workers.values()] == [0, 0]
    assert running.stop() == 0


class Files(BaseHTTPRequestHandler):
    """Serves the guide's files, the pages that use them, and what is vendored."""

    files = {f"/{label.split()[1]}": text for label, (text, *_) in BLOCKS.items()
             if label.startswith(("js ", "html ", "css "))} | HARNESS  # fmt: skip

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        vendored = VENDOR / path[1:]
        text = vendored.read_text(encoding="utf-8") if vendored.is_file() else self.files.get(path)
        self.send_response(404 if text is None else 200)
        self.send_header("Content-Type", f"{mimetypes.guess_type(path)[0]}; charset=utf-8")
        self.end_headers()
        self.wfile.write((text or "").encode())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def origin() -> Iterator[int]:
    """The port where the files are served; by a server, since Chromium lets no intercepted page call this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture(scope="module")
def context(service: Service, origin: int) -> Iterator[BrowserContext]:
    """Chromium, which finds the service at the guide's address and the files at ORIGIN."""
    rules = f"MAP 127.0.0.1:5000 127.0.0.1:{service.port}, MAP localhost:3000 127.0.0.1:{origin}"
    with chromium(f"--host-resolver-rules={rules}") as browser:
        made = browser.new_context()
        yield made


@dataclass
class Pages:
    """The pages, and what their scripts complained of and printed."""

    plain: Page
    react: Page
    vue: Page
    connected: Page
    complaints: list[str]
    printed: list[str]
    sockets: dict[str, list[WebSocket]]


@pytest.fixture(scope="module")
def pages(context: BrowserContext) -> Pages:
    """A page for each of the guide's ways."""
    opened = {name: context.new_page() for name in ("plain", "react", "vue", "connected")}
    made = Pages(**opened, complaints=[], printed=[], sockets=defaultdict(list))
    for name, page in opened.items():
        page.on("pageerror", lambda error, name=name: made.complaints.append(f"{name}: {error}"))
        page.on("websocket", lambda socket, name=name: made.sockets[name].append(socket))
    made.connected.on("console", lambda line: made.printed.append(line.text))
    made.react.goto(f"{ORIGIN}/react.html")
    made.vue.goto(f"{ORIGIN}/vue.html")
    made.connected.goto(f"{ORIGIN}/connect.html")
    _becomes(made.connected, lambda: bool(made.sockets["connected"]))
    return made


@runs("python follow_song.py", "sh python")
@pytest.fixture(scope="module")
def seen(service: Service, pages: Pages) -> Seen:
    """What the clients see of one song whose service goes away in the middle; nothing is judged here."""
    found = Seen()
    client = block("python follow_song.py")
    assert ADDRESS in client
    (service.folder / "follow_song.py").write_text(client.replace(ADDRESS, service.url), encoding="utf-8")
    printed = service.folder / "client.log"
    with printed.open("wb") as log:
        running = subprocess.Popen(["sh", "-ec", block("sh python")], cwd=service.folder, env=service.environment,
                                   stdout=log, stderr=subprocess.STDOUT, start_new_session=True)  # fmt: skip
    try:
        _go_away_and_come_back(service, pages, found, printed)
        with suppress(subprocess.TimeoutExpired):
            found.client_status = running.wait(30)
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
    found.client_lines = printed.read_text().splitlines()
    return found


def _go_away_and_come_back(service: Service, pages: Pages, found: Seen, printed: Path) -> None:
    """Kill the web process in the middle of the song, let the workers finish it, and start it again."""
    songs = wait_until(lambda: service.get("/songs").json()["songs"], SECONDS, printed.read_text)
    found.file_id = songs[0]["file_id"]
    wait_until(lambda: any(stage == "separation" and progress > 10 for _, stage, progress
                           in service.stored_events(found.file_id)), SECONDS)  # fmt: skip
    with service.held():
        listener = service.listen()
        found.in_mid_job = listener.subscribe(found.file_id)
        listener.close()
        _follow_on_pages(pages, found)
        service.kill()
        found.said_disconnected = _becomes(pages.plain, "document.querySelector('#connection').textContent !== ''")
    service.wait_for_end(found.file_id)
    service.start_by("sh cors")
    # Who only connects hears nothing of what happened before it came back.
    _becomes(pages.connected, lambda: len(pages.sockets["connected"]) > 1)
    found.events = service.sent(found.file_id)


def _follow_on_pages(pages: Pages, found: Seen) -> None:
    """Let every page follow the song, and look at the plain one before and after a reload."""
    bars = "[...document.querySelectorAll('progress')].map((bar) => bar.value)"
    drawn = "document.querySelector('[data-stage=separation]')?.dataset.state === 'running'"
    moving = "getComputedStyle(document.querySelector('[data-stage=separation] progress')).animationName"
    for page in (pages.react, pages.vue):
        page.evaluate("id => window.choose?.(id)", found.file_id)
    pages.connected.evaluate("""id => {
        window.answers = [];
        window.polled = import("/poll.js").then(({ poll }) => poll(id, ({ status }) => answers.push(status), 100));
    }""", found.file_id)  # fmt: skip
    pages.plain.goto(f"{ORIGIN}/page.html?song={found.file_id}")
    _becomes(pages.plain, drawn)
    found.drawn.append(pages.plain.evaluate(bars))
    pages.plain.reload()
    _becomes(pages.plain, drawn)
    found.drawn.append(pages.plain.evaluate(bars))
    for wish in ("no-preference", "reduce"):
        pages.plain.emulate_media(reduced_motion=wish)
        found.animations.append(pages.plain.evaluate(moving))
    for page in (pages.react, pages.vue):
        _becomes(page, "window.now?.status === 'processing'")


@pytest.fixture(scope="module")
def failed(service: Service, seen: Seen) -> list[dict[str, Any]]:
    """The events of a song whose first model has no weights."""
    answer = service.upload(service.folder / "song.wav", auto_process="true", model_variant="mdx_extra")
    return service.ended(answer["file_id"])


@dataclass
class Cancelled:
    """A song that was uploaded, looked at, paused, resumed and cancelled by the guide's shell commands."""

    uploaded: dict[str, Any]
    queued: dict[str, Any]
    events: list[dict[str, Any]]


@runs("sh upload", "sh status", "sh pause", "sh resume", "sh cancel")
@pytest.fixture(scope="module")
def cancelled(service: Service, seen: Seen) -> Cancelled:
    """Done while the worker stands still."""
    with service.held():
        uploaded = json.loads(service.shell("sh upload"))
        queued = json.loads(service.shell("sh status", FILE_ID=uploaded["file_id"]))
        for block, status in (("sh pause", "paused"), ("sh resume", "queued"), ("sh cancel", "cancelled")):
            record = json.loads(service.shell(block, JOB_ID=uploaded["job_id"]))
            assert (record["job_id"], record["status"]) == (uploaded["job_id"], status)
    return Cancelled(uploaded, queued, service.ended(uploaded["file_id"]))


def test_every_block_is_run_by_some_test() -> None:
    assert set(BLOCKS) == RUN
    assert GUIDE.count("```") == 2 * sum(map(len, BLOCKS.values())), "a fence is not closed, or stands in a line"
    assert not re.search(r"^(?: {4}|\t)", FENCE.sub("", GUIDE), re.M), "code that is indented instead of fenced"


def test_the_table_of_stages_has_the_fixed_messages() -> None:
    rows = re.finditer(r"^\| `(\w+)` \|(.*)\|(.*)\|$", GUIDE, re.M)
    table = {name: (first.strip(), last.strip()) for name, first, last in (row.groups() for row in rows)}
    assert table.keys() == STAGES.keys()
    for name, (first, last) in table.items():
        assert last == STAGES[name].last
        assert first in ("", STAGES[name].first) or name == "loading"


@runs("json event")
@pytest.mark.parametrize("text", BLOCKS["json event"], ids=range(len(BLOCKS["json event"])))
def test_an_example_of_an_event_is_one_that_is_sent(
    text: str, seen: Seen, failed: list[dict[str, Any]], cancelled: Cancelled
) -> None:
    example = json.loads(text)
    alike = [event for event in (*seen.events, *failed, *cancelled.events)
             if (event["stage"], event["message"]) == (example["stage"], example["message"])
             and event.keys() == example.keys()
             and _start(event["error"]) == _start(example["error"])
             and (event["progress"] == example["progress"] or event["progress"] not in (0, 10, 100))]  # fmt: skip
    assert alike, "no such event was sent"
    for event in alike:
        assert _shape(event) == _shape(example)
        assert list(event) == list(example), "fields in another order than they are sent"
    assert len(json.dumps(example, separators=(",", ":"))) <= MAX_PAYLOAD_BYTES


@runs("json upload", "json ack", "json status")
def test_examples_of_answers_are_parts_of_what_is_answered(service: Service, seen: Seen, cancelled: Cancelled) -> None:
    uploaded, ack, status = (json.loads(block(label)) for label in ("json upload", "json ack", "json status"))
    assert _shape(uploaded) == _shape(cancelled.uploaded)
    assert {name: uploaded[name] for name in ("status", "message", "filename", "title", "artist", "duration_seconds",
            "size_bytes")}.items() <= cancelled.uploaded.items()  # fmt: skip
    _assert_part(ack, seen.in_mid_job)
    assert (ack["status"], ack["jobs"][0]["status"]) == ("processing", seen.in_mid_job["jobs"][0]["status"])
    answer = service.get(f"/status/{seen.file_id}").json()
    _assert_part(status, answer)
    assert (status["status"], status["tracks"]) == (answer["status"], answer["tracks"])
    for shown, real in ((ack, seen.in_mid_job), (status, answer)):
        for name, stage in shown["stages"].items():
            assert stage["message"] == real["stages"][name]["message"]
    assert cancelled.queued["status"] == "queued"


def test_the_python_client_prints_progress_in_order_and_ends_well(seen: Seen) -> None:
    words = [f"{event['stage']:13} {event['progress']:3} %  {event['message']}" for event in seen.events]
    shown = iter(words)
    assert all(line in shown for line in seen.client_lines), "not in order"
    assert (seen.client_lines[-1], seen.client_status) == (words[-1], 0)
    assert len(seen.client_lines) > len(words) / 2


@runs("html page.html", "js page.js", "css page.css")
def test_the_page_follows_through_a_reload_and_an_absence(pages: Pages, seen: Seen) -> None:
    before, after = seen.drawn
    assert before == after
    assert (before[0], before[2:]) == (100, [0, 0])
    assert 10 < before[1] < 100
    assert seen.animations == ["breathe", "none"]
    assert seen.said_disconnected
    for name in PIPELINE:
        expect(pages.plain.locator(f"[data-stage={name}]")).to_have_attribute("data-state", "done")
    expect(pages.plain.get_by_role("status")).to_have_text(STAGES["complete"].last)
    expect(pages.plain.locator("#connection")).to_have_text("")
    expect(pages.plain.get_by_role("button", name="Cancel")).to_be_disabled()
    assert not [line for line in pages.complaints if line.startswith("plain")]


def test_the_page_uploads_and_cancels(service: Service, pages: Pages, seen: Seen) -> None:
    page = pages.plain
    with service.held():
        page.goto(f"{ORIGIN}/page.html")
        page.get_by_label("Song").set_input_files(service.folder / "song.wav")
        page.get_by_role("button", name="Start").click()
        expect(page.get_by_label("Upload")).to_have_js_property("value", 100)
        page.get_by_role("button", name="Cancel").click()
        row = page.locator("[data-stage=separation]")
        expect(row).to_have_attribute("data-state", "failed")
        expect(row).to_contain_text("Separation cancelled: Cancelled on request.")
        expect(page.get_by_role("status")).to_contain_text("Processing was cancelled")
        expect(page.get_by_label("Stems")).to_be_hidden()
    assert not [line for line in pages.complaints if line.startswith("plain")]


def test_the_page_says_why_an_upload_is_refused(pages: Pages, seen: Seen, tmp_path: Path) -> None:
    (tmp_path / "words.mp3").write_text("These are only words. " * 50)
    pages.plain.goto(f"{ORIGIN}/page.html")
    pages.plain.get_by_label("Song").set_input_files(tmp_path / "words.mp3")
    pages.plain.get_by_role("button", name="Start").click()
    expect(pages.plain.get_by_role("status")).to_contain_text("The file is text; send mp3")


@runs("js follow.js", "js useProgress.react.js", "js useProgress.vue.js")
@pytest.mark.parametrize("name", ["react", "vue"])
def test_a_hook_follows_another_song_and_ends(
    name: str, pages: Pages, seen: Seen, failed: list[dict[str, Any]]
) -> None:
    page: Page = getattr(pages, name)
    assert _becomes(page, "window.now?.status === 'completed'"), pages.complaints
    expect(page.locator("#root")).to_have_text(STAGES["complete"].last)
    song = page.evaluate("now")
    assert song["stages"] == {event["stage"]: event for event in seen.events}
    assert (song["fileId"], song["connected"], song["jobId"]) == (seen.file_id, True, seen.events[-1]["job_id"])
    assert any(file["download_url"] for job in song["jobs"] for file in job["files"])
    numbers = page.evaluate("seen.filter(Boolean).map((song) => song.seq)")
    assert numbers == sorted(numbers)
    if name == "vue":  # React draws several changes at once
        assert sorted(set(numbers)) == [0, *(event["seq"] for event in seen.events)]
    assert page.evaluate("seen.some((song) => song?.connected === false && song.seq > 0)"), "nobody told of the absence"
    page.evaluate("id => choose(id)", failed[0]["file_id"])
    assert _becomes(page, "window.now?.status === 'failed'"), pages.complaints
    assert page.evaluate("now.stages") == {event["stage"]: event for event in failed}
    page.evaluate("choose(null)")
    assert _becomes(page, "window.now === null")
    assert _becomes(page, lambda: all(socket.is_closed() for socket in pages.sockets[name])), "left connected"
    assert not [line for line in pages.complaints if line.startswith(name)]


@runs("js connect.js")
def test_who_only_connects_hears_of_every_song(pages: Pages, seen: Seen, failed: list[dict[str, Any]]) -> None:
    def said(event: dict[str, Any]) -> str:
        return f"{event['file_id']} {event['stage']} {event['progress']} {event['error'] or event['message']}"

    assert said(seen.events[0]) in pages.printed
    assert _becomes(pages.connected, lambda: said(failed[-1]) in pages.printed)


@runs("js poll.js")
def test_polling_goes_on_through_an_absence(pages: Pages, seen: Seen) -> None:
    assert pages.connected.evaluate("polled.then((song) => song.status)") == "completed"
    assert set(pages.connected.evaluate("answers")) == {"processing", "completed"}
    nobody = "00000000-0000-4000-8000-000000000000"
    refused = 'id => import("/poll.js").then(({ poll }) => poll(id, () => {})).catch((error) => error.message)'
    assert nobody in pages.connected.evaluate(refused, nobody)


def test_origins_and_refusals_are_as_the_guide_says(service: Service, seen: Seen) -> None:
    def handshake(origin: str, version: int = 4) -> tuple[int, str]:
        path = f"{service.url}/socket.io/?EIO={version}&transport=polling"
        answer = requests.get(path, headers={"Origin": origin}, timeout=20)
        return answer.status_code, answer.text

    def allowed(origin: str) -> str | None:
        return requests.get(f"{service.url}/status", headers={"Origin": origin}, timeout=20).headers.get(
            "Access-Control-Allow-Origin")  # fmt: skip

    for origin in (ORIGIN, service.url):
        assert (handshake(origin)[0], allowed(origin)) == (200, origin)
    for origin in ("http://localhost:3001", f"{ORIGIN}/", "https://example.org", "null"):
        assert allowed(origin) is None
        status, text = handshake(origin)
        assert (status, json.loads(text) in _quoted()) == (400, True), text
    status, text = handshake(ORIGIN, version=3)
    assert status == 400
    assert any(json.loads(text).startswith(said.removesuffix("…")) for said in _quoted()), text


def _quoted() -> list[str]:
    """What the guide quotes in its table of troubles."""
    return re.findall(r'"([^"\n]+)"', GUIDE.partition("## When something is wrong")[2])


def _becomes(page: Page, condition: str | Callable[[], bool]) -> bool:
    """Whether an expression becomes true in the page, or a function here while the page lives on."""
    if isinstance(condition, str):
        try:
            page.wait_for_function(condition)
        except PlaywrightTimeout:
            return False
        return True
    for _ in range(PATIENCE_MILLISECONDS // 50):
        if condition():
            return True
        page.wait_for_timeout(50)
    return False


def _start(error: str | None) -> str | None:
    """What two reasons that name different places have in common."""
    return error and error[:24]


def _shape(value: Any) -> Any:
    """Names and types of a value; of numbers only that they are."""
    if isinstance(value, dict):
        return {name: _shape(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_shape(part) for part in value]
    if value is None or isinstance(value, bool):
        return NULL if value is None else "boolean"
    return "text" if isinstance(value, str) else "number"


def _assert_part(shown: Any, real: Any, place: str = "") -> None:
    """Every field that is shown is there, and of that type; what may be null is null or of its type."""
    if isinstance(shown, dict):
        assert shown.keys() <= real.keys(), f"{place}: {shown.keys() - real.keys()} is not answered"
        for name in shown:
            _assert_part(shown[name], real[name], f"{place}.{name}")
    elif isinstance(shown, list):
        assert isinstance(real, list), place
        for part in shown:
            _assert_part(part, real[0], f"{place}[]")
    elif place.endswith(("eta_seconds", "error")):
        assert {_shape(shown), _shape(real)} <= {NULL, "number" if place.endswith("seconds") else "text"}, place
    else:
        assert _shape(shown) == _shape(real), place
