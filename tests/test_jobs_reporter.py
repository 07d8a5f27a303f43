"""report(fraction): seldom enough, in whole percents, never back, and the place where a model learns to stop."""

import contextlib
import sqlite3
import threading
from typing import Any

import pytest

from errors import Cancelled
from jobs.events import Event
from jobs.job import CANCELLED, FAILED, Job, Outcome
from jobs.pipeline import closing_events
from jobs.reporter import Drained, Reporter, TimedOut
from jobs.store import JobStore
from storage import database
from tests.rows import WORKER, running, story


class Clock:
    """Seconds as the test says."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A running job, its reporter, and when each event was told."""

    def __init__(self, store: JobStore, job: Job | None = None, timeout_seconds: float = 0.0) -> None:
        self.clock, self.stop = Clock(), threading.Event()
        self.store, self.job = store, job or running(store)
        self.report = Reporter(store, self.job, self.stop, timeout_seconds, self.clock)
        self.told: list[tuple[float, Any]] = []
        self.seq = store.last_seq()

    def note(self) -> None:
        """Keep what was told since the last call, with the time."""
        for row in self.store.events(after=self.seq):
            self.told.append((self.clock.now, row))
            self.seq = row.seq

    def work(self, steps: int, seconds: float, begin: float = 0.0, end: float = 1.0) -> None:
        """Report evenly over a time."""
        for step in range(steps + 1):
            self.report(begin + (end - begin) * step / steps)
            self.note()
            self.clock.now += seconds / steps

    def percents(self, stage: str = "separation") -> list[int]:
        """Progress told of a stage, in order."""
        self.note()
        return [row.progress for _, row in self.told if row.stage == stage]


@pytest.mark.parametrize(("steps", "seconds"), [(2000, 10.0), (5000, 3.0), (100, 0.5), (37, 60.0)])
def test_at_most_five_events_of_a_stage_in_any_second(store: JobStore, steps: int, seconds: float) -> None:
    bench = Bench(store)
    bench.report.begin()
    bench.work(steps, seconds)
    bench.store.finish(bench.job, Outcome(FAILED, closing_events(bench.job, FAILED, "broke")))
    bench.note()
    times = [when for when, row in bench.told if row.stage == "separation"]
    assert max(sum(start <= when < start + 1 for when in times) for start in times) <= 5
    assert len(times) >= min(seconds * 2, 10)


def test_percents_are_whole_and_each_is_told_once(store: JobStore) -> None:
    bench = Bench(store)
    bench.report.begin()
    bench.work(2000, 600.0)
    percents = bench.percents()
    assert percents == list(range(10, 100))


def test_progress_never_goes_back_and_stays_within_first_and_last(store: JobStore) -> None:
    bench = Bench(store)
    bench.report.begin()
    for fraction in (0.5, 0.2, -3.0, 0.4, 0.6, 0.1, 7.0, 1.0):
        bench.clock.now += 1
        bench.report(fraction)
    assert bench.percents() == [10, 54, 63, 99]


def test_a_stage_shows_its_own_message_or_the_models(store: JobStore) -> None:
    bench = Bench(store)
    bench.report.begin()
    bench.clock.now += 1
    bench.report(0.5)
    bench.clock.now += 1
    bench.report(0.6, "Shift 2 of 3")
    assert [message for _, _, message, _ in story(store, bench.job.file_id)] == [
        "Separating audio tracks...", "Separating audio tracks...", "Shift 2 of 3",
    ]  # fmt: skip


def test_remaining_time_follows_the_rate(store: JobStore) -> None:
    bench = Bench(store)
    bench.work(100, 40.0)
    known = [row for _, row in bench.told if row.eta_seconds is not None]
    assert len(known) > 80
    for when, row in bench.told:
        if row.eta_seconds is not None:
            assert row.eta_seconds == pytest.approx(1040.0 - when, abs=0.5)


def test_loading_is_a_stage_of_its_own(store: JobStore) -> None:
    bench = Bench(store)
    bench.report.begin()
    for fraction in (0.0, 0.5, 1.0):
        bench.report.loading(fraction, "Downloading...")
        bench.clock.now += 1
    bench.report.loaded()
    bench.report(0.0)
    bench.clock.now += 1
    bench.report(0.5)
    assert bench.percents("loading") == [0, 50, 100, 100]
    assert bench.percents("separation") == [10, 54]
    assert story(store, bench.job.file_id)[4][:3] == ("loading", 100, "Model loaded")


def test_a_model_that_is_there_says_nothing_of_loading(store: JobStore) -> None:
    bench = Bench(store)
    bench.report.loaded()
    assert bench.percents("loading") == []


def died_at(store: JobStore, fraction: float) -> Job:
    """A job whose worker loaded the model and came so far before it died."""
    bench = Bench(store)
    bench.report.begin()
    bench.report.loading(0.0)
    bench.clock.now += 1
    bench.report.loading(0.7)
    bench.report.loaded()
    bench.clock.now += 1
    bench.report(fraction)
    return bench.job


@pytest.mark.parametrize("refund", [False, True], ids=["died", "drained"])
def test_after_a_worker_ended_progress_goes_on_from_where_it_was(store: JobStore, refund: bool) -> None:
    job = died_at(store, 0.5)
    store.put_back(job, refund=refund)
    again = store.claim(job.id, "worker-2")
    bench = Bench(store, again)
    bench.report.begin()
    bench.report.loading(0.0)
    bench.report.loaded()
    bench.work(100, 100.0)
    assert bench.percents() == [54, *range(55, 100)]
    assert bench.percents("loading") == []


def test_a_retry_on_request_begins_anew(store: JobStore) -> None:
    job = died_at(store, 0.5)
    store.finish(job, Outcome(FAILED, closing_events(job, FAILED, "broke")))
    store.retry(job.id)
    bench = Bench(store, store.claim(job.id, WORKER))
    bench.report.begin()
    bench.report.loading(0.0)
    bench.work(10, 10.0)
    assert bench.percents()[:3] == [10, 18, 27]
    assert bench.percents("loading") == [0]


def test_a_cancelled_job_stops_at_its_next_report(store: JobStore) -> None:
    bench = Bench(store)
    bench.report(0.1)
    store.request_cancel(bench.job.id, [])
    bench.clock.now += 0.25
    with pytest.raises(Cancelled) as caught:
        bench.report(0.2)
    assert not isinstance(caught.value, Drained)


@pytest.mark.parametrize("loss", ["removed", "taken", "put back", "ended"])
def test_a_job_that_is_no_longer_this_workers_stops(store: JobStore, loss: str) -> None:
    bench = Bench(store)
    if loss == "removed":
        store.remove_song(bench.job.file_id)
    elif loss == "ended":
        store.finish(bench.job, Outcome(CANCELLED))
    else:
        store.put_back(bench.job, refund=False)
        if loss == "taken":
            store.claim(bench.job.id, "worker-2")
    with pytest.raises(Cancelled):
        bench.report(0.1)
    with pytest.raises(Cancelled):
        Reporter(store, bench.job, threading.Event(), clock=bench.clock).loading(0.1)


def test_a_worker_that_ends_puts_its_job_back(store: JobStore) -> None:
    bench = Bench(store)
    bench.report(0.1)
    bench.stop.set()
    with pytest.raises(Drained):
        bench.report(0.1)  # at once, however soon after the last


def test_a_job_that_runs_too_long_stops_at_its_next_report(store: JobStore) -> None:
    bench = Bench(store, timeout_seconds=10.0)
    bench.clock.now += 9.9
    bench.report(0.1)
    bench.clock.now += 0.2
    bench.report(0.2)  # not yet due
    bench.clock.now += 0.1
    with pytest.raises(Cancelled) as caught:  # what runs a model knows no other way to stop
        bench.report(0.3)
    assert isinstance(caught.value, TimedOut)


def test_looks_at_the_row_are_seldom(store: JobStore) -> None:
    bench = Bench(store)
    bench.report(0.1)
    store.request_cancel(bench.job.id, [])
    bench.clock.now += 0.2
    bench.report(0.2)  # not yet due: a model may report thousands of times a second
    bench.clock.now += 0.1
    with pytest.raises(Cancelled):
        bench.report(0.3)


def test_events_of_other_songs_and_stages_are_no_floor(store: JobStore) -> None:
    other = running(store, worker_id="worker-2")
    store.progress(other, Event("separation", 80, "…"))
    job = running(store)
    store.progress(job, Event("loading", 90, "…"))
    store.put_back(job, refund=False)
    bench = Bench(store, store.claim(job.id, WORKER))
    bench.report.begin()
    assert bench.percents() == [10]


def test_a_database_that_does_not_answer_ends_no_job(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.01)
    bench = Bench(JobStore(database.Database(str(store.database.engine.url))), running(store))
    bench.report.begin()
    with contextlib.closing(sqlite3.connect(store.database.sqlite_file, isolation_level=None)) as other:
        other.execute("begin immediate")
        bench.work(2, 1.0, 0.1, 0.5)
        other.execute("rollback")
    bench.work(2, 1.0, 0.6, 0.9)
    assert bench.percents() == [10, 63, 76, 90]
