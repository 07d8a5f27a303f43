"""How a running model's report(fraction) becomes events: throttled, never going back, and where it learns to stop."""

import logging
import math
import time
from collections.abc import Callable
from threading import Event as Flag
from typing import TypeVar

from sqlalchemy.exc import OperationalError

from errors import Cancelled
from jobs.events import FIRST_PERCENT, STAGES, Event
from jobs.job import RUNNING, Job
from jobs.store import JobStore, State

log = logging.getLogger(__name__)
T = TypeVar("T")
MIN_GAP_SECONDS = 0.25  # with the closing event, at most five events in any second


class Drained(Cancelled):
    """The worker shuts down: the job is put back, not cancelled."""


class Paused(Cancelled):
    """The job is to pause: it keeps its place where its model can, and frees its worker."""


class TimedOut(Cancelled):
    """The job runs longer than it may: it failed, and was not cancelled."""


class Reporter:
    """The `report` that a job's model gets.

    Parameters
    ----------
    store : JobStore
    job : Job
        Running, claimed by this worker.
    stop : threading.Event
        Set when the job must be put back because its worker ends.
    timeout_seconds : float
        How long the job may run from now on; 0 for no limit.
    clock : callable
        Seconds, monotonic.
    """

    def __init__(self, store: JobStore, job: Job, stop: Flag, timeout_seconds: float = 0.0,
                 clock: Callable[[], float] = time.monotonic) -> None:  # fmt: skip
        self._store, self._job, self._stop, self._clock = store, job, stop, clock
        self._ends_at = clock() + timeout_seconds if timeout_seconds else math.inf
        self._checked_at = -MIN_GAP_SECONDS
        floors = self._floors()
        self._stages = {name: _Stage(floors.get(name, 0)) for name in ("loading", job.stage)}

    def begin(self) -> None:
        """Tell that the stage has begun (again, after a worker died: from where it had come to)."""
        stage = self._stages[self._job.stage]
        self._emit(self._job.stage, max(FIRST_PERCENT, stage.percent), STAGES[self._job.stage].first)

    def __call__(self, fraction: float, message: str | None = None) -> None:
        """Progress of the job's stage.

        Parameters
        ----------
        fraction : float
            Of the work done, 0 to 1.
        message : str, optional
            For people; the stage's own message when there is none.

        Raises
        ------
        Cancelled
            When the job was cancelled, removed or taken from this worker.
        Paused
            When the job is to pause.
        TimedOut
            When it has run for `timeout_seconds`.
        """
        percent = FIRST_PERCENT + int(min(max(fraction, 0.0), 1.0) * (99 - FIRST_PERCENT))
        self._tell(self._job.stage, fraction, percent, message)

    def loading(self, fraction: float, message: str | None = None) -> None:
        """Progress of fetching and loading the model, which shows as a stage of its own; otherwise as a call."""
        self._tell("loading", fraction, int(min(max(fraction, 0.0), 1.0) * 100), message)

    def loaded(self) -> None:
        """Close the stage `loading`, if it was ever shown."""
        if self._stages["loading"].told_at is not None:
            self._emit("loading", 100, STAGES["loading"].last)

    def _tell(self, name: str, fraction: float, percent: int, message: str | None) -> None:
        """Append an event unless it says nothing new or comes too soon."""
        self._check()
        stage, now = self._stages[name], self._clock()
        if stage.begun is None:
            stage.begun = (now, fraction)
        too_soon = stage.told_at is not None and now - stage.told_at < MIN_GAP_SECONDS
        if (percent <= stage.percent and stage.told_at is not None) or percent < stage.percent or too_soon:
            return
        elapsed, done = now - stage.begun[0], fraction - stage.begun[1]  # not what an earlier attempt had done
        eta = elapsed * (1 - fraction) / done if done > 0 and fraction <= 1 and elapsed > 0 else None
        self._emit(name, percent, message or STAGES[name].first, eta)

    def _emit(self, name: str, percent: int, message: str, eta_seconds: float | None = None) -> None:
        """Append one event."""
        stage = self._stages[name]
        stage.percent, stage.told_at = percent, self._clock()
        self.note(lambda: self._store.progress(self._job, Event(name, percent, message, eta_seconds=eta_seconds)))

    def _check(self) -> None:
        """Stop the model when the job is no longer wanted here."""
        if self._stop.is_set():
            raise Drained
        now = self._clock()
        if now - self._checked_at < MIN_GAP_SECONDS:
            return
        self._checked_at = now
        state = self.note(lambda: self._store.state(self._job.id)) or State(RUNNING, self._job.worker_id)
        if state.status != RUNNING or state.worker_id != self._job.worker_id or state.cancel_requested_at is not None:
            raise Cancelled
        if state.pause_requested_at is not None:
            raise Paused
        if now >= self._ends_at:
            raise TimedOut

    def note(self, ask: Callable[[], T]) -> T | None:
        """Ask the database, or do without: progress that is not told for once is no reason to end what runs.

        Returns
        -------
        T or None
            What `ask` returned; None when the database did not answer.
        """
        try:
            return ask()
        except OperationalError:
            log.warning("job %s: the database does not answer, going on", self._job.id, exc_info=True)
            return None

    def _floors(self) -> dict[str, int]:
        """How far each stage had come when an earlier worker ended: what clients saw never goes back."""
        floors: dict[str, int] = {}
        for event in self._store.events(after=0, file_id=self._job.file_id):
            if event.job_id == self._job.id and event.error is not None:
                floors = {}  # it had failed or was cancelled, and was then asked for anew
            elif event.job_id == self._job.id:
                floors[event.stage] = max(floors.get(event.stage, 0), event.progress)
        return floors


class _Stage:
    """What was last told of one stage."""

    def __init__(self, percent: int) -> None:
        self.percent = percent
        self.told_at: float | None = None
        self.begun: tuple[float, float] | None = None  # when, and what fraction was done then
