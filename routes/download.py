"""Originals and results, in which a browser can seek and which it need not fetch twice; and archives, sent whole."""

import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from flask import Response, send_file, stream_with_context
from flask_openapi3 import APIBlueprint, Tag
from flask_openapi3.types import ResponseDict
from pydantic import BaseModel, ConfigDict, Field

import models
from errors import NotFound
from jobs.job import COMPLETED
from routes.context import ModelPath, SongPath, as_text, checked_id, known_song, studio
from routes.errors import COMMON, ErrorAnswer

TAG = Tag(name="download", description="Get files")
bp = APIBlueprint("download", __name__, abp_responses=COMMON, abp_tags=[TAG])

KINDS = ("application/json", "application/octet-stream", "audio/*", "image/*", "text/*")
CONTENT: dict[str, Any] = {kind: {} for kind in KINDS}
FILE: dict[str, Any] = {"description": "The file", "content": CONTENT}
PART: dict[str, Any] = {"description": "The part that Range asked for", "content": CONTENT}
SONG: dict[str, Any] = {"description": "The original, or an archive", "content": {**CONTENT, "application/zip": {}}}
RESPONSES: ResponseDict = {200: FILE, 206: PART, 304: None, 404: ErrorAnswer, 416: ErrorAnswer}


class TrackPath(SongPath):
    """Song and stem, or song and name of a result file."""

    track: str


class ResultPath(ModelPath, SongPath):
    """Model, song and name of a result file."""

    filename: str


class JobQuery(BaseModel):
    """Whose file."""

    model_config = ConfigDict(json_schema_extra=as_text)

    job: str | None = Field(None, description="The job that made it; the newest that has such a file when absent.")


class ArchiveQuery(BaseModel):
    """Original or archive."""

    model_config = ConfigDict(json_schema_extra=as_text)

    archive: Literal["zip"] | None = Field(None, description="All results in one file.")


@bp.get("/download/<model_name>/<file_id>/<filename>", responses=RESPONSES)
def download_result(path: ResultPath, query: JobQuery) -> Response:
    """A result file of one model, as attachment."""
    return send_result(path, query)


@bp.get("/download/<file_id>/<track>", responses=RESPONSES)
def download_track(path: TrackPath, query: JobQuery) -> Response:
    """A stem by its name, or any result file by its own, as attachment."""
    return _send(_find(path.file_id, path.track, query))


@bp.get("/download/<file_id>", responses={**RESPONSES, 200: SONG})
def download_song(path: SongPath, query: ArchiveQuery) -> Response:
    """The original, inline; or everything that was made of it.

    The original honours Range and If-None-Match; an archive, which is made while it is sent, always comes whole.
    """
    if query.archive:
        return _archive(checked_id(path.file_id))
    song = known_song(path.file_id)
    original = studio().files.upload(song.file_id, song.extension)
    if not original.exists():
        raise NotFound(f"The original of song {path.file_id} is gone.")
    return send_file(original, download_name=song.filename, conditional=True)


def send_result(path: ResultPath, query: JobQuery) -> Response:
    """A result file of one model.

    Raises
    ------
    NotFound
        When there is no such model, song, job or file.
    """
    models.spec(path.model_name)
    return _send(_find(path.file_id, path.filename, query, model=path.model_name))


def _send(path: Path) -> Response:
    """A result file; Range and If-None-Match are honoured."""
    return send_file(path, as_attachment=True, download_name=path.name, conditional=True)


def _find(file_id: str, name: str, query: JobQuery, **equal: Any) -> Path:
    """The newest result file of that name, or whose name without its ending it is; of one job when that is asked.

    Raises
    ------
    NotFound
    """
    checked_id(file_id)
    if query.job is not None:
        equal["id"] = studio().jobs.get(query.job).id
    for path in _results(file_id, **equal):
        if name in (path.name, path.stem):
            return path
    raise NotFound(f"Song {file_id} has no file {name[:128]!r}; GET /status/{file_id} lists what there is.")


def _results(file_id: str, **equal: Any) -> Iterator[Path]:
    """Every result file of a song, those of the newest job first."""
    for job in studio().store.find(file_id=file_id, status=COMPLETED, **equal):
        for entry in job.files or ():
            path = studio().files.result(job.folder or "", entry["filename"])
            if path.exists():
                yield path


def _archive(file_id: str) -> Response:
    """A zip of all results, made while it is sent: stored, not compressed, since audio is already.

    A model's newest result is in a folder named as the model, each older one in that one's folder of its own.
    """
    from zipstream import ZIP_STORED, ZipStream

    song = studio().songs.get(file_id)
    archive = ZipStream(compress_type=ZIP_STORED, sized=True)
    newest: dict[str, Path] = {}
    for path in _results(file_id):
        within = path.relative_to(studio().files.outputs / file_id)
        model = within.parts[0]
        is_newest = newest.setdefault(model, path.parent) == path.parent
        archive.add_path(path, f"{model}/{path.name}" if is_newest else within.as_posix())
    if not newest:
        raise NotFound(f"Song {file_id} has no results yet.")
    response = Response(stream_with_context(iter(archive)), mimetype="application/zip")
    names = _archive_names(Path(song.filename).stem if song else file_id, file_id)
    response.headers.set("Content-Disposition", "attachment", **names)
    response.content_length = len(archive)
    return response


def _archive_names(title: str, file_id: str) -> dict[str, str]:
    """What to save an archive as: the title, and for clients that read ASCII only what is left of it, or the id."""
    if title.isascii():
        return {"filename": f"{title}.zip"}
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
    plain = plain if any(map(str.isalnum, plain)) else file_id
    return {"filename": f"{plain}.zip", "filename*": f"UTF-8''{quote(title)}.zip"}
