"""Songs leave when nobody has sent or worked on them for long: rows in one transaction, then their files."""

import logging
import time
from collections.abc import Callable

from sqlalchemy import CompoundSelect, delete, or_, select, union

from jobs.job import ACTIVE
from jobs.tables import events, jobs, webhooks
from storage.database import Database
from storage.files import Files
from storage.owners import owners
from storage.songs import songs

ROUND_SECONDS = 60.0  # between looks
SONGS_A_ROUND = 50  # a long list of old songs must not hold up who watches the workers

log = logging.getLogger(__name__)


class Retention:
    """Removes songs, and music made from text, whose upload and whose last job's end are longer ago than they may be.

    A song with an active job is never touched: whether there is one, and the removal of the rows, are one transaction.
    Several hosts may do this at once.

    Parameters
    ----------
    database : Database
    files : Files
    hours : float
        How long songs are kept; 0 for ever.
    clock : callable
        Unix seconds.
    """

    def __init__(self, database: Database, files: Files, hours: float, clock: Callable[[], float] = time.time) -> None:
        self._database, self._files, self._hours, self._clock = database, files, hours, clock
        self._looked_at = -ROUND_SECONDS

    def sweep(self) -> None:
        """Remove what is due, once a minute; other calls do nothing."""
        now = time.monotonic()
        if not self._hours or now - self._looked_at < ROUND_SECONDS:
            return
        self._looked_at = now
        before = self._clock() - 3600 * self._hours
        with self._database.reading() as connection:
            due = connection.execute(_expired(before).limit(SONGS_A_ROUND)).all()
        for row in due:
            self._remove(row.file_id, before)

    def _remove(self, file_id: str, before: float) -> None:
        """Remove one song, unless something has happened to it since."""
        with self._database.writing() as connection:
            if connection.execute(_expired(before, file_id)).first() is None:
                return
            for table in (jobs, events, webhooks, songs, owners):
                connection.execute(delete(table).where(table.c.file_id == file_id))
        try:
            names = self._files.remove_song(file_id)
        except OSError:  # the rows are gone, so nobody is shown it; others shall still be removed
            log.exception("song %s: files of it are left", file_id)
            return
        log.info("song %s: not used for %g h, removed with %d files", file_id, self._hours, len(names))


def _expired(before: float, file_id: str | None = None) -> CompoundSelect[tuple[str]]:
    """Ids of songs, or of that one, that were sent and worked on before a time (Unix seconds) and not since."""
    recent = select(jobs.c.file_id).where(or_(jobs.c.status.in_(ACTIVE), jobs.c.finished_at >= before))
    sent = select(songs.c.file_id).where(songs.c.created_at < before, songs.c.file_id.not_in(recent))
    known = select(songs.c.file_id)
    made = select(jobs.c.file_id).where(jobs.c.file_id.not_in(recent), jobs.c.file_id.not_in(known))
    if file_id is not None:
        sent, made = sent.where(songs.c.file_id == file_id), made.where(jobs.c.file_id == file_id)
    return union(sent, made)
