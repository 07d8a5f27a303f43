"""Uploads: a song is streamed to disk, checked by decoding, and moved into place; then, when wished, processed."""

import time
import uuid
from pathlib import Path
from typing import Any, Literal, cast

from flask import Response, jsonify, request
from flask_openapi3 import APIBlueprint, FileStorage, Tag
from flask_openapi3.types import ResponseDict
from pydantic import BaseModel, ConfigDict, Field
from werkzeug.exceptions import RequestEntityTooLarge

import models
from errors import InvalidInput, NotFound, TooLarge, UnsupportedAudio
from jobs import pipeline
from jobs.inputs import TRANSCRIBERS
from jobs.job import CANCELLED, COMPLETED, PAUSED, Job, NewJob
from jobs.song_status import files, song_status
from logs import request_id
from models import FILE_TYPES, audio
from routes.context import ModelPath, as_text, studio, variants
from routes.errors import COMMON, ErrorAnswer
from routes.process import webhook_field
from storage.songs import Song, display_name, title_and_artist

TAG = Tag(name="upload", description="Send a song")
bp = APIBlueprint("upload", __name__, abp_responses=COMMON, abp_tags=[TAG])


class UploadOptions(BaseModel):
    """What shall happen with an upload; each may be a form field or a query parameter."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=(), json_schema_extra=as_text)

    model: str | None = Field(
        None, description="The model the song is for; demucs starts the whole pipeline.",
        json_schema_extra={"enum": list(models.REGISTRY)},
    )  # fmt: skip
    auto_process: bool | None = Field(None, description="Start processing at once.")
    model_variant: str | None = Field(
        None, description="Variant of that model.", json_schema_extra={"enum": variants(*models.REGISTRY)}
    )
    transcription_model: Literal["whisper", "gemma_3n"] | None = Field(None, description="whisper by default.")
    transcription_model_variant: str | None = Field(
        None, description="Variant of the transcription model.", json_schema_extra={"enum": variants(*TRANSCRIBERS)}
    )
    output_format: Literal["mp3", "wav", "flac"] | None = Field(None, description="Of the stems; mp3 by default.")
    wait: bool | None = Field(None, description="Answer when everything is done instead of at once.")
    webhook_url: str | None = webhook_field(" Needs auto_process.")


class UploadForm(UploadOptions):
    """The multipart form of an upload."""

    file: FileStorage = Field(description="mp3, wav, flac, m4a or ogg")


class UploadAnswer(BaseModel):
    """What an upload answers."""

    model_config = ConfigDict(extra="allow")

    file_id: str
    filename: str
    status: str
    message: str
    size_bytes: int
    duration_seconds: float
    sample_rate: int
    channels: int
    title: str
    artist: str


RESPONSES: ResponseDict = {
    200: UploadAnswer, 202: UploadAnswer, 400: ErrorAnswer, 404: ErrorAnswer, 409: ErrorAnswer, 413: ErrorAnswer,
    415: ErrorAnswer, 429: ErrorAnswer, 503: ErrorAnswer, 507: ErrorAnswer,
}  # fmt: skip


@bp.post("/upload", responses=RESPONSES)
def upload(query: UploadOptions, form: UploadForm) -> tuple[Response, int]:
    """Upload a song; with auto_process=true it is separated, transcribed and made into a karaoke package."""
    return _upload(_merge(query, form))


@bp.post("/upload/<model_name>", responses=RESPONSES)
def upload_for_model(path: ModelPath, query: UploadOptions, form: UploadForm) -> tuple[Response, int]:
    """Upload a song for one model."""
    models.spec(path.model_name)
    return _upload(_merge(query, form).model_copy(update={"model": path.model_name}))


def _merge(query: UploadOptions, form: UploadForm) -> UploadOptions:
    """The options, wherever they were given; the form wins."""
    given = form.model_dump(exclude={"file"}, exclude_none=True)
    return UploadOptions(**(query.model_dump(exclude_none=True) | given))


def _upload(options: UploadOptions) -> tuple[Response, int]:
    """Take the song in and start what was wished."""
    file_id = str(uuid.uuid4())
    first = _first_job(file_id, options)  # bad options are found before the song is kept
    studio().jobs.webhooks.check(options.webhook_url)
    song = take_in(file_id)
    answer = {k: getattr(song, k) for k in UploadAnswer.model_fields if hasattr(song, k)}
    if first is None:
        return jsonify(answer | {"status": "uploaded", "message": "Upload complete."}), 200
    try:
        job, _ = studio().jobs.submit(first, opening=[pipeline.upload_event(first)], webhook_url=options.webhook_url)
    except Exception:  # whatever it was: without the answer nobody knows the song's id
        studio().jobs.remove_song(file_id)
        raise
    started = {"job_id": job.id, "status_url": f"/status/{file_id}"}
    if not options.wait:
        message = "Upload complete, processing started."
        return jsonify(answer | started | {"status": "processing", "message": message}), 202
    if (paused := studio().jobs.wait_for_pipeline(job.pipeline_id or "")) is not None:
        message = f"Upload complete, processing was paused; it goes on after POST /jobs/{paused.id}/resume."
        return jsonify(answer | started | {"status": PAUSED, "message": message}), 202
    return jsonify(answer | started | _finished(job)), 200


def take_in(file_id: str) -> Song:
    """Check the request's file by decoding, move it into place and remember it.

    Raises
    ------
    InvalidInput
        When there is not exactly one file.
    UnsupportedAudio
        When it is not a song we accept.
    RequestEntityTooLarge
        When it is larger than the limit.
    TooLarge
        When it is longer than the limit.
    """
    uploaded = _only_file()
    name = display_name(uploaded.filename or "")
    extension = Path(name).suffix[1:].lower()
    if extension not in FILE_TYPES:
        raise UnsupportedAudio(f"{name!r} is not one of the accepted types {', '.join(FILE_TYPES)}.")
    uploaded.stream.flush()
    incoming = Path(uploaded.stream.name)
    size = incoming.stat().st_size
    if size > studio().max_upload_bytes:
        raise RequestEntityTooLarge
    if size == 0:
        raise UnsupportedAudio(f"{name!r} is empty.")
    probe = audio.confined_probe(incoming)
    if probe.duration_seconds > (longest := studio().max_duration_seconds):
        raise TooLarge(f"{name!r} lasts {probe.duration_seconds:.1f} s; a song may last {longest:g} s. Cut it shorter.")
    title, artist = title_and_artist(name, probe.title, probe.artist)
    song = Song(file_id, name, extension, size, round(probe.duration_seconds, 3), probe.sample_rate, probe.channels,
                title, artist, time.time())  # fmt: skip
    uploaded.close()
    complete = studio().files.complete_upload(incoming, file_id, extension)
    try:
        studio().songs.add(song)  # before the file is in place, where nobody would find it if we died in between
    except Exception:  # whatever it was
        complete.unlink(missing_ok=True)
        raise
    studio().files.accept_upload(complete, file_id, extension)
    return song


def _only_file() -> FileStorage:
    """The request's file."""
    files = request.files.getlist("file")
    if len(files) != 1:
        raise InvalidInput(f"file: send one file as multipart/form-data; there were {len(files)}.",
                           details={"field": "file"})  # fmt: skip
    return cast(FileStorage, files[0])


def _first_job(file_id: str, options: UploadOptions) -> NewJob | None:
    """The first job of what was wished, None when only the upload was."""
    model = options.model or "demucs"
    spec = models.spec(model)
    variant = spec.variant(options.model_variant)
    transcriber = models.spec(options.transcription_model or "whisper")
    transcriber.variant(options.transcription_model_variant, "transcription_model_variant")
    if not options.auto_process:
        if options.webhook_url is not None:
            raise InvalidInput("webhook_url: nothing would be told; it needs auto_process=true.",
                               details={"field": "webhook_url"})  # fmt: skip
        return None
    format_given = {"output_format": options.output_format} if options.output_format else {}
    pipeline_id = str(uuid.uuid4())
    if model != "demucs":
        step = pipeline.new_job(model, file_id, variant, {})
        return pipeline.chain([step], pipeline_id, request_id.get())
    return pipeline.song_pipeline(
        file_id, pipeline_id, request_id.get(),
        {"model": model, "variant": variant, "parameters": format_given},
        {"model": transcriber.name, "variant": options.transcription_model_variant,
         "parameters": {"task": "transcribe"} if transcriber.name == "gemma_3n" else {}},
    )  # fmt: skip


def _finished(first: Job) -> dict[str, Any]:
    """What a waiting client gets: every stage's result, or its failure in its place."""
    state = song_status(studio().store, studio().songs, first.file_id)
    if state is None:
        raise NotFound(f"Song {first.file_id} was removed before it was done.")
    oldest_first = reversed(studio().store.find(file_id=first.file_id))
    jobs = {"transcription" if job.model in TRANSCRIBERS else job.stage: job for job in oldest_first}
    statuses = {job.status for job in studio().store.find(pipeline_id=first.pipeline_id)}
    status = COMPLETED if COMPLETED in statuses and CANCELLED not in statuses else state["status"]
    answer: dict[str, Any] = {"status": status, "message": "Processing completed successfully", "tracks": []}
    failed = {name: stage["error"] for name, stage in state["stages"].items() if stage["error"]}
    if failed:
        answer["message"] = failed.get("complete", "Processing finished with errors")
    described = {"separation": ("tracks", _tracks), "transcription": ("transcription", _transcription),
                 "karaoke": ("karaoke", _karaoke)}  # fmt: skip
    for name, (key, describe) in described.items():
        if name in failed:
            answer[name] = {"status": "failed", "error": failed[name]}
        elif name in jobs and jobs[name].status == COMPLETED:
            answer[key] = describe(jobs[name])
    return answer if first.following else answer | _of_one_model(studio().jobs.get(first.id), failed)


def _of_one_model(job: Job, failed: dict[str, str]) -> dict[str, Any]:
    """What the one model that was asked for found, or its failure under the name of its stage."""
    if job.status == COMPLETED:
        return {"result": job.result, "files": files(job)}
    return {job.stage: {"status": "failed", "error": failed.get(job.stage)}}


def _tracks(job: Job) -> list[dict[str, str]]:
    """The stems with where to download them."""
    names = (job.result or {}).get("tracks", [])
    return [{"name": Path(f["filename"]).stem, "download_url": f["download_url"]}
            for f in files(job) if Path(f["filename"]).stem in names]  # fmt: skip


def _transcription(job: Job) -> dict[str, Any]:
    """The words with where to download them."""
    result = job.result or {}
    return {
        "status": "completed", "text": result.get("text", ""), "model": job.model, "model_variant": job.variant,
        "download_url": _url_of(job, result.get("transcription_file")), "message": result.get("message"),
    }  # fmt: skip


def _karaoke(job: Job) -> dict[str, Any]:
    """The karaoke package with where to download it."""
    result = job.result or {}
    picked = {name: result.get(name) for name in ("lrc_file", "audio_file", "total_lines", "duration")}
    return {"status": "completed", **picked, "download_url": _url_of(job, result.get("audio_file"))}


def _url_of(job: Job, filename: str | None) -> str | None:
    """Where one of a job's files is."""
    return next((f["download_url"] for f in files(job) if f["filename"] == filename), None)
