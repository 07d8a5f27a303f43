"""Whatever is sent, the answer is the contract's error or it works, and nothing is left behind."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from flask.testing import FlaskClient

import models
from errors import UnsupportedAudio
from models import audio
from routes.process import body_class
from tests import contract, damaged, hostile
from tests.damaged import multipart
from tests.library import NOBODYS, NOBODYS_VERSION_1
from tests.serving import Server

LIMIT_BYTES = 100 * 1024 * 1024
NAN, INFINITY = float("nan"), float("inf")
LONE_SURROGATE = "\ud800"
PIPELINE = "?auto_process=true&wait=true&transcription_model_variant=tiny"
HTTP = requests.Session()
Content = bytes | Callable[[], bytes]


@dataclass(frozen=True)
class Request:
    """One thing to send; {} in the path stands for the id of a song that is there."""

    path: str
    body: Content = b""
    method: str = "POST"
    kind: str = ""

    def send(self, server: Server, song: str) -> requests.Response:
        """Send it."""
        body = self.body() if callable(self.body) else self.body
        headers = {"Content-Type": self.kind} if self.kind else {}
        url = server.url + self.path.replace("{}", song)
        return HTTP.request(self.method, url, data=body, headers=headers, timeout=120)


@dataclass(frozen=True)
class Case:
    """What is sent, one after the other, and what each is answered.

    Attributes
    ----------
    status : int
        200 when it works; the songs that are there then are removed.
    names : str
        What the error's sentence speaks of.
    """

    name: str
    status: int
    requests: list[Request] = field(default_factory=list)
    names: str = ""


# file name, content, what an upload is answered, what a job that reads it to the end is answered
FILES: dict[str, tuple[str, Content, int, int]] = {
    "an empty file": ("x.mp3", b"", 415, 415),
    "text": ("lyrics.mp3", b"These are only words.\n" * 200, 415, 415),
    "noise": ("x.mp3", np.random.default_rng(0).bytes(50_000), 415, 415),
    "half an mp3": ("x.mp3", lambda: damaged.half("mp3"), 200, 200),
    "half a flac": ("x.flac", lambda: damaged.half("flac"), 200, 200),
    "half an m4a": ("x.m4a", lambda: damaged.half("m4a"), 415, 415),
    "a zip": ("x.wav", damaged.zipped, 415, 415),
    "a header alone": ("x.wav", lambda: damaged.wav(np.zeros(0)), 415, 415),
    "0.05 s": ("x.wav", lambda: damaged.wav(damaged.sine(0.05)), 200, 200),
    "silence": ("x.wav", lambda: damaged.wav(np.zeros(2 * damaged.RATE)), 200, 200),
    "NaN": ("x.wav", lambda: damaged.turning_nan(0), 415, 415),
    "infinity": ("x.wav", lambda: damaged.wav(np.full(1000, INFINITY)), 415, 415),
    "NaN after two seconds": ("x.wav", lambda: damaged.turning_nan(2), 200, 415),
    "a wrong ending": ("x.txt", lambda: damaged.sound("mp3"), 415, 415),
    "no ending": ("x", lambda: damaged.sound("mp3"), 415, 415),
    "no name": ("", lambda: damaged.sound("mp3"), 415, 415),
    "only an ending": (".mp3", lambda: damaged.sound("mp3"), 415, 415),
    "the limit": ("x.wav", lambda: damaged.wav_of_size(LIMIT_BYTES), 200, 0),
    "a byte more than the limit": ("x.wav", lambda: damaged.wav_of_size(LIMIT_BYTES + 1), 413, 413),
}
# file name, content, what an upload is answered, what the sentence speaks of
HOSTILE: dict[str, tuple[str, Callable[[], bytes], int, str]] = {
    "a zip bomb": ("x.mp3", hostile.zip_bomb, 415, "ZIP"),
    "a gzip bomb": ("x.flac", hostile.gzip_bomb, 415, "gzip"),
    "50 MB of cover in an mp3": ("x.mp3", lambda: hostile.cover_mp3(50_000_000), 200, ""),
    "50 MB of cover in an m4a": ("x.m4a", lambda: hostile.cover_m4a(50_000_000), 200, ""),
    "a cover of 900 million pixels": ("x.mp3", hostile.pixel_bomb, 200, ""),
    "100,000 covers": ("x.mp3", lambda: hostile.covers(100_000), 415, "32 streams"),
    "500,000 chapters": ("x.mp3", lambda: hostile.chapters(500_000), 415, "memory"),
    "compressed tags": ("x.mp3", hostile.compressed_title, 415, "memory"),
    "a title without end": ("x.mp3", hostile.long_title, 200, ""),
    "1,000 streams in an m4a": ("x.m4a", lambda: hostile.tracks(1000, 10), 415, "32 streams"),
    "1,000 streams in an ogg": ("x.ogg", lambda: hostile.ogg_streams(1000), 415, "32 streams"),
    "a billion samples in 12 kB": ("x.m4a", lambda: hostile.tracks(30, 40_000_000), 415, "memory"),
    "years of packets": ("x.m4a", hostile.years_of_packets, 413, "lasts"),
    **{f"years in a header of {ending}": (f"x.{ending}", lambda ending=ending: hostile.years_in_the_header(ending),
                                          200, "") for ending in ("wav", "flac", "m4a")},
}  # fmt: skip
SLOW = {"300,000 tags": ("x.mp3", lambda: hostile.texts(300_000)),
        "300,000 comments": ("x.flac", lambda: hostile.comments(300_000))}  # fmt: skip
HOSTILE_SECONDS = 30  # on a busy machine; seconds on a free one
WEB_GROWTH_BYTES = 64 * 1024 * 1024
NAMES = {
    "a path": "../../x.mp3", "a Windows path": "C:\\x\\..\\x.mp3", "NUL": "a\0b.mp3", "Unicode": "Ђорђе – песма.mp3",
    "300 characters": "x" * 296 + ".mp3", "300 characters of Unicode": "Ђ" * 296 + ".mp3", "dots": "....mp3",
    "markup": "<img src=x>.mp3", "percent signs": "%2e%2e%2fx.mp3", "an escaped line break": "a%0Ab.mp3",
}  # fmt: skip
NOT_ONE_FILE = {
    "nothing": b"", "no file": multipart(("model", None, b"whisper")), "text": multipart(("file", None, b"x.mp3")),
    "no end": multipart(("file", "x.mp3", b"x"))[:-30],
    "a line break in its name": multipart(("file", "a\nb.mp3", b"x")),
    "two files": multipart(("file", "x.mp3", b"x"), ("file", "y.mp3", b"y")),
    "a second file elsewhere": multipart(("file", "x.mp3", b"x"), ("other", "y.mp3", b"y")),
}  # fmt: skip
UPLOAD_OPTIONS = {
    "auto_process": ["maybe", "2", ""], "wait": ["later"], "model_variant": ["nope", "[1]", "7"], "model": ["[1]"],
    "output_format": ["aac", "1"], "transcription_model": ["demucs", "[]"], "transcription_model_variant": ["nope"],
    "webhook_url": ["a.example", "ftp://a.example", "http://10.0.0.1/"], "nope": ["1"], "url": ["http://a.example"],
    "path": ["/etc/passwd"],
}  # fmt: skip
TRANSCRIBE_OPTIONS = {
    "model": ["demucs", "2"], "model_variant": ["nope", "[1]"], "language": ["klingon", "5"], "auto_process": ["true"],
    "response_format": ["docx", "[]"],
}  # fmt: skip
QUERIES = {
    "/songs": {"limit": ["0", "501", "nan", "x"], "offset": ["-1", "1e999", "9" * 30], "search": ["x" * 201, "%00"]},
    "/karaoke/songs": {"limit": ["0", "501", "x"], "offset": ["-1", "9" * 30]},
    "/jobs": {"limit": ["0", "501", "1.5"], "offset": ["-1", "9" * 30], "status": ["nope", ""]},
    "/download/{}": {"archive": ["rar", ""]},
}
NOWHERE = [
    ("POST", "/process/nope/{}"), ("POST", "/process/Demucs/{}"), ("GET", "/models/nope"), ("GET", "/download/{}/nope"),
    ("GET", "/download/nope/{}/vocals.mp3"), ("GET", "/download/demucs/{}/nope.mp3"), ("GET", "/karaoke/{}/nope.lrc"),
    ("GET", "/generate/text-to-music/{}"),
]  # fmt: skip
WITH_ID = [
    *[("POST", f"/process/{name}/{{}}") for name in models.REGISTRY], ("POST", "/process/nope/{}"),
    ("POST", "/separate/{}"), ("POST", "/analyze/chroma/{}"), ("GET", "/generate/text-to-music/{}"),
    ("GET", "/download/{}"), ("GET", "/download/{}?archive=zip"), ("GET", "/download/{}/vocals"),
    ("GET", "/download/demucs/{}/vocals.mp3"), ("GET", "/status/{}"), ("DELETE", "/cleanup/{}"),
    ("DELETE", "/songs/{}"), ("GET", "/karaoke/{}/karaoke.lrc"), ("GET", "/jobs/{}"), ("POST", "/jobs/{}/cancel"),
    *[("POST", f"/jobs/{{}}/{action}") for action in ("retry", "pause", "resume")],
]  # fmt: skip
WRONG_IDS = [
    "x", "0", "null", NOBODYS.upper(), NOBODYS_VERSION_1, NOBODYS.replace("-", ""), f"%7B{NOBODYS}%7D", f"{NOBODYS}%0A",
    f"{NOBODYS}%00", "%00", "*", "' or 1=1 --", "every-file", "a" * 300, "песма", "%ff%fe",
]  # fmt: skip


def upload(path: str, filename: str, content: Content, *parts: tuple[str, str | None, bytes]) -> Request:
    """A file to send, with further fields."""

    def body() -> bytes:
        return multipart(("file", filename, content() if callable(content) else content), *parts)

    return Request(path, body, kind=damaged.MULTIPART)


def a_song(path: str, *parts: tuple[str, str | None, bytes]) -> Request:
    """A good file to send, with further fields."""
    return upload(path, "x.mp3", lambda: damaged.sound("mp3"), *parts)


def file_cases() -> Iterator[Case]:
    """Files, and how they are named."""
    for name, (filename, content, status, read_to_the_end) in FILES.items():
        yield Case(f"upload {name}", status, [upload("/upload", filename, content)])
        if read_to_the_end:
            yield Case(f"process {name}", status, [upload(f"/upload{PIPELINE}", filename, content)])
            words = upload("/transcribe", filename, content, ("model_variant", None, b"tiny"))
            yield Case(f"transcribe {name}", read_to_the_end, [words])
    for name, filename in NAMES.items():
        yield Case(f"a name with {name}", 200, [upload("/upload", filename, lambda: damaged.sound("mp3"))])
    for path in ("/upload", "/upload/demucs", "/transcribe"):
        for name, body in NOT_ONE_FILE.items():
            yield Case(f"{path} with {name}", 400, [Request(path, body, kind=damaged.MULTIPART)])


def option_cases() -> Iterator[Case]:
    """Options of uploads and transcriptions, of lists and downloads; models and files that are not there."""
    for path, options in (("/upload", UPLOAD_OPTIONS), ("/transcribe", TRANSCRIBE_OPTIONS)):
        for name, values in options.items():
            sent = [a_song(path, (name, None, value.encode())) for value in values]
            yield Case(f"{path} {name}", 400, sent, name)
    for name, values in UPLOAD_OPTIONS.items():
        sent = [a_song(f"/upload?{name}={value}") for value in values if (name, value) != ("model", "[1]")]
        yield Case(f"/upload?{name}", 400, sent, name)
    for path, options in QUERIES.items():
        for name, values in options.items():
            sent = [Request(f"{path}?{name}={value}", method="GET") for value in values]
            yield Case(f"{path}?{name}", 400, sent, name)
    batches = [{}, {"file_ids": []}, {"file_ids": "x"}, {"file_ids": [NAN]}, {"file_ids": ["x"] * 101}]
    yield Case("/analyze/batch", 400, [Request("/analyze/batch", json.dumps(b).encode()) for b in batches], "file_ids")
    bodies = [b'{"model": "x"}', b'{"model_variant": "htdemucs"}', b"{broken", b"[]", b"1"]
    separations = [Request("/separate/{}", body) for body in bodies]
    yield Case("/separate", 400, [*separations, a_form("/separate/{}", {"x": 1})])
    for path in ("/upload/nope", "/upload?model=nope"):
        yield Case(path, 404, [a_song(path)], "nope")
    yield Case("what is not there", 404, [Request(path, method=method) for method, path in NOWHERE])


def a_form(path: str, fields: dict[str, Any]) -> Request:
    """Fields to send as a form."""
    parts = [(name, None, str(value).encode()) for name, value in fields.items()]
    return Request(path, multipart(*parts), kind=damaged.MULTIPART)


def wrong_values(schema: dict[str, Any]) -> Iterator[Any]:
    """Values that a field's JSON schema forbids."""
    options = schema.get("anyOf", [schema])
    if {"type": "null"} not in options:
        yield None
    schema = next(option for option in options if option != {"type": "null"})
    step = 1 if schema["type"] == "integer" else 1e-6
    yield from ([1], {"a": 1}, [[]])
    beyond = {"minimum": -step, "maximum": step, "exclusiveMinimum": 0, "exclusiveMaximum": 0}
    yield from (schema[limit] + more for limit, more in beyond.items() if limit in schema)
    if "enum" in schema:
        yield from ("nope", "", 7, True, NAN)
    elif schema["type"] == "string":
        yield from (5, True, LONE_SURROGATE, "x" * (schema.get("maxLength", 30_000) + 1))
        yield from [""] * bool(schema.get("minLength") or schema.get("pattern"))
    elif schema["type"] == "boolean":
        yield from ("maybe", 2, "", NAN)
    else:
        yield from ("much", "", NAN, INFINITY, -INFINITY, 10**400, "9" * 5000)
        yield from [1.5] * (schema["type"] == "integer")


def parameter_cases() -> Iterator[Case]:
    """Every parameter of every model, from the classes that check them."""
    for spec in models.REGISTRY.values():
        path, schema = f"/process/{spec.name}/{{}}?async=true", body_class(spec).model_json_schema()
        required = dict.fromkeys(schema.get("required", ()), "x")
        for name, of_field in schema["properties"].items():
            wrong = list(wrong_values(of_field))
            bodies = [json.dumps(required | {name: value}).encode() for value in wrong]
            yield Case(f"{spec.name} {name}", 400, [Request(path, body) for body in bodies], name)
            if _is_number(of_field):
                numbers = [value for value in wrong if isinstance(value, int | float)]
                yield Case(f"{spec.name} {name} in a form", 400,
                           [a_form(path, required | {name: value}) for value in numbers], name)  # fmt: skip
        for name in required:
            yield Case(f"{spec.name} without {name}", 400, [Request(path)], name)
        for name in ("file", "nope", *spec.module.Request.model_fields):
            parts = [(field, None, value.encode()) for field, value in required.items() if field != name]
            sent = Request(path, multipart(*parts, (name, "x.mp3", b"x")), kind=damaged.MULTIPART)
            yield Case(f"{spec.name} with a file as {name}", 400, [sent], name)
        unknown = [json.dumps(required | {name: 1}).encode() for name in ("model", "url", "nope", "", LONE_SURROGATE)]
        yield Case(f"{spec.name} with other fields", 400, [Request(path, body) for body in unknown])


def _is_number(schema: dict[str, Any]) -> bool:
    """Whether a field takes numbers of a range."""
    return any(option.get("type") in ("integer", "number") for option in schema.get("anyOf", [schema]))


def id_cases() -> Iterator[Case]:
    """Ids that are not UUIDs, and one of no song, on every route."""
    for method, path in WITH_ID:
        body, wrong = b"", list(WRONG_IDS)
        if path.startswith("/process/musicgen"):
            body = b'{"prompt": "x"}'
        else:  # music begins with a new id
            wrong.append(NOBODYS)
        yield Case(f"{method} {path}", 404, [Request(path.replace("{}", each), body, method) for each in wrong])


CASES = [*file_cases(), *option_cases(), *parameter_cases(), *id_cases()]


def contents(server: Server) -> set[str]:
    """Everything there is: files, songs, jobs, events; the folders that any job's work begins with stay."""
    files = {str(path) for folder in (server.uploads, server.outputs) for path in folder.rglob("*")
             if not path.name.startswith(("studio.db", "queue.db")) and path.name != ".spool"}  # fmt: skip
    tables = {"songs": "file_id", "jobs": "id", "events": "seq"}
    rows = [(table, *row) for table, key in tables.items() for row in server.rows(f"select {key} from {table}")]
    return files.union(f"{table} {key}" for table, key in rows)


@pytest.fixture(scope="module")
def song(server: Server) -> Iterator[str]:
    """A song that is there."""
    made: str = a_song("/upload").send(server, "").json()["file_id"]
    yield made
    assert server.delete(f"/cleanup/{made}").status_code == 200


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input(server: Server, song: str, case: Case) -> None:
    before = contents(server)
    for request in case.requests:
        answer = request.send(server, song)
        try:
            if case.status == 200:
                assert answer.status_code == 200, answer.text
                assert server.delete(f"/cleanup/{answer.json()['file_id']}").status_code == 200
            else:
                assert case.names in contract.error(answer, case.status)["error"]
        except AssertionError as error:
            error.add_note(f"{request.method} {request.path} {str(request.body)[:200]}")
            raise
    assert contents(server) == before


def most_memory(server: Server) -> int:
    """What the web process took at most so far, in bytes."""
    assert server.process is not None
    found = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{server.process.pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_costs_neither_memory_nor_time(server: Server, name: str) -> None:
    filename, content, status, names = HOSTILE[name]
    sent = upload("/upload", filename, content())
    before, memory, began = contents(server), most_memory(server), time.monotonic()
    answer = sent.send(server, "")
    assert time.monotonic() - began < HOSTILE_SECONDS
    assert most_memory(server) - memory < WEB_GROWTH_BYTES
    if status == 200:
        assert answer.status_code == 200, answer.text
        assert answer.json()["duration_seconds"] == pytest.approx(2, abs=0.1)
        assert len(answer.text) < 10_000
        assert server.delete(f"/cleanup/{answer.json()['file_id']}").status_code == 200
    else:
        assert names in contract.error(answer, status)["error"]
    assert contents(server) == before


@pytest.mark.parametrize("name", SLOW)
def test_a_file_that_keeps_its_reader_busy_is_given_up(tmp_path: Path, name: str) -> None:
    filename, content = SLOW[name]
    path = tmp_path / filename
    path.write_bytes(content())
    with pytest.raises(UnsupportedAudio, match="more than 1 s of work"):
        audio.confined_probe(path, cpu_seconds=1)
    with pytest.raises(UnsupportedAudio, match=r"more than 0\.1 s"):
        audio.confined_probe(path, wait_seconds=0.1)


class Canary(BaseHTTPRequestHandler):
    """Has a song for who asks, and keeps count."""

    asked: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        """Send it."""
        self.asked.append(self.path)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(damaged.sound("mp3"))


@pytest.fixture(scope="module")
def canary() -> Iterator[str]:
    """The address of a song on this machine that nobody may fetch."""
    with HTTPServer(("127.0.0.1", 0), Canary) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{listening.server_port}/song.mp3"
        assert HTTP.get(url).content == damaged.sound("mp3")
        Canary.asked.clear()
        yield url
        listening.shutdown()


def test_what_names_other_files_or_addresses_reads_neither(server: Server, tmp_path: Path, canary: str) -> None:
    song = tmp_path / "song.m4a"
    song.write_bytes(damaged.sound("m4a"))
    scripts = hostile.scripts(canary, str(song))
    binary = {f"{name}, no text": script + bytes(range(256)) for name, script in scripts.items()}
    references = {"an m4a of a file": hostile.elsewhere(str(song)), "an m4a of an address": hostile.elsewhere(canary)}
    before = contents(server)
    for name, content in {**scripts, **binary, **references}.items():
        for ending in ("mp3", "m4a"):
            answer = upload("/upload", f"x.{ending}", content).send(server, "")
            assert str(song) not in contract.error(answer, 415, "unsupported_audio")["error"], name
    assert Canary.asked == []
    assert contents(server) == before


@pytest.mark.parametrize(
    ("file", "fields", "status", "names"),
    [("NaN after two seconds", {}, 415, "NaN"), ("silence", {"two_stems": "nope"}, 400, "nope")],
)
def test_what_only_a_job_finds_out(server: Server, file: str, fields: dict[str, str], status: int, names: str) -> None:
    before = contents(server)
    filename, content, *_ = FILES[file]
    song = upload("/upload", filename, content).send(server, "").json()["file_id"]
    answer = server.post(f"/process/demucs/{song}", **fields)
    assert names in contract.error(answer, status)["error"]
    assert server.delete(f"/cleanup/{song}").json()["deleted_files"] == [f"{song}.wav"]
    assert contents(server) == before


def test_every_route_with_an_id_is_among_the_cases(reader: FlaskClient) -> None:
    app = reader.application
    rules = {rule.rule for rule in app.url_map.iter_rules() if {"file_id", "job_id"} & rule.arguments}
    adapter = app.url_map.bind("localhost")
    matches = [adapter.match(path.split("?")[0].format(NOBODYS), method, return_rule=True) for method, path in WITH_ID]
    assert {rule.rule for rule, _ in matches} == rules


def test_every_field_is_among_the_cases(reader: FlaskClient) -> None:
    from routes.transcribe import TranscribeForm
    from routes.upload import UploadForm

    assert UPLOAD_OPTIONS.keys() | {"file"} >= UploadForm.model_fields.keys()
    assert TRANSCRIBE_OPTIONS.keys() | {"file"} >= TranscribeForm.model_fields.keys()
    names = {case.name for case in CASES}
    for spec in models.REGISTRY.values():
        assert {f"{spec.name} {name}" for name in spec.module.Request.model_fields} <= names


def test_the_service_has_taken_no_harm(server: Server) -> None:
    assert server.get("/health/ready").status_code == 200
    assert "unexpected error" not in server.log.read_text()
