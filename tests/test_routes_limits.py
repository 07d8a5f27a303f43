"""Limits of the service: what goes beyond is refused in the contract's shape, and leaves nothing."""

import dataclasses
import io
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

import mutagen.id3
import numpy as np
import pytest
from flask.testing import FlaskClient
from socketio import RedisManager
from werkzeug.test import TestResponse

from config import Config
from models import audio
from tests import contract, render
from tests.library import Library
from tests.rows import story
from tests.serving import RedisServer, wait_until

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


def test_a_full_queue_refuses_what_is_tried_again_or_resumed(client: FlaskClient, library: Library) -> None:
    failed = library.add_job()
    library.fail(failed.id)
    paused = library.studio.jobs.pause(library.add_job().id)
    fill(library)
    for job, action in ((failed, "retry"), (paused, "resume")):
        refused(client.post(f"/jobs/{job.id}/{action}"))
        assert library.job(job.id).status in ("failed", "paused")
    assert story(library.store, paused.file_id)[-1][2] == "Paused"


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


RATE, SUBMISSIONS = 8, 2
SOMEBODY, SOMEBODY_ELSE = "192.0.2.1", "192.0.2.2"


def limited(config: Config, **settings: Any) -> FlaskClient:
    """A client of an app with low rates."""
    from app import create_app

    rates = {"rate_limit": RATE, "upload_rate_limit": SUBMISSIONS}
    return create_app(dataclasses.replace(config, **rates | settings)).test_client()


def statuses(client: FlaskClient, path: str, count: int, address: str = SOMEBODY, **headers: str) -> list[int]:
    """What so many requests are answered."""
    sent = {"environ_base": {"REMOTE_ADDR": address}, "headers": headers}
    return [client.get(path, **sent).status_code for _ in range(count)]


def test_a_client_that_asks_too_often_is_told_when_to_come_back(config: Config) -> None:
    client = limited(config)
    assert statuses(client, "/songs", RATE) == [200] * RATE
    answer = client.get("/jobs", environ_base={"REMOTE_ADDR": SOMEBODY})
    seconds = int(answer.headers["Retry-After"])
    assert 1 <= seconds <= 60
    said = contract.error(answer, 429, "rate_limited")["error"]
    assert said == f"You may send {RATE} requests a minute; try again in {seconds} s."
    assert statuses(client, "/songs", 1, SOMEBODY_ELSE) == [200]


@pytest.mark.parametrize("path", ["/health", "/health/live", "/status", "/metrics", "/", "/docs", "/openapi.json",
                                  "/static/css/theme.css"])  # fmt: skip
def test_health_metrics_and_pages_are_always_answered(config: Config, path: str) -> None:
    client = limited(config, rate_limit=1)
    assert statuses(client, "/songs", 2) == [200, 429]
    assert statuses(client, path, 3) == [200] * 3


def test_uploads_and_jobs_have_a_rate_of_their_own(config: Config, tone: Path) -> None:
    client = limited(config, rate_limit=0)
    assert [upload(client, tone).status_code for _ in range(SUBMISSIONS)] == [200] * SUBMISSIONS
    song = client.get("/songs").json["songs"][0]["file_id"]
    for path in (f"/process/demucs/{song}", f"/separate/{song}", f"/analyze/chroma/{song}", "/transcribe",
                 "/generate/text-to-music", f"/jobs/{song}/retry", f"/jobs/{song}/resume",
                 "/upload"):  # fmt: skip
        said = contract.error(client.post(path), 429, "rate_limited")["error"]
        assert f"{SUBMISSIONS} uploads and jobs a minute" in said, path
    assert not list((config.upload_folder / ".incoming").iterdir())
    assert client.get("/songs").json["total"] == SUBMISSIONS
    assert client.post(f"/jobs/{song}/cancel").status_code == 404
    assert client.delete(f"/cleanup/{song}").status_code == 200


def test_who_is_one_client(config: Config) -> None:
    client = limited(config, rate_limit=1)
    assert statuses(client, "/songs", 2, "2001:db8:1:2:3::4") == [200, 429]
    assert statuses(client, "/songs", 1, "2001:db8:1:2:ffff::5") == [429], "an IPv6 network is one client"
    assert statuses(client, "/songs", 1, "2001:db8:1:3::4") == [200]
    assert statuses(client, "/songs", 2, "::ffff:192.0.2.9") == [200, 429]
    assert statuses(client, "/songs", 1, "192.0.2.9") == [429]
    assert statuses(client, "/songs", 2, "") == [200, 429], "a Unix socket"
    forged = {"X-Forwarded-For": "198.51.100.7"}
    assert statuses(client, "/songs", 1, "192.0.2.9", **forged) == [429], "nobody said that it may be believed"


def test_behind_a_proxy_the_address_that_it_saw_counts(config: Config) -> None:
    client = limited(config, rate_limit=1, trusted_proxies=1)
    assert statuses(client, "/songs", 2, "127.0.0.1", **{"X-Forwarded-For": SOMEBODY}) == [200, 429]
    assert statuses(client, "/songs", 1, "127.0.0.1", **{"X-Forwarded-For": SOMEBODY_ELSE}) == [200]
    invented = {"X-Forwarded-For": f"198.51.100.7, {SOMEBODY}"}
    assert statuses(client, "/songs", 1, "127.0.0.1", **invented) == [429], "what the client wrote itself"


def test_web_processes_with_redis_count_together_and_alone_when_it_is_gone(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = threading.active_count()
    redis = RedisServer(tmp_path).start()
    one, other = (limited(config, rate_limit=2, redis_url=redis.url) for _ in range(2))
    assert [statuses(each, "/songs", 1) for each in (one, other, one, other)] == [[200], [200], [429], [429]]
    redis.stop()
    assert statuses(one, "/songs", 3) == [200, 200, 429]
    monkeypatch.setattr(RedisManager, "_redis_connect", sys.exit)  # its thread would try to come back for ever
    wait_until(lambda: threading.active_count() <= before, 10, threading.enumerate)
