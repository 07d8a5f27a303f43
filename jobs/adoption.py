"""Giving to an owner what was there before there were keys."""

from sqlalchemy import insert, literal, select, union

from jobs.tables import jobs
from storage.database import Database
from storage.owners import owners
from storage.songs import songs


def adopt(database: Database, owner: str) -> int:
    """Make an owner's what nobody owns.

    Parameters
    ----------
    database : Database
    owner : str

    Returns
    -------
    int
        How many songs and pieces of music that was.
    """
    known = union(select(songs.c.file_id), select(jobs.c.file_id)).subquery()
    nobodys = select(known.c.file_id, literal(owner)).where(known.c.file_id.not_in(select(owners.c.file_id)))
    with database.writing() as connection:
        return connection.execute(insert(owners).from_select(["file_id", "owner"], nobodys)).rowcount
