"""Rows: claimed once, joined when equal, ended only by their owner; events in order, numbers used once."""

import multiprocessing
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from jobs.events import Event, first, last
from jobs.job import ACTIVE, CANCELLED, COMPLETED, FAILED, QUEUED, RUNNING, Job, Outcome
from jobs.store import JobStore, State
from storage.database import Database
from tests.rows import WORKER, a_job, running, story

AT_ONCE = 16


def at_once(call: Callable[[int], Any]) -> list[Any]:
    """What so many threads get that call in the same moment."""
    start = threading.Barrier(AT_ONCE)

    def begin(number: int) -> Any:
        start.wait()
        return call(number)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(begin, range(AT_ONCE)))


def claim_all(url: str, job_ids: list[str], worker_id: str) -> list[str]:
    """What one process gets of many jobs; runs in a process of its own."""
    store = JobStore(Database(url))
    return [job_id for job_id in job_ids if store.claim(job_id, worker_id)]


def now_of(store: JobStore, job: Job) -> Job:
    """The job as it is stored now."""
    found = store.get(job.id)
    assert found is not None
    return found


def test_a_new_job_is_queued_with_what_was_asked(store: JobStore) -> None:
    new = a_job(parameters={"shifts": 2}, request_id="abc", following=({"model": "whisper"},), pipeline_id="p")
    job, created = store.create(new, [last("upload")])
    assert created
    assert job == store.get(job.id)
    assert (job.status, job.progress, job.attempts, job.worker_id) == (QUEUED, 0, 0, None)
    assert (job.parameters, job.request_id, job.following) == ({"shifts": 2}, "abc", [{"model": "whisper"}])
    assert story(store, job.file_id) == [("upload", 100, "Upload complete, starting separation...", None)]


def test_one_of_many_threads_claims_a_job(store: JobStore) -> None:
    job, _ = store.create(a_job())
    claimed = [c for c in at_once(lambda n: store.claim(job.id, f"worker-{n}")) if c]
    assert len(claimed) == 1
    assert now_of(store, job) == claimed[0]
    assert (claimed[0].status, claimed[0].attempts) == (RUNNING, 1)


def test_one_of_many_processes_claims_each_job(store: JobStore) -> None:
    ids = [store.create(a_job())[0].id for _ in range(40)]
    url = store.database.engine.url.render_as_string()
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        claimed = pool.starmap(claim_all, [(url, ids, f"worker-{n}") for n in range(3)], chunksize=1)
    assert sorted(job_id for one in claimed for job_id in one) == sorted(ids)
    owners = {job.id: job.worker_id for job in store.find()}
    assert all(owners[job_id] == f"worker-{n}" for n, one in enumerate(claimed) for job_id in one)


@pytest.mark.parametrize("status", [RUNNING, COMPLETED, FAILED, CANCELLED])
def test_only_a_queued_job_is_claimed(store: JobStore, status: str) -> None:
    job = running(store)
    if status != RUNNING:
        store.finish(job, Outcome(status))
    before = now_of(store, job)
    assert store.claim(job.id, "worker-2") is None
    assert now_of(store, job) == before
    assert store.claim(str(uuid.uuid4()), "worker-2") is None


def test_equal_requests_at_once_join_one_job(store: JobStore) -> None:
    new = a_job(parameters={"shifts": 1, "overlap": 0.25})
    answers = at_once(lambda _: store.create(new, [last("upload")]))
    assert [created for _, created in answers].count(True) == 1
    assert len({job.id for job, _ in answers}) == 1
    assert len(story(store, new.file_id)) == 1


def test_a_request_joins_a_stage_of_a_pipeline_but_a_pipeline_joins_only_its_like(store: JobStore) -> None:
    then = {"model": "karaoke", "variant": "full", "queue": "cpu", "stage": "karaoke", "parameters": {"lyrics": "la"}}
    plain, _ = store.create(a_job())
    chained = a_job(file_id=plain.file_id, following=(then,), pipeline_id="one")
    first, created = store.create(chained)
    assert created, "else what follows would never run"
    again, created = store.create(a_job(file_id=plain.file_id, following=(then,), pipeline_id="two"))
    assert (again.id, created) == (first.id, False)
    store.request_cancel(plain.id, [])
    assert store.create(a_job(file_id=plain.file_id))[0].id == first.id


@pytest.mark.parametrize("status", ACTIVE)
def test_a_request_joins_what_is_active(store: JobStore, status: str) -> None:
    new = a_job(parameters={"a": 1, "b": 2})
    job, _ = store.create(new)
    with sqlite3.connect(store.database.sqlite_file) as connection:  # paused has no way in yet
        connection.execute("update jobs set status = ?", (status,))
    assert store.create(a_job(file_id=new.file_id, parameters={"b": 2, "a": 1}))[0].id == job.id


def test_a_job_whose_song_is_removed_at_once_is_answered_all_the_same(store: JobStore) -> None:
    new = a_job()
    watched = JobStore(store.database, publish=lambda rows: store.remove_song(new.file_id))
    job, created = watched.create(new, [first(new.stage)])
    assert (job.file_id, job.status, created) == (new.file_id, QUEUED, True)
    assert store.get(job.id) is None


@pytest.mark.parametrize("status", [COMPLETED, FAILED, CANCELLED])
def test_what_has_ended_is_not_joined(store: JobStore, status: str) -> None:
    job = running(store)
    store.finish(job, Outcome(status))
    again, created = store.create(a_job(file_id=job.file_id))
    assert created
    assert again.id != job.id


@pytest.mark.parametrize(
    "other",
    [{"parameters": {"shifts": 2}}, {"variant": "mdx"}, {"model": "whisper"}, {"source": "vocals"},
     {"file_id": str(uuid.uuid4())}],
)  # fmt: skip
def test_different_requests_do_not_join(store: JobStore, other: dict[str, Any]) -> None:
    new = a_job()
    store.create(new)
    assert store.create(a_job(**({"file_id": new.file_id} | other)))[1]


def test_a_finished_job_keeps_its_result_and_starts_what_follows(store: JobStore) -> None:
    job = running(store)
    then = a_job(file_id=job.file_id, model="whisper", variant="tiny", stage="transcription")
    done = Outcome(COMPLETED, [last("separation")], [then], "folder", {"tracks": ["vocals"]},
                   [{"filename": "vocals.mp3", "size_bytes": 1}])  # fmt: skip
    following = store.finish(job, done)
    assert following == [store.find(model="whisper")[0].id]
    ended = now_of(store, job)
    assert (ended.status, ended.progress, ended.worker_id, ended.folder) == (COMPLETED, 100, None, "folder")
    assert (ended.result, ended.files) == (done.result, done.files)
    assert job.created_at <= ended.started_at <= ended.finished_at <= time.time()
    assert story(store, job.file_id) == [("separation", 100, "Audio separation complete", None)]


def test_an_end_that_cannot_start_what_follows_is_no_end(store: JobStore) -> None:
    job = running(store)
    impossible = a_job(request_id=None)
    with pytest.raises(IntegrityError):
        store.finish(job, Outcome(COMPLETED, [last("separation")], [impossible]))
    assert now_of(store, job) == job
    assert story(store, job.file_id) == []


def test_what_follows_is_started_although_an_equal_job_is_active(store: JobStore) -> None:
    separation = running(store, a_job(pipeline_id="pipeline"))
    karaoke = a_job(file_id=separation.file_id, model="karaoke", stage="karaoke", queue="cpu")
    store.create(karaoke)
    then = a_job(file_id=separation.file_id, model="karaoke", stage="karaoke", queue="cpu", pipeline_id="pipeline")
    assert store.finish(separation, Outcome(COMPLETED, then=[then]))
    assert store.count(model="karaoke", status=QUEUED) == 2


@pytest.mark.parametrize("status", [COMPLETED, FAILED, CANCELLED])
def test_only_the_owner_ends_a_job(store: JobStore, status: str) -> None:
    mine = running(store)
    store.put_back(mine, refund=False)
    theirs = store.claim(mine.id, "worker-2")
    assert theirs is not None
    assert store.finish(mine, Outcome(status, [last("separation")], [a_job()])) is None
    assert not store.put_back(mine, refund=False, event=Event("separation", 10, "trying again"))
    assert now_of(store, mine) == theirs
    assert story(store, mine.file_id) == []
    assert store.count() == 1
    assert store.finish(theirs, Outcome(status)) == []
    assert store.finish(theirs, Outcome(status)) is None


@pytest.mark.parametrize(("refund", "attempts"), [(False, 1), (True, 0)])
def test_a_job_put_back_is_queued_again(store: JobStore, refund: bool, attempts: int) -> None:
    job = running(store)
    assert store.put_back(job, refund=refund)
    back = now_of(store, job)
    assert (back.status, back.attempts, back.worker_id, back.started_at) == (QUEUED, attempts, None, None)
    again = store.claim(job.id, WORKER)
    assert again is not None
    assert again.attempts == attempts + 1


def test_a_queued_job_is_cancelled_at_once(store: JobStore) -> None:
    job, _ = store.create(a_job())
    closing = [Event("separation", 100, "Separation cancelled", "Cancelled on request.")]
    assert store.request_cancel(job.id, closing) == CANCELLED
    assert story(store, job.file_id) == [("separation", 100, "Separation cancelled", "Cancelled on request.")]
    assert store.claim(job.id, WORKER) is None
    assert store.request_cancel(job.id, closing) == CANCELLED
    assert len(story(store, job.file_id)) == 1


def test_a_running_job_is_asked_to_stop(store: JobStore) -> None:
    job = running(store)
    assert store.request_cancel(job.id, [last("separation")]) == RUNNING
    wished_at = now_of(store, job).cancel_requested_at
    assert wished_at == pytest.approx(time.time(), abs=5)
    assert store.request_cancel(job.id, [last("separation")]) == RUNNING
    assert store.state(job.id) == (RUNNING, WORKER, wished_at, None)
    assert story(store, job.file_id) == []


@pytest.mark.parametrize(
    "otherwise", [Outcome(COMPLETED, [last("separation")], [a_job()]), Outcome(FAILED, [last("separation")], error={})]
)
def test_a_job_that_was_asked_to_stop_does_not_end_otherwise(store: JobStore, otherwise: Outcome) -> None:
    job = running(store)
    store.request_cancel(job.id, [])
    assert store.finish(job, otherwise) is None
    assert (store.count(), story(store, job.file_id)) == (1, [])
    assert store.finish(job, Outcome(CANCELLED)) == []
    assert now_of(store, job).status == CANCELLED


def test_no_job_no_cancel(store: JobStore) -> None:
    assert store.request_cancel(str(uuid.uuid4()), [last("separation")]) is None
    assert store.last_seq() == 0


@pytest.mark.parametrize("status", [FAILED, CANCELLED])
def test_a_job_that_ended_badly_can_be_tried_again(store: JobStore, status: str) -> None:
    job = running(store)
    store.progress(job, Event("separation", 40, "…"))
    if status == CANCELLED:
        store.request_cancel(job.id, [])
    store.finish(job, Outcome(status, error={"code": "job_failed", "message": "broke", "details": None}))
    assert store.retry(job.id)
    again = now_of(store, job)
    assert (again.status, again.attempts, again.progress, again.error) == (QUEUED, 0, 0, None)
    assert (again.started_at, again.finished_at, again.cancel_requested_at) == (None, None, None)


def test_nothing_else_can_be_tried_again(store: JobStore) -> None:
    queued, _ = store.create(a_job())
    assert not store.retry(queued.id)
    job = running(store)
    assert not store.retry(job.id)
    store.finish(job, Outcome(COMPLETED))
    assert not store.retry(job.id)
    failed = running(store)
    store.finish(failed, Outcome(FAILED))
    store.create(a_job(file_id=failed.file_id))
    assert not store.retry(failed.id)


def test_events_come_in_order_and_only_what_was_asked(store: JobStore) -> None:
    mine, theirs = running(store), running(store, worker_id="worker-2")
    for percent in (10, 20, 30):
        for job in (mine, theirs):
            store.progress(job, Event("separation", percent, "…", eta_seconds=percent / 2))
    every = store.events(after=0)
    assert [e.seq for e in every] == sorted({e.seq for e in every})
    assert [(e.job_id, e.progress) for e in every] == [(j.id, p) for p in (10, 20, 30) for j in (mine, theirs)]
    assert [e.eta_seconds for e in store.events(after=0, file_id=mine.file_id)] == [5, 10, 15]
    assert [e.seq for e in store.events(after=every[1].seq, until=every[4].seq)] == [e.seq for e in every[2:5]]
    assert store.last_seq() == every[-1].seq
    assert now_of(store, mine).progress == 30


def test_only_the_stage_of_the_job_moves_its_progress(store: JobStore) -> None:
    job = running(store)
    store.progress(job, first("separation"))
    store.progress(job, Event("loading", 80, "Loading model..."))
    assert now_of(store, job).progress == 10


def test_events_of_many_writers_lose_nothing(store: JobStore) -> None:
    jobs = [running(store, worker_id=f"worker-{n}") for n in range(AT_ONCE)]

    def tell(number: int) -> None:
        for percent in range(10, 20):
            store.progress(jobs[number], Event("separation", percent, "…"))

    at_once(tell)
    for job in jobs:
        assert [e.progress for e in store.events(after=0, file_id=job.file_id)] == list(range(10, 20))


def test_a_number_is_never_used_twice(store: JobStore) -> None:
    job = running(store)
    store.progress(job, first("separation"))
    used = store.last_seq()
    store.remove_song(job.file_id)
    assert (store.get(job.id), store.last_seq(), store.state(job.id)) == (None, 0, State())
    store.progress(running(store), first("separation"))
    assert store.last_seq() > used


def test_removing_a_song_leaves_others(store: JobStore) -> None:
    mine, theirs = running(store), running(store, worker_id="worker-2")
    for job in (mine, theirs):
        store.progress(job, first("separation"))
    store.remove_song(mine.file_id)
    assert [job.id for job in store.find()] == [theirs.id]
    assert [e.job_id for e in store.events(after=0)] == [theirs.id]


def test_jobs_are_found_newest_first_in_parts(store: JobStore) -> None:
    created = [store.create(a_job())[0].id for _ in range(4)]
    store.claim(created[0], WORKER)
    assert [job.id for job in store.find()] == created[::-1]
    assert [job.id for job in store.find(limit=2, offset=1)] == [created[2], created[1]]
    assert [job.id for job in store.find(status=(RUNNING, FAILED))] == [created[0]]
    assert (store.count(), store.count(status=QUEUED), store.count(status=ACTIVE)) == (4, 3, 4)


def test_workers_are_known_while_they_beat(store: JobStore) -> None:
    store.beat("a", "gpu", {"device": "cpu"})
    begun_at = time.time()
    store.beat("b", "cpu", {})
    store.beat("a", "gpu", {"device": "cuda:0"})
    assert {w.id: w.info for w in store.workers()} == {"a": {"device": "cuda:0"}, "b": {}}
    store.remove_worker("a")
    store.remove_worker("a")
    assert [(w.id, w.queue) for w in store.workers(alive_since=begun_at)] == [("b", "cpu")]
    assert store.workers(alive_since=time.time() + 1) == []


def test_stored_events_are_handed_on_after_each_change(store: JobStore) -> None:
    told: list[Any] = []
    publishing = JobStore(store.database, told.extend)
    new = a_job()
    job, _ = publishing.create(new, [last("upload")])
    publishing.create(new, [last("upload")])
    claimed = publishing.claim(job.id, WORKER)
    assert claimed is not None
    publishing.progress(claimed, first("separation"))
    publishing.finish(claimed, Outcome(COMPLETED, [last("separation"), last("complete")]))
    publishing.finish(claimed, Outcome(COMPLETED, [last("separation")]))
    assert told == store.events(after=0)
    assert [e.stage for e in told] == ["upload", "separation", "separation", "complete"]
