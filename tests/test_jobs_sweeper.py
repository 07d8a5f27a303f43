"""The sweeper: jobs of dead workers run again or fail with the reason, lost messages come back."""

import sqlite3
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.events import Event, first
from jobs.job import CANCELLED, COMPLETED, FAILED, QUEUED, RUNNING, Job, Outcome
from jobs.queue import Queue
from jobs.store import JobStore
from jobs.sweeper import Sweeper
from storage.files import INCOMING, Files, result_folder
from tests.rows import WORKER, a_job, running, story

KILLED = "killed by signal 9, perhaps out of memory"
SILENCE_SECONDS = 15.0


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    """An empty queue."""
    queue = Queue("", tmp_path / "queue.db")
    yield queue
    queue.close()


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Folders with nothing in them."""
    return Files(tmp_path / "uploads", tmp_path / "outputs")


@pytest.fixture
def sweeper(store: JobStore, queue: Queue, files: Files) -> Sweeper:
    """With the usual settings."""
    return Sweeper(store, queue, SILENCE_SECONDS, 3, files)


def age(store: JobStore, table: str, column: str, seconds: float) -> None:
    """Move a time of every row into the past."""
    assert store.database.sqlite_file is not None
    with sqlite3.connect(store.database.sqlite_file) as connection:
        connection.execute(f"update {table} set {column} = {column} - ?", (seconds,))


def status(store: JobStore, job: Job) -> str | None:
    """The job's present status."""
    return store.state(job.id)[0]


def test_a_dead_workers_job_is_queued_again_and_clients_are_told(
    store: JobStore, queue: Queue, sweeper: Sweeper
) -> None:
    store.beat(WORKER, "gpu", {})
    job = running(store)
    store.progress(job, Event("separation", 40, "…"))
    sweeper.release(WORKER, KILLED)
    assert store.workers() == []
    assert status(store, job) == QUEUED
    assert queue.get("gpu") == job.id
    told = ("separation", 40, "Worker killed by signal 9, perhaps out of memory; trying again", None)
    assert story(store, job.file_id)[-1] == told
    again = store.claim(job.id, "worker-2")
    assert again is not None
    assert again.attempts == 2


def test_a_job_that_had_told_nothing_begins_at_the_first_percent(store: JobStore, sweeper: Sweeper) -> None:
    job = running(store)
    sweeper.release(WORKER, KILLED)
    assert story(store, job.file_id)[-1][1] == 10


def test_the_third_death_is_the_jobs_failure_with_the_reason(store: JobStore, queue: Queue, sweeper: Sweeper) -> None:
    job: Job | None = running(store)
    for attempt in (1, 2, 3):
        assert job is not None
        assert job.attempts == attempt
        sweeper.release(WORKER, KILLED)
        job = store.claim(job.id, WORKER) or store.get(job.id)
    assert job is not None
    assert job.status == FAILED
    assert job.error == {"code": "worker_died", "message": f"Worker {KILLED} (3 attempts)", "details": None}
    assert story(store, job.file_id)[-1] == ("separation", 100, "Separation failed", f"Worker {KILLED} (3 attempts)")
    assert queue.waiting("gpu") == 2  # one for each time it was tried again


@pytest.mark.parametrize("attempts", [1, 3])
def test_what_a_dead_worker_left_is_removed(store: JobStore, sweeper: Sweeper, files: Files, attempts: int) -> None:
    job = running(store)
    for _ in range(attempts - 1):
        sweeper.release(WORKER, KILLED)
        job = store.claim(job.id, WORKER) or job
    (files.staging(job.id, attempts) / "drums.mp3").write_bytes(b"half")
    files.publish(files.staging(job.id, 9), result_folder(job.file_id, job.model, job.variant, job.id, attempts))
    sweeper.release(WORKER, KILLED)
    assert not (files.outputs / INCOMING / f"{job.id}-{attempts}").exists()
    assert not (files.outputs / job.file_id).exists(), "it died before a row told of this"


def test_the_result_of_a_job_that_its_worker_completed_just_before_it_died_stays(
    store: JobStore, sweeper: Sweeper, files: Files
) -> None:
    job = running(store)
    folder = result_folder(job.file_id, job.model, job.variant, job.id, 1)
    files.publish(files.staging(job.id, 1), folder)

    store.finish(job, Outcome(COMPLETED, folder=folder))
    sweeper._release_job(job, f"Worker {KILLED}")  # as it was when the sweeper looked
    assert status(store, job) == COMPLETED
    assert (files.outputs / folder).exists()


def test_a_pipeline_whose_worker_died_for_good_is_closed(store: JobStore, queue: Queue, files: Files) -> None:
    following = ({"model": "whisper", "variant": "tiny", "queue": "gpu", "stage": "transcription", "parameters": {}},)
    job = running(store, a_job(pipeline_id=str(uuid.uuid4()), following=following))
    Sweeper(store, queue, SILENCE_SECONDS, 1, files).release(WORKER, KILLED)
    assert [(stage, message) for stage, _, message, _ in story(store, job.file_id)] == [
        ("separation", "Separation failed"), ("transcription", "Transcription failed"),
        ("complete", "Processing failed"),
    ]  # fmt: skip


def test_a_job_cancelled_while_its_worker_died_is_cancelled(store: JobStore, queue: Queue, sweeper: Sweeper) -> None:
    job = running(store)
    store.request_cancel(job.id, [])
    sweeper.release(WORKER, KILLED)
    assert status(store, job) == CANCELLED
    assert story(store, job.file_id)[-1] == ("separation", 100, "Separation cancelled", "Cancelled on request.")
    assert queue.waiting("gpu") == 0


def test_other_workers_jobs_are_left_alone(store: JobStore, sweeper: Sweeper) -> None:
    theirs = running(store, worker_id="worker-2")
    done = running(store)
    store.finish(done, Outcome(COMPLETED))
    sweeper.release(WORKER, KILLED)
    assert store.get(theirs.id) == theirs
    assert status(store, done) == COMPLETED


def test_a_silent_worker_is_given_up(store: JobStore, sweeper: Sweeper) -> None:
    store.beat(WORKER, "gpu", {})
    job = running(store)
    age(store, "workers", "heartbeat_at", SILENCE_SECONDS - 1)
    sweeper.sweep()
    assert status(store, job) == RUNNING
    age(store, "workers", "heartbeat_at", 2)
    sweeper.sweep()
    assert status(store, job) == QUEUED
    assert story(store, job.file_id)[-1][2] == "Worker silent for 15 s; trying again"
    assert store.workers() == []


def test_a_job_of_a_worker_nobody_knows_is_taken_from_it(store: JobStore, queue: Queue, sweeper: Sweeper) -> None:
    store.beat("worker-2", "gpu", {})
    lost, alive = running(store, worker_id="gone"), running(store, worker_id="worker-2")
    sweeper.sweep()
    assert status(store, lost) == RUNNING  # its worker may not have come to its first beat
    age(store, "jobs", "started_at", SILENCE_SECONDS + 1)
    sweeper.sweep()
    assert (status(store, lost), status(store, alive)) == (QUEUED, RUNNING)
    assert queue.get("gpu") == lost.id


def test_lost_messages_come_back_oldest_first(store: JobStore, queue: Queue, sweeper: Sweeper) -> None:
    ids = [store.create(a_job())[0].id for _ in range(3)]
    light = store.create(a_job(queue="cpu"))[0].id
    sweeper.sweep()
    assert [queue.get("gpu") for _ in range(4)] == [*ids, None]
    assert [queue.get("cpu") for _ in range(2)] == [light, None]


def test_a_lost_message_comes_back_while_others_wait(store: JobStore, queue: Queue, sweeper: Sweeper) -> None:
    lost = store.create(a_job())[0].id
    for _ in range(3):
        queue.put("gpu", store.create(a_job())[0].id)
        sweeper.sweep()
        assert queue.waiting("gpu") > 0, "the queue is never empty"
    served = {queue.get("gpu") for _ in range(queue.waiting("gpu"))}
    assert lost in served


def test_messages_that_wait_are_not_doubled(store: JobStore, queue: Queue, sweeper: Sweeper) -> None:
    for _ in range(3):
        queue.put("gpu", store.create(a_job())[0].id)
    for _ in range(3):
        sweeper.sweep()
    assert queue.waiting("gpu") == 3


def test_two_sweepers_tell_of_a_death_once(store: JobStore, queue: Queue, files: Files) -> None:
    job = running(store)
    store.progress(job, first("separation"))
    for sweeper in [Sweeper(store, queue, SILENCE_SECONDS, 3, files) for _ in range(2)]:
        sweeper.release(WORKER, KILLED)
    assert len(story(store, job.file_id)) == 2
    assert time.time() - store.events(after=0)[-1].created_at < 5
