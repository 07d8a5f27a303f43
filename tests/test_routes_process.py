"""Run a model on a song: wait for it or not, join what runs, reuse what is done, and say why when it fails."""

import io
import uuid
from pathlib import Path
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient

from tests import contract
from tests.library import Library, in_background
from tests.serving import Server, wait_until

FINISHED = {
    "file_id", "model", "status", "result", "message", "job_id", "model_variant", "processing_time_seconds", "files",
    "skipped",
}  # fmt: skip


@pytest.fixture
def file_id(library: Library) -> str:
    """A song, and workers that seem to be alive."""
    library.add_workers()
    return library.add_song()


def test_an_answer_at_once(client: FlaskClient, library: Library, file_id: str) -> None:
    for fields in ({"query_string": "async=true"}, {"headers": {"Prefer": "respond-async"}},
                   {"headers": {"Prefer": "respond-async, wait=5"}}):  # fmt: skip
        answer = in_background(lambda f=fields: client.post(f"/process/demucs/{file_id}", **f)).result(5)
        assert answer.status_code == 202
        body = answer.json
        job = library.queued()
        url = f"/jobs/{job.id}"
        assert body == {"job_id": job.id, "file_id": file_id, "status": "queued", "status_url": url}
        assert answer.headers["Location"] == url
        assert client.get(url).json["job_id"] == job.id
    assert library.store.count() == 1, "the second and third joined the first"


def test_the_job_is_what_was_asked_for(client: FlaskClient, library: Library, file_id: str) -> None:
    asked = {"model_variant": "mdx", "shifts": 3, "output_format": "wav"}
    given = {"X-Request-ID": "asked-1"}
    client.post(f"/process/demucs/{file_id}?async=true", json=asked, headers=given)
    job = library.queued()
    assert (job.file_id, job.model, job.variant, job.request_id) == (file_id, "demucs", "mdx", "asked-1")
    assert (job.parameters["shifts"], job.parameters["output_format"], job.source) == (3, "wav", "upload")
    assert library.studio.jobs.queue.get("gpu") == job.id


def test_a_form_says_the_same_as_json(client: FlaskClient, library: Library, file_id: str) -> None:
    url = f"/process/demucs/{file_id}?async=true"
    fields = {"model_variant": "mdx", "shifts": "3", "overlap": "0.5", "instrumental": "false"}
    typed = {"model_variant": "mdx", "shifts": 3, "overlap": 0.5, "instrumental": False}
    answers = [client.post(url, data=fields), client.post(url, data=fields, content_type="multipart/form-data"),
               client.post(url, json=typed)]  # fmt: skip
    assert {answer.json["job_id"] for answer in answers} == {library.queued().id}


@pytest.mark.parametrize("body", [{}, {"json": {}}, {"data": {}}, {"data": b""}, {"json": {"shifts": 1}}])
def test_the_body_is_optional(client: FlaskClient, library: Library, file_id: str, body: dict[str, Any]) -> None:
    assert client.post(f"/process/demucs/{file_id}?async=true", **body).status_code == 202
    assert library.queued().variant == "htdemucs"


@pytest.mark.parametrize(("field", "value"), [("force", 1), ("seed", False), ("instrumental", 0), ("overlap", True)])
def test_a_switch_is_no_number(client: FlaskClient, library: Library, file_id: str, field: str, value: Any) -> None:
    answer = client.post(f"/process/demucs/{file_id}?async=true", json={field: value})
    assert contract.error(answer, 400, "invalid_input")["details"]["field"] == field
    assert library.store.count() == 0


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"json": {"model": "x"}}, "model_variant"), ({"json": {"shifts": 1}}, "shifts"),
        ({"data": {"model": "x"}}, "model_variant"), ({"data": b"{broken"}, "JSON"),
    ],
)  # fmt: skip
def test_a_plain_separation_has_no_parameters(
    client: FlaskClient, library: Library, file_id: str, body: dict[str, Any], names: str
) -> None:
    answer = in_background(lambda: client.post(f"/separate/{file_id}", **body)).result(5)
    assert names in contract.error(answer, 400, "invalid_input")["error"]
    assert library.store.count() == 0


@pytest.mark.parametrize("path", ["/process/demucs/{}?async=true", "/separate/{}", "/analyze/chroma/{}"])
def test_a_file_is_refused(client: FlaskClient, library: Library, file_id: str, path: str) -> None:
    before = library.contents()
    data = {"file": (io.BytesIO(b"x"), "x.mp3")}
    answer = in_background(lambda: client.post(path.format(file_id), data=data)).result(5)
    body = contract.error(answer, 400, "invalid_input")
    assert body["error"].startswith("file: ")
    assert "POST /upload" in body["error"]
    assert library.contents() == before


def test_another_wish_is_another_job(client: FlaskClient, library: Library, file_id: str) -> None:
    url = f"/process/demucs/{file_id}?async=true"
    wishes = [{}, {"shifts": 2}, {"model_variant": "mdx"}]
    assert len({client.post(url, json=wish).json["job_id"] for wish in wishes}) == 3
    other = client.post(f"/process/demucs/{library.add_song()}?async=true").json["job_id"]
    assert library.store.count() == 4
    assert client.get(f"/jobs/{other}").json["status"] == "queued"


def test_the_answer_comes_when_it_is_done(client: FlaskClient, library: Library, file_id: str) -> None:
    waiting = in_background(lambda: library.app.test_client().post(f"/process/demucs/{file_id}"))
    job = library.complete(library.queued().id, {"vocals.mp3": b"la"}, {"model": "htdemucs", "tracks": ["vocals"]})
    answer = waiting.result(10)
    assert answer.status_code == 200
    body = answer.json
    assert body.keys() == FINISHED
    assert body == body | {
        "file_id": file_id, "model": "demucs", "model_variant": "htdemucs", "status": "completed", "job_id": job.id,
        "result": {"model": "htdemucs", "tracks": ["vocals"]}, "message": "Processing completed successfully",
        "skipped": False, "files": [{
            "filename": "vocals.mp3", "size_bytes": 2,
            "download_url": f"/download/demucs/{file_id}/vocals.mp3?job={job.id}",
        }],
    }  # fmt: skip
    assert body["processing_time_seconds"] == pytest.approx(job.finished_at - job.started_at, abs=0.001)
    assert client.get(body["files"][0]["download_url"]).data == b"la"


def test_what_is_done_is_not_done_again(client: FlaskClient, library: Library, file_id: str) -> None:
    url = f"/process/demucs/{file_id}"
    done = library.complete(client.post(url + "?async=true").json["job_id"], {"vocals.mp3": b"la"})
    for path in (url, url + "?async=true"):
        answer = client.post(path)
        assert answer.status_code == 200
        assert (answer.json["job_id"], answer.json["skipped"]) == (done.id, True)
    forced = client.post(url + "?async=true", json={"force": True})
    assert (forced.status_code, forced.json["job_id"] != done.id) == (202, True)


def test_a_result_whose_files_are_gone_is_made_again(client: FlaskClient, library: Library, file_id: str) -> None:
    url = f"/process/demucs/{file_id}?async=true"
    done = library.complete(client.post(url).json["job_id"], {"vocals.mp3": b"la"})
    library.studio.files.remove_results(done.folder or "")
    assert client.post(url).status_code == 202


@pytest.mark.parametrize(
    ("code", "status"),
    [("job_failed", 500), ("worker_died", 500), ("out_of_memory", 500), ("unsupported_audio", 415),
     ("model_unavailable", 503), ("storage_full", 507), ("not_found", 404), ("conflict", 409)],
)  # fmt: skip
def test_a_job_that_fails(client: FlaskClient, library: Library, file_id: str, code: str, status: int) -> None:
    waiting = in_background(lambda: library.app.test_client().post(f"/process/demucs/{file_id}"))
    library.fail(library.queued().id, "This is why it failed.", code)
    assert contract.error(waiting.result(10), status, code)["error"] == "This is why it failed."
    assert client.post(f"/process/demucs/{file_id}?async=true").status_code == 202, "it may be tried again"


def test_a_job_that_is_cancelled(client: FlaskClient, library: Library, file_id: str) -> None:
    waiting = in_background(lambda: library.app.test_client().post(f"/process/demucs/{file_id}"))
    client.post(f"/jobs/{library.queued().id}/cancel")
    contract.error(waiting.result(10), 409, "conflict")


def test_a_song_removed_while_a_client_waits(client: FlaskClient, library: Library, file_id: str) -> None:
    waiting = in_background(lambda: library.app.test_client().post(f"/process/demucs/{file_id}"))
    library.queued()
    assert client.delete(f"/cleanup/{file_id}").status_code == 200
    assert waiting.result(10).status_code in (404, 409)


@pytest.mark.parametrize("name", ["nope", "Demucs", "%00", "audio"])
def test_an_unknown_model(reader: FlaskClient, name: str) -> None:
    message = contract.error(reader.post(f"/process/{name}/{uuid.uuid4()}"), 404, "not_found")["error"]
    assert "pitch_analysis" in message


@pytest.mark.parametrize("model", ["demucs", "whisper", "pitch_analysis", "karaoke", "gemma_3n"])
def test_an_unknown_song(client: FlaskClient, library: Library, model: str) -> None:
    library.add_workers()
    for file_id in (str(uuid.uuid4()), "x", str(uuid.uuid4()).upper()):
        contract.error(client.post(f"/process/{model}/{file_id}?async=true"), 404, "not_found")
    assert library.store.count() == 0


def test_nobody_to_do_it(client: FlaskClient, library: Library) -> None:
    file_id = library.add_song()
    for path in (f"/process/demucs/{file_id}", f"/process/pitch_analysis/{file_id}", f"/separate/{file_id}"):
        assert "worker" in contract.error(client.post(path), 503, "model_unavailable")["error"]
    assert library.store.count() == 0


def test_an_unknown_variant_says_which_there_are(reader: FlaskClient) -> None:
    answer = reader.post(f"/process/whisper/{uuid.uuid4()}", json={"model_variant": "huge"})
    message = contract.error(answer, 400, "invalid_input")["error"]
    assert all(variant in message for variant in ("tiny", "medium", "turbo"))


def test_karaoke_before_its_inputs(client: FlaskClient, library: Library, file_id: str) -> None:
    url = f"/process/karaoke/{file_id}?async=true"
    body = contract.error(client.post(url), 409, "conflict")
    assert body["details"]["missing"] == ["vocals", "instrumental", "transcription"]
    assert "demucs and whisper" in body["error"]
    library.add_stems(file_id, vocals=b"la", instrumental=b"lo")
    assert contract.error(client.post(url), 409, "conflict")["details"]["missing"] == ["transcription"]
    assert client.post(url, json={"model_variant": "instrumental_only"}).status_code == 202
    words = library.add_job(file_id=file_id, model="whisper", variant="tiny", stage="transcription")
    library.complete(words.id, {"words.json": b"{}"}, {"transcription_file": "words.json"})
    assert client.post(url).status_code == 202


def test_separate(client: FlaskClient, library: Library, file_id: str) -> None:
    waiting = in_background(lambda: library.app.test_client().post(f"/separate/{file_id}"))
    library.complete(library.queued().id, {"vocals.mp3": b"la"}, {"tracks": ["vocals"]})
    body = waiting.result(10).json
    assert body.keys() >= {"file_id", "status", "tracks", "message"}
    assert (body["file_id"], body["status"], body["tracks"]) == (file_id, "completed", ["vocals"])


@pytest.mark.parametrize(
    ("model", "fields", "result"),
    [
        ("demucs", {}, {"model": "htdemucs", "tracks": {"vocals", "bass", "drums", "other"}, "output_dir": str}),
        ("whisper", {"model_variant": "base"}, {
            "model": "base", "transcription_file": "transcription_base.json", "text_file": "transcription_base.txt",
            "text": str, "language": str | None,
        }),
        ("karaoke", {}, {
            "karaoke_dir": str, "lrc_file": "karaoke.lrc", "audio_file": "karaoke.mp3", "sync_file": "karaoke.json",
            "total_lines": int, "duration": float,
        }),
        ("pitch_analysis", {}, {
            "model": "enhanced_chroma", "detected_key": "A major", "confidence": float,
            "analysis_file": "pitch_analysis_enhanced_chroma.json", "dominant_pitches": {"A", "C#", "E"},
            "tempo_bpm": float | None, "plot_file": "pitch_analysis_enhanced_chroma.png",
        }),
    ],
)  # fmt: skip
def test_results_of_a_running_service(
    server: Server, finished: dict[str, Any], model: str, fields: dict[str, Any], result: dict[str, Any]
) -> None:
    answer = server.post(f"/process/{model}/{finished['file_id']}", **fields)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body.keys() == FINISHED
    assert (body["file_id"], body["model"], body["status"]) == (finished["file_id"], model, "completed")
    for name, expected in result.items():
        found = body["result"][name]
        if isinstance(expected, set):
            assert (len(found), set(found)) == (len(expected), expected)
        elif isinstance(expected, str):
            assert found == expected
        else:
            assert isinstance(found, expected), name
    for entry in body["files"]:
        assert entry.keys() == {"filename", "size_bytes", "download_url"}
        assert len(server.get(entry["download_url"]).content) == entry["size_bytes"]


def test_a_client_that_hangs_up_does_not_stop_the_job(server: Server, tone: Path) -> None:
    file_id = server.upload(tone)["file_id"]
    url = f"{server.url}/process/demucs/{file_id}"
    with pytest.raises(requests.exceptions.ReadTimeout):
        requests.post(url, json={"shifts": 4}, timeout=0.05)
    found = wait_until(lambda: server.get(f"/jobs?file_id={file_id}").json()["jobs"], 10)
    assert server.wait_for_job(found[0]["job_id"], "completed", "failed", "cancelled")["status"] == "completed"
    assert server.delete(f"/cleanup/{file_id}").status_code == 200


def test_equal_requests_at_the_same_time_are_one_job(server: Server, tone: Path) -> None:
    file_id = server.upload(tone)["file_id"]
    ask = [in_background(lambda: server.post(f"/process/demucs/{file_id}", shifts=2)) for _ in range(4)]
    answers = [each.result(120).json() for each in ask]
    assert len({answer["job_id"] for answer in answers}) == 1
    assert [answer["skipped"] for answer in answers] == [False] * 4
    assert server.get(f"/jobs?file_id={file_id}").json()["total"] == 1
    assert server.delete(f"/cleanup/{file_id}").status_code == 200
