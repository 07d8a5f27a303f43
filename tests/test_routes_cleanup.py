"""Removing a song takes everything of it away, also in mid-job."""

import uuid
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests import contract, render
from tests.library import NOBODYS, Library
from tests.serving import Server

REMOVALS = ("/cleanup", "/songs")


@pytest.mark.parametrize("removal", REMOVALS)
def test_an_upload_alone(client: FlaskClient, library: Library, removal: str) -> None:
    library.add_song()
    before = library.contents()
    file_id = library.add_song(filename="Ђорђе – песма.wav")
    answer = client.delete(f"{removal}/{file_id}").json
    assert answer == {"file_id": file_id, "message": answer["message"], "deleted_files": [f"{file_id}.wav"]}
    assert library.contents() == before
    contract.error(client.delete(f"{removal}/{file_id}"), 404, "not_found")
    contract.error(client.get(f"/status/{file_id}"), 404, "not_found")


@pytest.mark.parametrize("removal", REMOVALS)
def test_results_go_too_and_are_named_without_server_paths(
    client: FlaskClient, library: Library, removal: str
) -> None:
    library.add_stems(library.add_song(), vocals=b"other song")
    before = library.contents()
    file_id = library.add_song()
    library.add_stems(file_id, vocals=b"la", drums=b"bum")
    library.fail(library.add_job(file_id=file_id, model="whisper", variant="tiny", stage="transcription").id)
    answer = client.delete(f"{removal}/{file_id}").json
    assert sorted(answer["deleted_files"]) == sorted([f"{file_id}.wav", "drums.mp3", "vocals.mp3"])
    assert "3" in answer["message"]
    assert library.contents() == before


def test_what_waits_is_cancelled(client: FlaskClient, library: Library) -> None:
    before = library.contents()
    file_id = library.add_song()
    job_id = library.add_job(file_id=file_id).id
    assert client.delete(f"/cleanup/{file_id}").status_code == 200
    assert library.contents() == before
    assert library.store.claim(job_id, "a worker that comes too late") is None


def test_results_without_an_upload_can_be_removed(client: FlaskClient, library: Library) -> None:
    before = library.contents()
    file_id = str(uuid.uuid4())
    job = library.add_job(file_id=file_id, model="musicgen", variant="small", stage="generation")
    library.complete(job.id, {"generated_music.wav": b"la"})
    assert client.delete(f"/cleanup/{file_id}").json["deleted_files"] == ["generated_music.wav"]
    assert library.contents() == before


@pytest.mark.parametrize("file_id", ["x", NOBODYS, "*", "..", ".incoming", "%2e%2e"])
@pytest.mark.parametrize("removal", REMOVALS)
def test_an_unknown_song(client: FlaskClient, library: Library, removal: str, file_id: str) -> None:
    library.add_stems(library.add_song(), vocals=b"la")
    before = library.contents()
    contract.error(client.delete(f"{removal}/{file_id}"), 404, "not_found")
    assert library.contents() == before


def test_in_mid_job(server: Server, finished: dict[str, Any], tmp_path: Path) -> None:
    client = server.listen()
    file_id = server.upload(render.silence(tmp_path / "silence.wav", 60))["file_id"]
    job_id = server.post(f"/process/demucs/{file_id}?async=true", shifts=20).json()["job_id"]
    client.wait_for(file_id, "separation", 11)
    answer = server.delete(f"/cleanup/{file_id}")
    assert (answer.status_code, answer.json()["deleted_files"]) == (200, [f"{file_id}.wav"])
    assert client.wait_for(file_id, "separation")["message"] == "Separation cancelled"
    client.close()
    left = [path for folder in (server.uploads, server.outputs) for path in folder.rglob("*")
            if file_id in path.name or job_id in path.name]  # fmt: skip
    assert left == []
    for table in ("songs", "jobs", "events"):
        assert server.rows(f"select count(*) from {table} where file_id = ?", file_id) == [(0,)]
    contract.error(server.get(f"/jobs/{job_id}"), 404, "not_found")
    after = server.post(f"/process/whisper/{finished['file_id']}", model_variant="base", force=True)
    assert after.status_code == 200, "the worker goes on"
