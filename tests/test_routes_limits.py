"""Limits of the service: what goes beyond is refused in the contract's shape, and leaves nothing."""

import dataclasses
import io
import shutil
from pathlib import Path

import mutagen.id3
import numpy as np
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from config import Config
from models import audio
from tests import contract, render
from tests.library import Library

MAX_QUEUED_JOBS = 2
MAX_DURATION_SECONDS = 4.0


@pytest.fixture
def config(config: Config) -> Config:
    """Settings with low limits."""
    return dataclasses.replace(config, max_queued_jobs=MAX_QUEUED_JOBS, max_duration_seconds=MAX_DURATION_SECONDS)


def upload(client: FlaskClient, path: Path, **fields: str) -> TestResponse:
    """POST a file to /upload."""
    return client.post("/upload", data={"file": (io.BytesIO(path.read_bytes()), path.name), **fields})


def refused(answer: TestResponse) -> None:
    """Check the answer of a full queue."""
    assert "2 gpu jobs wait already" in contract.error(answer, 429, "queue_full")["error"]
    assert int(answer.headers["Retry-After"]) > 0


def fill(library: Library) -> list[str]:
    """Songs whose separations fill the heavy queue."""
    library.add_workers()
    songs = [library.add_song() for _ in range(MAX_QUEUED_JOBS)]
    for song in songs:
        assert library.app.test_client().post(f"/process/demucs/{song}?async=true").status_code == 202
    return songs


def test_a_full_queue_takes_no_more_and_keeps_nothing_of_it(client: FlaskClient, library: Library, tone: Path) -> None:
    fill(library)
    song = library.add_song()
    before, waiting = library.contents(), library.studio.jobs.queue.waiting("gpu")
    refused(client.post(f"/process/demucs/{song}?async=true"))
    refused(client.post(f"/process/gemma_3n/{song}", json={"task": "analyze"}))
    refused(client.post("/generate/text-to-music", json={"prompt": "rain"}))
    refused(upload(client, tone, auto_process="true"))
    refused(client.post("/transcribe", data={"file": (io.BytesIO(tone.read_bytes()), "a.wav")}))
    assert library.contents() == before
    assert library.studio.jobs.queue.waiting("gpu") == waiting == MAX_QUEUED_JOBS


def test_a_full_queue_refuses_what_is_tried_again(client: FlaskClient, library: Library) -> None:
    failed = library.add_job()
    library.fail(failed.id)
    fill(library)
    refused(client.post(f"/jobs/{failed.id}/retry"))
    assert library.job(failed.id).status == "failed"


def test_a_full_queue_holds_up_neither_the_other_queue_nor_what_needs_no_new_job(
    client: FlaskClient, library: Library, tone: Path
) -> None:
    library.add_workers()
    done = library.add_song()
    client.post(f"/process/demucs/{done}?async=true")
    library.complete(library.queued().id, {"vocals.mp3": b"la"}, {"tracks": ["vocals"]})
    songs = fill(library)
    joined = client.post(f"/process/demucs/{songs[0]}?async=true")
    assert (joined.status_code, joined.json["job_id"]) == (202, library.store.find(file_id=songs[0])[0].id)
    assert client.post(f"/process/pitch_analysis/{songs[0]}?async=true").status_code == 202
    assert upload(client, tone).status_code == 200
    assert client.post(f"/process/demucs/{done}").json["skipped"] is True
    assert client.post(f"/jobs/{joined.json['job_id']}/cancel").status_code == 200
    assert upload(client, tone, auto_process="true").status_code == 202


def test_what_follows_in_a_pipeline_is_never_refused(client: FlaskClient, library: Library, tone: Path) -> None:
    library.add_workers()
    started = upload(client, tone, auto_process="true").json
    first = library.claim(started["job_id"])
    fill(library)
    library.store.put_back(first, refund=True)
    library.complete(first.id, {"vocals.mp3": b"la"}, {"tracks": ["vocals"]})
    assert library.queued(model="whisper").file_id == started["file_id"]


@pytest.mark.parametrize("claimed_seconds", [None, 1])
def test_a_song_that_is_too_long_is_refused_whatever_its_header_says(
    client: FlaskClient, library: Library, tmp_path: Path, claimed_seconds: int | None
) -> None:
    path, seconds = tmp_path / "long.mp3", MAX_DURATION_SECONDS + 1
    with audio.Writer(path, render.RATE, 1) as writer:
        writer.write(np.zeros((1, int(seconds * render.RATE)), "f4"))
    if claimed_seconds:
        tags = mutagen.id3.ID3()
        tags.add(mutagen.id3.TLEN(encoding=3, text=str(1000 * claimed_seconds)))
        tags.save(path)
    library.add_workers()
    before = library.contents()
    for answer in (upload(client, path), upload(client, path, auto_process="true"),
                   client.post("/transcribe", data={"file": (io.BytesIO(path.read_bytes()), "long.mp3")})):  # fmt: skip
        said = contract.error(answer, 413, "too_large")["error"]
        assert said.startswith("'long.mp3' lasts 5.")
        assert "4 s" in said
    assert library.contents() == before


def test_a_song_of_just_the_limit_is_taken(client: FlaskClient, tmp_path: Path) -> None:
    path = tmp_path / "song.wav"
    with audio.Writer(path, render.RATE, 1) as writer:
        writer.write(np.zeros((1, int(MAX_DURATION_SECONDS * render.RATE)), "f4"))
    assert upload(client, path).json["duration_seconds"] == MAX_DURATION_SECONDS


def test_before_the_disk_is_full_nothing_new_is_taken_and_all_else_goes_on(
    client: FlaskClient, library: Library, tone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.add_workers()
    song, other, failed = library.add_song(), library.add_song(), library.add_job()
    joined = client.post(f"/process/demucs/{song}?async=true").json["job_id"]
    library.fail(failed.id)
    usage = type(shutil.disk_usage("/"))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**12, 10**12 - 10**9, 10**9))  # a GiB is more
    before = library.contents()
    for answer in (
        upload(client, tone), upload(client, tone, auto_process="true"), client.post(f"/process/demucs/{other}"),
        client.post("/transcribe", data={"file": (io.BytesIO(tone.read_bytes()), "a.wav")}),
        client.post("/generate/text-to-music", json={"prompt": "rain"}), client.post(f"/jobs/{failed.id}/retry"),
    ):  # fmt: skip
        assert "953 MiB are free" in contract.error(answer, 507, "storage_full")["error"]
    assert library.contents() == before
    assert not list((library.studio.files.uploads / ".incoming").iterdir())
    assert client.post(f"/process/demucs/{song}?async=true").json["job_id"] == joined
    assert client.get("/songs").json["total"] == 2
    assert client.get(f"/download/{song}").data == b"RIFF...."
    assert client.delete(f"/cleanup/{other}").status_code == 200
