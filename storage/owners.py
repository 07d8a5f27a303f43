"""Whose songs and pieces of music are: the name of the key that sent or asked for them, or nobody's."""

from sqlalchemy import Column, ColumnElement, Connection, String, Table, insert, select

from storage.database import METADATA

MAX_OWNER_CHARACTERS = 64

# One row for each id, so that two can never own one: songs, jobs and events go by it.
owners = Table(
    "owners", METADATA,
    Column("file_id", String(36), primary_key=True),
    Column("owner", String(MAX_OWNER_CHARACTERS), nullable=False, index=True),
)  # fmt: skip


def seen_by(owner: str | None, file_id: Column[str]) -> list[ColumnElement[bool]]:
    """Conditions that leave the rows that an owner may see.

    Parameters
    ----------
    owner : str or None
        None sees everything: workers, and everybody where there are no keys.
    file_id : Column
        Of the table that is asked.
    """
    return [] if owner is None else [file_id.in_(select(owners.c.file_id).where(owners.c.owner == owner))]


def owner_of(connection: Connection, file_id: str) -> str | None:
    """Whose an id is, None when it is nobody's."""
    return connection.execute(select(owners.c.owner).where(owners.c.file_id == file_id)).scalar()


def own(connection: Connection, file_id: str, owner: str | None) -> None:
    """Make an id that is nobody's the owner's; nothing happens without an owner.

    Raises
    ------
    sqlalchemy.exc.IntegrityError
        When it is somebody's already.
    """
    if owner is not None:
        connection.execute(insert(owners).values(file_id=file_id, owner=owner))
