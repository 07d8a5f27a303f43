"""Which stage follows which, what each needs, and what clients are told when one ends."""

from dataclasses import asdict
from typing import Any

import models
from jobs.events import STAGES, Event, failed, last
from jobs.job import CANCELLED, COMPLETED, Job, NewJob

VOCALS = "vocals"  # the stem, and the source of jobs that hear it
CANCELLED_ERROR = "Cancelled on request."


def new_job(model: str, file_id: str, variant: str | None, parameters: dict[str, Any], **more: Any) -> NewJob:
    """A job of that model, checked against the model's own request class.

    Parameters
    ----------
    model, variant : str
        As in the model table; the variant may be None for the default.
    parameters : dict
        Checked by the model's Request and completed with its defaults.
    more
        Further fields of NewJob.

    Raises
    ------
    NotFound, InvalidInput, pydantic.ValidationError
    """
    spec = models.spec(model)
    request = spec.module.Request.model_validate(parameters)
    fields = {"stage": spec.stage, "queue": spec.queue, "parameters": request.model_dump(mode="json")} | more
    return NewJob(file_id=file_id, model=model, variant=spec.variant(variant), **fields)


def song_pipeline(file_id: str, pipeline_id: str, request_id: str, separation: dict[str, Any],
                  transcription: dict[str, Any]) -> NewJob:  # fmt: skip
    """The first job of the main pipeline: stems, words of the vocal stem, karaoke.

    Parameters
    ----------
    separation, transcription : dict
        model, variant and parameters of these stages.
    """
    words = [new_job(file_id=file_id, source=VOCALS, **transcription)]
    if transcription["model"] != "whisper":  # Gemma times no words: it corrects those that Whisper heard
        words.insert(0, new_job("whisper", file_id, None, {}, source=VOCALS))
    steps = [new_job(file_id=file_id, **separation), *words, new_job("karaoke", file_id, None, {})]
    return chain(steps, pipeline_id, request_id)


def chain(steps: list[NewJob], pipeline_id: str, request_id: str) -> NewJob:
    """The first of several jobs, which carries the others."""
    first, *rest = (asdict(step) for step in steps)
    for step in rest:
        for given_later in ("file_id", "following", "pipeline_id", "request_id"):
            del step[given_later]
    first |= {"following": tuple(rest), "pipeline_id": pipeline_id, "request_id": request_id}
    return NewJob(**first)


def followers(job: Job) -> list[NewJob]:
    """The job that a finished one starts, in a list, empty at the pipeline's end."""
    if not job.following:
        return []
    step, *rest = job.following
    return [NewJob(file_id=job.file_id, following=tuple(rest), pipeline_id=job.pipeline_id,
                   request_id=job.request_id, **step)]  # fmt: skip


def closing_events(job: Job, status: str, error: str | None = None) -> list[Event]:
    """What clients are told when a job ends."""
    if status == COMPLETED:
        events = [last(job.stage)]
        return [*events, last("complete")] if job.pipeline_id and not job.following else events
    stage = STAGES[job.stage]
    if status == CANCELLED:
        error, word = CANCELLED_ERROR, "was cancelled"
        events = [Event(stage.name, 100, f"{stage.title} cancelled", error)]
    else:
        word = "failed"
        events = [failed(stage.name, error or "unknown reason")]
    if not job.pipeline_id:
        return events
    not_started = f"Not started: it needs the {stage.name}, which {word}."
    events += [failed(step["stage"], not_started) for step in job.following]
    return [*events, Event("complete", 100, f"Processing {word}", f"{stage.title} {word}: {error}")]


def upload_event(first: NewJob) -> Event:
    """The event that says an upload is complete and what starts now."""
    return Event("upload", 100, f"Upload complete, starting {first.stage}...")
