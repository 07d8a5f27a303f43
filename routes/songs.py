"""The library: songs, and those with a karaoke package."""

from dataclasses import asdict
from typing import Any

from flask import Response, jsonify
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, ConfigDict, Field

from jobs.song_status import files, song_status
from jobs.store import COMPLETED, Job
from routes import download
from routes.cleanup import CleanupAnswer, remove
from routes.context import studio
from routes.errors import COMMON, ErrorAnswer
from routes.jobs import MAX_OFFSET
from routes.status import SongPath
from storage.songs import Song

TAG = Tag(name="songs", description="The library")
bp = APIBlueprint("songs", __name__, abp_responses=COMMON, abp_tags=[TAG])


class SongAnswer(BaseModel):
    """One song."""

    model_config = ConfigDict(extra="allow")

    file_id: str
    filename: str
    title: str
    artist: str
    duration_seconds: float
    status: str


class SongsAnswer(BaseModel):
    """A page of songs."""

    songs: list[SongAnswer]
    total: int


class SongsQuery(BaseModel):
    """Which songs, newest first."""

    search: str = Field("", max_length=200, pattern=r"^[^\x00]*$", description="Part of title, artist or file name.")
    limit: int = Field(50, ge=1, le=500)
    offset: int = Field(0, ge=0, le=MAX_OFFSET)


class KaraokeFilePath(SongPath):
    """Song and file of its karaoke package."""

    filename: str


@bp.get("/songs", responses={200: SongsAnswer, 400: ErrorAnswer})
def list_songs(query: SongsQuery) -> Response:
    """Songs, newest first."""
    found, total = studio().songs.search(query.search, limit=query.limit, offset=query.offset)
    return jsonify(songs=[_song(song) for song in found], total=total)


@bp.delete("/songs/<file_id>", responses={200: CleanupAnswer, 404: ErrorAnswer})
def delete_song(path: SongPath) -> Response:
    """Remove a song, as `DELETE /cleanup/<file_id>` does."""
    return remove(path.file_id)


@bp.get("/karaoke/songs", responses={200: SongsAnswer})
def karaoke_songs() -> Response:
    """Songs that have a karaoke package."""
    newest: dict[str, Job] = {}
    for job in studio().store.find(model="karaoke", status=COMPLETED):
        newest.setdefault(job.file_id, job)
    songs = [(studio().songs.get(file_id), job) for file_id, job in newest.items()]
    found = [_song(song) | (job.result or {}) | {"files": _karaoke_files(job)} for song, job in songs if song]
    return jsonify(songs=found, total=len(found))


@bp.get("/karaoke/<file_id>/<filename>", responses=download.RESPONSES)
def karaoke_file(path: KaraokeFilePath, query: download.JobQuery) -> Response:
    """One file of a song's karaoke package."""
    found = download.ResultPath(model_name="karaoke", file_id=path.file_id, filename=path.filename)
    return download.send_result(found, query)


def _song(song: Song) -> dict[str, Any]:
    """One song as clients see it."""
    state = song_status(studio().store, studio().songs, song.file_id) or {}
    return asdict(song) | {"status": state.get("status"), "tracks": state.get("tracks"),
                           "download_url": f"/download/{song.file_id}"}  # fmt: skip


def _karaoke_files(job: Job) -> list[dict[str, Any]]:
    """A package's files under the karaoke address."""
    return [{**f, "download_url": f"/karaoke/{job.file_id}/{f['filename']}?job={job.id}"} for f in files(job)]
