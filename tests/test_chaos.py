"""Chaos: clients send work and follow it while the service is hurt in every way; afterwards every job has ended truly.

CHAOS_SECONDS says how long in all, CHAOS_SEED what happens; `make chaos` takes ten minutes. What is done to the service
and in which order follows from the seed alone; what it meets there is a matter of timing, and never twice the same.
"""

import contextlib
import json
import os
import queue
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import requests
import socketio

from models import audio
from tests import render
from tests.serving import Server, wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends signals that Windows does not have")

CHAOS_SECONDS = float(os.environ.get("CHAOS_SECONDS", "60"))
CHAOS_SEED = int(os.environ.get("CHAOS_SEED", "1"))
IS_LONG = CHAOS_SECONDS > 120
SETTLE_SECONDS = 60.0  # of the whole, kept for the start, for what waits at the end, and for looking at it
LIMIT_SECONDS = 300.0  # when what waits at the end must have ended, however slow the machine
ANSWER_SECONDS = 10  # for which a client that asks for what it missed waits, also where its connection breaks meanwhile
CLIENTS = 3
SONG_SECONDS, LONG_SONG_SECONDS = 3.0, 30.0 if IS_LONG else 15.0
MUSIC_SECONDS = 1.0
DISK_MEBIBYTES = 1024 if IS_LONG else 256
SETTINGS = {
    "SILENCE_SECONDS": 4, "HEARTBEAT_SECONDS": 0.5, "CANCEL_SECONDS": 2, "DRAIN_SECONDS": 2, "MAX_QUEUED_JOBS": 5,
}  # fmt: skip
FAULTS = ("kill_worker", "truncate", "fill_disk", "drop_sockets", "kill_worker", "keep_database_busy", "kill_service",
          "truncate", "drop_sockets", "stop_service")  # fmt: skip
SINGLE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("demucs", {"output_format": "wav"}), ("demucs", {"model_variant": "mdx", "output_format": "flac"}),
    ("whisper", {"model_variant": "tiny"}), ("pitch_analysis", {}),
    ("pitch_analysis", {"model_variant": "basic_chroma"}),
    ("musicgen", {"model_variant": "small", "prompt": "rain", "duration": MUSIC_SECONDS}),
)  # fmt: skip
if not IS_LONG:  # every new worker takes seconds to load what the others need
    SINGLE = (SINGLE[0], ("demucs", {"output_format": "flac"}), SINGLE[2])
ACTIVE = "status in ('queued', 'running', 'paused')"


class Disk:
    """A small disk of our own, where the system lets us have one; else room is taken by the reserve that is kept free.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._filler = folder, folder / "filler"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MEBIBYTES}m", "tmpfs", folder]
        self.is_ours = os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0
        self.reserve = 0 if self.is_ours else max(shutil.disk_usage(folder).free - 2**30, 0)

    def fill(self) -> None:
        """Take all room there is, or what the service may have of it."""
        with contextlib.suppress(OSError), self._filler.open("wb", buffering=0) as file:
            while self.is_ours:
                file.write(bytes(2**16))
            os.posix_fallocate(file.fileno(), 0, 2**30 + 2**28)

    def free(self) -> None:
        """Give it back."""
        self._filler.unlink(missing_ok=True)

    def leave(self) -> None:
        """Give the disk itself back."""
        self.free()
        if self.is_ours:
            subprocess.run(["umount", "-l", self.folder], check=True)


class Follower:
    """A client that follows songs and, whenever its connection breaks, comes back and asks for what it missed.

    Parameters
    ----------
    url : str
    """

    def __init__(self, url: str) -> None:
        self.events: dict[str, list[dict[str, Any]]] = {}  # by song, in the order in which a page would show them
        self.out_of_order: list[dict[str, Any]] = []
        self.connections = 0
        self._lock, self._asking = threading.Lock(), threading.Lock()
        self._held: dict[str, list[dict[str, Any]]] = {}  # came before what was missed had come
        self.client = socketio.Client(reconnection=True, reconnection_delay=0.1, reconnection_delay_max=0.3)
        self.client.on("processing_progress", self._hear)
        self.client.on("connect", self._connected)
        self.client.connect(url, transports=["websocket"])

    def follow(self, file_id: str) -> None:
        """Follow one more song, from its beginning."""
        with self._lock:
            self.events[file_id], self._held[file_id] = [], []
        self._catch_up(file_id)

    def drop(self) -> None:
        """Break the connection as a network does, without a word."""
        with contextlib.suppress(AttributeError, OSError):  # there is none at this moment
            self.client.eio.ws.sock.shutdown(socket.SHUT_RDWR)

    def _connected(self) -> None:
        """Called before anything is heard on a new connection; to ask now would be to wait for ourselves."""
        self.connections += 1
        with self._lock:
            self._held = {file_id: [] for file_id in self.events}
        threading.Thread(target=self._catch_up, args=self._held, daemon=True).start()

    def _catch_up(self, *songs: str) -> None:
        """Ask for what was missed, and put it before what came meanwhile."""
        with self._asking, contextlib.suppress(socketio.exceptions.SocketIOError):  # it connects anew then, and asks
            for file_id in songs:
                with self._lock:
                    since = self.events[file_id][-1]["seq"] if self.events[file_id] else 0
                wish = {"file_id": file_id, "since_seq": since}
                state = self.client.call("subscribe", wish, timeout=ANSWER_SECONDS)
                assert "error" not in state, state
                with self._lock:
                    new = {e["seq"]: e for e in self._held.pop(file_id, ()) if e["seq"] > since}
                    self.events[file_id] += [new[seq] for seq in sorted(new)]

    def _hear(self, event: dict[str, Any]) -> None:
        with self._lock:
            file_id = event["file_id"]
            if file_id in self._held:
                self._held[file_id].append(event)
            elif file_id in self.events:
                kept = self.events[file_id]
                if kept and kept[-1]["seq"] >= event["seq"]:
                    self.out_of_order.append(event)
                kept.append(event)


@dataclass
class Seen:
    """What clients were promised, and what they asked for."""

    accepted: dict[str, tuple[str, str]] = field(default_factory=dict)  # song and model by job
    cancelled: set[str] = field(default_factory=set)  # jobs whose cancellation was accepted
    refused: Counter[str] = field(default_factory=Counter)  # by what was said
    broken: list[str] = field(default_factory=list)  # answers that should not be


class Client:
    """Uploads songs, asks for work on them, cancels some of it.

    Parameters
    ----------
    url : str
    song : Path
    seed : int
    seen : Seen
        Shared with the other clients.
    """

    def __init__(self, url: str, song: Path, seed: int, seen: Seen) -> None:
        self.follower = Follower(url)
        self._url, self._content, self._dice, self._seen = url, song.read_bytes(), random.Random(seed), seen
        self._songs: list[str] = []
        self._jobs: list[str] = []

    def work(self, stopping: threading.Event) -> None:
        """Go on until told to stop."""
        while not stopping.wait(self._dice.uniform(0.1, 0.6)):
            what = self._dice.choices((self._upload, self._process, self._cancel), (6, 10, 1))[0]
            try:
                what()
            except requests.RequestException as error:  # the service was killed, or is about to start
                self._seen.refused[type(error).__name__] += 1

    def _upload(self) -> None:
        whole = self._dice.random() < 0.5
        form = {"auto_process": "true", "transcription_model_variant": "tiny"} if whole else {}
        files = {"file": ("Dusk - River.wav", self._content)}
        if body := self._answered(requests.post(f"{self._url}/upload", data=form, files=files, timeout=60)):
            self._songs.append(body["file_id"])
            if whole:
                self._accept(body, "demucs")
            self.follower.follow(body["file_id"])

    def _process(self) -> None:
        if not self._songs:
            return
        model, parameters = self._dice.choice(SINGLE)
        url = f"{self._url}/process/{model}/{self._dice.choice(self._songs)}?async=true"
        if (body := self._answered(requests.post(url, json=parameters, timeout=60))) and not body.get("skipped"):
            self._accept(body, model)

    def separate(self, file_id: str) -> None:
        """Ask for a separation, whatever there is already."""
        url, wish = f"{self._url}/process/demucs/{file_id}?async=true", {"output_format": "wav", "force": True}
        with contextlib.suppress(requests.RequestException):
            if body := self._answered(requests.post(url, json=wish, timeout=60)):
                self._accept(body, "demucs")

    def _cancel(self) -> None:
        if self._jobs:
            answer = requests.post(f"{self._url}/jobs/{self._dice.choice(self._jobs)}/cancel", timeout=60)
            if body := self._answered(answer):
                self._seen.cancelled.add(body["job_id"])

    def _accept(self, body: dict[str, Any], model: str) -> None:
        self._jobs.append(body["job_id"])
        self._seen.accepted[body["job_id"]] = (body["file_id"], model)

    def _answered(self, answer: requests.Response) -> dict[str, Any] | None:
        """The body of a good answer; what else was said is counted."""
        body: dict[str, Any] = answer.json()
        if answer.ok:
            return body
        self._seen.refused[f"{answer.status_code} {body['code']}"] += 1
        if answer.status_code not in (409, 429, 503, 507):
            self._seen.broken.append(f"{answer.request.method} {answer.url} {answer.status_code} {answer.text}")
        return None


class Chaos:
    """What is done to a service.

    Parameters
    ----------
    server : Server
    disk : Disk
    clients : list of Client
    long_song : Path
        Whose stems are written for long enough to meet them as they are.
    """

    def __init__(self, server: Server, disk: Disk, clients: list[Client], long_song: Path) -> None:
        self.server, self._disk, self._clients = server, disk, clients
        self._long_song = server.upload(long_song)["file_id"]
        self._dice = random.Random(CHAOS_SEED)
        self._pause = threading.Event()  # never set: faults last
        self.done = Counter[str]()
        self.damaged: set[str] = set()  # jobs whose files were cut or removed as they were written
        self._wishes: queue.SimpleQueue[bool | None] = queue.SimpleQueue()  # for a file to cut, or to remove
        self._over = threading.Event()
        self._cutter = threading.Thread(target=self._cut_files, daemon=True)
        self._cutter.start()

    def run(self, seconds: float) -> None:
        """Every fault in a drawn order; again and again, in ever another one, until the time is over."""
        ends_at, gap = time.monotonic() + seconds, 3.0 if IS_LONG else 0.5
        while True:
            for name in self._dice.sample(FAULTS, len(FAULTS)):
                self._pause.wait(self._dice.uniform(0.3, 1.7) * gap)
                getattr(self, name)()
            if time.monotonic() >= ends_at:
                return

    def kill_worker(self) -> None:
        """One of the workers, whatever it does."""
        if found := workers_of(self.server):
            self._dice.choice(found).kill()
            self.done["workers killed"] += 1

    def kill_service(self) -> None:
        """The web process; its workers notice."""
        self.server.kill()
        self.server.start(ready=False)
        self.done["services killed"] += 1

    def stop_service(self) -> None:
        """As an operator does."""
        assert self.server.stop() == 0
        self.server.start(ready=False)
        self.done["services stopped"] += 1

    def fill_disk(self) -> None:
        """No room for some time."""
        self._disk.fill()
        self._pause.wait(1.5)
        self._disk.free()
        self.done["disks filled"] += 1

    def keep_database_busy(self) -> None:
        """Nobody else can write for some time, once in a while for longer than anybody waits."""
        with contextlib.closing(sqlite3.connect(self.server.outputs / "studio.db", timeout=20)) as connection:
            connection.isolation_level = None
            connection.execute("begin immediate")
            is_long = IS_LONG and self._dice.random() < 0.3
            self._pause.wait(12 if is_long else 1.5)
            connection.execute("rollback")
        self.done["databases kept busy for long" if is_long else "databases kept busy"] += 1

    def truncate(self) -> None:
        """Half of a file of a result is gone while it is made, or the whole: as soon as there is one."""
        self._clients[0].separate(self._long_song)  # so that there is one
        self._wishes.put(self._dice.random() < 0.3)

    def _cut_files(self) -> None:
        """A thread of its own, since nobody knows when a worker writes."""
        for removes in iter(self._wishes.get, None):
            while not self._cut_one(removes) and not self._over.wait(0.003):
                pass

    def _cut_one(self, removes: bool) -> bool:
        """Cut or remove a file that is being made; whether there was one."""
        for path in (self.server.outputs / ".incoming").glob("*/*"):
            with contextlib.suppress(FileNotFoundError):
                size = path.stat().st_size
                if path.suffix not in (".mp3", ".wav", ".flac") or size < 2:
                    continue
                path.unlink() if removes else os.truncate(path, size // 2)
                self.damaged.add(path.parent.name.rpartition("-")[0])
                self.done["files removed" if removes else "files cut"] += 1
                return True
        return False

    def end(self) -> None:
        """Nothing is cut any more."""
        self._over.set()
        self._wishes.put(None)
        self._cutter.join()

    def drop_sockets(self) -> None:
        """Every client's connection."""
        for client in self._clients:
            client.follower.drop()
        self.done["sockets dropped"] += len(self._clients)


def noise(path: Path, seconds: float) -> Path:
    """A song of that length."""
    samples = np.random.default_rng(CHAOS_SEED).normal(0, 0.1, (2, round(seconds * render.RATE)))
    return render.save(path, samples.astype(np.float32))


def workers_of(server: Server) -> list[psutil.Process]:
    """The worker processes of a service, and those that a killed one has left."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if "jobs.worker" in process.cmdline() and process.environ().get("OUTPUT_FOLDER") == str(server.outputs):
                found.append(process)
    return found


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """The disk that is filled."""
    made = Disk(tmp_path / "disk")
    yield made
    made.leave()


@pytest.fixture
def server(tmp_path: Path, disk: Disk, weights_dir: Path) -> Iterator[Server]:
    """An impatient service on that disk."""
    folders = {"UPLOAD_FOLDER": disk.folder / "uploads", "OUTPUT_FOLDER": disk.folder / "outputs"}
    running = Server(tmp_path / "service", weights_dir, **SETTINGS, **folders, MIN_FREE_DISK=disk.reserve)
    running.uploads, running.outputs = folders.values()
    yield running.start()
    if running.process is not None and running.process.poll() is None:
        running.kill()


def test_every_job_ends_truly_whatever_happens(server: Server, disk: Disk, tmp_path: Path) -> None:
    began_at = time.monotonic()
    song, long_song = (noise(tmp_path / f"{seconds:g}.wav", seconds) for seconds in (SONG_SECONDS, LONG_SONG_SECONDS))
    seen, stopping = Seen(), threading.Event()
    clients = [Client(server.url, song, CHAOS_SEED * CLIENTS + number, seen) for number in range(CLIENTS)]
    chaos = Chaos(server, disk, clients, long_song)
    with ThreadPoolExecutor(CLIENTS) as pool:
        working = [pool.submit(client.work, stopping) for client in clients]
        try:
            chaos.run(CHAOS_SECONDS - SETTLE_SECONDS)
        finally:
            stopping.set()
        for future in working:
            future.result()
    hurt_for = round(time.monotonic() - began_at)
    server.wait_for("/health/ready")
    wait_until(lambda: not server.rows(f"select 1 from jobs where {ACTIVE}"), LIMIT_SECONDS,
               lambda: server.rows(f"select id, model, status, attempts from jobs where {ACTIVE}"))  # fmt: skip
    chaos.end()
    jobs = {row[0]: Ended(*row) for row in server.rows(f"select {', '.join(COLUMNS)} from jobs")}
    counts = {
        "seed": CHAOS_SEED, "seconds hurt": hurt_for, "seconds": round(time.monotonic() - began_at),
        "disk": "a small one" if disk.is_ours else "no mount allowed: by the reserve that is kept free",
        "songs": server.rows("select count(*) from songs")[0][0], "accepted": len(seen.accepted), "jobs": len(jobs),
        "ended": dict(Counter(job.reason for job in jobs.values())),
        "tried again": sum(job.attempts > 1 for job in jobs.values()),
        "cancellations": len(seen.cancelled), "refused": dict(seen.refused), "damaged": len(chaos.damaged),
        "connections": sum(client.follower.connections for client in clients), **chaos.done,
    }  # fmt: skip
    print(counts)
    problems = [
        *jobs_that_did_not_end_truly(jobs, seen, chaos), *jobs_done_twice(server, jobs), *bad_results(server, jobs),
        *what_is_left(server, jobs), *gaps(server, clients), *seen.broken,
    ]  # fmt: skip
    assert not problems, f"{counts}\n" + "\n".join(problems)
    assert server.stop() == 0
    assert not workers_of(server)
    for client in clients:
        client.follower.client.shutdown()


COLUMNS = ("id", "file_id", "model", "variant", "status", "stage", "attempts", "folder", "files", "error", "following",
           "pipeline_id", "parameters")  # fmt: skip


@dataclass
class Ended:
    """A job's row."""

    id: str
    file_id: str
    model: str
    variant: str
    status: str
    stage: str
    attempts: int
    folder: str | None
    files: Any
    error: Any
    following: Any
    pipeline_id: str | None
    parameters: Any

    def __post_init__(self) -> None:
        self.files, self.error, self.following, self.parameters = (
            json.loads(text) if text else None for text in (self.files, self.error, self.following, self.parameters)
        )

    @property
    def reason(self) -> str:
        """How it ended; of a failure the code."""
        return f"failed: {self.error['code']}" if self.error else self.status


def jobs_that_did_not_end_truly(jobs: dict[str, Ended], seen: Seen, chaos: Chaos) -> Iterator[str]:
    """Jobs that were lost, that nobody cancelled, or whose failure nothing explains."""
    for job_id, (file_id, model) in seen.accepted.items():
        if job_id not in jobs or jobs[job_id].file_id != file_id:
            yield f"lost: {model} job {job_id} of song {file_id}"
    for job in jobs.values():
        following = [other for other in jobs.values() if other.pipeline_id == job.pipeline_id and job.following
                     and other.following == job.following[1:] and other.model == job.following[0]["model"]]  # fmt: skip
        if len(following) != int(job.status == "completed" and bool(job.following)):
            yield f"followed by {len(following)} jobs: {job}"
        if (job.status == "cancelled") != (job.id in seen.cancelled):
            yield f"{job.status}, and was {'' if job.id in seen.cancelled else 'not '}cancelled: {job}"
        if job.status == "failed" and not explained(job, chaos):
            yield f"failed without a true reason: {job}"


def explained(job: Ended, chaos: Chaos) -> bool:
    """Whether what was done explains a failure."""
    code, message = job.error["code"], job.error["message"]
    if code == "worker_died":
        return job.attempts == 3 and chaos.done["workers killed"] + chaos.done["services killed"] >= 3
    if code == "storage_full":
        return chaos.done["disks filled"] > 0
    return code == "job_failed" and job.id in chaos.damaged and "while it was written" in message


def jobs_done_twice(server: Server, jobs: dict[str, Ended]) -> Iterator[str]:
    """Jobs that completed more than once, or of which there is not one result."""
    told = Counter(row[0] for row in server.rows(
        "select e.job_id from events e join jobs j on j.id = e.job_id and j.stage = e.stage "
        "where e.progress = 100 and e.error is null"
    ))  # fmt: skip
    counted = Counter[str]()
    for labels, number in server.rows("select labels, number from counters where name = 'jobs'"):
        counted[json.loads(labels)["status"]] += number
    if counted != Counter(job.status for job in jobs.values()):
        yield f"counted {counted}"
    completed = {job.id for job in jobs.values() if job.status == "completed"}
    if told != Counter(completed):
        yield f"completed more or less than once: {[job_id for job_id, number in told.items() if number != 1]}"
    folders = [path.relative_to(server.outputs).as_posix() for path in server.outputs.glob("[!.]*/*/*")]
    if sorted(folders) != sorted(jobs[job_id].folder or "" for job_id in completed):
        yield f"results and jobs differ: {set(folders) ^ {jobs[job_id].folder for job_id in completed}}"


def bad_results(server: Server, jobs: dict[str, Ended]) -> Iterator[str]:
    """Files that do not come, or are not whole."""
    lengths = dict(server.rows("select file_id, duration_seconds from songs"))
    for job in jobs.values():
        if job.status != "completed":
            continue
        listed = sorted(entry["filename"] for entry in job.files)
        if listed != sorted(path.name for path in (server.outputs / str(job.folder)).iterdir()):
            yield f"other files than listed: {job}"
        for entry in job.files:
            name = entry["filename"]
            answer = server.get(f"/download/{job.model}/{job.file_id}/{name}?job={job.id}")
            if answer.status_code != 200 or len(answer.content) != entry["size_bytes"]:
                yield f"{name} does not come whole: {answer.status_code}, {len(answer.content)} bytes, {job}"
                continue
            if Path(name).suffix in (".mp3", ".wav", ".flac"):
                samples, rate = audio.read(server.outputs / str(job.folder) / name)
                wanted = lengths[job.file_id] + (MUSIC_SECONDS if job.model == "musicgen" else 0)  # it goes on with it
                if abs(samples.shape[1] / rate - wanted) > 0.05:
                    yield f"{name} lasts {samples.shape[1] / rate} s: {job}"
            elif name.endswith(".json"):
                answer.json()


def what_is_left(server: Server, jobs: dict[str, Ended]) -> Iterator[str]:
    """Temporary files, files of nobody, songs without a file."""
    for folder in (server.uploads, server.outputs):
        yield from (f"left: {path}" for path in (folder / ".incoming").rglob("*"))
    with contextlib.suppress(TimeoutError):  # the sweeper's next round removes it
        wait_until(lambda: not list((server.outputs / ".spool").glob("*")), 10)
    yield from (f"left: {path}" for path in (server.outputs / ".spool").glob("*"))
    there = {path.name for path in server.uploads.iterdir() if path.is_file()}
    known = {f"{file_id}.{extension}" for file_id, extension in server.rows("select file_id, extension from songs")}
    if there != known:
        yield f"uploads and songs differ: {there ^ known}"
    if strangers := {path.name for path in server.outputs.iterdir() if path.is_dir()} - {
        ".incoming", ".spool", *(job.file_id for job in jobs.values())
    }:  # fmt: skip
        yield f"results of nobody: {strangers}"


def gaps(server: Server, clients: list[Client]) -> Iterator[str]:
    """Songs of which a client heard something else than happened, or in another order."""
    for follower in (client.follower for client in clients):
        for event in follower.out_of_order:
            yield f"out of order: {event}"
        for file_id, events in follower.events.items():
            happened = [seq for seq, _, _ in server.stored_events(file_id)]
            if not heard(follower, file_id, happened):
                yield f"song {file_id}: heard {[event['seq'] for event in events]}, happened {happened}"


def heard(follower: Follower, file_id: str, happened: list[int]) -> bool:
    """Whether a client has heard, or soon does, exactly what happened to a song."""
    with contextlib.suppress(TimeoutError):
        wait_until(lambda: [event["seq"] for event in follower.events[file_id]] == happened, 2 * ANSWER_SECONDS)
        return True
    return False
