"""A job: what was asked for, what is known of it, how it ended."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from jobs.events import Event

QUEUED, RUNNING, PAUSED = "queued", "running", "paused"
COMPLETED, FAILED, CANCELLED = "completed", "failed", "cancelled"
ACTIVE = (QUEUED, RUNNING, PAUSED)
ENDED = (COMPLETED, FAILED, CANCELLED)


@dataclass(frozen=True)
class NewJob:
    """What to run: the part of a job that a caller decides.

    Attributes
    ----------
    source : str
        What the model hears: "upload" or "vocals" (the song's vocal stem).
    following : tuple of dict
        The rest of the pipeline, as keyword arguments of NewJob without file_id.
    """

    file_id: str
    model: str
    variant: str
    queue: str
    stage: str
    parameters: dict[str, Any]
    source: str = "upload"
    following: tuple[dict[str, Any], ...] = ()
    pipeline_id: str | None = None
    request_id: str = ""

    @property
    def parameters_hash(self) -> str:
        """Equal for requests that would give equal results, as long as they read equal results of other jobs."""
        what = [self.file_id, self.model, self.variant, self.source, self.parameters]
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Job:
    """A job as stored. Times are Unix seconds; `error` is {"code", "message", "details"}.

    Attributes
    ----------
    pause_requested_at : float or None
        Since when a running job is to pause.
    paused_at : float or None
        When it was paused last, if ever.
    earlier_seconds : float or None
        How long earlier attempts ran on what the one that ended it went on from.
    """

    id: str
    file_id: str
    model: str
    variant: str
    parameters: dict[str, Any]
    parameters_hash: str
    source: str
    following: list[dict[str, Any]]
    pipeline_id: str | None
    queue: str
    request_id: str
    status: str
    stage: str
    progress: int
    attempts: int
    cancel_requested_at: float | None
    worker_id: str | None
    created_at: float
    started_at: float | None
    finished_at: float | None
    folder: str | None
    result: dict[str, Any] | None
    files: list[dict[str, Any]] | None
    error: dict[str, Any] | None
    pause_requested_at: float | None
    paused_at: float | None
    earlier_seconds: float | None

    @property
    def run_seconds(self) -> float | None:
        """How long its result took to make, without the time that it was paused; None when it did not run or end."""
        if self.started_at is None or self.finished_at is None:
            return None
        return max(self.finished_at - self.started_at, 0.0) + (self.earlier_seconds or 0.0)


@dataclass(frozen=True)
class Outcome:
    """How an attempt at a job ended.

    Attributes
    ----------
    status : str
        COMPLETED, FAILED or CANCELLED.
    then : sequence of NewJob
        Jobs that follow, created in the same transaction so that no crash can lose them.
    earlier_seconds : float
        As Job has it.
    """

    status: str
    events: Sequence[Event] = ()
    then: Sequence[NewJob] = ()
    folder: str | None = None
    result: dict[str, Any] | None = None
    files: list[dict[str, Any]] = field(default_factory=list)
    error: dict[str, Any] | None = None
    earlier_seconds: float = 0.0
