"""Pausing and resuming: what each of the job's keepers makes of it, without waiting for real models."""

import dataclasses
import os
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from config import Config
from errors import QueueFull
from jobs import pipeline
from jobs.events import Event
from jobs.job import CANCELLED, COMPLETED, FAILED, PAUSED, RUNNING, Job, Outcome
from jobs.queue import Queue
from jobs.reporter import Paused, Reporter
from jobs.statistics import statistics
from jobs.store import JobStore
from jobs.sweeper import Sweeper
from jobs.watch import Watch
from jobs.worker import Worker
from storage.files import Files
from tests import contract
from tests.library import Library, in_background
from tests.rows import WORKER, a_job, running, story
from tests.serving import wait_until

TOLD = ("separation", 40, "Paused", None)


@pytest.fixture
def worker(config: Config, library: Library, weights_dir: Path) -> Worker:
    """A worker of that app, in this process, which a test lets run jobs."""
    return Worker(dataclasses.replace(config, device="cpu", models_dir=weights_dir), "gpu", WORKER)


def at_forty(store: JobStore) -> Job:
    """A running job that has come to 40 percent."""
    job = running(store)
    store.progress(job, Event("separation", 40, "…"))
    return job


def two_stages(library: Library, *models: str) -> Job:
    """The first job of a pipeline of some models."""
    library.add_workers()
    file_id = library.add_song()
    steps = [pipeline.new_job(model, file_id, None, {}) for model in models]
    return library.studio.jobs.submit(pipeline.chain(steps, str(uuid.uuid4()), "r"))[0]


def test_a_queued_job_is_paused_at_once_and_resumes(store: JobStore) -> None:
    job, _ = store.create(a_job())
    for _ in range(2):
        assert store.request_pause(job.id).status == PAUSED
    assert store.claim(job.id, WORKER) is None
    assert story(store, job.file_id) == [("separation", 0, "Paused", None)]
    assert store.resume(job.id)
    assert not store.resume(job.id), "it waits already"
    assert [message for _, _, message, _ in story(store, job.file_id)] == ["Paused", "Resumed"]
    again = store.claim(job.id, WORKER)
    assert again is not None
    assert (again.status, again.attempts) == (RUNNING, 1)


def test_a_running_job_is_asked_and_its_attempt_does_not_count(store: JobStore) -> None:
    job = at_forty(store)
    wished_at = store.request_pause(job.id).pause_requested_at
    assert wished_at == pytest.approx(time.time(), abs=5)
    assert store.request_pause(job.id) == (RUNNING, WORKER, None, wished_at)
    with pytest.raises(Paused):
        Reporter(store, job, threading.Event())(0.5)
    assert store.pause(job, refund=True)
    paused = store.get(job.id)
    assert paused is not None
    assert (paused.status, paused.worker_id, paused.attempts, paused.started_at) == (PAUSED, None, 0, None)
    assert paused.paused_at >= wished_at
    assert story(store, job.file_id)[-1] == TOLD
    assert not store.pause(job, refund=True), "it is this worker's no more"


def test_a_wish_that_is_taken_back_pauses_nothing(store: JobStore) -> None:
    job = at_forty(store)
    store.request_pause(job.id)
    assert not store.resume(job.id), "it was not paused"
    assert not store.pause(job, refund=True)
    assert store.state(job.id) == (RUNNING, WORKER, None, None)


def test_cancelling_comes_first(store: JobStore) -> None:
    job = at_forty(store)
    store.request_cancel(job.id, [])
    assert store.request_pause(job.id).pause_requested_at is None
    job = at_forty(store)
    store.request_pause(job.id)
    store.request_cancel(job.id, [])
    assert not store.pause(job, refund=True)
    assert store.finish(job, Outcome(CANCELLED)) == []


def test_what_follows_a_stage_that_ended_before_it_paused_is_paused(store: JobStore) -> None:
    job = at_forty(store)
    store.request_pause(job.id)
    then = a_job(file_id=job.file_id, model="whisper", stage="transcription", pipeline_id="p")
    (following,) = store.finish(job, Outcome(COMPLETED, then=[then])) or []
    assert store.state(following).status == PAUSED
    assert story(store, job.file_id)[-1] == ("transcription", 0, "Paused", None)


def test_a_full_queue_lets_a_job_stay_paused(store: JobStore) -> None:
    job, _ = store.create(a_job())
    store.request_pause(job.id)
    store.create(a_job())
    with pytest.raises(QueueFull):
        store.resume(job.id, max_queued=1)
    assert store.state(job.id).status == PAUSED
    assert [message for _, _, message, _ in story(store, job.file_id)] == ["Paused"]


def test_neither_time_paused_nor_what_was_done_before_is_lost_in_the_figures(store: JobStore) -> None:
    for _ in range(2):
        job = running(store)
        store.request_pause(job.id)
        store.pause(job, refund=True)
        store.resume(job.id)
        again = store.claim(job.id, WORKER)
        assert again is not None
        store.finish(again, Outcome(COMPLETED, earlier_seconds=100.0))
    (stage,) = statistics(store.database).stages
    assert stage.times.average_run_seconds == pytest.approx(100, abs=5)
    assert stage.times.average_wait_seconds is None, "it would hold the time that they were paused"
    assert store.find()[0].run_seconds == pytest.approx(100, abs=5)


def test_the_time_left_follows_the_rate_since_it_goes_on(store: JobStore) -> None:
    job, now = running(store), [1000.0]
    report = Reporter(store, job, threading.Event(), clock=lambda: now[0])
    for fraction in (0.5, 0.5, 0.6):
        report(fraction)
        now[0] += 5
    assert store.events(after=0)[-1].eta_seconds == pytest.approx(40.0)


def test_a_dead_workers_job_that_was_to_pause_is_paused(store: JobStore, tmp_path: Path) -> None:
    queue = Queue("", tmp_path / "queue.db")
    job = at_forty(store)
    store.request_pause(job.id)
    sweeper = Sweeper(store, queue, 15.0, 3, Files(tmp_path / "uploads", tmp_path / "outputs"))
    sweeper.release(WORKER, "killed by signal 9")
    assert (store.state(job.id).status, queue.waiting("gpu")) == (PAUSED, 0)
    assert story(store, job.file_id)[-1] == TOLD
    sweeper.sweep()
    assert (store.state(job.id).status, queue.waiting("gpu")) == (PAUSED, 0), "nobody asked for it"
    queue.close()


def test_what_is_kept_goes_with_its_job_and_not_before(library: Library) -> None:
    files, store = library.studio.files, library.store
    jobs = {name: library.add_job() for name in ("queued", "paused", "running", "failed", "gone", "cancelled")}
    for job in jobs.values():
        files.spool(job.id).mkdir(parents=True)
        assert files.spool(job.id).exists(), "a later attempt finds it"
    store.request_pause(jobs["paused"].id)
    library.claim(jobs["running"].id)
    library.fail(jobs["failed"].id)
    store.remove_song(jobs["gone"].file_id)
    library.studio.jobs.cancel(jobs["cancelled"].id)
    assert jobs["cancelled"].id not in files.spooled_jobs()
    Sweeper(store, library.studio.jobs.queue, 15.0, 3, files).sweep()
    assert files.spooled_jobs() == {jobs[name].id for name in ("queued", "paused", "running")}
    library.studio.jobs.remove_song(jobs["paused"].file_id)
    assert jobs["paused"].id not in files.spooled_jobs()


def test_over_http(client: FlaskClient, library: Library) -> None:
    waiting, busy = library.add_job(), library.claim(library.add_job().id)
    for _ in range(2):
        assert client.post(f"/jobs/{waiting.id}/pause").json["status"] == "paused"
        record = client.post(f"/jobs/{busy.id}/pause").json
        assert (record["status"], record["pause_requested"]) == ("running", True)
    assert client.get(f"/status/{waiting.file_id}").json["status"] == "paused"
    assert client.get(f"/status/{busy.file_id}").json["status"] == "processing"
    assert client.get("/jobs?status=paused").json["total"] == 1
    assert client.post(f"/jobs/{waiting.id}/retry").status_code == 409
    for _ in range(2):
        answer = client.post(f"/jobs/{waiting.id}/resume")
        assert (answer.status_code, answer.json["status"]) == (202, "queued")
        answer = client.post(f"/jobs/{busy.id}/resume")
        assert (answer.status_code, answer.json["pause_requested"]) == (202, False)
    assert library.studio.jobs.queue.waiting("gpu") == 1
    client.post(f"/jobs/{busy.id}/cancel")
    assert "cancelled" in contract.error(client.post(f"/jobs/{busy.id}/pause"), 409, "conflict")["error"]
    library.complete(waiting.id, {})
    for action in ("pause", "resume"):
        assert "completed" in contract.error(client.post(f"/jobs/{waiting.id}/{action}"), 409, "conflict")["error"]


def test_of_a_pipeline_the_stage_that_is_active_is_paused(client: FlaskClient, library: Library) -> None:
    first = two_stages(library, "demucs", "pitch_analysis")
    library.complete(first.id, {"vocals.mp3": b"la"})
    record = client.post(f"/jobs/{first.id}/pause").json
    assert (record["model"], record["status"]) == ("pitch_analysis", "paused")
    assert client.get(f"/status/{first.file_id}").json["status"] == "paused"
    record = client.post(f"/jobs/{first.id}/resume").json
    assert (record["model"], record["status"]) == ("pitch_analysis", "queued")


def test_a_stage_that_fails_just_before_it_is_asked_to_pause_is_a_conflict(
    client: FlaskClient, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, request_pause = library.add_job(), JobStore.request_pause

    def too_late(store: JobStore, job_id: str) -> Any:
        library.fail(job_id)
        return request_pause(store, job_id)

    monkeypatch.setattr(JobStore, "request_pause", too_late)
    contract.error(client.post(f"/jobs/{job.id}/pause"), 409, "conflict")


def test_who_asks_for_what_is_paused_lets_it_go_on(client: FlaskClient, library: Library) -> None:
    library.add_workers()
    song = library.add_song()
    first = client.post(f"/process/demucs/{song}?async=true").json["job_id"]
    client.post(f"/jobs/{first}/pause")
    again = client.post(f"/process/demucs/{song}?async=true").json
    assert (again["job_id"], again["status"]) == (first, "queued")
    library.claim(first)
    client.post(f"/jobs/{first}/pause")
    assert client.post(f"/process/demucs/{song}?async=true").json["job_id"] == first
    assert library.job(first).pause_requested_at is None


def test_who_waits_for_what_is_paused_is_told(client: FlaskClient, library: Library, tone: Path) -> None:
    library.add_workers()
    song = library.add_song()
    answers: list[Callable[[], Any]] = [
        lambda: client.post(f"/process/demucs/{song}"),
        lambda: client.post("/upload", data={"file": tone.open("rb"), "auto_process": "true", "wait": "true"}),
    ]
    waiting = [in_background(answer) for answer in answers]
    for _ in answers:
        client.post(f"/jobs/{library.queued().id}/pause")
    wait_until(lambda: library.store.count(status=PAUSED) == 2, 10)
    refused, accepted = (future.result(timeout=20) for future in waiting)
    assert "/resume" in contract.error(refused, 409, "conflict")["error"]
    assert (accepted.status_code, accepted.json["status"]) == (202, "paused")
    assert "/resume" in accepted.json["message"]


@pytest.mark.parametrize("wish", ["pause", "cancel", "none"])
def test_a_model_that_does_not_pause_loses_its_process(
    config: Config, library: Library, monkeypatch: pytest.MonkeyPatch, wish: str
) -> None:
    worker = Worker(dataclasses.replace(config, cancel_seconds=0.0), "gpu", WORKER)
    worker.job = job = library.claim(library.add_job().id)
    if wish != "none":
        library.store.request_pause(job.id)
    if wish == "cancel":
        library.store.request_cancel(job.id, [])
    kept = library.studio.files.spool(job.id)
    kept.mkdir(parents=True)
    statuses: list[int] = []
    monkeypatch.setattr(os, "_exit", statuses.append)
    wait_until(lambda: time.time() > job.started_at + 0.01, 5)
    Watch(worker).leave_stuck_job()
    assert (library.job(job.id).status, len(statuses)) == {
        "pause": (PAUSED, 1), "cancel": (CANCELLED, 1), "none": (RUNNING, 0),
    }[wish]  # fmt: skip
    assert kept.exists() is (wish != "cancel")


def test_a_paused_separation_frees_its_worker_and_goes_on_in_another(
    client: FlaskClient, library: Library, worker: Worker, config: Config, tone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paused after each segment, by another worker each time, it gives the bytes of a song that never was."""
    monkeypatch.setattr("jobs.reporter.MIN_GAP_SECONDS", 0.0)
    asked = {"shifts": 3, "seed": 4, "output_format": "wav"}
    songs = [library.add_song(content=tone.read_bytes()) for _ in range(2)]
    whole, paused = (
        library.store.create(pipeline.new_job("demucs", song, None, asked))[0] for song in songs
    )  # fmt: skip
    worker._run_claimed(library.claim(whole.id))
    pauses = 0
    progress = Reporter.__call__

    def pausing(report: Reporter, fraction: float, message: str | None = None) -> None:
        if 0.2 < fraction < 0.9 and fraction > reached[-1]:
            reached.append(fraction)
            library.store.request_pause(paused.id)
        progress(report, fraction, message)

    monkeypatch.setattr(Reporter, "__call__", pausing)
    reached = [0.0]
    while True:
        worker._run_claimed(library.claim(paused.id))
        if library.job(paused.id).status != PAUSED:
            break
        pauses += 1
        assert library.studio.files.spooled_jobs() == {paused.id}
        assert not list((config.output_folder / ".incoming").iterdir())
        client.post(f"/jobs/{paused.id}/resume")
    done = [library.job(job.id) for job in (whole, paused)]
    assert pauses >= 2
    assert [(job.status, job.attempts) for job in done] == [(COMPLETED, 1)] * 2
    assert done[1].earlier_seconds > 0
    stems = [{entry["filename"]: library.studio.files.result(job.folder, entry["filename"]).read_bytes()
              for entry in job.files} for job in done]  # fmt: skip
    assert stems[0] == stems[1]
    assert library.studio.files.spooled_jobs() == set()
    percents = [row.progress for row in library.store.events(after=0, file_id=songs[1])]
    assert percents == sorted(percents)


def test_a_job_that_ends_another_way_keeps_nothing(
    library: Library, worker: Worker, tone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled when it was half done; and broken."""
    monkeypatch.setattr("jobs.reporter.MIN_GAP_SECONDS", 0.0)
    progress = Reporter.__call__

    def ending(report: Reporter, fraction: float, message: str | None = None) -> None:
        if fraction > 0.3 and end == "cancelled":
            library.store.request_cancel(job.id, [])
        elif fraction > 0.3:
            raise ZeroDivisionError
        progress(report, fraction, message)

    monkeypatch.setattr(Reporter, "__call__", ending)
    monkeypatch.setattr("models.spool.SAVE_SECONDS", 0.0)
    for end in (CANCELLED, FAILED):
        song = library.add_song(content=tone.read_bytes())
        job = library.store.create(pipeline.new_job("demucs", song, None, {"shifts": 2}))[0]
        worker._run_claimed(library.claim(job.id))
        assert library.job(job.id).status == end
        assert library.studio.files.spooled_jobs() == set()
