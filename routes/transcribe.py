"""Speech and lyrics of one file, in one call."""

import uuid
from typing import Literal

from flask import Response, jsonify
from flask_openapi3 import APIBlueprint, FileStorage, Tag
from pydantic import BaseModel, ConfigDict, Field

import models
from errors import InvalidInput
from jobs.inputs import TRANSCRIBERS
from jobs.job import PAUSED, Job
from models import whisper
from routes.context import as_text, studio, variants
from routes.errors import COMMON, ErrorAnswer
from routes.process import RESPONSES, finish_model
from routes.upload import take_in

TAG = Tag(name="transcribe", description="Words of one file")
bp = APIBlueprint("transcribe", __name__, abp_responses=COMMON, abp_tags=[TAG])

MIME_TYPES = {"text": "text/plain", "srt": "application/x-subrip", "vtt": "text/vtt", "lrc": "text/plain"}
SUFFIXES = {"text": ".txt", "srt": ".srt", "vtt": ".vtt", "lrc": ".lrc"}


class TranscribeForm(BaseModel):
    """The multipart form of a transcription."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=(), json_schema_extra=as_text)

    file: FileStorage = Field(description="mp3, wav, flac, m4a or ogg")
    model: Literal["whisper", "gemma_3n"] = Field("whisper", description="Which model listens.")
    model_variant: str | None = Field(
        None, description="Variant of that model.", json_schema_extra={"enum": variants(*TRANSCRIBERS)}
    )
    language: str | None = Field(
        None, description="Of the words, as a code like en; detected when absent.",
        json_schema_extra={"enum": list(whisper.LANGUAGES)},
    )  # fmt: skip
    response_format: Literal["json", "text", "srt", "vtt", "lrc"] = Field("json", description="Shape of the answer.")


class TranscribeAnswer(BaseModel):
    """The words."""

    model_config = ConfigDict(
        protected_namespaces=(),
        openapi_extra={"content": {kind: {} for kind in MIME_TYPES.values()}},  # type: ignore[typeddict-unknown-key]
    )

    file_id: str
    model: str
    model_variant: str
    status: str
    transcription: str
    language: str | None
    message: str


@bp.post("/transcribe", responses={**RESPONSES, 200: TranscribeAnswer, 413: ErrorAnswer})
def transcribe(form: TranscribeForm) -> Response:
    """Upload a file and get its words."""
    variant = models.spec(form.model).variant(form.model_variant)
    parameters = {"task": "transcribe"} if form.model == "gemma_3n" else {}
    if form.language is not None:
        parameters["language"] = form.language
    models.spec(form.model).module.Request.model_validate(parameters)
    song = take_in(str(uuid.uuid4()))
    try:
        job, _ = finish_model(form.model, song.file_id, {**parameters, "model_variant": variant})
    except Exception:  # whatever it was: without the answer nobody knows the song's id
        if not studio().store.count(file_id=song.file_id, status=PAUSED):  # then it names the job, which may go on
            studio().jobs.remove_song(song.file_id)
        raise
    return _json_answer(job) if form.response_format == "json" else _file_answer(job, form.response_format)


def _json_answer(job: Job) -> Response:
    """The words with what is known of them."""
    result = job.result or {}
    answer = TranscribeAnswer(
        file_id=job.file_id, model=job.model, model_variant=job.variant, status=job.status,
        transcription=result["text"], language=result.get("language"),
        message=result.get("message") or "Transcription completed successfully",
    )  # fmt: skip
    return jsonify(answer.model_dump())


def _file_answer(job: Job, response_format: str) -> Response:
    """One of the files that the model wrote, as the body."""
    suffix = SUFFIXES[response_format]
    name = next((f["filename"] for f in job.files or () if f["filename"].endswith(suffix)), None)
    if name is None:
        raise InvalidInput(f"response_format: {job.model} {job.variant} writes no {response_format}.")
    text = studio().files.result(job.folder or "", name).read_text(encoding="utf-8")
    return Response(text, mimetype=MIME_TYPES[response_format])
