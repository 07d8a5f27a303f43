"""A song's state, derived from its jobs and events: nothing of it is stored."""

from dataclasses import asdict
from typing import Any

from jobs.job import ACTIVE, COMPLETED, PAUSED, QUEUED, RUNNING, Job
from jobs.store import JobStore
from storage.songs import Song, Songs

MAIN_STAGES = ("separation", "transcription", "karaoke")  # what is asked of a song beside them is not its state


def song_status(store: JobStore, songs: Songs, file_id: str) -> dict[str, Any] | None:
    """What `GET /status/<file_id>` shows; None when nothing of that id is known.

    Returns
    -------
    dict
        file_id, status, tracks, stages: {name: {progress, message, error, eta_seconds}}, jobs, and the song's facts.
    """
    song, jobs = songs.get(file_id), store.find(file_id=file_id)
    if song is None and not jobs:
        return None
    return {
        "file_id": file_id,
        "status": overall(jobs),
        "tracks": tracks(jobs),
        "stages": _stages(store, file_id),
        "jobs": [job_record(job) for job in jobs],
        **(facts(song) if song else {}),
    }


def facts(song: Song) -> dict[str, Any]:
    """What an upload answers of its song."""
    hidden = ("file_id", "extension", "created_at")
    return {name: value for name, value in asdict(song).items() if name not in hidden}


def job_record(job: Job) -> dict[str, Any]:
    """A job as clients see it."""
    return {
        "job_id": job.id,
        "file_id": job.file_id,
        "model": job.model,
        "model_variant": job.variant,
        "parameters": job.parameters,
        "status": job.status,
        "stage": job.stage,
        "progress": job.progress,
        "attempts": job.attempts,
        "cancel_requested": job.cancel_requested_at is not None,
        "pause_requested": job.status == RUNNING and job.pause_requested_at is not None,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "processing_time_seconds": processing_seconds(job),
        "result": job.result,
        "files": files(job),
        "error": job.error,
        "pipeline_id": job.pipeline_id,
    }


def files(job: Job) -> list[dict[str, Any]]:
    """A job's files with where to download them: this job's, whatever newer ones may have made."""
    return [
        {**entry, "download_url": f"/download/{job.model}/{job.file_id}/{entry['filename']}?job={job.id}"}
        for entry in job.files or ()
    ]


def tracks(jobs: list[Job]) -> list[str]:
    """The stems of the newest finished separation."""
    separated = (job for job in jobs if job.model == "demucs" and job.status == COMPLETED)
    return next(((job.result or {}).get("tracks", []) for job in separated), [])


def processing_seconds(job: Job) -> float | None:
    """How long it took, without the time that it waited or was paused."""
    return None if job.run_seconds is None else round(job.run_seconds, 3)


def overall(jobs: list[Job]) -> str:
    """uploaded, queued, processing, paused, or how the last job of its main stages, else of any, has ended."""
    active = [job for job in jobs if job.status in ACTIVE]
    if active and all(job.status == PAUSED for job in active):
        return "paused"
    if active:
        started = {job.pipeline_id for job in jobs if job.status != QUEUED} - {None}
        waiting = all(job.status == QUEUED and job.pipeline_id not in started for job in active)
        return "queued" if waiting else "processing"
    decisive = [job for job in jobs if job.stage in MAIN_STAGES] or jobs
    return max(decisive, key=lambda job: job.finished_at or 0).status if jobs else "uploaded"


def _stages(store: JobStore, file_id: str) -> dict[str, dict[str, Any]]:
    """The last word on every stage."""
    return {
        row.stage: {
            "progress": row.progress, "message": row.message, "error": row.error, "eta_seconds": row.eta_seconds,
        }
        for row in store.last_events(file_id)
    }  # fmt: skip
