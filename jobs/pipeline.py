"""Which stage follows which, what each needs, and what clients are told when one ends."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import models
from errors import Conflict, NotFound
from jobs.events import STAGES, Event, failed, last
from jobs.store import CANCELLED, COMPLETED, Job, JobStore, NewJob
from storage.files import Files
from storage.songs import Song, Songs

VOCALS = "vocals"
INSTRUMENTALS = ("instrumental", "no_vocals")  # the pipeline's own name, and demucs's with two_stems
TRANSCRIBERS = ("whisper", "gemma_3n")
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
    steps = [
        new_job(file_id=file_id, **separation),
        new_job(file_id=file_id, source=VOCALS, stage="transcription", **transcription),
        new_job("karaoke", file_id, None, {}),
    ]
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


def inputs(job: Job, store: JobStore, songs: Songs, files: Files) -> tuple[Any, Path]:
    """The request and the audio that a model's run() gets.

    Raises
    ------
    Conflict
        When what the job needs is not there.
    NotFound
        When the song is gone.
    """
    module = models.spec(job.model).module
    song = songs.get(job.file_id)
    original = files.upload(job.file_id, song.extension) if song else None
    if job.model == "karaoke":
        found = karaoke_inputs(store, files, job.file_id, job.variant)
        return _karaoke_request(module, job, song, found), original or found["instrumental"]
    request = module.Request.model_validate(job.parameters)
    if job.source == VOCALS:
        vocals = find_stem(store, files, job.file_id, VOCALS)
        if vocals is None:
            raise Conflict(f"Song {job.file_id} has no vocal stem; separate it first.")
        return request, vocals
    if original is None or not original.exists():
        raise NotFound(f"There is no song {job.file_id}.")
    return request, original


def find_stem(store: JobStore, files: Files, file_id: str, *names: str) -> Path | None:
    """The newest stem of one of these names, None when there is none."""
    for job in store.find(file_id=file_id, model="demucs", status=COMPLETED):
        for entry in job.files or ():
            path = files.result(job.folder or "", entry["filename"])
            if path.stem in names and path.exists():
                return path
    return None


def find_transcription(store: JobStore, files: Files, file_id: str) -> Path | None:
    """The newest transcription with timed words, None when there is none."""
    for job in store.find(file_id=file_id, model=TRANSCRIBERS, status=COMPLETED):
        name = (job.result or {}).get("transcription_file")
        if name and files.result(job.folder or "", name).exists():
            return files.result(job.folder or "", name)
    return None


def karaoke_inputs(store: JobStore, files: Files, file_id: str, variant: str) -> dict[str, Any]:
    """Vocals, instrumental and transcription of a song.

    Raises
    ------
    Conflict
        Says which is missing.
    """
    found: dict[str, Any] = {
        "vocals": find_stem(store, files, file_id, VOCALS),
        "instrumental": find_stem(store, files, file_id, *INSTRUMENTALS),
        "transcription": find_transcription(store, files, file_id),
    }
    needed = ("instrumental",) if variant == "instrumental_only" else tuple(found)
    missing = [name for name in needed if found[name] is None]
    if missing:
        raise Conflict(
            f"Karaoke needs vocals, an instrumental and a transcription; missing: {', '.join(missing)}. "
            f"Run {' and '.join(_makers(missing))} on {file_id} first.",
            details={"missing": missing},
        )
    return found


def _karaoke_request(module: Any, job: Job, song: Song | None, found: dict[str, Any]) -> Any:
    """The karaoke module's request, completed with what the song has."""
    return module.Inputs(
        **job.parameters, **found, song_title=song.title if song else "", song_artist=song.artist if song else ""
    )


def _makers(missing: list[str]) -> list[str]:
    """The models that make what is missing."""
    makers = {"vocals": "demucs", "instrumental": "demucs", "transcription": "whisper"}
    return list(dict.fromkeys(makers[name] for name in missing))
