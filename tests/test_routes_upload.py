"""Uploads: taken in whole or not at all, known by their tags, and processed when wished."""

import io
import re
import shutil
import socket
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import mutagen.id3
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from config import Config
from models import audio
from tests import contract
from tests.library import Library, in_background
from tests.serving import Server, wait_until

UPLOADED = {
    "file_id", "filename", "status", "message", "size_bytes", "duration_seconds", "sample_rate", "channels", "title",
    "artist",
}  # fmt: skip
STARTED = UPLOADED | {"job_id", "status_url"}
UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def send(client: FlaskClient, path: Path, query: str = "", *, name: str | None = None, **fields: str) -> TestResponse:
    """POST a file to /upload."""
    data = {"file": (io.BytesIO(path.read_bytes()), name or path.name), **fields}
    return client.post(f"/upload{query}", data=data)


def encode(tone: Path, path: Path, codec: str) -> Path:
    """The tone in another format."""
    with av.open(str(tone)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream(codec, rate=48000)
        resampler = av.AudioResampler(stream.format, stream.layout, stream.rate)
        for frame in [*source.decode(audio=0), None]:
            for resampled in resampler.resample(frame):
                target.mux(stream.encode(resampled))
        target.mux(stream.encode(None))
    return path


def test_an_upload_alone(client: FlaskClient, config: Config, tone: Path) -> None:
    answer = send(client, tone)
    assert answer.status_code == 200
    body = answer.json
    assert body.keys() == UPLOADED
    assert UUID4.fullmatch(body["file_id"])
    assert body == body | {
        "filename": "Dusk - River.wav", "status": "uploaded", "size_bytes": tone.stat().st_size,
        "duration_seconds": 3.0, "sample_rate": 44100, "channels": 2, "title": "River", "artist": "Dusk",
    }  # fmt: skip
    kept = [path for path in config.upload_folder.rglob("*") if path.is_file()]
    assert [path.name for path in kept] == [f"{body['file_id']}.wav"]
    assert kept[0].read_bytes() == tone.read_bytes()
    assert client.get("/jobs").json["total"] == 0


@pytest.mark.parametrize(
    ("ending", "codec"),
    [("mp3", "libmp3lame"), ("flac", "flac"), ("m4a", "aac"), ("ogg", "libopus"), ("MP3", "libmp3lame")],
)
def test_every_accepted_format(client: FlaskClient, tone: Path, tmp_path: Path, ending: str, codec: str) -> None:
    path = encode(tone, tmp_path / f"song.{ending.lower()}", codec)
    answer = send(client, path, name=f"song.{ending}")
    assert answer.status_code == 200, answer.text
    assert answer.json["duration_seconds"] == pytest.approx(3.0, abs=0.1)
    assert answer.json["channels"] == 2


def test_tags_say_more_than_the_name(client: FlaskClient, tone: Path, tmp_path: Path) -> None:
    path = tmp_path / "01 - track.mp3"
    samples, rate = audio.read(tone)
    with audio.Writer(path, rate, 2) as writer:
        writer.write(samples)
    tags = mutagen.id3.ID3()
    tags.add(mutagen.id3.TIT2(encoding=3, text="Песма"))
    tags.add(mutagen.id3.TPE1(encoding=3, text="Ђорђе"))
    tags.save(path)
    body = send(client, path).json
    assert (body["title"], body["artist"], body["filename"]) == ("Песма", "Ђорђе", "01 - track.mp3")


@pytest.mark.parametrize(
    ("name", "filename", "title", "artist"),
    [
        ("../../x.wav", "x.wav", "x", ""),
        ("Ђорђе – песма.wav", "Ђорђе – песма.wav", "песма", "Ђорђе"),
        ("A - B.WAV", "A - B.WAV", "B", "A"),
        ("x" * 300 + ".wav", "x" * 251 + ".wav", "x" * 251, ""),
    ],
)
def test_names_are_for_show(
    client: FlaskClient, config: Config, tone: Path, name: str, filename: str, title: str, artist: str
) -> None:
    body = send(client, tone, name=name).json
    assert (body["filename"], body["title"], body["artist"]) == (filename, title, artist)
    assert {path.name for path in config.upload_folder.rglob("*")} == {".incoming", f"{body['file_id']}.wav"}


def test_the_same_file_twice_is_two_songs(client: FlaskClient, tone: Path) -> None:
    assert send(client, tone).json["file_id"] != send(client, tone).json["file_id"]
    assert client.get("/songs").json["total"] == 2


def test_the_pipeline(client: FlaskClient, library: Library, tone: Path) -> None:
    library.add_workers()
    answer = send(client, tone, auto_process="true")
    assert answer.status_code == 202
    body = answer.json
    assert body.keys() == STARTED
    assert (body["status"], body["status_url"]) == ("processing", f"/status/{body['file_id']}")
    job = library.job(body["job_id"])
    assert (job.model, job.variant, job.status, job.file_id) == ("demucs", "htdemucs", "queued", body["file_id"])
    assert [(step["model"], step["variant"]) for step in job.following] == [("whisper", "medium"), ("karaoke", "full")]
    status = client.get(body["status_url"]).json
    assert status["stages"]["upload"] == {
        "progress": 100, "message": "Upload complete, starting separation...", "error": None, "eta_seconds": None,
    }  # fmt: skip


@pytest.mark.parametrize("in_query", [False, True])
def test_options_of_the_pipeline(client: FlaskClient, library: Library, tone: Path, in_query: bool) -> None:
    library.add_workers()
    options = {"auto_process": "true", "model": "demucs", "model_variant": "mdx_extra", "output_format": "flac",
               "transcription_model": "whisper", "transcription_model_variant": "turbo"}  # fmt: skip
    query = "?" + "&".join(f"{name}={value}" for name, value in options.items())
    answer = send(client, tone, query) if in_query else send(client, tone, **options)
    job = library.job(answer.json["job_id"])
    assert (job.variant, job.parameters["output_format"]) == ("mdx_extra", "flac")
    assert [(step["model"], step["variant"]) for step in job.following] == [("whisper", "turbo"), ("karaoke", "full")]


def test_gemma_may_be_the_transcriber(client: FlaskClient, library: Library, tone: Path) -> None:
    library.add_workers()
    job = library.job(send(client, tone, auto_process="1", transcription_model="gemma_3n").json["job_id"])
    models = [step["model"] for step in job.following]
    assert (models[-2], models[-1]) == ("gemma_3n", "karaoke")


def test_the_form_wins_over_the_query(client: FlaskClient, library: Library, tone: Path) -> None:
    library.add_workers()
    answer = send(client, tone, "?auto_process=false&model_variant=mdx", auto_process="true", model_variant="mdx_q")
    assert library.job(answer.json["job_id"]).variant == "mdx_q"


@pytest.mark.parametrize(("query", "fields"), [("/whisper", {}), ("?model=whisper", {}), ("", {"model": "whisper"})])
def test_a_song_for_one_model(
    client: FlaskClient, library: Library, tone: Path, query: str, fields: dict[str, str]
) -> None:
    assert send(client, tone, query, **fields).json["status"] == "uploaded"
    library.add_workers()
    job = library.job(send(client, tone, query, **fields, auto_process="true", model_variant="tiny").json["job_id"])
    assert (job.model, job.variant, job.following) == ("whisper", "tiny", [])


@pytest.mark.parametrize(
    ("query", "fields", "status"),
    [
        ("/nope", {}, 404), ("?model=nope", {}, 404), ("", {"model": "nope"}, 404), ("", {"model": "[1]"}, 400),
        ("/whisper", {"model_variant": "htdemucs"}, 400), ("", {"transcription_model": "demucs"}, 400),
        ("", {"transcription_model_variant": "huge"}, 400), ("", {"output_format": "aac"}, 400),
        ("", {"auto_process": "maybe"}, 400), ("?auto_process=maybe", {}, 400), ("?nope=1", {}, 400),
        ("", {"nope": "1"}, 400), ("", {"url": "http://a.example/x.mp3"}, 400), ("", {"wait": "a while"}, 400),
        ("", {"model_variant": "1"}, 400), ("", {"model_variant": "nope"}, 400),
    ],
)  # fmt: skip
@pytest.mark.parametrize("auto_process", ["true", "false"])
def test_wrong_options_leave_nothing(
    client: FlaskClient, library: Library, tone: Path, query: str, fields: dict[str, str], status: int,
    auto_process: str,
) -> None:  # fmt: skip
    library.add_workers()
    before = library.contents()
    contract.error(send(client, tone, query, **({"auto_process": auto_process} | fields)), status)
    assert library.contents() == before


def test_nobody_to_process_it_leaves_nothing(client: FlaskClient, library: Library, tone: Path) -> None:
    before = library.contents()
    contract.error(send(client, tone, auto_process="true"), 503, "model_unavailable")
    assert library.contents() == before


@pytest.mark.parametrize(
    "data",
    [
        {}, {"file": "text"}, {"other": (io.BytesIO(b"x"), "x.mp3")}, {"file": (io.BytesIO(b"x"), "")},
        {"file": [(io.BytesIO(b"x"), "x.mp3"), (io.BytesIO(b"y"), "y.mp3")]},
        {"file": (io.BytesIO(b"x"), "x.mp3"), "other": (io.BytesIO(b"y"), "y.mp3")},
    ],
)  # fmt: skip
def test_not_exactly_one_file(reader: FlaskClient, data: dict[str, Any]) -> None:
    for path in ("/upload", "/transcribe"):
        again = {name: _again(value) for name, value in data.items()}
        answer = reader.post(path, data=again, content_type="multipart/form-data")
        contract.error(answer, 415 if data.get("file", ["", "x"])[1] == "" else 400)


def _again(value: Any) -> Any:
    """A file to send once more: the client closes what it has sent."""
    if isinstance(value, list):
        return [_again(each) for each in value]
    return (io.BytesIO(b"x"), value[1]) if isinstance(value, tuple) else value


def waiting(library: Library, tone: Path, query: str = "") -> Any:
    """A client that uploads and waits for everything."""
    library.add_workers()
    fields = {"auto_process": "true", "wait": "true", "transcription_model_variant": "tiny"}
    return in_background(lambda: send(library.app.test_client(), tone, query, **fields))


def test_a_failed_stage_does_not_take_the_others_down(library: Library, tone: Path) -> None:
    answer = waiting(library, tone)
    library.complete(library.queued(model="demucs").id, {"vocals.mp3": b"la"}, {"tracks": ["vocals"]})
    library.fail(library.queued(model="whisper").id, "It heard nothing.")
    body = answer.result(10).json
    assert answer.result().status_code == 200
    assert body.keys() >= STARTED | {"tracks", "transcription", "karaoke"}
    url = f"/download/demucs/{body['file_id']}/vocals.mp3?job={body['job_id']}"
    assert (body["status"], body["tracks"]) == ("completed", [{"name": "vocals", "download_url": url}])
    assert body["transcription"] == {"status": "failed", "error": "It heard nothing."}
    assert body["karaoke"]["status"] == "failed"
    assert "transcription" in body["karaoke"]["error"]


@pytest.mark.parametrize(
    ("model", "result"),
    [("pitch_analysis", {"detected_key": "A major"}), ("whisper", {"text": "la"}), ("karaoke", {"total_lines": 2})],
)
def test_who_waits_for_one_model_gets_its_result(
    library: Library, client: FlaskClient, tone: Path, model: str, result: dict[str, Any]
) -> None:
    answer = waiting(library, tone, f"/{model}")
    job = library.complete(library.queued(model=model).id, {"found.json": b"{}"}, result)
    body = answer.result(10).json
    assert (body["status"], body["result"], body["job_id"]) == ("completed", result, job.id)
    (entry,) = body["files"]
    assert (entry["filename"], entry["size_bytes"]) == ("found.json", 2)
    assert client.get(entry["download_url"]).data == b"{}"


def test_who_waits_for_one_model_gets_its_failure(library: Library, tone: Path) -> None:
    answer = waiting(library, tone, "/pitch_analysis")
    library.fail(library.queued(model="pitch_analysis").id, "Too loud.")
    body = answer.result(10).json
    assert (body["status"], body["analysis"]) == ("failed", {"status": "failed", "error": "Too loud."})
    assert body.keys() & {"result", "files"} == set()


def test_a_failed_separation(library: Library, tone: Path) -> None:
    answer = waiting(library, tone)
    library.fail(library.queued(model="demucs").id, "Too loud.")
    body = answer.result(10).json
    assert (answer.result().status_code, body["status"], body["tracks"]) == (200, "failed", [])
    assert body["separation"] == {"status": "failed", "error": "Too loud."}
    assert body["transcription"]["status"] == body["karaoke"]["status"] == "failed"


def test_a_song_removed_while_its_sender_waits(library: Library, tone: Path) -> None:
    answer = waiting(library, tone)
    file_id = library.queued(model="demucs").file_id
    library.studio.songs.remove(file_id)
    library.store.remove_song(file_id)
    assert "removed" in contract.error(answer.result(10), 404, "not_found")["error"]


def test_a_song_cancelled_while_its_sender_waits(library: Library, client: FlaskClient, tone: Path) -> None:
    answer = waiting(library, tone)
    client.post(f"/jobs/{library.queued(model='demucs').id}/cancel")
    body = answer.result(10).json
    assert body["status"] == client.get(body["status_url"]).json["status"] == "cancelled"
    assert "cancelled" in body["message"]
    assert body["separation"] == {"status": "failed", "error": "Cancelled on request."}
    assert body["karaoke"]["status"] == "failed"


def test_a_song_cancelled_after_its_separation(library: Library, client: FlaskClient, tone: Path) -> None:
    answer = waiting(library, tone)
    library.complete(library.queued(model="demucs").id, {"vocals.mp3": b"la"}, {"tracks": ["vocals"]})
    client.post(f"/jobs/{library.queued(model='whisper').id}/cancel")
    body = answer.result(10).json
    assert body["status"] == client.get(body["status_url"]).json["status"] == "cancelled"
    assert [track["name"] for track in body["tracks"]] == ["vocals"]


def test_the_whole_answer_of_a_running_service(server: Server, finished: dict[str, Any]) -> None:
    file_id = finished["file_id"]
    assert finished.keys() == STARTED | {"tracks", "transcription", "karaoke"}
    assert finished["status"] == "completed"
    assert sorted(track["name"] for track in finished["tracks"]) == ["bass", "drums", "other", "vocals"]
    assert all(track.keys() == {"name", "download_url"} for track in finished["tracks"])
    words, karaoke = finished["transcription"], finished["karaoke"]
    assert {"status", "text", "model", "model_variant", "download_url"} <= words.keys()
    assert (words["status"], words["model"], words["model_variant"]) == ("completed", "whisper", "tiny")
    assert {"status", "lrc_file", "audio_file", "total_lines", "duration", "download_url"} <= karaoke.keys()
    assert (karaoke["status"], karaoke["audio_file"]) == ("completed", "karaoke.mp3")
    assert karaoke["duration"] == pytest.approx(3.0, abs=0.1)
    assert server.get(words["download_url"]).json()["text"].strip() == words["text"]
    assert words["download_url"].startswith(f"/download/whisper/{file_id}/transcription_tiny.json?job=")
    assert server.get(karaoke["download_url"]).headers["Content-Type"] == "audio/mpeg"


def test_a_half_upload_is_never_seen_and_goes_away(server: Server, tone: Path) -> None:
    songs = server.get("/songs").json()["total"]
    body = (b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + tone.read_bytes())
    head = (f"POST /upload HTTP/1.1\r\nHost: a\r\nX-Request-ID: {uuid.uuid4().hex}\r\n"
            f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(body) + 7}\r\n\r\n")  # fmt: skip
    incoming = server.uploads / ".incoming"
    whole = {path.name for path in server.uploads.glob("*.*")}
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head.encode() + body)
        wait_until(lambda: list(incoming.iterdir()), 10, lambda: "the file in progress")
        assert {path.name for path in server.uploads.glob("*.*")} == whole
        assert server.get("/songs").json()["total"] == songs
    wait_until(lambda: not list(incoming.iterdir()), 10, lambda: "the half file to go")
    assert server.get("/songs").json()["total"] == songs


class Body(io.BufferedReader):
    """A form with a file, in the midst of which something else happens."""

    def __init__(self, path: Path, meanwhile: Callable[[], object]) -> None:
        head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        whole = head + path.read_bytes() + b"\r\n--b--\r\n"
        self.size, self._meanwhile = len(whole), meanwhile
        super().__init__(io.BytesIO(whole))  # type: ignore[arg-type]

    def readinto(self, buffer: Any) -> int:
        """As a file's."""
        begun, size = self.tell() > 0, super().readinto(buffer)
        if begun:
            meanwhile, self._meanwhile = self._meanwhile, lambda: None
            meanwhile()
        return size


class TestLittleRoom:
    """A disk that has room for one song and a half besides what is to stay free."""

    KEPT = 5_000_000

    @pytest.fixture
    def config(self, config: Config) -> Config:
        return replace(config, min_free_disk=self.KEPT)

    @pytest.mark.parametrize("chunked", [False, True])
    def test_uploads_that_arrive_together_leave_what_is_to_stay_free(
        self, client: FlaskClient, config: Config, tone: Path, monkeypatch: pytest.MonkeyPatch, chunked: bool
    ) -> None:
        usage, disk_bytes = type(shutil.disk_usage(config.upload_folder)), self.KEPT + tone.stat().st_size * 3 // 2

        def written() -> int:
            return sum(path.stat().st_size for path in config.upload_folder.rglob("*") if path.is_file())

        least = [disk_bytes]

        def disk_usage(_: Path) -> Any:
            least.append(disk_bytes - written())
            return usage(disk_bytes, written(), least[-1])

        monkeypatch.setattr(shutil, "disk_usage", disk_usage)
        others: list[TestResponse] = []
        body = Body(tone, lambda: others.append(send(client, tone)))
        length = {"headers": {"Transfer-Encoding": "chunked"}} if chunked else {"content_length": body.size}
        kind = "multipart/form-data; boundary=b"
        answer = client.post("/upload", input_stream=body, content_type=kind, **length)
        assert [other.status_code for other in others] == [200], "it came second and was there first"
        contract.error(answer, 507, "storage_full")
        assert written() == others[0].json["size_bytes"]
        assert len(least) > 3
        assert min(least) >= self.KEPT
        assert client.delete(f"/songs/{others[0].json['file_id']}").status_code == 200
        assert send(client, tone).status_code == 200, "there is room again"
