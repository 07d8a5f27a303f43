"""Puts right what crashes leave: jobs of dead workers, queued jobs whose message was lost. Lets old songs leave."""

import logging
import time

from jobs import pipeline
from jobs.events import FIRST_PERCENT, Event
from jobs.job import ACTIVE, CANCELLED, FAILED, QUEUED, RUNNING, Job, Outcome
from jobs.queue import NAMES, Queue
from jobs.retention import Retention
from jobs.store import JobStore
from logs import on_behalf_of
from storage.files import Files, result_folder

log = logging.getLogger(__name__)


class Sweeper:
    """Looks after jobs on behalf of workers that no longer can.

    Parameters
    ----------
    store : JobStore
    queue : Queue
    silence_seconds : float
        A worker that gave no sign of life for so long is taken for dead.
    max_attempts : int
        A job is started so often at most.
    files : Files
        Where dead workers left half-made results, and ended jobs what they had finished.
    retention : Retention, optional
        Removes old songs, when they are not kept for ever.
    """

    def __init__(self, store: JobStore, queue: Queue, silence_seconds: float, max_attempts: int, files: Files,
                 retention: Retention | None = None) -> None:  # fmt: skip
        self._store, self._queue, self._files = store, queue, files
        self._silence_seconds, self._max_attempts = silence_seconds, max_attempts
        self._retention = retention

    def release(self, worker_id: str, reason: str) -> None:
        """Take a dead worker's jobs from it: queue them again, or fail them with the reason.

        Parameters
        ----------
        worker_id : str
        reason : str
            A clause like "killed by signal 9, perhaps out of memory".
        """
        self._store.remove_worker(worker_id)
        for job in self._store.find(worker_id=worker_id, status=RUNNING):
            self._release_job(job, f"Worker {reason}")

    def sweep(self) -> None:
        """One round: silent workers, then lost messages, then old songs."""
        now = time.time()
        alive = {worker.id for worker in self._store.workers(alive_since=now - self._silence_seconds)}
        for worker in self._store.workers():
            if worker.id not in alive:
                self.release(worker.id, f"silent for {self._silence_seconds:g} s")
        for job in self._store.find(status=RUNNING):
            if job.worker_id not in alive and now - (job.started_at or 0) > self._silence_seconds:
                self._release_job(job, f"Worker silent for {self._silence_seconds:g} s")
        self._restore_messages()
        self._remove_spools()
        if self._retention:
            self._retention.sweep()

    def _release_job(self, job: Job, reason: str) -> None:
        """Queue one job again, or end it, unless its worker has just ended it; then remove what the attempt left."""
        if job.cancel_requested_at is not None:
            outcome = Outcome(CANCELLED, pipeline.closing_events(job, CANCELLED))
            taken = self._store.finish(job, outcome) is not None
        elif job.attempts >= self._max_attempts:
            reason = f"{reason} ({job.attempts} attempts)"
            error = {"code": "worker_died", "message": reason, "details": None}
            outcome = Outcome(FAILED, pipeline.closing_events(job, FAILED, reason), error=error)
            taken = self._store.finish(job, outcome) is not None
        elif taken := self._store.pause(job, refund=False):
            reason = f"{reason}; paused, as it was to be"
        elif taken := self._store.put_back(job, refund=False, event=_trying_again(job, reason)):
            self._queue.put(job.queue, job.id)
        if taken:
            folder = result_folder(job.file_id, job.model, job.variant, job.id, job.attempts)
            self._files.discard_attempt(folder, job.id, job.attempts)
        with on_behalf_of(job.request_id):
            log.warning("job %s: %s", job.id, reason)

    def _remove_spools(self) -> None:
        """What was kept of a job to go on from goes when the job has ended, whoever ended it."""
        if not (kept := self._files.spooled_jobs()):
            return
        active = {job.id for job in self._store.find(id=tuple(kept), status=ACTIVE)}
        for job_id in kept - active:
            self._files.discard_spools(job_id)

    def _restore_messages(self) -> None:
        """Where fewer messages wait than rows, some were lost; nobody knows whose, and one too many does no harm."""
        for name in NAMES:
            if self._queue.waiting(name) < self._store.count(status=QUEUED, queue=name):
                for job in reversed(self._store.find(status=QUEUED, queue=name)):
                    self._queue.put(name, job.id)


def _trying_again(job: Job, reason: str) -> Event:
    """What clients are told of a job that begins anew."""
    return Event(job.stage, max(job.progress, FIRST_PERCENT), f"{reason}; trying again")
