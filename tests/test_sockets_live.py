"""The namespace /transcribe with real clients, a real service and a real live worker on small checkpoints."""

import base64
import json
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import psutil
import pytest
import socketio
import websocket
from filelock import FileLock
from playwright._impl._driver import compute_driver_executable

from models.live import AFTER_SECONDS, BEFORE_SECONDS
from tests import render, talking_whisper, tiny_weights
from tests.serving import ROOT, RedisServer, Server, wait_until

NAMESPACE = "/transcribe"
PLACES = 20  # LIVE_SESSIONS of the service
IDLE_SECONDS = 600  # a test is not ended for being slow; tests/test_jobs_live.py waits for it
PATIENCE = 180.0  # the worker loads torch first
EVENTS = ("connected", "partial", "final", "transcription", "loading", "busy", "error", "finished")
VARIANTS = tuple(talking_whisper.LINES)
RATES = (16000, 8000, 48000, 22050)
NODE = compute_driver_executable()[0]  # Playwright brings one
CLIENT = ROOT / "static" / "vendor" / "socket.io.esm.min.js"


class Talker:
    """A client of live transcription that keeps what it hears, in order."""

    made: ClassVar[list["Talker"]] = []

    def __init__(self, url: str, **start: Any) -> None:
        self.made.append(self)
        self.heard: list[tuple[str, Any]] = []
        self.over = threading.Event()
        self.client = socketio.Client(reconnection=False)
        for name in EVENTS:
            self.client.on(name, lambda payload, name=name: self.heard.append((name, payload)), namespace=NAMESPACE)
        self.client.on("disconnect", lambda *_: self.over.set(), namespace=NAMESPACE)
        self.client.connect(url, namespaces=[NAMESPACE], transports=["websocket"], wait_timeout=30)
        if start:
            self.emit("start", start)

    def emit(self, event: str, *payload: Any) -> None:
        """Send an event."""
        self.client.emit(event, payload, namespace=NAMESPACE)

    def audio(self, pcm: bytes, rate: int = 16000, *, binary: bool = True) -> None:
        """Send a frame."""
        data = pcm if binary else base64.b64encode(pcm).decode()
        self.emit("audio", {"payload": {"data": data, "mimeType": f"audio/pcm;rate={rate}"}})

    def of(self, *names: str) -> list[Any]:
        """Payloads of some events so far."""
        return [payload for name, payload in list(self.heard) if name in names]

    def wait_for(self, name: str, count: int = 1) -> Any:
        """The payload of an event, once it has come so often."""
        wait_until(lambda: len(self.of(name)) >= count, PATIENCE, lambda: f"{count} {name} in {self.heard}")
        return self.of(name)[count - 1]

    def finish(self) -> Any:
        """Say that it is all; the payload of `finished`, after which the connection ended."""
        self.emit("finish")
        finished = self.wait_for("finished")
        assert self.over.wait(30)
        return finished

    def leave(self) -> None:
        """Hang up."""
        self.client.disconnect()


def clip(*passages: tuple[float, str], tail_seconds: float = 1.0) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """Samples (n,) at render.RATE: silence of a length, then spoken words, and so on; and where the words sound."""
    parts, places, at = [], [], 0.0
    for silence, text in passages:
        spoken = render.say(text)
        parts += [np.zeros(round(silence * render.RATE), np.float32), spoken]
        places.append((at + silence, at + silence + len(spoken) / render.RATE))
        at = places[-1][1]
    return np.concatenate([*parts, np.zeros(round(tail_seconds * render.RATE), np.float32)]), places


def pcm(samples: np.ndarray, rate: int = 16000) -> bytes:
    """Samples at render.RATE as 16-bit PCM of another rate."""
    places = np.arange(int(len(samples) * rate / render.RATE)) * render.RATE / rate
    return (np.interp(places, np.arange(len(samples)), samples) * 32767).astype("<i2").tobytes()


def frames(sound: bytes, count: int) -> list[bytes]:
    """PCM in so many pieces, or one more."""
    size = len(sound) // 2 // count * 2
    return [sound[at : at + size] for at in range(0, len(sound), size)]


def live_workers(server: Server) -> list[psutil.Process]:
    """The live workers of a service."""
    assert server.process is not None
    children = psutil.Process(server.process.pid).children()
    return [child for child in children if child.status() != psutil.STATUS_ZOMBIE and "jobs.live_worker" in
            child.cmdline()]  # fmt: skip


def assert_in_passages(finals: Sequence[dict[str, Any]], places: Sequence[tuple[float, float]]) -> None:
    """Every word lies in a passage, every passage has words, and time only goes on."""
    times = [time for final in finals for word in final["words"] for time in (word["start"], word["end"])]
    assert times == sorted(times)
    found = set()
    for final in finals:
        assert (final["start"], final["end"]) == (final["words"][0]["start"], final["words"][-1]["end"])
        assert final["text"] == " ".join(word["word"] for word in final["words"])
        around = [n for n, (start, end) in enumerate(places)
                  if start - BEFORE_SECONDS - 0.05 <= final["start"] <= final["end"] <= end + AFTER_SECONDS + 0.6]
        assert around, (final, places)
        found.update(around)
    assert found == set(range(len(places)))


@pytest.fixture(scope="module")
def voices_dir(pytestconfig: pytest.Config) -> Path:
    """Checkpoints that say a line each, kept until what makes them changes."""
    folder = pytestconfig.cache.mkdir("voices")
    recipe = Path(talking_whisper.__file__).read_bytes() + Path(tiny_weights.__file__).read_bytes()
    made_of = folder / "made-of"
    with FileLock(folder.with_suffix(".lock")):
        if not made_of.exists() or made_of.read_bytes() != recipe:
            shutil.rmtree(folder)
            talking_whisper.build(folder)
            made_of.write_bytes(recipe)
    return folder


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, voices_dir: Path) -> Iterator[Server]:
    """A service for live transcription alone; nothing can be downloaded."""
    folder = tmp_path_factory.mktemp("live")
    running = Server(
        folder, voices_dir, START_WORKERS="false", LIVE_VARIANT="tiny", LIVE_SESSIONS=PLACES,
        LIVE_IDLE_SECONDS=IDLE_SECONDS, XDG_CACHE_HOME=folder, HTTPS_PROXY="http://127.0.0.1:9",
    ).start(ready=False)  # fmt: skip
    yield running
    assert running.process is not None
    running.process.kill()


@pytest.fixture(autouse=True)
def places_are_left() -> Iterator[None]:
    """Whoever talked in a test hangs up at its end, also when it failed."""
    yield
    with ThreadPoolExecutor(2 * PLACES) as pool:
        list(pool.map(Talker.leave, Talker.made))
    Talker.made.clear()


def test_the_worker_starts_with_the_first_session_and_says_what_it_waits_for(live: Server) -> None:
    assert live_workers(live) == []
    talker = Talker(live.url)
    assert talker.wait_for("connected").keys() == {"session"}
    assert len(live_workers(live)) == 1
    assert talker.finish() == {"seconds": 0.0}, "who said nothing is not kept"
    assert [name for name, _ in talker.heard] == ["connected", "finished"]


def test_a_clip_in_real_time(live: Server) -> None:
    samples, places = clip((1.0, "silver river carry me home"), (1.4, "over the mountain"), tail_seconds=0.3)
    talker = Talker(live.url, language="en", singing=False)
    sound = frames(pcm(samples), 60)
    seconds = len(samples) / render.RATE / 60
    # On however slow a machine: there is text while somebody speaks, and finals before the next passage begins.
    waits = {round((places[0][0] + 1.2) / seconds): "partial", round((places[0][1] + 1.0) / seconds): "final"}
    before: list[Any] = []
    for number, frame in enumerate(sound):
        talker.audio(frame)
        time.sleep(seconds)
        if number in waits:
            talker.wait_for(waits[number])
            before = talker.of("final")
    assert before
    assert max(final["end"] for final in before) < places[1][0]
    finished = talker.finish()
    names = [name for name, _ in talker.heard]
    assert (names[0], names[-1]) == ("connected", "finished")
    assert names.index("partial") < names.index("final"), "text is shown before it is final"
    assert talker.of("final")[: len(before)] == before
    for (name, payload), (following, told) in pairwise(talker.heard):
        assert (name == "final") == (following == "transcription")
        if name == "final":
            assert told == {"transcription": payload["text"]}
    assert_in_passages(talker.of("final"), places)
    assert finished["seconds"] == pytest.approx(len(samples) / render.RATE, abs=0.002)
    assert talker.of("partial")[-1] == {"text": ""} or names[-2] == "transcription"
    assert talker.of("error") == []


def test_the_javascript_client_in_real_time_and_faster(live: Server, tmp_path: Path) -> None:
    samples, places = clip((0.5, "carry me home"), (1.2, "over the mountain"), tail_seconds=0.0)
    sound, client = tmp_path / "clip.pcm", tmp_path / "client.mjs"  # Node takes a module by its suffix
    sound.write_bytes(pcm(samples, 22050))
    shutil.copy(CLIENT, client)
    command = [NODE, ROOT / "tests" / "live_client.mjs", client, live.url, sound, "22050"]
    runs = [subprocess.Popen([*command, speed], stdout=subprocess.PIPE, text=True) for speed in ("1", "Infinity")]
    for run in runs:
        heard = json.loads(run.communicate(timeout=PATIENCE)[0])
        names = [name for name, _ in heard]
        assert (names[0], names[-2:]) == ("connected", ["finished", "disconnect"])
        said = " ".join(payload["transcription"] for name, payload in heard if name == "transcription").split()
        assert {f" {word}" for word in said} == set(talking_whisper.LINES["tiny"])
        assert len(said) >= 4 * len(places)
        assert heard[-1][1] == "io server disconnect"
        assert heard[-2][1]["seconds"] == pytest.approx(len(samples) / render.RATE, abs=0.002), "no frame was lost"
        assert "error" not in names


def test_twenty_sessions_at_once_keep_their_words_and_their_frames(live: Server) -> None:
    clips = [clip((0.4 + 0.5 * number, "silver river"), tail_seconds=1.5) for number in range(PLACES)]
    talkers = [Talker(live.url, language="en", variant=VARIANTS[number % 4]) for number in range(PLACES)]
    assert len({talker.wait_for("connected")["session"] for talker in talkers}) == PLACES
    refused = Talker(live.url)
    assert refused.wait_for("busy")["seconds"] > 0
    assert refused.over.wait(30)
    assert [name for name, _ in refused.heard] == ["busy", "error"], "error is for those who know no busy"
    rates = [RATES[number // 4 % 4] for number in range(PLACES)]
    cut = [frames(pcm(samples, rate), 40) for (samples, _), rate in zip(clips, rates, strict=True)]
    for turn in range(max(map(len, cut))):
        for number, talker in enumerate(talkers):
            if turn < len(cut[number]):
                talker.audio(cut[number][turn], rates[number], binary=number % 2 == 0)
    for talker in talkers:
        talker.emit("finish")
    for number, talker in enumerate(talkers):
        assert talker.over.wait(PATIENCE), talker.heard
        samples, places = clips[number]
        assert talker.of("finished")[0]["seconds"] == pytest.approx(len(samples) / render.RATE, abs=0.002)
        assert_in_passages(talker.of("final"), places)
        words = {f" {word['word']}" for final in talker.of("final") for word in final["words"]}
        assert words == set(talking_whisper.LINES[VARIANTS[number % 4]])
        assert talker.of("error") == []


def test_a_place_is_free_again_when_its_client_hangs_up(live: Server) -> None:
    crowd = [Talker(live.url) for _ in range(PLACES)]
    for talker in crowd:
        talker.wait_for("connected")
    crowd[3].audio(pcm(clip((0.2, "silver river"))[0]))
    crowd[3].leave()

    def place() -> Talker | None:
        talker = Talker(live.url)
        wait_until(lambda: talker.heard, PATIENCE)
        return talker if talker.of("connected") else None

    newcomer = wait_until(place, PATIENCE)
    for talker in [*crowd, newcomer]:
        talker.leave()
    wait_until(lambda: place().leave() is None, PATIENCE)  # type: ignore[union-attr]


def test_silence_produces_no_text(live: Server) -> None:
    talker = Talker(live.url)
    hum = np.random.default_rng(0).normal(0, 20, 16000 * 20).astype("<i2")
    talker.audio(hum.tobytes())
    assert talker.finish() == {"seconds": 20.0}
    assert [name for name, _ in talker.heard if name != "loading"] == ["connected", "finished"]


FINE = {"data": "AAAAAAAA", "mimeType": "audio/pcm;rate=16000"}
BAD_FRAMES: list[tuple[Any, str]] = [
    ({"payload": FINE | {"data": "%%%="}}, "not base64"),
    ({"payload": FINE | {"data": "AAA"}}, "not base64"),
    ({"payload": FINE | {"data": "AAAAAAA="}}, "5 bytes"),
    ({"payload": FINE | {"data": b"abc"}}, "3 bytes"),
    ({"payload": FINE | {"data": 7}}, "neither base64 text nor bytes"),
    ({"payload": FINE | {"mimeType": "audio/webm"}}, "'audio/webm' is not audio/pcm;rate=N"),
    ({"payload": FINE | {"mimeType": "audio/pcm"}}, "rate=N"),
    ({"payload": FINE | {"mimeType": "audio/pcm;rate=12"}}, "from 4000 to 192000"),
    ({"payload": FINE | {"mimeType": "audio/pcm;rate=3999"}}, "from 4000 to 192000"),
    ({"payload": FINE | {"mimeType": "audio/pcm;rate=192001"}}, "from 4000 to 192000"),
    ({"payload": FINE | {"mimeType": "audio/pcm;rate=16000;channels=2"}}, "mono"),
    ({"payload": FINE | {"mimeType": None}}, "mimeType"),
    ({"payload": {}}, "base64"),
    ({"data": "AAAA"}, "audio takes"),
    (None, "audio takes"),
    ("AAAA", "audio takes"),
    ({"payload": FINE | {"data": bytes(4 * 1024 * 1024)}}, "131.072 s of audio is too long"),
    ({"payload": FINE | {"data": bytes(4 * 1024 * 1024 + 2)}}, "4194306 bytes is too large"),
    ({"payload": FINE | {"data": bytes(10_000_000)}}, "10000000 bytes is too large"),
    ({"payload": FINE | {"data": "A" * 13_333_332}}, "9999999 bytes is too large"),
]
BAD_STARTS: list[tuple[Any, str]] = [
    ({"language": "klingon"}, "language: 'klingon' is not the code"),
    ({"variant": "huge"}, "variant: 'huge' is none of tiny, base"),
    ({"singing": "yes"}, "singing"),
    ({"model": "tiny"}, "model"),
    ("en", "start takes"),
]


def test_bad_input_gets_a_sentence_and_the_session_lives_on(live: Server) -> None:
    talker = Talker(live.url)
    for event, bad in (("start", BAD_STARTS), ("audio", BAD_FRAMES)):
        for payload, sentence in bad:
            count = len(talker.of("error"))
            talker.emit(event, payload)
            assert sentence in talker.wait_for("error", count + 1)["message"]
    talker.emit("start", {"language": "en"})
    samples, places = clip((0.2, "silver river"))
    talker.audio(pcm(samples))
    talker.emit("start", {"language": "en"})
    talker.emit("finish")
    talker.emit("audio", {"payload": FINE})
    talker.emit("finish")
    talker.wait_for("finished")
    late = [error["message"] for error in talker.of("error")[-3:]]
    assert [sentence.split()[0] for sentence in late] == ["start", "This", "This"]
    assert "finish already" in late[1]
    assert len(talker.of("error")) == len(BAD_STARTS) + len(BAD_FRAMES) + 3
    assert_in_passages(talker.of("final"), places)


def test_who_sends_before_connecting_is_told_so(live: Server) -> None:
    raw = websocket.create_connection(f"{live.url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket")
    raw.settimeout(30)
    assert raw.recv().startswith("0")
    frame = json.dumps(["audio", {"payload": FINE}])
    said_before = live.log.read_text()
    for sent in (f"42/transcribe,{frame}", "42/transcribe,7" + '["finish"]', '42/transcribe,["finish"]'):
        raw.send(sent)
        answer = raw.recv()
        assert answer.startswith('42/transcribe,["error",{"message":"Not connected to /transcribe')
    holder = json.dumps(["audio", {"payload": FINE | {"data": {"_placeholder": True, "num": 0}}}])
    for part in (b"\0" * 64, b"0/transcribe,", b"1234"):  # the last two could be taken for packets
        raw.send(f"451-/transcribe,{holder}")
        raw.send_binary(part)
        assert "Not connected to /transcribe" in raw.recv()
    raw.send("40/transcribe,")
    assert raw.recv().startswith("40/transcribe,")
    assert raw.recv().startswith('42/transcribe,["connected",')
    raw.send(f"451-/transcribe,{holder}")
    raw.send_binary(b"\0" * 3)
    assert "3 bytes" in raw.recv(), "now it is taken in"
    raw.close()
    assert "Traceback" not in live.log.read_text().removeprefix(said_before)


def test_weights_that_are_not_to_be_had_are_an_error_that_says_what_to_do(live: Server) -> None:
    talker = Talker(live.url, variant="small")
    talker.audio(pcm(clip((0.2, "silver river"))[0]))
    assert "python -m models.weights pull whisper small" in talker.wait_for("error")["message"]
    assert talker.over.wait(30)
    told = [loading["message"] for loading in talker.of("loading")]
    assert told == ["Loading whisper small...", "Downloading whisper small..."]


def test_a_language_that_a_variant_does_not_know(live: Server) -> None:
    talker = Talker(live.url, language="yue")
    talker.audio(bytes(3200))
    assert "whisper tiny does not know 'yue'" in talker.wait_for("error")["message"]
    assert talker.over.wait(30)


def test_when_the_worker_is_killed_its_sessions_are_told_and_the_next_one_works(live: Server) -> None:
    samples, places = clip((0.3, "silver river"))
    talker = Talker(live.url, language="en")
    talker.audio(pcm(samples))
    talker.wait_for("final")
    (worker,) = live_workers(live)
    worker.send_signal(signal.SIGKILL)
    assert "killed by signal 9" in talker.wait_for("error")["message"]
    assert talker.over.wait(30)
    following = Talker(live.url, language="en")
    following.audio(pcm(samples))
    following.finish()
    assert_in_passages(following.of("final"), places)
    assert live_workers(live)[0].pid != worker.pid


def test_no_worker_outlives_a_web_process_that_was_killed(live: Server) -> None:
    talker = Talker(live.url)
    talker.wait_for("connected")
    (worker,) = live_workers(live)
    live.kill()
    assert worker.wait(60) is None
    talker.leave()


def test_with_plain_threads_and_over_redis(tmp_path: Path, voices_dir: Path, redis_server: RedisServer) -> None:
    server = Server(tmp_path, voices_dir, START_WORKERS="false", ASYNC_MODE="threading", LIVE_VARIANT="tiny",
                    REDIS_URL=redis_server.url).start(ready=False)  # fmt: skip
    samples, places = clip((0.5, "silver river"), (1.5, "carry me home"))
    talker, idle = Talker(server.url, language="en"), Talker(server.url)
    for frame in frames(pcm(samples, 48000), 200):
        talker.audio(frame, 48000, binary=False)
    assert talker.finish()["seconds"] == pytest.approx(len(samples) / render.RATE, abs=0.002)
    assert_in_passages(talker.of("final"), places)
    (worker,) = live_workers(server)
    idle.wait_for("connected")
    assert server.stop() == 0
    assert worker.wait(30) is None
    idle.leave()


def test_with_gevent(tmp_path: Path, voices_dir: Path) -> None:
    """Without a model, whose loading is what costs."""
    server = Server(tmp_path, voices_dir, START_WORKERS="false", ASYNC_MODE="gevent").start(ready=False)
    talker = Talker(server.url)
    talker.wait_for("connected")
    (worker,) = live_workers(server)
    talker.emit("audio", BAD_FRAMES[-2][0])
    assert "too large" in talker.wait_for("error")["message"]
    assert talker.finish() == {"seconds": 0.0}
    assert server.stop() == 0
    assert worker.wait(30) is None
