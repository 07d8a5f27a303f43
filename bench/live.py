"""How late live transcription is, and how much of its worker it takes: `python -m bench.live` prints a Markdown table.

A service of its own on this machine, with a Whisper of the real `tiny` size and random weights: it hears nothing that
makes sense, but what it costs to hear is what the real one costs, since it says as many words as were spoken. Clips
with a known end are streamed in real time, one session alone and several at once.
"""

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import socketio

from bench.machine import machine
from tests import render, tiny_weights
from tests.serving import Server, wait_until

NAMESPACE = "/transcribe"
RATE = 16000
FRAME_SECONDS = 0.1
PASSAGES = 10
AT_ONCE = 12  # passages, less than the minute that a session may be ahead
SESSIONS = (1, 4)
SENTENCES = ("silver river carry me home", "over the mountain under the moon", "every morning sing me a song")
PAUSE_SECONDS = 2.0  # between passages; the service needs 0.7 s of it to take the passage for ended
TIMEOUT_SECONDS = 600
SEPARATED_SECONDS = 300  # of noise, twenty times: longer than what is measured beside it


@dataclass
class Session:
    """One client that speaks in real time; delays are from the end of a passage's sound to its last final."""

    url: str
    samples: np.ndarray
    ends: list[float]  # of the passages' sound, seconds of the clip
    delays: list[float] = field(default_factory=list)
    drain_seconds: float = 0.0

    in_time: bool = True  # else all at once
    seconds: float = 0.0  # from the first frame to `finished`

    def run(self) -> None:
        """Speak, listen, measure."""
        finals: list[tuple[float, dict[str, Any]]] = []
        over = threading.Event()
        client = socketio.Client(reconnection=False)
        client.on("final", lambda final: finals.append((time.perf_counter(), final)), namespace=NAMESPACE)
        client.on("finished", lambda _: over.set(), namespace=NAMESPACE)
        client.connect(self.url, namespaces=[NAMESPACE], transports=["websocket"], wait_timeout=60)
        client.emit("start", {"language": "en"}, namespace=NAMESPACE)
        size = round(FRAME_SECONDS * RATE)
        begun_at = time.perf_counter()
        for number, at in enumerate(range(0, len(self.samples), size)):
            if self.in_time:  # a frame goes out when it has sounded
                time.sleep(max(begun_at + (number + 1) * FRAME_SECONDS - time.perf_counter(), 0))
            pcm = (self.samples[at : at + size] * 32767).astype("<i2").tobytes()
            payload = {"data": pcm, "mimeType": f"audio/pcm;rate={RATE}"}
            client.emit("audio", {"payload": payload}, namespace=NAMESPACE)
        asked_at = time.perf_counter()
        client.emit("finish", namespace=NAMESPACE)
        if not over.wait(TIMEOUT_SECONDS):
            raise RuntimeError("the session did not finish")
        self.drain_seconds, self.seconds = time.perf_counter() - asked_at, time.perf_counter() - begun_at
        client.disconnect()
        if not self.in_time:
            return
        starts = [-np.inf, *(end + PAUSE_SECONDS / 2 for end in self.ends)]
        for end, first, last in zip(self.ends, starts, starts[1:], strict=False):
            came = [at for at, final in finals if first <= final["end"] < last]
            if not came:
                raise RuntimeError(f"no final of the passage that ended at {end:.1f} s")
            self.delays.append(max(came) - begun_at - end)


@dataclass
class Measured:
    """What sessions at once came to; CPU seconds of the worker."""

    delays: list[float]
    drains: list[float]
    spoken_seconds: float  # of all sessions together
    cpu_seconds: float
    wall_seconds: float
    resident_bytes: int


def speech(passages: int) -> tuple[np.ndarray, list[float]]:
    """A clip of spoken sentences at RATE, and where each ends."""
    parts, ends, at = [np.zeros(RATE // 2)], [], 0.5
    for number in range(passages):
        spoken = render.say(SENTENCES[number % len(SENTENCES)])
        places = np.arange(int(len(spoken) * RATE / render.RATE)) * render.RATE / RATE
        parts.append(np.interp(places, np.arange(len(spoken)), spoken))
        ends.append(at + len(parts[-1]) / RATE)
        parts.append(np.zeros(round(PAUSE_SECONDS * RATE)))
        at = ends[-1] + PAUSE_SECONDS
    return np.concatenate(parts), ends


def measure(server: Server, sessions: int, passages: int) -> Measured:
    """Let some sessions speak at once."""
    samples, ends = speech(passages)
    talking = [Session(server.url, samples, ends) for _ in range(sessions)]
    threads = [threading.Thread(target=session.run) for session in talking]
    worker = _worker(server)
    cpu_before, begun_at = sum(worker.cpu_times()[:2]), time.perf_counter()
    for thread in threads:
        thread.start()
        time.sleep(1.0 / sessions)  # people do not begin at the same instant
    for thread in threads:
        thread.join()
    if any(not session.drain_seconds for session in talking):
        raise SystemExit("a session failed; see above")
    return Measured(
        [delay for session in talking for delay in session.delays], [session.drain_seconds for session in talking],
        sessions * len(samples) / RATE, sum(worker.cpu_times()[:2]) - cpu_before, time.perf_counter() - begun_at,
        worker.memory_info().rss,
    )  # fmt: skip


def real_time_factor(server: Server) -> float:
    """Seconds to hear a second of sound, when it comes at once."""
    samples, ends = speech(AT_ONCE)
    session = Session(server.url, samples, ends, in_time=False)
    session.run()
    return session.seconds * RATE / len(samples)


@contextmanager
def separating(server: Server, folder: Path) -> Iterator[None]:
    """The heavy worker separates inside the block; a small network, but whole processors are its own."""
    noise = np.random.default_rng(0).normal(0, 0.1, (2, SEPARATED_SECONDS * render.RATE)).astype(np.float32)
    file_id = server.upload(render.save(folder / "noise.wav", noise))["file_id"]
    job_id = server.post(f"/process/demucs/{file_id}?async=true", shifts=20, output_format="wav").json()["job_id"]
    wait_until(lambda: server.get(f"/jobs/{job_id}").json()["progress"] > 10, TIMEOUT_SECONDS)
    yield
    if server.get(f"/jobs/{job_id}").json()["status"] != "running":
        raise RuntimeError("the separation ended before the sessions")
    server.post(f"/jobs/{job_id}/cancel")


def build_tiny(folder: Path) -> None:
    """A Whisper of the real tiny's size below a folder, with random weights; it says so many words and ends.

    Its last layers are those of tests/talking_whisper.py: the line depends on nothing. The rest is random, and takes
    the time it takes.
    """
    import torch
    from whisper.model import ModelDimensions, Whisper

    from tests import talking_whisper

    sizes = ModelDimensions(
        n_mels=80, n_audio_ctx=1500, n_audio_state=384, n_audio_head=6, n_audio_layer=4, n_vocab=51865,
        n_text_ctx=448, n_text_state=384, n_text_head=6, n_text_layer=4,
    )  # fmt: skip
    torch.manual_seed(1)
    model = Whisper(sizes)
    talking_whisper.say(model, [f" {word}" for word in SENTENCES[1].split()])
    (folder / "whisper").mkdir(parents=True)
    state = {key: value.half() for key, value in model.state_dict().items()}
    torch.save({"dims": vars(sizes), "model_state_dict": state}, folder / "whisper" / "tiny.pt")


def _worker(server: Server) -> psutil.Process:
    """The live worker, once the model is loaded and has been used."""
    assert server.process is not None
    warm = Session(server.url, *speech(1))
    warm.run()
    children = psutil.Process(server.process.pid).children()
    return next(child for child in children if "jobs.live_worker" in child.cmdline())


def _rows(several: str, found: Measured) -> list[tuple[str, str]]:
    """What is said of one measurement."""
    ordered = sorted(found.delays)
    p90 = ordered[min(int(0.9 * len(ordered)), len(ordered) - 1)]
    return [
        (f"end of a passage to its last final, {several}: median / p90 / most",
         f"{statistics.median(ordered):.2f} / {p90:.2f} / {ordered[-1]:.2f} s (n = {len(ordered)})"),
        (f"`finish` to `finished`, {several}: most", f"{max(found.drains):.2f} s"),
        (f"worker's CPU seconds for a second of sound, {several}", f"{found.cpu_seconds / found.spoken_seconds:.2f}"),
        (f"worker's CPU seconds a second, {several}", f"{found.cpu_seconds / found.wall_seconds:.2f}"),
        (f"worker's resident memory after it, {several}", f"{found.resident_bytes / 1e6:.0f} MB"),
    ]  # fmt: skip


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.live", description="Measure live transcription.")
    parser.add_argument("--passages", type=int, default=PASSAGES, help="spoken in each session")
    parser.add_argument("--sessions", type=int, nargs="+", default=list(SESSIONS), help="at once")
    options = parser.parse_args()
    heading, rows = machine(), []
    with tempfile.TemporaryDirectory(prefix="bench") as name:
        folder = Path(name)
        build_tiny(folder / "weights")
        tiny_weights.build_demucs(folder / "weights")
        server = Server(folder / "service", folder / "weights", LIVE_VARIANT="tiny",
                        LIVE_SESSIONS=max(options.sessions) + 1).start()  # fmt: skip
        try:
            for sessions in options.sessions:
                several = "one session" if sessions == 1 else f"{sessions} sessions at once"
                rows += _rows(several, measure(server, sessions, options.passages))
            with separating(server, folder):
                rows += _rows("one session beside a separation", measure(server, 1, options.passages))
            rows.append(("real-time factor: seconds to hear a second of sound that is there already",
                         f"{real_time_factor(server):.2f}"))  # fmt: skip
        finally:
            server.stop()
    print(f"{heading}\n")
    print(f"Whisper of the size of `tiny`, {options.passages} passages a session. Its random weights say the same line "
          "whenever they are asked, so two hypotheses agree at once. Where those of real weights do not agree, the end "
          "of the passage decides: after 0.7 s of silence, and one more hearing.\n")  # fmt: skip
    print("| what | measured |\n|---|---|")
    print("\n".join(f"| {' | '.join(row)} |" for row in rows))


if __name__ == "__main__":
    main()
