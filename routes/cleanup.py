"""Remove a song and all that was made of it."""

from flask import Response, jsonify
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel

from routes.context import SongPath, checked_id, studio
from routes.errors import COMMON, ErrorAnswer

TAG = Tag(name="cleanup", description="Remove songs")
bp = APIBlueprint("cleanup", __name__, abp_responses=COMMON, abp_tags=[TAG])


class CleanupAnswer(BaseModel):
    """What was removed."""

    file_id: str
    message: str
    deleted_files: list[str]


@bp.delete("/cleanup/<file_id>", responses={200: CleanupAnswer, 404: ErrorAnswer})
def cleanup(path: SongPath) -> Response:
    """Cancel what runs on a song, then remove its upload and results."""
    return remove(path.file_id)


def remove(file_id: str) -> Response:
    """Remove a song; the names of its files, as they were."""
    deleted = studio().jobs.remove_song(checked_id(file_id))
    return jsonify(file_id=file_id, message=f"Removed {len(deleted)} files.", deleted_files=deleted)
