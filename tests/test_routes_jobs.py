"""Records of jobs: list, cancel, pause, resume, retry, and what contradicts their state."""

import uuid
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from jobs import pipeline
from jobs.events import Event
from jobs.job import Job
from jobs.store import JobStore
from tests import contract, render
from tests.library import NOBODYS, Library
from tests.rows import story
from tests.serving import Server

RECORD = {
    "job_id", "file_id", "model", "model_variant", "parameters", "status", "stage", "progress", "attempts",
    "cancel_requested", "pause_requested", "created_at", "started_at", "finished_at", "processing_time_seconds",
    "result", "files", "error", "pipeline_id",
}  # fmt: skip
UNKNOWN = ("x", NOBODYS, "%00", "..", "a" * 300)


def a_pipeline(library: Library) -> Job:
    """The first of two jobs of a song."""
    library.add_workers()
    file_id = library.add_song()
    steps = [pipeline.new_job("demucs", file_id, None, {}), pipeline.new_job("karaoke", file_id, None, {})]
    return library.studio.jobs.submit(pipeline.chain(steps, str(uuid.uuid4()), "r"))[0]


def test_one_job(client: FlaskClient, library: Library) -> None:
    job = library.add_job(parameters={"shifts": 2})
    record = client.get(f"/jobs/{job.id}").json
    assert record == {
        "job_id": job.id, "file_id": job.file_id, "model": "demucs", "model_variant": "htdemucs",
        "parameters": {"shifts": 2}, "status": "queued", "stage": "separation", "progress": 0, "attempts": 0,
        "cancel_requested": False, "pause_requested": False, "created_at": job.created_at, "started_at": None,
        "finished_at": None, "processing_time_seconds": None, "result": None, "files": [], "error": None,
        "pipeline_id": None, "webhooks": [],
    }  # fmt: skip
    library.complete(job.id, {"vocals.mp3": b"la"}, {"tracks": ["vocals"]})
    record = client.get(f"/jobs/{job.id}").json
    assert (record["status"], record["progress"], record["attempts"]) == ("completed", 100, 1)
    assert record["result"] == {"tracks": ["vocals"]}
    assert record["processing_time_seconds"] == pytest.approx(record["finished_at"] - record["started_at"], abs=0.001)


def test_a_list_in_parts_newest_first(client: FlaskClient, library: Library) -> None:
    made = [library.add_job().id for _ in range(5)]
    answer = client.get("/jobs?limit=2&offset=1").json
    assert answer.keys() == {"jobs", "total"}
    assert ([job["job_id"] for job in answer["jobs"]], answer["total"]) == ([made[3], made[2]], 5)
    assert all(job.keys() == RECORD for job in answer["jobs"])
    assert [job["job_id"] for job in client.get("/jobs").json["jobs"]] == made[::-1]
    assert client.get("/jobs?offset=5").json == {"jobs": [], "total": 5}


def test_a_list_of_one_song_or_one_status(client: FlaskClient, library: Library) -> None:
    done, failed, waits = library.add_job(), library.add_job(), library.add_job()
    library.complete(done.id, {})
    library.fail(failed.id)
    for status, job in (("completed", done), ("failed", failed), ("queued", waits)):
        for query in (f"status={status}", f"file_id={job.file_id}", f"status={status}&file_id={job.file_id}"):
            answer = client.get(f"/jobs?{query}").json
            assert ([found["job_id"] for found in answer["jobs"]], answer["total"]) == ([job.id], 1)
    assert client.get(f"/jobs?status=failed&file_id={done.file_id}").json == {"jobs": [], "total": 0}
    assert client.get(f"/jobs?file_id={uuid.uuid4()}").json == {"jobs": [], "total": 0}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"), ("limit=501", "limit"), ("limit=x", "limit"), ("limit=1.5", "limit"), ("limit=", "limit"),
        ("offset=-1", "offset"), ("offset=99999999999999999999", "offset"), ("offset=nan", "offset"),
        ("status=done", "status"), ("status=", "status"),
    ],
)  # fmt: skip
def test_a_wrong_query(reader: FlaskClient, query: str, field: str) -> None:
    assert contract.error(reader.get(f"/jobs?{query}"), 400, "invalid_input")["details"]["field"] == field


@pytest.mark.parametrize("job_id", UNKNOWN)
def test_an_unknown_job(reader: FlaskClient, job_id: str) -> None:
    contract.error(reader.get(f"/jobs/{job_id}"), 404, "not_found")
    for action in ("cancel", "pause", "resume", "retry"):
        contract.error(reader.post(f"/jobs/{job_id}/{action}"), 404, "not_found")


@pytest.mark.parametrize("file_id", ["x", "%00", NOBODYS.upper()])
def test_a_filter_that_is_no_id(reader: FlaskClient, file_id: str) -> None:
    contract.error(reader.get(f"/jobs?file_id={file_id}"), 404, "not_found")


def test_a_queued_job_is_cancelled_at_once(client: FlaskClient, library: Library) -> None:
    job = library.add_job()
    record = client.post(f"/jobs/{job.id}/cancel").json
    assert (record["job_id"], record["status"]) == (job.id, "cancelled")
    assert story(library.store, job.file_id) == [
        ("separation", 100, "Separation cancelled", "Cancelled on request."),
    ]  # fmt: skip
    assert "cancelled" in contract.error(client.post(f"/jobs/{job.id}/cancel"), 409, "conflict")["error"]


def test_a_running_job_is_asked_to_stop(client: FlaskClient, library: Library) -> None:
    job = library.claim(library.add_job().id)
    for _ in range(2):
        record = client.post(f"/jobs/{job.id}/cancel").json
        assert (record["status"], record["cancel_requested"]) == ("running", True)


def test_a_finished_job_cannot_be_cancelled(client: FlaskClient, library: Library) -> None:
    done, failed = library.complete(library.add_job().id, {}), library.fail(library.add_job().id)
    for job in (done, failed):
        assert job.status in contract.error(client.post(f"/jobs/{job.id}/cancel"), 409, "conflict")["error"]
        assert library.job(job.id) == job


def test_cancelling_a_finished_stage_cancels_the_one_that_runs_now(client: FlaskClient, library: Library) -> None:
    first = a_pipeline(library)
    library.complete(first.id, {"vocals.mp3": b"la"})
    second = library.claim(library.queued(model="karaoke").id)
    record = client.post(f"/jobs/{first.id}/cancel").json
    assert (record["job_id"], record["cancel_requested"]) == (second.id, True)
    assert library.job(first.id).status == "completed"


def test_a_stage_that_ends_just_before_it_is_asked_to_does_not_let_the_next_one_go(
    client: FlaskClient, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, request_cancel = a_pipeline(library), JobStore.request_cancel

    def too_late(store: JobStore, job_id: str, closing: list[Event]) -> str | None:
        if job_id == first.id:
            library.complete(first.id, {"vocals.mp3": b"la"})
        return request_cancel(store, job_id, closing)

    monkeypatch.setattr(JobStore, "request_cancel", too_late)
    record = client.post(f"/jobs/{first.id}/cancel").json
    assert (record["model"], record["status"]) == ("karaoke", "cancelled")
    assert library.job(first.id).status == "completed"
    assert client.get(f"/status/{first.file_id}").json["status"] == "cancelled"


def test_cancelling_the_first_stage_ends_the_pipeline(client: FlaskClient, library: Library) -> None:
    first = a_pipeline(library)
    client.post(f"/jobs/{first.id}/cancel")
    assert client.get(f"/status/{first.file_id}").json["status"] == "cancelled"
    told = {stage: (message, error) for stage, _, message, error in story(library.store, first.file_id)}
    assert told["separation"] == ("Separation cancelled", "Cancelled on request.")
    assert "which was cancelled" in told["karaoke"][1]
    assert told["complete"][0] == "Processing was cancelled"


def test_failed_and_cancelled_jobs_run_again(client: FlaskClient, library: Library) -> None:
    failed, cancelled = library.fail(library.add_job().id), library.add_job()
    client.post(f"/jobs/{cancelled.id}/cancel")
    for job in (failed, cancelled):
        answer = client.post(f"/jobs/{job.id}/retry")
        assert answer.status_code == 202
        record = answer.json
        assert (record["job_id"], record["status"], record["attempts"]) == (job.id, "queued", 0)
        assert (record["error"], record["progress"], record["finished_at"]) == (None, 0, None)
        assert library.studio.jobs.queue.get("gpu") == job.id
        library.complete(job.id, {"vocals.mp3": b"la"})


def test_other_jobs_do_not(client: FlaskClient, library: Library) -> None:
    queued, running, done = library.add_job(), library.claim(library.add_job().id), library.add_job()
    done = library.complete(done.id, {})
    for job in (queued, running, done):
        assert job.status in contract.error(client.post(f"/jobs/{job.id}/retry"), 409, "conflict")["error"]
        assert library.job(job.id) == job


def test_no_job_runs_again_beside_an_equal_one(client: FlaskClient, library: Library) -> None:
    failed = library.add_job()
    library.fail(failed.id)
    equal = library.add_job(file_id=failed.file_id)
    contract.error(client.post(f"/jobs/{failed.id}/retry"), 409, "conflict")
    library.complete(equal.id, {})
    assert client.post(f"/jobs/{failed.id}/retry").status_code == 202


def test_a_running_job_stops_and_can_run_again(server: Server, tmp_path: Path) -> None:
    client = server.listen()
    file_id = server.upload(render.silence(tmp_path / "silence.wav", 30))["file_id"]
    job_id = server.post(f"/process/demucs/{file_id}?async=true", shifts=20, two_stems="vocals").json()["job_id"]
    client.wait_for(file_id, "separation", 11)
    assert server.post(f"/jobs/{job_id}/cancel").json()["cancel_requested"]
    client.wait_for(file_id, "separation")
    record = server.wait_for_job(job_id, "cancelled")
    assert (record["result"], record["files"]) == (None, [])
    assert server.post(f"/jobs/{job_id}/retry").status_code == 202
    server.wait_for_job(job_id, "running")
    assert server.post(f"/jobs/{job_id}/cancel").status_code == 200
    server.wait_for_job(job_id, "cancelled")
    client.close()
    assert server.delete(f"/cleanup/{file_id}").json()["deleted_files"] == [f"{file_id}.wav"]
