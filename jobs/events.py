"""The events of a job: stages, their fixed messages, and the payload that clients get."""

import json
from dataclasses import dataclass
from typing import Any

PROGRESS = "processing_progress"
EVERY_FILE = "every-file"  # the room of clients that did not narrow their view
MAX_PAYLOAD_BYTES = 300
PAUSED_MESSAGE, RESUMED_MESSAGE = "Paused", "Resumed"  # fixed: who draws a page knows them by these
FIRST_PERCENT = 10  # a stage's first event; what lies between it and 100 is real progress


@dataclass(frozen=True)
class Stage:
    """One stage as clients see it."""

    name: str
    title: str
    first: str
    last: str

    @property
    def failed(self) -> str:
        """The message of the event that says it failed."""
        return f"{self.title} failed"


STAGES = {
    stage.name: stage
    for stage in (
        Stage("upload", "Upload", "Uploading...", "Upload complete, starting separation..."),
        Stage("loading", "Loading", "Loading model...", "Model loaded"),
        Stage("separation", "Separation", "Separating audio tracks...", "Audio separation complete"),
        Stage("transcription", "Transcription", "Transcribing lyrics with AI...", "Transcription complete"),
        Stage("karaoke", "Karaoke", "Generating karaoke with synced lyrics...", "Karaoke generation complete"),
        Stage("generation", "Generation", "Generating music...", "Music generation complete"),
        Stage("analysis", "Analysis", "Analyzing audio...", "Audio analysis complete"),
        Stage("complete", "Processing", "Finishing...", "All processing complete!"),
    )
}


@dataclass(frozen=True)
class Event:
    """One step of progress, before it has a sequence number.

    Attributes
    ----------
    stage : str
        A name of STAGES.
    progress : int
        0 to 100; never goes back within a stage of one attempt.
    eta_seconds : float or None
        Time the stage still needs, from the rate measured so far.
    """

    stage: str
    progress: int
    message: str
    error: str | None = None
    eta_seconds: float | None = None


def first(stage: str) -> Event:
    """The event that opens a stage."""
    return Event(stage, FIRST_PERCENT, STAGES[stage].first)


def last(stage: str, message: str | None = None) -> Event:
    """The event that closes a stage well."""
    return Event(stage, 100, message or STAGES[stage].last)


def failed(stage: str, error: str) -> Event:
    """The event that closes a stage with a reason."""
    return Event(stage, 100, STAGES[stage].failed, error)


def paused(stage: str, progress: int) -> Event:
    """The event that says that a job is paused, as far as it had come."""
    return Event(stage, progress, PAUSED_MESSAGE)


def resumed(stage: str, progress: int) -> Event:
    """The event that says that a paused job waits for its turn again."""
    return Event(stage, progress, RESUMED_MESSAGE)


def room(which: str, owner: str | None) -> str:
    """Where an owner hears of a file, or of EVERY_FILE; without one, where everybody does who needs no key."""
    return which if owner is None else f"{owner}/{which}"


def rooms(row: Any) -> list[str]:
    """Where a stored event is told: to its owner, and to those who need no key."""
    return [room(which, owner) for owner in dict.fromkeys((None, row.owner)) for which in (EVERY_FILE, row.file_id)]


def payload(row: Any) -> dict[str, Any]:
    """What clients get for a stored event: MAX_PAYLOAD_BYTES at most; the job keeps the whole of a reason cut here."""
    body = {
        "file_id": row.file_id,
        "stage": row.stage,
        "progress": row.progress,
        "message": row.message,
        "error": row.error,
        "job_id": row.job_id,
        "seq": row.seq,
        "timestamp": round(row.created_at, 2),
    }
    if row.eta_seconds is not None:
        body["eta_seconds"] = round(row.eta_seconds, 1)
    for field in ("error", "message"):
        excess = len(json.dumps(body, separators=(",", ":"))) - MAX_PAYLOAD_BYTES
        if excess > 0 and body[field]:
            body[field] = _shorten(body[field], excess)
    return body


def _shorten(text: str, excess_bytes: int) -> str:
    """The text without its end, so that its JSON is at least so many bytes shorter."""
    while text and excess_bytes > -3:  # three dots take the place of the end
        excess_bytes -= len(json.dumps(text[-1])) - 2
        text = text[:-1]
    return text.rstrip() + "..."
