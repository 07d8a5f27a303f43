"""Jobs as tests queue them, without a web process."""

import uuid
from typing import Any

from jobs.job import Job, NewJob
from jobs.store import JobStore

WORKER = "worker-1"


def a_job(**fields: Any) -> NewJob:
    """A separation of a new song."""
    usual = {"file_id": str(uuid.uuid4()), "model": "demucs", "variant": "htdemucs", "queue": "gpu",
             "stage": "separation", "parameters": {}}  # fmt: skip
    return NewJob(**(usual | fields))


def running(store: JobStore, new: NewJob | None = None, worker_id: str = WORKER) -> Job:
    """A job that a worker has claimed."""
    job = store.claim(store.create(new or a_job())[0].id, worker_id)
    assert job is not None
    return job


def story(store: JobStore, file_id: str) -> list[tuple[str, int, str, str | None]]:
    """Stage, progress, message and error of every event of a song, in order."""
    return [(e.stage, e.progress, e.message, e.error) for e in store.events(after=0, file_id=file_id)]
