"""Music from text."""

import uuid
from typing import Any

from flask import Response, jsonify
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel

from errors import NotFound
from jobs.song_status import files, song_status
from models import spec
from routes.context import SongPath, checked_id, studio, wants_async
from routes.errors import COMMON, ErrorAnswer
from routes.process import (
    RESPONSES,
    AsyncQuery,
    FileAnswer,
    body_class,
    job_answer,
    queued_answer,
    start_model,
)

TAG = Tag(name="generate", description="Music from text")
bp = APIBlueprint("generate", __name__, abp_responses=COMMON, abp_tags=[TAG])

MODEL = "musicgen"
GenerateBody = body_class(spec(MODEL))


class GeneratedAnswer(BaseModel):
    """What was generated under one id."""

    file_id: str
    status: str
    generated_files: list[FileAnswer]
    prompt_info: dict[str, Any] | None
    total_files: int


@bp.post("/generate/text-to-music", responses=RESPONSES)
def text_to_music(query: AsyncQuery, body: GenerateBody) -> Response | tuple[Response, int]:  # type: ignore[valid-type]
    """Generate music from a description."""
    fields = body.model_dump()  # type: ignore[attr-defined]
    job, skipped = start_model(MODEL, str(uuid.uuid4()), fields)
    if wants_async(query.run_async):
        return queued_answer(job)
    answer = job_answer(studio().jobs.wait(job.id), skipped)
    generated = answer["result"]["generated_file"]
    url = next(entry["download_url"] for entry in answer["files"] if entry["filename"] == generated)
    return jsonify(answer | {"prompt": job.parameters["prompt"], "download_url": url})


@bp.get("/generate/text-to-music/<file_id>", responses={200: GeneratedAnswer, 404: ErrorAnswer})
def generated(path: SongPath) -> Response:
    """What was generated under an id, or is about to be."""
    jobs = studio().store.find(file_id=checked_id(path.file_id), model=MODEL)
    if not jobs:
        raise NotFound(f"Nothing was generated as {path.file_id}.")
    state = song_status(studio().store, studio().songs, path.file_id) or {}
    found = [entry for job in jobs for entry in files(job)]
    prompt = {**jobs[0].parameters, "model_variant": jobs[0].variant}
    return jsonify(file_id=path.file_id, status=state["status"], generated_files=found, prompt_info=prompt,
                   total_files=len(found))  # fmt: skip
