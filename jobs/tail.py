"""Follows the database: emits new events, and wakes who waits for a job to end."""

import logging
import sqlite3
import threading
from collections.abc import Callable
from typing import Any

from jobs.job import QUEUED, RUNNING
from jobs.store import JobStore

BUSY_SECONDS = 0.02  # between looks while something runs
IDLE_SECONDS = 0.25  # between looks while nothing does
DISTANT_SECONDS = 0.1  # between looks at a database that cannot tell cheaply whether it changed
FAILED_SECONDS = 1.0  # after a look that failed

log = logging.getLogger(__name__)


class Tail:
    """One thread that watches for changes made by other processes.

    Parameters
    ----------
    store : JobStore
    emit : callable
        Called with each new event row, in order; None when workers emit themselves.
    """

    def __init__(self, store: JobStore, emit: Callable[[Any], None] | None) -> None:
        self._store, self._emit = store, emit
        self._changed, self._wake, self._stop = threading.Condition(), threading.Event(), threading.Event()
        self.lock = threading.RLock()  # held while emitting, so that a replay and live events do not cross
        self.seq = 0

    def start(self) -> None:
        """Begin to watch; what happened before is not emitted."""
        self.seq = self._store.last_seq()
        threading.Thread(target=self._run, name="tail", daemon=True).start()

    def stop(self) -> None:
        """Emit what is left, then end the thread."""
        self._stop.set()
        self._wake.set()

    def wake(self) -> None:
        """Something was submitted: look at once, and often from now on."""
        self._wake.set()

    def wait_for_change(self, timeout_seconds: float) -> None:
        """Return when the database has changed, or after the timeout."""
        with self._changed:
            self._changed.wait(timeout_seconds)

    def _run(self) -> None:
        """Watch until stopped."""
        version = _change_detector(self._store)
        seen, pause = None, 0.0
        while not self._stop.is_set():
            self._wake.wait(pause)
            self._wake.clear()
            try:
                now = version()
                if now is None or now != seen:
                    pause = self._look(distant=now is None)
                    seen = now  # not before: what a failed look missed is looked at again
            except Exception:  # the database or a client's connection, in any library's words; clients need this thread
                log.exception("tail: a look failed, going on")
                pause = FAILED_SECONDS
        self._look(distant=False)

    def _look(self, distant: bool) -> float:
        """Emit new events, wake who waits; how long to pause."""
        if self._emit is not None:
            self.emit_new()
        with self._changed:
            self._changed.notify_all()
        if distant:
            return DISTANT_SECONDS
        return BUSY_SECONDS if self._store.count(status=(QUEUED, RUNNING)) else IDLE_SECONDS

    def emit_new(self) -> None:
        """Emit what was stored since the last time; where workers do, only keep up with it."""
        with self.lock:
            if self._emit is None:
                self.seq = max(self.seq, self._store.last_seq())
                return
            for row in self._store.events(after=self.seq):
                self._emit(row)
                self.seq = row.seq


def _change_detector(store: JobStore) -> Callable[[], int | None]:
    """A cheap number that is another one after any commit; always None where there is no such thing."""
    if store.database.sqlite_file is None:
        return lambda: None
    connection = sqlite3.connect(store.database.sqlite_file, check_same_thread=False, isolation_level=None)
    return lambda: connection.execute("PRAGMA data_version").fetchone()[0]
