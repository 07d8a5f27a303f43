"""What views work with, put together once by create_app()."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from flask import current_app, g, request
from pydantic import BaseModel, Field, JsonValue

import models
from errors import NotFound
from jobs.service import JobService
from jobs.store import JobStore
from storage.files import Files
from storage.songs import Song, Songs, is_file_id

MAX_OFFSET = 1_000_000_000


def as_text(schema: dict[str, Any]) -> None:
    """Describe the fields of a form or query as what they are, text: one that is not given is absent, never null.

    Parameters
    ----------
    schema : dict
        Of a pydantic class, which it stands in as `json_schema_extra`; changed in place.
    """
    for field in schema["properties"].values():
        kinds = [kind for kind in field.pop("anyOf", ()) if kind.get("type") != "null"]
        for kind in kinds:
            field.update(kind)
        if kinds and field.get("default", ...) is None:
            del field["default"]


def variants(*names: str) -> list[JsonValue]:
    """The variants of several models, to describe a field with."""
    return [variant for name in names for variant in models.spec(name).variants]


class SongPath(BaseModel):
    """The song."""

    file_id: str = Field(json_schema_extra={"format": "uuid"})


class ModelPath(BaseModel):
    """The model."""

    model_name: str


class PageQuery(BaseModel):
    """Which part of a list, newest first."""

    limit: int = Field(50, ge=1, le=500)
    offset: int = Field(0, ge=0, le=MAX_OFFSET)


@dataclass(frozen=True)
class Studio:
    """The rooms behind the routes, and the few settings that routes need.

    Attributes
    ----------
    draining : callable
        Whether the service is about to end.
    """

    jobs: JobService
    models_dir: Path | None
    musicgen_engine: str
    max_upload_bytes: int
    max_duration_seconds: float
    silence_seconds: float
    version: str
    draining: Callable[[], bool]

    @property
    def store(self) -> JobStore:
        return self.jobs.store

    @property
    def songs(self) -> Songs:
        return self.jobs.songs

    @property
    def files(self) -> Files:
        return self.jobs.files

    def alive_workers(self) -> list[Any]:
        """Workers that gave a sign of life within `silence_seconds`."""
        return self.store.workers(alive_since=time.time() - self.silence_seconds)


def service() -> Studio:
    """The rooms with all that is in them, for answers that tell of no song."""
    return cast(Studio, current_app.extensions["studio"])


def studio() -> Studio:
    """The rooms as who asks sees them: with API keys, what is another's is not there."""
    if "studio" not in g:
        g.studio = replace(service(), jobs=service().jobs.seen_by(g.owner))  # raises where keys.identify() never ran
    return cast(Studio, g.studio)


def checked_id(file_id: str) -> str:
    """A file_id that has the right form.

    Raises
    ------
    NotFound
        For any other string, before it reaches a path or a query.
    """
    if not is_file_id(file_id):
        raise NotFound(f"There is no song {file_id[:64]!r}; a file_id is the lower-case UUID that the upload answered.")
    return file_id


def known_song(file_id: str) -> Song:
    """The song of that id.

    Raises
    ------
    NotFound
    """
    song = studio().songs.get(checked_id(file_id))
    if song is None:
        raise NotFound(f"There is no song {file_id}; upload it first: POST /upload.")
    return song


def wants_async(run_async: bool) -> bool:
    """Whether the client asked for an answer before the job is done."""
    return run_async or "respond-async" in request.headers.get("Prefer", "")
