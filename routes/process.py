"""Run one model on one song; the answer comes when it is done, or at once when the client prefers."""

from typing import Any, Literal, get_args

from flask import Response, jsonify, url_for
from flask_openapi3 import APIBlueprint, Tag
from flask_openapi3.types import ResponseDict
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, create_model, field_validator

import models
from errors import NotFound
from jobs import pipeline
from jobs.inputs import STARTS_FROM_NOTHING
from jobs.job import Job
from jobs.outbound import MAX_URL_CHARACTERS, PATTERN
from jobs.song_status import files, processing_seconds
from logs import request_id
from routes.context import ModelPath, SongPath, checked_id, known_song, studio, wants_async
from routes.errors import COMMON, ErrorAnswer

TAG = Tag(name="process", description="Run a model on a song")
bp = APIBlueprint("process", __name__, abp_responses=COMMON, abp_tags=[TAG])


class AnyModelPath(ModelPath, SongPath):
    """Model and song."""


class AsyncQuery(BaseModel):
    """Whether to answer before the job is done."""

    model_config = ConfigDict(populate_by_name=True)

    run_async: bool = Field(False, alias="async", description="Answer 202 at once; also by `Prefer: respond-async`.")


class NoFields(BaseModel):
    """An empty body: there is nothing to choose."""

    model_config = ConfigDict(
        extra="forbid", openapi_extra={"required": False},  # type: ignore[typeddict-unknown-key]
    )  # fmt: skip


class FileAnswer(BaseModel):
    """One file of a result."""

    filename: str
    size_bytes: int
    download_url: str


class ProcessAnswer(BaseModel):
    """A finished job."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    file_id: str
    model: str
    model_variant: str
    status: str
    result: dict[str, Any]
    message: str
    job_id: str
    processing_time_seconds: float | None
    files: list[FileAnswer]
    skipped: bool


class SeparateAnswer(BaseModel):
    """A finished separation."""

    file_id: str
    status: str
    tracks: list[str]
    message: str
    job_id: str


class QueuedAnswer(BaseModel):
    """A job that was accepted."""

    job_id: str
    file_id: str
    status: str
    status_url: str


RESPONSES: ResponseDict = {
    200: ProcessAnswer, 202: QueuedAnswer, 400: ErrorAnswer, 404: ErrorAnswer, 409: ErrorAnswer, 415: ErrorAnswer,
    429: ErrorAnswer, 500: ErrorAnswer, 503: ErrorAnswer, 507: ErrorAnswer,
}  # fmt: skip


def webhook_field(more: str = "") -> Any:
    """The field webhook_url of a request, with what else is to be said of it."""
    rules: dict[str, Any] = {"format": "uri", "pattern": PATTERN, "maxLength": MAX_URL_CHARACTERS}
    description = "Told by a signed POST when everything has ended; the operator's guide has the message."
    return Field(None, description=f"{description}{more}", json_schema_extra=rules)


def body_class(spec: models.ModelSpec) -> type[BaseModel]:
    """A model's request class with what every call may say besides."""
    body = create_model(
        f"{spec.name}_request",
        __base__=spec.module.Request,
        __validators__={"kind": field_validator("*", mode="before")(_no_other_kind)},
        model_variant=(Literal[spec.variants],  # type: ignore[arg-type]
                       Field(spec.default_variant, description="Which variant.")),
        force=(bool, Field(False, description="Run again although the result is there.")),
        webhook_url=(str | None, webhook_field()),
    )
    needed = any(field.is_required() for field in body.model_fields.values())
    body.model_config["openapi_extra"] = {"required": needed}  # type: ignore[typeddict-unknown-key]
    return body


def _no_other_kind(cls: type[BaseModel], value: Any, info: ValidationInfo) -> Any:
    """Refuse true for a number and a number for true, which pydantic would take: neither is what a caller meant."""
    annotation = cls.model_fields[info.field_name or ""].annotation
    kinds = (annotation, *get_args(annotation))
    if isinstance(value, bool) and bool not in kinds:
        raise ValueError("there is nothing to switch on or off; this is no boolean")
    if isinstance(value, int | float) and not isinstance(value, bool) and bool in kinds:
        raise ValueError("this is true or false, and no number")
    return value


def _add_route(spec: models.ModelSpec) -> None:
    """`POST /process/<model>/<file_id>` with the model's own parameters."""
    body_type = body_class(spec)

    def process(path: SongPath, query: AsyncQuery, body: BaseModel) -> Response | tuple[Response, int]:
        return run_model(spec.name, path.file_id, body.model_dump(), query.run_async)

    process.__annotations__["body"] = body_type
    process.__doc__ = f"{spec.purpose}."
    bp.post(f"/process/{spec.name}/<file_id>", endpoint=f"process_{spec.name}", operation_id=f"process_{spec.name}",
            responses=RESPONSES)(process)  # fmt: skip


for _spec in models.REGISTRY.values():
    _add_route(_spec)


@bp.post("/process/<model_name>/<file_id>", doc_ui=False)
def unknown_model(path: AnyModelPath) -> Response:
    """Every other model name."""
    models.spec(path.model_name)
    raise NotFound(f"There is no model {path.model_name!r}.")


@bp.post("/separate/<file_id>", responses={**RESPONSES, 200: SeparateAnswer})
def separate(path: SongPath, body: NoFields) -> Response:
    """Separate with the default model and parameters; POST /process/demucs/<file_id> takes others."""
    job, _ = finish_model("demucs", path.file_id, {})
    return jsonify(file_id=job.file_id, status=job.status, tracks=(job.result or {})["tracks"],
                   message="Separation completed successfully", job_id=job.id)  # fmt: skip


def run_model(model: str, file_id: str, fields: dict[str, Any], run_async: bool) -> Response | tuple[Response, int]:
    """Run a model as the client wishes: wait for it, or answer where to look."""
    job, skipped = start_model(model, file_id, fields)
    if wants_async(run_async) and not skipped:
        return queued_answer(job)
    return jsonify(job_answer(job if skipped else studio().jobs.wait_for_model(job, model), skipped))


def start_model(model: str, file_id: str, fields: dict[str, Any]) -> tuple[Job, bool]:
    """Submit a job.

    Parameters
    ----------
    fields : dict
        The model's parameters, and optionally model_variant, force and webhook_url.

    Returns
    -------
    job : Job
    skipped : bool
        True when the result was there already.
    """
    variant, force = fields.pop("model_variant", None), fields.pop("force", False)
    webhook_url = fields.pop("webhook_url", None)
    new = pipeline.new_job(model, checked_id(file_id), variant, fields, request_id=request_id.get())
    if model not in STARTS_FROM_NOTHING:
        known_song(file_id)
    return studio().jobs.submit(new, force=force, webhook_url=webhook_url)


def finish_model(model: str, file_id: str, fields: dict[str, Any]) -> tuple[Job, bool]:
    """Submit a job and wait until it has completed."""
    job, skipped = start_model(model, file_id, fields)
    return job if skipped else studio().jobs.wait_for_model(job, model), skipped


def queued_answer(job: Job) -> tuple[Response, int]:
    """202: where to look for the job."""
    url = url_for("jobs.one_job", job_id=job.id)
    response = jsonify(job_id=job.id, file_id=job.file_id, status=job.status, status_url=url)
    response.headers["Location"] = url
    return response, 202


def job_answer(job: Job, skipped: bool) -> dict[str, Any]:
    """200: the finished job."""
    return {
        "file_id": job.file_id,
        "model": job.model,
        "model_variant": job.variant,
        "status": job.status,
        "result": job.result,
        "message": "Processing completed successfully",
        "job_id": job.id,
        "processing_time_seconds": processing_seconds(job),
        "files": files(job),
        "skipped": skipped,
    }
