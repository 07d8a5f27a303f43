"""The record of every job, and how to cancel, pause, resume or retry one."""

from typing import Any, Literal

from flask import Response, jsonify
from flask_openapi3 import APIBlueprint, Tag
from flask_openapi3.types import ResponseDict
from pydantic import BaseModel, ConfigDict

from jobs.song_status import job_record
from routes.context import PageQuery, as_text, checked_id, studio
from routes.errors import COMMON, ErrorAnswer

TAG = Tag(name="jobs", description="Jobs")
bp = APIBlueprint("jobs", __name__, abp_responses=COMMON, abp_tags=[TAG])

ONE: ResponseDict = {404: ErrorAnswer, 409: ErrorAnswer}


class JobAnswer(BaseModel):
    """A job's record."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    job_id: str
    file_id: str
    model: str
    model_variant: str
    status: str
    stage: str
    progress: int
    attempts: int
    result: dict[str, Any] | None
    error: dict[str, Any] | None


class WebhookAnswer(BaseModel):
    """Who is told of a job's end, and how that went so far."""

    url: str
    status: Literal["waiting", "delivered", "given_up"]
    attempts: int
    error: str | None


class OneJobAnswer(JobAnswer):
    """A job's record with its webhooks."""

    webhooks: list[WebhookAnswer]


class JobsAnswer(BaseModel):
    """A page of jobs."""

    jobs: list[JobAnswer]
    total: int


class JobPath(BaseModel):
    """The job."""

    job_id: str


class JobsQuery(PageQuery):
    """Which jobs, newest first."""

    model_config = ConfigDict(json_schema_extra=as_text)

    status: Literal["queued", "running", "paused", "completed", "failed", "cancelled"] | None = None
    file_id: str | None = None


@bp.get("/jobs", responses={200: JobsAnswer, 400: ErrorAnswer, 404: ErrorAnswer})
def list_jobs(query: JobsQuery) -> Response:
    """Jobs, newest first."""
    if query.file_id is not None:
        checked_id(query.file_id)
    equal = query.model_dump(include={"status", "file_id"}, exclude_none=True)
    found = studio().store.find(limit=query.limit, offset=query.offset, **equal)
    return jsonify(jobs=[job_record(job) for job in found], total=studio().store.count(**equal))


@bp.get("/jobs/<job_id>", responses={200: OneJobAnswer, 404: ErrorAnswer})
def one_job(path: JobPath) -> Response:
    """One job, and who is told of its end."""
    job = studio().jobs.get(path.job_id)
    told = [{name: getattr(hook, name) for name in WebhookAnswer.model_fields}
            for hook in studio().jobs.webhooks.of_job(job)]  # fmt: skip
    return jsonify(job_record(job) | {"webhooks": told})


@bp.post("/jobs/<job_id>/cancel", responses={200: JobAnswer, **ONE})
def cancel(path: JobPath) -> Response:
    """Cancel a job: a queued one at once, a running one at its next step."""
    return jsonify(job_record(studio().jobs.cancel(path.job_id)))


@bp.post("/jobs/<job_id>/pause", responses={200: JobAnswer, **ONE})
def pause(path: JobPath) -> Response:
    """Pause a job, or the stage of its pipeline that is active: a queued one at once, a running one at its next step.

    A running job frees its worker. A separation goes on from its last finished segment, also after a restart, and
    gives the bytes that it would have given; other models begin their stage again. What follows in a pipeline waits.
    Pausing what is paused changes nothing.
    """
    return jsonify(job_record(studio().jobs.pause(path.job_id)))


@bp.post("/jobs/<job_id>/resume", responses={202: JobAnswer, **ONE, 429: ErrorAnswer, 507: ErrorAnswer})
def resume(path: JobPath) -> tuple[Response, int]:
    """Let a paused job, or the paused stage of its pipeline, wait for its turn again; others go on as they were."""
    return jsonify(job_record(studio().jobs.resume(path.job_id))), 202


@bp.post("/jobs/<job_id>/retry", responses={202: JobAnswer, **ONE, 429: ErrorAnswer, 507: ErrorAnswer})
def retry(path: JobPath) -> tuple[Response, int]:
    """Queue a failed or cancelled job anew."""
    return jsonify(job_record(studio().jobs.retry(path.job_id))), 202
