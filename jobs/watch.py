"""What watches a worker from within: it says that the worker lives, and ends the process when its job does not stop."""

import logging
import os
import time
from typing import TYPE_CHECKING

import psutil

from jobs import outcomes
from jobs.job import RUNNING, Job, Outcome
from logs import on_behalf_of
from storage.files import result_folder

if TYPE_CHECKING:
    from jobs.worker import Worker

WATCH_SECONDS = 0.5  # between looks at whether the running job overstays its cancellation or its time
KILLED_ITSELF = 75  # exit status of a worker that ends because its job would not stop

log = logging.getLogger(__name__)


class Watch:
    """Watches one worker, in a thread beside its work.

    Parameters
    ----------
    worker : Worker
    """

    def __init__(self, worker: "Worker") -> None:
        self._worker, self._config = worker, worker.config
        self._store, self._files = worker.store, worker.files

    def run(self) -> None:
        """Say that the worker lives; stop its job when its grace time or its time to stop by itself is over."""
        worker, config = self._worker, self._config
        beaten_at, pause = -config.heartbeat_seconds, 0.0
        while not worker.ended.wait(pause):
            pause = min(WATCH_SECONDS, config.heartbeat_seconds)
            try:
                if time.monotonic() - beaten_at >= config.heartbeat_seconds:
                    beaten_at = time.monotonic()
                    self._beat()
                self.leave_stuck_job()
                self.leave_late_job()
            except Exception:  # the database is out of reach; it may come back
                log.exception("worker %s: no heartbeat, going on", worker.id)
            asked_at = worker.drain_asked_at
            if asked_at is not None and time.monotonic() - asked_at >= config.drain_seconds:
                worker.stop_job.set()

    def _beat(self) -> None:
        """Say that the worker lives, and what it holds."""
        worker = self._worker
        loaded = [list(key) for key in worker.models.loaded()]
        resident = psutil.Process().memory_info().rss
        info = worker.info | {"loaded": loaded, "pid": os.getpid(), "resident_bytes": resident}
        self._store.beat(worker.id, worker.queue_name, info)

    def leave_stuck_job(self) -> None:
        """A model that does not report cannot be stopped in another way."""
        job = self._worker.job
        if job is None:
            return
        state = self._store.state(job.id)
        if state.status != RUNNING or state.worker_id != self._worker.id:
            return
        now, grace, allowed = time.time(), self._config.cancel_seconds, self._config.job_timeout_seconds
        wished_at, pause_at = state.cancel_requested_at, state.pause_requested_at
        if wished_at is not None and now - wished_at > grace:
            self._end_with(job, outcomes.cancelled(job), "was cancelled")
        elif wished_at is None and pause_at is not None and now - pause_at > grace:
            if self._store.pause(job, refund=True):
                self._leave(job, "was to pause")
        elif allowed and now - (job.started_at or now) > allowed + grace:
            self._end_with(job, outcomes.timed_out(job, allowed), f"has run for more than {allowed:g} s")

    def leave_late_job(self) -> None:
        """End when a drain takes longer than it may: who would end us, the supervisor, may have died."""
        worker, allowed = self._worker, self._config.drain_seconds + self._config.cancel_seconds
        if worker.drain_asked_at is None or time.monotonic() - worker.drain_asked_at < allowed:
            return
        job = worker.job
        if job is not None:
            paused = self._store.pause(job, refund=True)
            if not paused and not self._store.put_back(job, refund=True):
                return  # it has just ended by itself
            folder = result_folder(job.file_id, job.model, job.variant, job.id, job.attempts)
            self._files.discard_attempt(folder, job.id, job.attempts)
            if not paused:
                worker.queue.put(job.queue, job.id)
        log.error("worker %s: did not come to its end in %g s, so this process ends", worker.id, allowed)
        os._exit(KILLED_ITSELF)

    def _end_with(self, job: Job, outcome: Outcome, why: str) -> None:
        """End a job that does not stop, and this process with it, unless the job has just ended by itself."""
        if self._store.finish(job, outcome) is not None:
            self._files.discard_spools(job.id)
            self._leave(job, why)

    def _leave(self, job: Job, why: str) -> None:
        """End this process, which a model holds up that does not report."""
        with on_behalf_of(job.request_id):
            log.error("job %s: %s and did not stop, so this process ends", job.id, why)
        self._files.discard_staging(job.id, job.attempts)
        os._exit(KILLED_ITSELF)
