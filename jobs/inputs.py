"""What each model gets to work on: its request completed with what the song has, and the audio it hears."""

from pathlib import Path
from typing import Any

import models
from errors import Conflict, NotFound
from jobs import pipeline
from jobs.job import COMPLETED, Job, NewJob
from jobs.store import JobStore
from storage.files import Files
from storage.songs import Songs

INSTRUMENTALS = ("instrumental", "no_vocals")  # our own name, and demucs's with two_stems
TRANSCRIBERS = ("whisper", "gemma_3n")
STARTS_FROM_NOTHING = ("musicgen",)  # an upload is its tune or its beginning, and need not be
MAKERS = {"vocals": "demucs", "instrumental": "demucs", "transcription": "whisper"}


class Inputs:
    """Looks up what the songs have.

    Parameters
    ----------
    store : JobStore
    songs : Songs
    files : Files
    """

    def __init__(self, store: JobStore, songs: Songs, files: Files) -> None:
        self._store, self._songs, self._files = store, songs, files

    def prepare(self, job: Job) -> tuple[Any, Path | None]:
        """The request and the audio that a model's run() gets.

        Returns
        -------
        request : pydantic.BaseModel
            The module's Inputs where it has such a class, else its Request.
        audio_path : Path or None
            None for a model that starts from nothing.

        Raises
        ------
        Conflict
            When what the job needs is not there.
        NotFound
            When the song is gone.
        """
        module = models.spec(job.model).module
        request_class = getattr(module, "Inputs", module.Request)
        return request_class(**job.parameters, **self._found(job)), self._audio(job)

    def missing_jobs(self, new: NewJob) -> list[NewJob]:
        """The jobs that must run before a requested one, because what they make is not there yet.

        Raises
        ------
        Conflict
            When the caller has to choose them.
        """
        if new.model == "karaoke":
            lyrics = new.parameters["lyrics"]
            found = self._karaoke(new.file_id, new.variant, lyrics, transcribed=lyrics is not None)
            untimed = lyrics is not None and new.variant == "full" and found["transcription"] is None
            return [self._words(new.file_id, {"lyrics": lyrics})] if untimed else []
        if new.model == "gemma_3n" and new.parameters["task"] == "transcribe":
            hears = models.spec(new.model).module.hears_sound(new.variant)
            return [] if hears or self.transcription(new.file_id) else [self._words(new.file_id, {})]
        return []

    def stem(self, file_id: str, *names: str) -> Path | None:
        """The newest stem of one of these names, None when there is none."""
        found = self._stem(file_id, *names)
        return found[1] if found else None

    def transcription(self, file_id: str, lyrics: str | None = None) -> Path | None:
        """The newest transcription with timed words, None when there is none.

        Parameters
        ----------
        file_id : str
        lyrics : str, optional
            The one that timed these words; without them one that heard the words is preferred.
        """
        found = self._transcription(file_id, lyrics)
        return found[1] if found else None

    def read_by(self, new: NewJob) -> list[Job]:
        """The completed jobs whose results a requested one would read if it ran now."""
        found: list[tuple[Job, Path] | None] = []
        if new.source == pipeline.VOCALS:
            found.append(self._stem(new.file_id, pipeline.VOCALS))
        if new.model == "karaoke":
            found.append(self._stem(new.file_id, *INSTRUMENTALS))
            if new.variant != "instrumental_only":
                found.append(self._stem(new.file_id, pipeline.VOCALS))
                found.append(self._transcription(new.file_id, new.parameters["lyrics"]))
        if new.model == "gemma_3n":
            found.append(self._transcription(new.file_id))
        separated = self._separated(new.file_id)[:1] if new.model == "gemma_3n" else []
        return separated + [job for job, _ in filter(None, found)]

    def _separated(self, file_id: str) -> list[Job]:
        """Completed separations, the newest first."""
        return self._store.find(file_id=file_id, model="demucs", status=COMPLETED)

    def _stem(self, file_id: str, *names: str) -> tuple[Job, Path] | None:
        """As stem(), with the job that made it."""
        for job in self._separated(file_id):
            for entry in job.files or ():
                path = self._files.result(job.folder or "", entry["filename"])
                if path.stem in names and path.exists():
                    return job, path
        return None

    def _transcription(self, file_id: str, lyrics: str | None = None) -> tuple[Job, Path] | None:
        """As transcription(), with the job that made it."""
        jobs = self._store.find(file_id=file_id, model=TRANSCRIBERS, status=COMPLETED)
        if lyrics is not None:
            jobs = [job for job in jobs if job.parameters.get("lyrics") == lyrics]
        for job in sorted(jobs, key=lambda job: job.parameters.get("lyrics") is not None):
            name = (job.result or {}).get("transcription_file")
            if name and (path := self._files.result(job.folder or "", name)).exists():
                return job, path
        return None

    def _found(self, job: Job) -> dict[str, Any]:
        """What a request is completed with."""
        song = self._songs.get(job.file_id)
        known = {"song_title": song.title if song else "", "song_artist": song.artist if song else ""}
        if job.model == "karaoke":
            return known | self._karaoke(job.file_id, job.variant, job.parameters["lyrics"])
        if job.model == "gemma_3n":
            separated = self._separated(job.file_id)
            stems = (separated[0].result or {}).get("tracks", []) if separated else []
            return known | {"stems": stems, "transcription": self.transcription(job.file_id)}
        return {}

    def _audio(self, job: Job) -> Path | None:
        """The original, or the vocal stem."""
        if job.source == pipeline.VOCALS:
            vocals = self.stem(job.file_id, pipeline.VOCALS)
            if vocals is None:
                raise Conflict(f"Song {job.file_id} has no vocal stem; separate it first.")
            return vocals
        song = self._songs.get(job.file_id)
        if song is None and job.model in STARTS_FROM_NOTHING:
            return None
        if song is None or not (original := self._files.upload(job.file_id, song.extension)).exists():
            raise NotFound(f"There is no song {job.file_id}.")
        return original

    def _karaoke(self, file_id: str, variant: str, lyrics: str | None, *,
                 transcribed: bool = False) -> dict[str, Path | None]:  # fmt: skip
        """Vocals, instrumental and transcription of a song; `transcribed` when the last is about to be made.

        Raises
        ------
        Conflict
            Says which is missing.
        """
        found = {
            "vocals": self.stem(file_id, pipeline.VOCALS),
            "instrumental": self.stem(file_id, *INSTRUMENTALS),
            "transcription": self.transcription(file_id, lyrics),
        }
        needed = ["instrumental"] if variant == "instrumental_only" else list(found)
        missing = [name for name in needed if found[name] is None and not (name == "transcription" and transcribed)]
        if missing:
            makers = dict.fromkeys(MAKERS[name] for name in missing)
            raise Conflict(
                f"Karaoke needs {', '.join(needed)}; missing: {', '.join(missing)}. "
                f"Run {' and '.join(makers)} on {file_id} first.",
                details={"missing": missing},
            )
        return found

    def _words(self, file_id: str, parameters: dict[str, Any]) -> NewJob:
        """A transcription, of the vocal stem where there is one."""
        source = pipeline.VOCALS if self.stem(file_id, pipeline.VOCALS) else "upload"
        return pipeline.new_job("whisper", file_id, None, parameters, source=source)
