"""Songs, jobs and results put straight into an app's database and folders, as uploads and workers would leave them."""

import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from flask_openapi3 import OpenAPI

from jobs import pipeline
from jobs.job import COMPLETED, FAILED, QUEUED, Job, Outcome
from routes.context import Studio
from storage.files import result_folder
from storage.songs import Song
from tests.rows import WORKER, a_job
from tests.serving import wait_until

NOBODYS = "5d94380d-37bf-43f2-9d8f-3c2b064f3e02"  # the id of no song and of no job
NOBODYS_VERSION_1 = "5ad75a64-e5a9-11f1-a879-02fc00000001"  # made of time and address, as none of ours is


class Library:
    """What an app knows of songs and jobs.

    Parameters
    ----------
    app : OpenAPI
        As create_app() made it.
    owner : str, optional
        Whose it all is; nobody's without one.
    """

    def __init__(self, app: OpenAPI, owner: str | None = None) -> None:
        self.app = app
        rooms: Studio = app.extensions["studio"]
        self.studio = replace(rooms, jobs=rooms.jobs.seen_by(owner))
        self.store = self.studio.store

    def add_song(self, filename: str = "Dusk - River.wav", content: bytes = b"RIFF....", **fields: Any) -> str:
        """An uploaded song; its id."""
        file_id, extension = str(uuid.uuid4()), filename.rpartition(".")[2]
        usual = {"duration_seconds": 3.0, "sample_rate": 44100, "channels": 2, "title": "River", "artist": "Dusk",
                 "created_at": time.time()}  # fmt: skip
        known = {"file_id": file_id, "filename": filename, "extension": extension, "size_bytes": len(content)}
        song = Song(**(known | usual | fields))
        self.studio.files.upload(file_id, extension).write_bytes(content)
        self.studio.songs.add(song)
        return file_id

    def add_workers(self) -> None:
        """Let it seem that workers are alive, so that jobs are accepted; nobody runs them."""
        for queue in ("gpu", "cpu"):
            self.store.beat(f"{WORKER}-{queue}", queue, {"device": "cpu"})

    def add_job(self, **fields: Any) -> Job:
        """A queued job."""
        return self.store.create(a_job(**fields))[0]

    def claim(self, job_id: str) -> Job:
        """Take a queued job, as a worker does."""
        job = self.store.claim(job_id, WORKER)
        assert job is not None
        return job

    def complete(self, job_id: str, files: dict[str, bytes], result: dict[str, Any] | None = None) -> Job:
        """Run a queued job to its good end, as a worker does."""
        job = self.claim(job_id)
        folder = result_folder(job.file_id, job.model, job.variant, job.id, job.attempts)
        staging = self.studio.files.staging(job.id, job.attempts)
        for name, content in files.items():
            (staging / name).write_bytes(content)
        self.studio.files.publish(staging, folder)
        entries = [{"filename": name, "size_bytes": len(content)} for name, content in files.items()]
        outcome = Outcome(COMPLETED, pipeline.closing_events(job, COMPLETED), pipeline.followers(job),
                          folder, result or {}, entries)  # fmt: skip
        assert self.store.finish(job, outcome) is not None
        return self.job(job_id)

    def fail(self, job_id: str, message: str = "It broke.", code: str = "job_failed") -> Job:
        """Run a queued job to its bad end, as a worker does."""
        job = self.claim(job_id)
        error = {"code": code, "message": message, "details": None}
        self.store.finish(job, Outcome(FAILED, pipeline.closing_events(job, FAILED, message), error=error))
        return self.job(job_id)

    def add_stems(self, file_id: str, **stems: bytes) -> Job:
        """A finished separation with such mp3 files."""
        job = self.add_job(file_id=file_id)
        files = {f"{name}.mp3": content for name, content in stems.items()}
        return self.complete(job.id, files, {"model": job.variant, "tracks": list(stems)})

    def job(self, job_id: str) -> Job:
        """A job as it is now."""
        job = self.store.get(job_id)
        assert job is not None
        return job

    def queued(self, **equal: Any) -> Job:
        """The job that waits, as soon as there is one."""
        found: list[Job] = wait_until(lambda: self.store.find(status=QUEUED, **equal), 10, lambda: f"a job {equal}")
        return found[0]

    def contents(self) -> set[str]:
        """Everything there is: files, songs, jobs, events."""
        files = self.studio.files
        paths = {str(path) for folder in (files.uploads, files.outputs) for path in folder.rglob("*")
                 if not path.name.startswith((".", "studio.db", "queue.db"))}  # fmt: skip
        songs, _ = self.studio.songs.search(limit=10_000)
        rows = [*(song.file_id for song in songs), *(job.id for job in self.store.find())]
        events = [f"event {event.seq}" for event in self.store.events(after=0)]
        return paths.union(rows, events)


def in_background(function: Callable[[], Any]) -> "Future[Any]":
    """Call a function in a thread of its own, which does not hold up the end of the tests."""
    future: Future[Any] = Future()

    def call() -> None:
        try:
            future.set_result(function())
        except Exception as error:
            future.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    return future
