"""A song's state is derived from its jobs."""

import uuid
from typing import Any

import pytest
from flask.testing import FlaskClient

from jobs import pipeline
from jobs.job import CANCELLED
from tests import contract
from tests.library import NOBODYS, NOBODYS_VERSION_1, Library
from tests.serving import Server

RECORD = {
    "job_id", "file_id", "model", "model_variant", "parameters", "status", "stage", "progress", "attempts",
    "created_at", "started_at", "finished_at", "processing_time_seconds", "result", "files", "error", "pipeline_id",
    "cancel_requested",
}  # fmt: skip


def status(client: FlaskClient, file_id: str) -> dict[str, Any]:
    """The answer's body."""
    answer = client.get(f"/status/{file_id}")
    assert answer.status_code == 200
    body: dict[str, Any] = answer.json
    return body


def test_an_upload_alone(client: FlaskClient, library: Library) -> None:
    file_id = library.add_song()
    expected = {"file_id": file_id, "status": "uploaded", "tracks": [], "stages": {}, "jobs": []}
    assert status(client, file_id).items() >= expected.items()


def test_from_queued_to_completed(client: FlaskClient, library: Library) -> None:
    file_id = library.add_song()
    job = library.add_job(file_id=file_id)
    assert status(client, file_id)["status"] == "queued"
    library.store.progress(library.claim(job.id), pipeline.closing_events(job, "completed")[0])
    assert status(client, file_id)["status"] == "processing"
    library.store.put_back(library.job(job.id), refund=True)
    library.complete(job.id, {"vocals.mp3": b"la", "other.mp3": b"lo"}, {"tracks": ["vocals", "other"]})
    found = status(client, file_id)
    assert (found["status"], found["tracks"]) == ("completed", ["vocals", "other"])
    assert found["stages"] == {
        "separation": {"progress": 100, "message": "Audio separation complete", "error": None, "eta_seconds": None}
    }
    (record,) = found["jobs"]
    assert record.keys() >= RECORD
    assert record["files"] == [
        {"filename": name, "size_bytes": 2,
         "download_url": f"/download/demucs/{file_id}/{name}?job={record['job_id']}"}
        for name in ("vocals.mp3", "other.mp3")
    ]


def test_failed_and_cancelled(client: FlaskClient, library: Library) -> None:
    failed, cancelled = library.add_song(), library.add_song()
    library.fail(library.add_job(file_id=failed).id, "The model broke.")
    found = status(client, failed)
    assert (found["status"], found["stages"]["separation"]["error"]) == ("failed", "The model broke.")
    assert found["jobs"][0]["error"] == {"code": "job_failed", "message": "The model broke.", "details": None}
    job = library.add_job(file_id=cancelled)
    library.store.request_cancel(job.id, pipeline.closing_events(job, CANCELLED))
    assert status(client, cancelled)["status"] == "cancelled"


def test_the_job_that_ended_last_decides(client: FlaskClient, library: Library) -> None:
    file_id = library.add_song()
    first, second = library.add_job(file_id=file_id), library.add_job(file_id=file_id, parameters={"shifts": 2})
    library.complete(second.id, {"vocals.mp3": b"la"})
    library.fail(first.id)
    assert status(client, file_id)["status"] == "failed"


@pytest.mark.parametrize(("model", "stage"), [("gemma_3n", "analysis"), ("musicgen", "generation")])
def test_what_was_asked_of_a_song_beside_is_not_its_state(
    client: FlaskClient, library: Library, model: str, stage: str
) -> None:
    file_id = library.add_song()
    asked = library.add_job(file_id=file_id, model=model, stage=stage)
    library.fail(asked.id, "There are no weights.")
    assert status(client, file_id)["status"] == "failed", "it is all there is"
    library.complete(library.add_job(file_id=file_id).id, {})
    library.fail(library.add_job(file_id=file_id, model=model, stage=stage).id, "There are still none.")
    assert status(client, file_id)["status"] == "completed"


def test_a_pipeline_is_processing_until_its_last_stage_ends(client: FlaskClient, library: Library) -> None:
    library.add_workers()
    file_id = library.add_song()
    steps = [pipeline.new_job("demucs", file_id, None, {}), pipeline.new_job("karaoke", file_id, None, {})]
    job, _ = library.studio.jobs.submit(pipeline.chain(steps, str(uuid.uuid4()), "r"))
    assert status(client, file_id)["status"] == "queued"
    library.complete(job.id, {"vocals.mp3": b"la"}, {"tracks": ["vocals"]})
    assert status(client, file_id)["status"] == "processing"
    library.complete(library.queued(model="karaoke").id, {"karaoke.mp3": b"lo"})
    found = status(client, file_id)
    assert (found["status"], found["tracks"]) == ("completed", ["vocals"])
    assert [job["model"] for job in found["jobs"]] == ["karaoke", "demucs"]
    assert found["stages"]["complete"]["message"] == "All processing complete!"


@pytest.mark.parametrize("file_id", ["x", NOBODYS, NOBODYS.upper(), NOBODYS_VERSION_1])
def test_an_unknown_song(client: FlaskClient, file_id: str) -> None:
    assert file_id in contract.error(client.get(f"/status/{file_id}"), 404, "not_found")["error"]


def test_a_song_of_a_running_service(server: Server, finished: dict[str, Any]) -> None:
    found = server.get(f"/status/{finished['file_id']}").json()
    assert (found["file_id"], found["status"]) == (finished["file_id"], "completed")
    assert sorted(found["tracks"]) == ["bass", "drums", "other", "vocals"]
    for name in ("upload", "separation", "transcription", "karaoke", "complete"):
        assert (found["stages"][name]["progress"], found["stages"][name]["error"]) == (100, None)
