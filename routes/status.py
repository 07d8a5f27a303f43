"""What has become of a song."""

from typing import Any

from flask import Response, jsonify
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, ConfigDict

from errors import NotFound
from jobs.song_status import song_status
from routes.context import SongPath, checked_id, studio
from routes.errors import COMMON, ErrorAnswer

TAG = Tag(name="status", description="What has become of a song")
bp = APIBlueprint("status", __name__, abp_responses=COMMON, abp_tags=[TAG])


class StatusAnswer(BaseModel):
    """A song's state, derived from its jobs."""

    model_config = ConfigDict(extra="allow")

    file_id: str
    status: str
    tracks: list[str]
    stages: dict[str, Any]
    jobs: list[dict[str, Any]]


@bp.get("/status/<file_id>", responses={200: StatusAnswer, 404: ErrorAnswer})
def status(path: SongPath) -> Response:
    """A song's state, stages and jobs."""
    state = song_status(studio().store, studio().songs, checked_id(path.file_id))
    if state is None:
        raise NotFound(f"There is no song {path.file_id}.")
    return jsonify(state)
