"""What a job works on: the newest that is still there, or a sentence that says what is missing."""

import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from errors import Conflict, NotFound
from jobs import pipeline
from jobs.inputs import Inputs
from jobs.job import COMPLETED, Outcome
from jobs.store import JobStore
from storage.files import Files, result_folder
from storage.songs import Song, Songs
from tests.rows import a_job, running

SONG = str(uuid.uuid4())


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Empty folders."""
    return Files(tmp_path / "uploads", tmp_path / "outputs")


@pytest.fixture
def inputs(store: JobStore, files: Files) -> Inputs:
    """One song, without results."""
    songs = Songs(store.database)
    songs.add(Song(SONG, "River.wav", "wav", 5, 3.0, 44100, 2, "River", "Dusk", time.time()))
    files.upload(SONG, "wav").write_bytes(b"sound")
    return Inputs(store, songs, files)


def finished(store: JobStore, files: Files, model: str, result: dict[str, Any], *names: str, **parameters: Any) -> str:
    """A completed job of the song with such files; its folder."""
    job = running(store, a_job(file_id=SONG, model=model, parameters={"n": store.count()} | parameters))
    folder = result_folder(SONG, model, job.variant, job.id, 1)
    staging = files.staging(job.id, 1)
    for name in names:
        (staging / name).write_bytes(b"sound")
    files.publish(staging, folder)
    entries = [{"filename": name, "size_bytes": 5} for name in names]
    store.finish(job, Outcome(COMPLETED, folder=folder, result=result, files=entries))
    return folder


def request_for(store: JobStore, inputs: Inputs, model: str, variant: str | None = None, **parameters: Any) -> Any:
    """The request and the audio that a worker would hand to a model."""
    return inputs.prepare(running(store, pipeline.new_job(model, SONG, variant, parameters)))


def test_a_model_hears_the_original(store: JobStore, files: Files, inputs: Inputs) -> None:
    request, audio_path = request_for(store, inputs, "demucs", shifts=3)
    assert (request.shifts, audio_path) == (3, files.upload(SONG, "wav"))


def test_a_later_stage_hears_the_vocal_stem(store: JobStore, files: Files, inputs: Inputs) -> None:
    new = pipeline.new_job("whisper", SONG, "tiny", {}, source=pipeline.VOCALS)
    with pytest.raises(Conflict, match="no vocal stem"):
        inputs.prepare(running(store, new))
    folder = finished(store, files, "demucs", {}, "drums.wav", "vocals.wav")
    _, audio_path = inputs.prepare(store.find(model="whisper")[0])
    assert audio_path == files.result(folder, "vocals.wav")


def test_a_song_that_is_gone_is_said(store: JobStore, files: Files, inputs: Inputs) -> None:
    files.upload(SONG, "wav").unlink()
    with pytest.raises(NotFound, match=SONG):
        request_for(store, inputs, "demucs")


def test_karaoke_says_what_is_missing(store: JobStore, files: Files, inputs: Inputs) -> None:
    with pytest.raises(Conflict, match=rf"missing: vocals, instrumental, transcription\. Run .+ on {SONG} first\."):
        request_for(store, inputs, "karaoke")
    folder = finished(store, files, "demucs", {}, "vocals.mp3", "instrumental.mp3")
    with pytest.raises(Conflict, match=r"missing: transcription\. Run whisper on") as caught:
        inputs.prepare(store.find(model="karaoke")[0])
    assert caught.value.details == {"missing": ["transcription"]}
    request, _ = request_for(store, inputs, "karaoke", "instrumental_only")
    assert request.instrumental == files.result(folder, "instrumental.mp3")


def test_karaoke_takes_the_newest_that_is_still_there(store: JobStore, files: Files, inputs: Inputs) -> None:
    old = finished(store, files, "demucs", {}, "vocals.mp3", "no_vocals.mp3")
    new = finished(store, files, "demucs", {}, "vocals.wav", "instrumental.wav")
    words = finished(store, files, "whisper", {"transcription_file": "t.json"}, "t.json")
    request, _ = request_for(store, inputs, "karaoke")
    assert (request.vocals, request.instrumental) == (files.result(new, "vocals.wav"),
                                                      files.result(new, "instrumental.wav"))  # fmt: skip
    assert request.transcription == files.result(words, "t.json")
    assert (request.song_title, request.song_artist) == ("River", "Dusk")
    files.remove_results(new)
    request, _ = inputs.prepare(store.find(model="karaoke")[0])
    assert request.instrumental == files.result(old, "no_vocals.mp3")


def test_given_lyrics_go_with_the_transcription_that_timed_them(
    store: JobStore, files: Files, inputs: Inputs
) -> None:
    finished(store, files, "demucs", {}, "vocals.wav", "instrumental.wav")
    heard = finished(store, files, "whisper", {"transcription_file": "t.json"}, "t.json")
    timed = finished(store, files, "whisper", {"transcription_file": "t.json"}, "t.json", lyrics="la la")
    request, _ = request_for(store, inputs, "karaoke", lyrics="la la")
    assert request.transcription == files.result(timed, "t.json")
    request, _ = request_for(store, inputs, "karaoke")
    assert request.transcription == files.result(heard, "t.json"), "the words that were heard, though they are older"
    with pytest.raises(Conflict, match="missing: transcription"):
        request_for(store, inputs, "karaoke", lyrics="na na")


def test_what_must_run_before(store: JobStore, files: Files, inputs: Inputs) -> None:
    def missing(model: str, variant: str | None = None, **parameters: Any) -> list[tuple[str, str, str | None]]:
        jobs = inputs.missing_jobs(pipeline.new_job(model, SONG, variant, parameters))
        return [(job.model, job.source, job.parameters["lyrics"]) for job in jobs]

    assert missing("demucs") == []
    assert missing("gemma_3n", task="analyze") == []
    assert missing("gemma_3n", "gemma-3n-E2B-it", task="transcribe") == [], "it hears for itself"
    assert missing("gemma_3n", task="transcribe") == [("whisper", "upload", None)]
    with pytest.raises(Conflict, match="missing: vocals, instrumental"):
        missing("karaoke", lyrics="la la")
    finished(store, files, "demucs", {}, "vocals.wav", "instrumental.wav")
    assert missing("gemma_3n", task="transcribe") == [("whisper", "vocals", None)]
    assert missing("karaoke", lyrics="la la") == [("whisper", "vocals", "la la")]
    assert missing("karaoke", "instrumental_only", lyrics="la la") == []
    with pytest.raises(Conflict, match="missing: transcription"):
        missing("karaoke")
    finished(store, files, "whisper", {"transcription_file": "t.json"}, "t.json", lyrics="la la")
    assert missing("karaoke", lyrics="la la") == []
    assert missing("gemma_3n", task="transcribe") == []


def test_music_starts_from_an_upload_or_from_nothing(store: JobStore, files: Files, inputs: Inputs) -> None:
    _, audio_path = request_for(store, inputs, "musicgen", prompt="a tune")
    assert audio_path == files.upload(SONG, "wav")
    nothing = pipeline.new_job("musicgen", str(uuid.uuid4()), None, {"prompt": "a tune"})
    assert inputs.prepare(running(store, nothing))[1] is None
