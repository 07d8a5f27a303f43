"""Key, tempo and harmony of one song or many."""

from typing import Any

from flask import Response, jsonify
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, ConfigDict, Field

from errors import StudioError
from jobs.job import Job
from models import spec
from routes.context import SongPath, studio
from routes.errors import COMMON, ErrorAnswer
from routes.process import RESPONSES, body_class, finish_model, start_model

TAG = Tag(name="analyze", description="Key, tempo, harmony")
bp = APIBlueprint("analyze", __name__, abp_responses=COMMON, abp_tags=[TAG])

MAX_BATCH = 100
ChromaBody = body_class(spec("pitch_analysis"))


class ChromaAnswer(BaseModel):
    """What the analysis found."""

    model_config = ConfigDict(extra="allow")

    file_id: str
    analysis_type: str
    status: str
    key_info: dict[str, Any]
    tempo_info: dict[str, Any]
    harmonic_complexity: float
    chord_changes_count: int
    detailed_analysis_file: str
    message: str


class BatchBody(BaseModel):
    """The songs to analyse."""

    model_config = ConfigDict(extra="forbid")

    file_ids: list[str] = Field(min_length=1, max_length=MAX_BATCH)


class BatchAnswer(BaseModel):
    """One entry per song; a bad id never fails the rest."""

    batch_analysis: bool
    total_files: int
    successful_analyses: int
    failed_analyses: int
    results: list[dict[str, Any]]


@bp.post("/analyze/chroma/<file_id>", responses={**RESPONSES, 200: ChromaAnswer})
def chroma(path: SongPath, body: ChromaBody) -> Response:  # type: ignore[valid-type]
    """Key, tempo and harmony of one song."""
    job, _ = finish_model("pitch_analysis", path.file_id, body.model_dump())  # type: ignore[attr-defined]
    result = job.result or {}
    return jsonify(
        file_id=job.file_id,
        analysis_type=job.variant,
        status=job.status,
        key_info={name: result[name] for name in ("detected_key", "key_strength", "scale")},
        tempo_info={"tempo_bpm": result["tempo_bpm"]},
        harmonic_complexity=result["harmonic_complexity"],
        chord_changes_count=result["chord_changes_count"],
        detailed_analysis_file=result["analysis_file"],
        message="Chroma analysis completed successfully",
    )


@bp.post("/analyze/batch", responses={200: BatchAnswer, 400: ErrorAnswer})
def batch(body: BatchBody) -> Response:
    """Key, tempo and harmony of many songs."""
    started = [_start(file_id) for file_id in body.file_ids]
    results = [_result(file_id, outcome) for file_id, outcome in zip(body.file_ids, started, strict=True)]
    good = sum(result["success"] for result in results)
    return jsonify(batch_analysis=True, total_files=len(results), successful_analyses=good,
                   failed_analyses=len(results) - good, results=results)  # fmt: skip


def _start(file_id: str) -> Job | StudioError:
    """Submit one song's analysis; all are queued before the first is waited for."""
    try:
        return start_model("pitch_analysis", file_id, {})[0]
    except StudioError as error:
        return error


def _result(file_id: str, started: Job | StudioError) -> dict[str, Any]:
    """One song's entry."""
    try:
        if isinstance(started, StudioError):
            raise started
        found = studio().jobs.wait(started.id).result or {}
    except StudioError as error:
        return {"file_id": file_id, "success": False, "error": error.message}
    return {
        "file_id": file_id, "success": True, "key": found["detected_key"], "tempo": found["tempo_bpm"],
        "harmonic_complexity": found["harmonic_complexity"],
    }  # fmt: skip
