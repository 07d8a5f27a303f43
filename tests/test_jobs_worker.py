"""Workers that cannot work, or break: jobs end with the reason, and whoever asks learns it."""

import contextlib
import dataclasses
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from config import Config
from errors import ModelUnavailable
from jobs import worker as worker_module
from jobs.compiled import keep_compiled_apart
from jobs.store import JobStore
from jobs.watch import Watch
from jobs.worker import Worker
from storage import database
from storage.files import Files
from tests import render
from tests.library import Library, in_background
from tests.rows import WORKER, a_job, story
from tests.serving import ROOT, Server, wait_until

TOO_LONG = "It ran longer than a job may here, 1e-06 s, and was ended."
NO_DEVICE = "DEVICE='cuda:99': there is no such device on this machine."


def test_without_its_device_a_worker_lives_and_fails_every_job_with_the_reason(
    tmp_path: Path, weights_dir: Path, tone: Path
) -> None:
    server = Server(tmp_path, weights_dir, DEVICE="cuda:99", HEARTBEAT_SECONDS=0.2).start(ready=False)
    file_id = server.upload(tone)["file_id"]
    for _ in range(2):
        answer = server.post(f"/process/demucs/{file_id}")
        assert (answer.status_code, answer.json()["code"], answer.json()["error"]) == (
            503, "model_unavailable", NO_DEVICE,
        )  # fmt: skip
    wait_until(lambda: server.get("/health/ready").status_code == 503, 30)
    assert NO_DEVICE in server.get("/health/ready").json()["error"]
    assert server.get("/health").json()["device"] is None
    assert server.get("/gpu-status").json()["torch_installed"]
    assert server.post(f"/process/pitch_analysis/{file_id}").status_code == 200, "light work goes on"
    assert server.stop() == 0
    assert "ended with exit status" not in server.log.read_text()


def test_a_required_gpu_that_is_not_there(config: Config) -> None:
    worker = Worker(dataclasses.replace(config, device="cpu", require_gpu=True), "gpu", "w")
    worker._prepare()
    assert isinstance(worker.trouble, ModelUnavailable)
    assert "REQUIRE_GPU" in worker.info["trouble"]


def test_a_torch_that_does_not_start_is_told_without_its_paths(
    config: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> str:
        raise OSError("/srv/lib/libtorch_cpu.so: cannot open shared object file")

    monkeypatch.setattr(worker_module, "choose_device", broken)
    worker = Worker(config, "gpu", "w")
    worker._prepare()
    assert worker.info["trouble"] == "torch does not start on this machine; the worker's log says why."
    assert "libtorch_cpu.so" in caplog.text


@pytest.mark.parametrize(
    ("queue", "device", "can"), [("gpu", "cuda:0", True), ("gpu", None, False), ("cpu", "cpu", False)]
)
def test_without_its_device_a_worker_leaves_jobs_to_others(
    config: Config, queue: str, device: str | None, can: bool
) -> None:
    worker = Worker(dataclasses.replace(config, device="cuda:99"), "gpu", "w")
    worker._prepare()
    worker.store.beat("w", "gpu", worker.info)
    worker.store.beat("another", queue, {"device": device})
    assert worker._others_can() is can


def test_a_worker_that_breaks_says_so_in_its_log(tmp_path: Path) -> None:
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    (uploads / ".incoming").write_text("no folder")
    environment = os.environ | {"UPLOAD_FOLDER": str(uploads), "OUTPUT_FOLDER": str(tmp_path), "LOG_FORMAT": "json"}
    ran = subprocess.run([sys.executable, "-m", "jobs.worker", "--queue", "cpu", "--id", "w"], cwd=ROOT,
                         env=environment, capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
    assert ran.returncode == 1
    (line,) = map(json.loads, ran.stderr.splitlines())
    assert (line["level"], line["message"]) == ("ERROR", "worker w ends")
    assert "FileExistsError" in line["traceback"]


def test_a_job_that_runs_too_long_fails_with_the_reason_and_its_worker_goes_on(
    config: Config, library: Library, tmp_path: Path
) -> None:
    hurried = dataclasses.replace(config, job_timeout_seconds=1e-6, models_dir=tmp_path)
    worker = Worker(hurried, "gpu", WORKER)
    for _ in range(2):
        new = a_job(file_id=library.add_song(), pipeline_id=str(uuid.uuid4()))
        job = library.claim(library.store.create(new)[0].id)
        worker._run_claimed(job)
        ended = library.job(job.id)
        assert (ended.status, ended.error) == ("failed", {"code": "job_timeout", "message": TOO_LONG, "details": None})
        assert [message for _, _, message, _ in story(library.store, job.file_id)[-2:]] == [
            "Separation failed", "Processing failed",
        ]  # fmt: skip
    assert not list((config.output_folder / ".incoming").iterdir())


def test_a_job_ends_although_the_database_is_busy_for_long(
    config: Config, library: Library, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.01)
    monkeypatch.setattr(worker_module, "RETRY_SECONDS", 0.01)
    worker, job = Worker(config, "gpu", WORKER), library.claim(library.add_job().id)
    with contextlib.closing(sqlite3.connect(library.store.database.sqlite_file, isolation_level=None)) as other:
        other.execute("begin immediate")
        running = in_background(lambda: worker._run_claimed(job))
        wait_until(lambda: caplog.text.count("trying again") > 1, 20)
        assert library.job(job.id).status == "running"
        other.execute("rollback")
    running.result(20)
    assert (library.job(job.id).error or {})["code"] == "not_found", "there was no song, which is the true reason"


@pytest.mark.parametrize(
    ("harm", "reason"), [(Path.unlink, "removed"), (lambda path: os.truncate(path, 3000), "cut short")]
)
def test_files_that_are_hurt_as_late_as_they_are_moved_fail_their_job(
    config: Config, library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: Callable[[Path], None],
    reason: str,
) -> None:  # fmt: skip
    file_id = library.add_song()
    track = render.save(tmp_path / "track.mp3", np.zeros((2, 2 * render.RATE), np.float32))
    library.add_stems(file_id, instrumental=track.read_bytes())
    new = {"file_id": file_id, "model": "karaoke", "variant": "instrumental_only", "parameters": {"lyrics": None}}
    job = library.claim(library.add_job(**new).id)
    publish = Files.publish

    def hurt_and_publish(files: Files, staging: Path, folder: str) -> None:
        harm(staging / "karaoke.mp3")
        publish(files, staging, folder)

    monkeypatch.setattr(Files, "publish", hurt_and_publish)
    Worker(config, "cpu", WORKER)._run_claimed(job)
    ended = library.job(job.id)
    assert ended.error is not None
    assert ended.error["message"] == f"karaoke.mp3 was {reason} while it was written, not by this service; try again."
    assert not list(config.output_folder.glob("[!.]*/karaoke")), "nothing half-made is shown"


def test_a_worker_outlives_a_database_that_is_busy(
    config: Config, library: Library, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    worker, job = Worker(config, "cpu", WORKER), library.add_job(queue="cpu")
    worker.queue.put("cpu", job.id)
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.01)
    monkeypatch.setattr(worker_module, "RETRY_SECONDS", 0.01)
    worker.store = JobStore(database.Database(config.database))
    with contextlib.closing(sqlite3.connect(library.store.database.sqlite_file, isolation_level=None)) as other:
        other.execute("begin immediate")
        working = in_background(worker.run)
        wait_until(lambda: "a round failed" in caplog.text, 20)
        other.execute("rollback")
    wait_until(lambda: library.job(job.id).status == "failed", 20)  # the message that was taken was put back
    worker.drain()
    working.result(20)
    wait_until(lambda: f"watch-{WORKER}" not in {thread.name for thread in threading.enumerate()}, 20)
    assert WORKER not in {row.id for row in library.store.workers()}, "who has gone does not come back"


@pytest.mark.parametrize(("seconds_ago", "ends"), [(60.9, False), (61.5, True)])
def test_a_job_that_hangs_beyond_its_time_ends_with_its_process(
    config: Config, library: Library, monkeypatch: pytest.MonkeyPatch, seconds_ago: float, ends: bool
) -> None:
    worker = Worker(dataclasses.replace(config, job_timeout_seconds=60.0, cancel_seconds=1.0), "gpu", WORKER)
    job = library.claim(library.add_job().id)
    worker.job = dataclasses.replace(job, started_at=time.time() - seconds_ago)
    statuses: list[int] = []
    monkeypatch.setattr(os, "_exit", statuses.append)
    Watch(worker).leave_stuck_job()
    assert bool(statuses) is ends
    assert library.job(job.id).status == ("failed" if ends else "running")
    Watch(worker).leave_stuck_job()  # it ended meanwhile
    assert len(statuses) == ends


@pytest.mark.parametrize(("seconds_ago", "to_pause", "left_as"), [
    (2.0, False, "running"), (4.0, False, "queued"), (4.0, True, "paused"),
])  # fmt: skip
def test_a_drained_worker_whose_job_hangs_ends_by_itself(
    config: Config, library: Library, monkeypatch: pytest.MonkeyPatch, seconds_ago: float, to_pause: bool, left_as: str
) -> None:
    worker = Worker(dataclasses.replace(config, drain_seconds=2.0, cancel_seconds=1.0), "gpu", WORKER)
    job = worker.job = library.claim(library.add_job().id)
    if to_pause:
        library.store.request_pause(job.id)
    staging = worker.files.staging(job.id, job.attempts)
    statuses: list[int] = []
    monkeypatch.setattr(os, "_exit", statuses.append)
    Watch(worker).leave_late_job()
    assert not statuses, "nobody has asked it to end"
    worker.drain_asked_at = time.monotonic() - seconds_ago
    Watch(worker).leave_late_job()
    ends = left_as != "running"
    assert (bool(statuses), staging.exists()) == (ends, not ends)
    assert library.job(job.id).status == left_as
    assert worker.queue.get("gpu") == (job.id if left_as == "queued" else None)


@pytest.mark.parametrize(("given", "kept"), [("", "outputs/.numba"), ("mine", "mine")])
def test_no_two_workers_compile_into_one_folder(
    given: str, kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folders = []
    for place in ("gpu0", "gpu1", "cpu0"):
        monkeypatch.setenv("NUMBA_CACHE_DIR", given)
        keep_compiled_apart(Path("outputs"), place)
        folders.append(os.environ["NUMBA_CACHE_DIR"])
    assert folders == [str(tmp_path / kept / place) for place in ("gpu0", "gpu1", "cpu0")]
