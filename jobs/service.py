"""What routes may ask of jobs: submit, wait, cancel, pause, resume, retry, remove."""

import copy
import time
import uuid
from collections.abc import Callable, Sequence

from errors import Conflict, ModelUnavailable, NotFound, from_code
from jobs import pipeline
from jobs.events import Event
from jobs.inputs import Inputs
from jobs.job import ACTIVE, CANCELLED, COMPLETED, ENDED, FAILED, PAUSED, Job, NewJob
from jobs.queue import Queue
from jobs.store import JobStore
from jobs.tail import Tail
from jobs.webhooks import Webhooks
from storage.files import Files
from storage.songs import Songs, is_file_id

WAIT_SECONDS = 0.5  # an upper bound between looks; changes wake at once
STOP_SECONDS = 5.0  # on top of the time a cancelled job has before it loses its process


class JobService:
    """Jobs as the web process sees them.

    Parameters
    ----------
    store : JobStore
    queue : Queue
    songs : Songs
    files : Files
    tail : Tail
    worker_expected : callable
        Given a queue's name, whether a worker is alive or about to be started.
    cancel_seconds : float
    max_queued_jobs : int
        As in the configuration.
    webhooks : Webhooks
    """

    def __init__(self, store: JobStore, queue: Queue, songs: Songs, files: Files, tail: Tail,
                 worker_expected: Callable[[str], bool], cancel_seconds: float,
                 max_queued_jobs: int, webhooks: Webhooks) -> None:  # fmt: skip
        self.store, self.queue, self.songs, self.files, self.tail = store, queue, songs, files, tail
        self.inputs = Inputs(store, songs, files)
        self._worker_expected, self._cancel_seconds = worker_expected, cancel_seconds
        self._max_queued_jobs, self.webhooks = max_queued_jobs, webhooks

    def seen_by(self, owner: str | None) -> "JobService":
        """The same jobs as an owner sees them: all else is not there."""
        if owner is None:
            return self
        view = copy.copy(self)
        view.store, view.songs = self.store.seen_by(owner), self.songs.seen_by(owner)
        view.inputs = Inputs(view.store, view.songs, view.files)
        return view

    def submit(self, new: NewJob, *, force: bool = False, opening: Sequence[Event] = (),
               webhook_url: str | None = None) -> tuple[Job, bool]:  # fmt: skip
        """Queue a job and what it needs first, join the equal one that is active, or find the equal one that is done.

        One that read older results of other jobs than there are now is not done. An active one that is paused, or is to
        pause, goes on: its result is wanted.

        Parameters
        ----------
        new : NewJob
        force : bool
            Run it although the result is there.
        opening : sequence of Event
            Stored with it.
        webhook_url : str, optional
            Told when the job, with all that follows it, has ended.

        Returns
        -------
        job : Job
        skipped : bool
            True when the result is there already.

        Raises
        ------
        InvalidInput
            When webhook_url is none that this service may call.
        ModelUnavailable
            When no worker is alive to run it.
        NotFound
            When its file_id is another owner's.
        Conflict
            When it needs what only the caller can choose, or webhook_url is wished where none are sent.
        QueueFull
            When so many jobs wait already that no more are accepted.
        StorageFull
            When too little room is left where its results would go.
        """
        self.webhooks.check(webhook_url)
        job, skipped, whole = self._submit(new, force, opening)
        if webhook_url is not None:
            self.webhooks.add(job, webhook_url, whole_pipeline=whole)
        return job, skipped

    def _submit(self, new: NewJob, force: bool, opening: Sequence[Event]) -> tuple[Job, bool, bool]:
        """The job that a request gets, whether its result is there already, and whether all that follows is meant."""
        active = self.store.find(parameters_hash=new.parameters_hash, status=ACTIVE, limit=1)
        if not force and (done := self._finished(new)):  # looked for after it, so that none ends unseen in between
            return done, True, False
        if not new.pipeline_id:
            if active:
                return self._going_on(active[0]), False, False
            if missing := self.inputs.missing_jobs(new):
                new = pipeline.chain([*missing, new], str(uuid.uuid4()), new.request_id)
        if not self._worker_expected(new.queue):
            raise ModelUnavailable(f"No worker for {new.queue} jobs is alive; start one: python -m jobs.worker.")
        self.files.check_room()
        job, created = self.store.create(new, opening, max_queued=self._max_queued_jobs)
        if created:
            self.queue.put(job.queue, job.id)
            self.tail.wake()
        return self._going_on(job), False, created or bool(new.following)

    def wait(self, job_id: str) -> Job:
        """The job when it has completed.

        Raises
        ------
        StudioError
            The job's own error when it failed; Conflict when it was cancelled or paused; NotFound when it was removed.
        """
        while True:
            job = self.get(job_id)
            if job.status == FAILED:
                error = job.error or {}
                raise from_code(error.get("code", ""), error.get("message", "failed"), error.get("details"))
            if job.status == CANCELLED:
                raise Conflict(f"Job {job_id} was cancelled.")
            if job.status == PAUSED:
                raise Conflict(f"Job {job_id} was paused; it goes on after POST /jobs/{job_id}/resume.")
            if job.status == COMPLETED:
                return job
            self.tail.wait_for_change(WAIT_SECONDS)

    def wait_for_model(self, job: Job, model: str) -> Job:
        """The first of a job and those that follow it that runs that model, when it has completed; raises as wait()."""
        while True:
            job = self.wait(job.id)
            if job.model == model or not job.following:
                return job
            job = self.store.find(pipeline_id=job.pipeline_id, model=job.following[0]["model"], limit=1)[0]

    def wait_for_pipeline(self, pipeline_id: str) -> Job | None:
        """Return when nothing of a pipeline is active any more, or what is active is paused: then that job."""
        while active := self.store.find(pipeline_id=pipeline_id, status=ACTIVE):
            if all(job.status == PAUSED for job in active):
                return active[0]
            self.tail.wait_for_change(WAIT_SECONDS)
        return None

    def get(self, job_id: str) -> Job:
        """The job of that id.

        Raises
        ------
        NotFound
        """
        job = self.store.get(job_id) if is_file_id(job_id) else None  # a job's id has the form of a song's
        if job is None:
            raise NotFound(f"There is no job {job_id[:64]!r}.")
        return job

    def cancel(self, job_id: str) -> Job:
        """Cancel a job; of a pipeline whose stage this was, the stage that is active now.

        Raises
        ------
        NotFound
        Conflict
            When nothing of it is active any more.
        """
        job = self.get(job_id)
        accepted = False
        while not accepted:  # a stage may end just before it is asked to, and the next one begin
            job = self._active_stage(job)
            left_as = self.store.request_cancel(job.id, pipeline.closing_events(job, CANCELLED))
            accepted = left_as not in (COMPLETED, FAILED)
            job = self.get(job.id)
        if job.status == CANCELLED:  # it was paused or had never begun; of a running one its worker removes it
            self.files.discard_spools(job.id)
        self.tail.wake()
        return job

    def pause(self, job_id: str) -> Job:
        """Pause a job, or the active stage of its pipeline: a queued one at once, a running one at its next step.

        One that is paused already, or is to pause, stays so.

        Raises
        ------
        NotFound
        Conflict
            When nothing of it is active any more, or it is being cancelled.
        """
        job = self.get(job_id)
        accepted = False
        while not accepted:  # as in cancel()
            job = self._active_stage(job)
            state = self.store.request_pause(job.id)
            if state.cancel_requested_at is not None and state.status in ACTIVE:
                raise Conflict(f"Job {job.id} is being cancelled.")
            accepted = state.status == PAUSED or state.pause_requested_at is not None
            job = self.get(job.id)
        self.tail.wake()
        return job

    def resume(self, job_id: str) -> Job:
        """Queue a paused job again, or the paused stage of its pipeline; one that waits or runs does so on.

        Raises
        ------
        NotFound
        Conflict
            When nothing of it is active any more.
        QueueFull, StorageFull
            As in submit().
        """
        return self._resume(self._active_stage(self.get(job_id)))

    def retry(self, job_id: str) -> Job:
        """Queue a failed or cancelled job anew; its pipeline goes on after it.

        Raises
        ------
        NotFound
        Conflict
            When it neither failed nor was cancelled, or an equal job is active.
        QueueFull, StorageFull
            As in submit().
        """
        job = self.get(job_id)
        self.files.check_room()
        if not self.store.retry(job_id, max_queued=self._max_queued_jobs):
            raise Conflict(f"Job {job_id} is {job.status}; only failed and cancelled jobs retry, alone of their kind.")
        self.webhooks.rearm(job)
        self.queue.put(job.queue, job_id)
        self.tail.wake()
        return self.get(job_id)

    def remove_song(self, file_id: str) -> list[str]:
        """Cancel what runs on a song, then remove its upload, results and rows; the names of removed files.

        Raises
        ------
        NotFound
            When nothing of that id is known.
        """
        jobs = self.store.find(file_id=file_id)
        if self.songs.get(file_id) is None and not jobs:
            raise NotFound(f"There is no song {file_id}.")
        deadline = time.monotonic() + self._cancel_seconds + STOP_SECONDS
        while (active := self.store.find(file_id=file_id, status=ACTIVE)) and time.monotonic() < deadline:
            for job in active:  # each time anew: one may just have completed and started the next
                if job.cancel_requested_at is None:
                    self.store.request_cancel(job.id, pipeline.closing_events(job, CANCELLED))
            self.tail.wait_for_change(WAIT_SECONDS)
        self.tail.emit_new()  # who listens learns of the cancellation before its events are gone
        self.store.remove_song(file_id)
        self.songs.remove(file_id)
        for job in jobs:
            self.files.discard_spools(job.id)
            self.files.discard_staging(job.id)
        return self.files.remove_song(file_id)

    def _going_on(self, job: Job) -> Job:
        """A job that someone wants the result of: neither paused nor about to be."""
        return self._resume(job) if job.status == PAUSED or job.pause_requested_at is not None else job

    def _resume(self, job: Job) -> Job:
        """Queue a job again if it is paused, and take back that it is to be."""
        if job.status == PAUSED:
            self.files.check_room()
        if self.store.resume(job.id, max_queued=self._max_queued_jobs):
            self.queue.put(job.queue, job.id)
        self.tail.wake()
        return self.get(job.id)

    def _active_stage(self, job: Job) -> Job:
        """The job, or when it has ended the stage of its pipeline that is active now.

        Raises
        ------
        Conflict
            When nothing of it is active any more.
        """
        if job.status in ENDED and job.pipeline_id:
            job = next(iter(self.store.find(pipeline_id=job.pipeline_id, status=ACTIVE)), job)
        if job.status in ENDED:
            raise Conflict(f"Job {job.id} is {job.status} already.")
        return job

    def _finished(self, new: NewJob) -> Job | None:
        """The newest equal job that completed, read what it would read now, and whose files are all there."""
        read = self.inputs.read_by(new)
        for job in self.store.find(parameters_hash=new.parameters_hash, status=COMPLETED):
            began_at = job.started_at or 0.0
            if any(source.id != job.id and (source.finished_at or 0.0) > began_at for source in read):
                continue
            if all(self.files.result(job.folder or "", entry["filename"]).exists() for entry in job.files or ()):
                return job
        return None
