"""The library: songs, and those with a karaoke package."""

from dataclasses import asdict
from typing import Any

from flask import Response, jsonify
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, ConfigDict, Field

from jobs.job import COMPLETED, Job
from jobs.song_status import files, overall, tracks
from routes import download
from routes.cleanup import CleanupAnswer, remove
from routes.context import PageQuery, SongPath, studio
from routes.errors import COMMON, ErrorAnswer
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


class SongsQuery(PageQuery):
    """Which songs, newest first."""

    search: str = Field("", max_length=200, pattern=r"^[^\x00]*$", description="Part of title, artist or file name.")


class KaraokeFilePath(SongPath):
    """Song and file of its karaoke package."""

    filename: str


@bp.get("/songs", responses={200: SongsAnswer, 400: ErrorAnswer})
def list_songs(query: SongsQuery) -> Response:
    """Songs, newest first."""
    found, total = studio().songs.search(query.search, limit=query.limit, offset=query.offset)
    return jsonify(songs=_described(found), total=total)


@bp.delete("/songs/<file_id>", responses={200: CleanupAnswer, 404: ErrorAnswer})
def delete_song(path: SongPath) -> Response:
    """Remove a song, as `DELETE /cleanup/<file_id>` does."""
    return remove(path.file_id)


@bp.get("/karaoke/songs", responses={200: SongsAnswer, 400: ErrorAnswer})
def karaoke_songs(query: PageQuery) -> Response:
    """Songs that have a karaoke package, newest package first."""
    page = {"limit": query.limit, "offset": query.offset}
    packages, total = studio().store.newest_of_each_song(model="karaoke", status=COMPLETED, **page)
    known = studio().songs.among([job.file_id for job in packages])
    songs = {song["file_id"]: song for song in _described(list(known.values()))}
    found = [songs[job.file_id] | (job.result or {}) | {"files": _karaoke_files(job)}
             for job in packages if job.file_id in songs]  # fmt: skip
    return jsonify(songs=found, total=total)


@bp.get("/karaoke/<file_id>/<filename>", responses=download.RESPONSES)
def karaoke_file(path: KaraokeFilePath, query: download.JobQuery) -> Response:
    """One file of a song's karaoke package."""
    found = download.ResultPath(model_name="karaoke", file_id=path.file_id, filename=path.filename)
    return download.send_result(found, query)


def _described(songs: list[Song]) -> list[dict[str, Any]]:
    """Songs as clients see them: one query for all, since a list must not hold up every other request."""
    jobs: dict[str, list[Job]] = {song.file_id: [] for song in songs}
    for job in studio().store.find(file_id=tuple(jobs)):
        jobs[job.file_id].append(job)
    return [
        asdict(song) | {
            "status": overall(jobs[song.file_id]), "tracks": tracks(jobs[song.file_id]),
            "download_url": f"/download/{song.file_id}",
        }
        for song in songs
    ]  # fmt: skip


def _karaoke_files(job: Job) -> list[dict[str, Any]]:
    """A package's files under the karaoke address."""
    return [{**f, "download_url": f"/karaoke/{job.file_id}/{f['filename']}?job={job.id}"} for f in files(job)]
