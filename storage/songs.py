"""The songs: what was uploaded, under which id, with which title."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePath

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Float,
    Integer,
    String,
    Table,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
)

from storage.database import METADATA, Database
from storage.owners import own, owners, seen_by

MAX_NAME_CHARACTERS = 255
MAX_EXTENSION_CHARACTERS = 8
FILE_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")

songs = Table(
    "songs", METADATA,
    Column("file_id", String(36), primary_key=True),
    Column("filename", String(MAX_NAME_CHARACTERS), nullable=False),
    Column("extension", String(MAX_EXTENSION_CHARACTERS), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("duration_seconds", Float, nullable=False),
    Column("sample_rate", Integer, nullable=False),
    Column("channels", Integer, nullable=False),
    Column("title", String, nullable=False),
    Column("artist", String, nullable=False),
    Column("created_at", Float, nullable=False),
)  # fmt: skip


@dataclass(frozen=True)
class Song:
    """One upload. Times are Unix seconds; `filename` is the user's, for display only."""

    file_id: str
    filename: str
    extension: str
    size_bytes: int
    duration_seconds: float
    sample_rate: int
    channels: int
    title: str
    artist: str
    created_at: float


class Songs:
    """The table of songs.

    Parameters
    ----------
    database : Database
    owner : str, optional
        Who sees only songs of its own and adds such; without one, all are seen.
    """

    def __init__(self, database: Database, owner: str | None = None) -> None:
        self._database, self._owner = database, owner

    def seen_by(self, owner: str | None) -> "Songs":
        """The same table as an owner sees it."""
        return Songs(self._database, owner)

    def add(self, song: Song) -> None:
        """Remember a song."""
        with self._database.writing() as connection:
            connection.execute(insert(songs).values(asdict(song)))
            own(connection, song.file_id, self._owner)

    def get(self, file_id: str) -> Song | None:
        """The song of that id, None when there is none."""
        query = select(songs).where(songs.c.file_id == file_id, *self._seen)
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        return Song(**row._mapping) if row else None

    def among(self, file_ids: Sequence[str]) -> dict[str, Song]:
        """The songs of these ids by id, without those that are not known."""
        with self._database.reading() as connection:
            rows = connection.execute(select(songs).where(songs.c.file_id.in_(file_ids), *self._seen))
            return {row.file_id: Song(**row._mapping) for row in rows}

    def search(self, text: str = "", *, limit: int, offset: int = 0) -> tuple[list[Song], int]:
        """Songs whose title, artist or file name contains `text`, newest first, and how many there are in all.

        Parameters
        ----------
        text : str
            Case-insensitive; empty matches every song.
        limit, offset : int
            Which part of the list.
        """
        fields = (songs.c.title, songs.c.artist, songs.c.filename)
        matching = and_(or_(*(field.icontains(text, autoescape=True) for field in fields)), *self._seen)
        newest = select(songs).where(matching).order_by(songs.c.created_at.desc()).limit(limit).offset(offset)
        with self._database.reading() as connection:
            total = connection.execute(select(func.count()).select_from(songs).where(matching)).scalar_one()
            return [Song(**row._mapping) for row in connection.execute(newest)], total

    def remove(self, file_id: str) -> None:
        """Forget a song and whose it was; nothing happens when it is not known, or another's."""
        with self._database.writing() as connection:
            connection.execute(delete(songs).where(songs.c.file_id == file_id, *self._seen))
            mine = [] if self._owner is None else [owners.c.owner == self._owner]
            connection.execute(delete(owners).where(owners.c.file_id == file_id, *mine))

    @property
    def _seen(self) -> list[ColumnElement[bool]]:
        """What leaves the songs that the owner may see."""
        return seen_by(self._owner, songs.c.file_id)


def is_file_id(text: str) -> bool:
    """Whether a text is a lower-case UUID4: nothing else may reach a file path or a room."""
    return FILE_ID.fullmatch(text) is not None


def display_name(filename: str) -> str:
    """A user's file name as it can be shown: last part only, no control characters, bounded length."""
    name = PurePath(filename.replace("\\", "/")).name
    name = re.sub(r"[\x00-\x1f\x7f]", "", name).strip()
    stem, dot, extension = name.rpartition(".")
    if len(name) > MAX_NAME_CHARACTERS and dot and len(extension) <= MAX_EXTENSION_CHARACTERS:
        return stem[: MAX_NAME_CHARACTERS - len(extension) - 1] + dot + extension
    return name[:MAX_NAME_CHARACTERS]


def title_and_artist(filename: str, title: str | None, artist: str | None) -> tuple[str, str]:
    """Title and artist from tags, else from a name like "Artist - Title.ext"; the artist may be empty."""
    stem = PurePath(filename).stem.strip()
    parts = re.split(r"\s[-–—]\s", stem, maxsplit=1)
    named_artist, named_title = (parts[0].strip(), parts[1].strip()) if len(parts) == 2 else ("", stem)
    return title or named_title or stem, artist or named_artist
