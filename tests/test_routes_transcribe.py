"""A file's words in one call."""

import io
from pathlib import Path
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests import contract
from tests.library import Library, in_background
from tests.serving import Server

ANSWER = {"file_id", "model", "model_variant", "status", "transcription", "language", "message"}
FILES = {
    "words.json": b'{"text": "la"}', "words.txt": "ла".encode(), "words.srt": b"1\n", "words.vtt": b"WEBVTT\n",
    "words.lrc": b"[00:01.00]la\n",
}  # fmt: skip
RESULT = {"model": "tiny", "transcription_file": "words.json", "text": "ла", "language": "sr", "message": None}


def send(client: FlaskClient, tone: Path, **fields: str) -> TestResponse:
    """POST the tone."""
    return client.post("/transcribe", data={"file": (io.BytesIO(tone.read_bytes()), "tone.wav"), **fields})


def test_words(library: Library, tone: Path) -> None:
    library.add_workers()
    waiting = in_background(lambda: send(library.app.test_client(), tone, language="sr", model_variant="tiny"))
    job = library.complete(library.queued(model="whisper").id, FILES, RESULT)
    answer = waiting.result(10)
    assert (answer.status_code, job.variant, job.parameters["language"]) == (200, "tiny", "sr")
    body = answer.json
    assert body.keys() == ANSWER
    assert body == body | {"file_id": job.file_id, "model": "whisper", "model_variant": "tiny", "status": "completed",
                           "transcription": "ла", "language": "sr"}  # fmt: skip
    assert body["message"]


@pytest.mark.parametrize(
    ("wanted", "name", "kind"),
    [("text", "words.txt", "text/plain"), ("srt", "words.srt", "application/x-subrip"),
     ("vtt", "words.vtt", "text/vtt"), ("lrc", "words.lrc", "text/plain")],
)  # fmt: skip
def test_formats(library: Library, tone: Path, wanted: str, name: str, kind: str) -> None:
    library.add_workers()
    waiting = in_background(lambda: send(library.app.test_client(), tone, response_format=wanted))
    library.complete(library.queued(model="whisper").id, FILES, RESULT)
    answer = waiting.result(10)
    assert (answer.status_code, answer.data, answer.mimetype) == (200, FILES[name], kind)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"model": "demucs"}, 400), ({"model_variant": "huge"}, 400), ({"language": "klingon"}, 400),
        ({"response_format": "docx"}, 400), ({"url": "http://a.example"}, 400), ({"language": "1"}, 400),
        ({"model": "gemma_3n", "model_variant": "tiny"}, 400), ({"auto_process": "true"}, 400),
    ],
)  # fmt: skip
def test_wrong_fields_leave_nothing(
    client: FlaskClient, library: Library, tone: Path, fields: dict[str, str], status: int
) -> None:
    library.add_workers()
    before = library.contents()
    contract.error(send(client, tone, **fields), status, "invalid_input")
    assert library.contents() == before


def test_nobody_to_do_it_leaves_nothing(client: FlaskClient, library: Library, tone: Path) -> None:
    before = library.contents()
    contract.error(send(client, tone), 503, "model_unavailable")
    assert library.contents() == before


def test_a_failed_job_leaves_nothing(library: Library, tone: Path) -> None:
    library.add_workers()
    before = library.contents()
    waiting = in_background(lambda: send(library.app.test_client(), tone))
    library.fail(library.queued(model="whisper").id, "It is noise.", "unsupported_audio")
    contract.error(waiting.result(10), 415, "unsupported_audio")
    assert library.contents() == before


def test_a_paused_job_keeps_its_song(library: Library, tone: Path) -> None:
    library.add_workers()
    waiting = in_background(lambda: send(library.app.test_client(), tone))
    job = library.queued(model="whisper")
    library.store.request_pause(job.id)
    assert "/resume" in contract.error(waiting.result(10), 409, "conflict")["error"]
    assert library.app.test_client().post(f"/jobs/{job.id}/resume").status_code == 202
    assert library.studio.songs.get(job.file_id)


def test_a_running_service(server: Server, tone: Path) -> None:
    def ask(wanted: str) -> requests.Response:
        fields = {"model_variant": "tiny", "language": "en", "response_format": wanted}
        files = {"file": ("tone.wav", tone.read_bytes())}
        return requests.post(f"{server.url}/transcribe", files=files, data=fields, timeout=60)

    body: dict[str, Any] = ask("json").json()
    assert body.keys() == ANSWER
    assert (body["model"], body["model_variant"], body["status"], body["language"]) == (
        "whisper", "tiny", "completed", "en")  # fmt: skip
    text = ask("text")
    assert text.text.split() == body["transcription"].split()
    assert ask("vtt").text.startswith("WEBVTT")
    for song in server.get("/songs?search=tone.wav").json()["songs"]:
        assert server.delete(f"/cleanup/{song['file_id']}").status_code == 200
