"""How jobs end other than well, as it is kept and told."""

import logging

from errors import JobFailed, JobTimeout, StorageFull, StudioError
from jobs import pipeline
from jobs.job import CANCELLED, FAILED, Job, Outcome
from storage.files import FULL, is_full

log = logging.getLogger(__name__)


def cancelled(job: Job) -> Outcome:
    """Of a job that was cancelled."""
    return Outcome(CANCELLED, pipeline.closing_events(job, CANCELLED))


def timed_out(job: Job, allowed_seconds: float) -> Outcome:
    """Of a job that ran longer than it may."""
    return failed(job, JobTimeout(f"It ran longer than a job may here, {allowed_seconds:g} s, and was ended."))


def failed(job: Job, error: Exception) -> Outcome:
    """Of a job that raised; the log gets what is no error of ours."""
    if not isinstance(error, StudioError) and is_full(error):
        error = StorageFull(FULL)
    if not isinstance(error, StudioError):
        log.error("job %s: %s %s broke", job.id, job.model, job.variant, exc_info=error)
        error = JobFailed(f"{job.model} {job.variant} failed with an internal error; the log has it under this job.")
    stored = {"code": error.code, "message": error.message, "details": error.details}
    return Outcome(FAILED, pipeline.closing_events(job, FAILED, error.message), error=stored)
