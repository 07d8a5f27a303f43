"""Whoever raises it, every error has the contract's shape; every request has an id that stands in its log lines."""

import contextlib
import io
import json
import logging
import re
import sqlite3
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient
from flask_openapi3 import OpenAPI
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

import errors
from app import create_app
from config import Config
from logs import configure_logging
from storage import database
from storage.songs import Song
from tests import contract
from tests.serving import Server

SONG = "/process/demucs/5d94380d-37bf-43f2-9d8f-3c2b064f3e02"
STATUSES = {
    errors.StudioError: 500, errors.InvalidInput: 400, errors.UnsupportedAudio: 415, errors.TooLarge: 413,
    errors.Unauthorized: 401, errors.NotFound: 404, errors.Conflict: 409, errors.QueueFull: 429,
    errors.StorageFull: 507, errors.StorageBusy: 503,
    errors.ModelUnavailable: 503, errors.JobFailed: 500, errors.WorkerDied: 500, errors.JobTimeout: 500,
    errors.OutOfMemory: 500,
}  # fmt: skip
DEEP = 100_000
ORIGIN = "https://a.example"
full_device = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")


def fail_with(app: OpenAPI, function: Callable[[], Any]) -> FlaskClient:
    """A client of the app with one more route, /fail, which does what the function does."""
    app.add_url_rule("/fail", view_func=function, endpoint="fail")
    return app.test_client()


def raises(error: Exception) -> Callable[[], Any]:
    """A view that raises."""

    def view() -> None:
        raise error

    return view


@pytest.mark.parametrize("method", ["get", "post", "put", "delete", "patch", "options"])
@pytest.mark.parametrize("path", ["/nope", "/health/nope", "/a%00b", "/%ff", "/download/%2e%2e/%2e%2e/etc/passwd"])
def test_an_unknown_address(reader: FlaskClient, method: str, path: str) -> None:
    contract.error(getattr(reader, method)(path), 404, "not_found")


@pytest.mark.parametrize("path", ["/static/nope.js", "/static/..%2fapp.py", "/docs/assets/x", "/docs/assets/..%2f"])
def test_an_unknown_file(reader: FlaskClient, path: str) -> None:
    contract.error(reader.get(path), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("post", "/health", {"GET", "HEAD", "OPTIONS"}),
        ("get", "/upload", {"POST", "OPTIONS"}),
        ("get", SONG, {"POST", "OPTIONS"}),
        ("get", "/cleanup/x", {"DELETE", "OPTIONS"}),
        ("patch", "/songs", {"GET", "HEAD", "OPTIONS"}),
        ("put", "/jobs/x/cancel", {"POST", "OPTIONS"}),
    ],
)
def test_a_wrong_method_says_which_are_right(reader: FlaskClient, method: str, path: str, allowed: set[str]) -> None:
    answer = getattr(reader, method)(path)
    contract.error(answer, 405, "method_not_allowed")
    assert set(answer.headers["Allow"].split(", ")) == allowed


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"{'shifts': 1}", b"shifts=1", b"\xff\xfe", b"[1]", b'"shifts"', b"1", b"null", b"true",
        b"[" * DEEP, b'{"shifts":' * DEEP, b'{"shifts": ' + b"9" * 5000 + b"}",
    ],
)  # fmt: skip
def test_a_body_that_is_no_json_object(reader: FlaskClient, body: bytes) -> None:
    for content_type in ("application/json", "text/plain", None):
        contract.error(reader.post(SONG, data=body, content_type=content_type), 400, "invalid_input")


@pytest.mark.parametrize("text", ["[" * DEEP, "9" * 5000])
@pytest.mark.parametrize("path", ["/upload", "/transcribe", SONG])
def test_a_form_field_that_json_cannot_digest(reader: FlaskClient, path: str, text: str) -> None:
    data = {"model_variant": text, "file": (io.BytesIO(b"x"), "x.mp3")}
    assert "model_variant" in contract.error(reader.post(path, data=data), 400, "invalid_input")["error"]


def test_a_query_that_is_not_utf8(reader: FlaskClient) -> None:
    contract.error(reader.get("/songs", environ_overrides={"QUERY_STRING": "search=\xff\xfe"}), 400, "invalid_input")


@pytest.mark.parametrize(
    ("field", "hint"),
    [
        ("model", "model_variant"), ("variant", "model_variant"), ("url", "upload"), ("path", "upload"),
        ("file_path", "upload"), ("audio_url", "upload"), ("file_id", "URL"), ("text", "prompt"),
        ("nope", "no such field"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("as_form", [False, True])
def test_an_unknown_field_is_named_with_what_to_use_instead(
    reader: FlaskClient, field: str, hint: str, as_form: bool
) -> None:
    fields = {"data" if as_form else "json": {field: "x"}}
    body = contract.error(reader.post(SONG, **fields), 400, "invalid_input")
    assert body["error"].startswith(f"{field}: ")
    assert hint in body["error"]
    assert body["details"]["field"] == field


def test_every_wrong_field_is_in_the_details(reader: FlaskClient) -> None:
    body = contract.error(reader.post(SONG, json={"shifts": -1, "overlap": "x", "nope": 1}), 400, "invalid_input")
    assert body["details"]["fields"].keys() == {"shifts", "overlap", "nope"}


def test_a_body_too_large(reader: FlaskClient) -> None:
    message = contract.error(reader.post(SONG, data=b" " * (1024**2 + 1)), 413, "too_large")["error"]
    assert "1048576" in message
    assert reader.post(SONG, data=b" " * 1024**2).status_code == 400
    for path in (SONG, "/upload"):
        contract.error(reader.post(path, data={"lyrics": "x" * 1024**2}), 413, "too_large")
        parts = {"lyrics": "x" * 1024**2, "file": (io.BytesIO(b"x"), "x.mp3")}
        contract.error(reader.post(path, data=parts), 413, "too_large")


@pytest.mark.parametrize("path", ["/upload", "/transcribe", SONG])
@pytest.mark.parametrize("fields", [{f"field{number}": "x" for number in range(1001)}, {"lyrics": "x" * 600_000}])
def test_a_form_too_large_is_told_the_limits_of_forms(reader: FlaskClient, path: str, fields: dict[str, str]) -> None:
    answer = reader.post(path, data=fields, content_type="multipart/form-data")
    message = contract.error(answer, 413, "too_large")["error"]
    assert "1000 fields" in message
    assert "a field 500000 bytes" in message


@pytest.mark.parametrize("error", [cls("That is so.", details={"a": 1}) for cls in STATUSES])
def test_every_error_of_ours_has_its_status(app: OpenAPI, error: errors.StudioError) -> None:
    answer = fail_with(app, raises(error)).get("/fail")
    body = contract.error(answer, STATUSES[type(error)], error.code)
    assert (body["error"], body["details"]) == ("That is so.", {"a": 1})
    assert ("Retry-After" in answer.headers) == isinstance(error, errors.QueueFull)
    if isinstance(error, errors.QueueFull):
        assert int(answer.headers["Retry-After"]) > 0


def test_no_error_of_ours_is_left_out() -> None:
    known, classes = set(), [errors.StudioError]
    while classes:
        cls = classes.pop()
        known.add(cls)
        classes += cls.__subclasses__()
    assert known == set(STATUSES)
    assert len({cls.code for cls in known}) == len(known)


def test_details_are_left_out_when_there_are_none(app: OpenAPI) -> None:
    assert "details" not in contract.error(fail_with(app, raises(errors.Conflict("It is not so."))).get("/fail"), 409)


@pytest.fixture
def logged() -> Iterator[None]:
    """Afterwards the log goes where it went before."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("logged")
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_bug_is_told_to_the_log_alone(app: OpenAPI, capsys: pytest.CaptureFixture[str], log_format: str) -> None:
    configure_logging(log_format, "INFO")
    answer = fail_with(app, raises(ZeroDivisionError("the secret"))).get("/fail", headers={"X-Request-ID": "bug-1"})
    contract.error(answer, 500, "internal_error")
    assert "secret" not in answer.text
    log = capsys.readouterr().err
    if log_format == "text":
        assert re.search(r"ERROR +routes\.errors \[bug-1\] .*\nTraceback", log)
        assert "ZeroDivisionError: the secret" in log
    else:
        told = [json.loads(line) for line in log.splitlines()]
        assert [line["request_id"] for line in told] == ["bug-1", "bug-1"]
        assert "ZeroDivisionError: the secret" in told[0]["traceback"]


@full_device
def test_a_full_disk(app: OpenAPI) -> None:
    contract.error(fail_with(app, lambda: Path("/dev/full").write_bytes(b"x")).get("/fail"), 507, "storage_full")


@full_device
@pytest.mark.parametrize("size_bytes", [1000, 1_000_000])
def test_a_disk_that_is_full_while_uploading(
    app: OpenAPI, config: Config, monkeypatch: pytest.MonkeyPatch, size_bytes: int
) -> None:
    files = app.extensions["studio"].files
    usual = files.incoming_upload

    def on_a_full_device() -> Path:
        path: Path = usual()
        path.symlink_to("/dev/full")
        return path

    monkeypatch.setattr(files, "incoming_upload", on_a_full_device)
    answer = app.test_client().post("/upload", data={"file": (io.BytesIO(bytes(size_bytes)), "a.wav")})
    contract.error(answer, 507, "storage_full")
    assert [path.name for path in config.upload_folder.rglob("*")] == [".incoming"]


def test_a_busy_database(config: Config, monkeypatch: pytest.MonkeyPatch, tone: Path) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.01)
    app = create_app(config)
    store = app.extensions["studio"].store
    with contextlib.closing(sqlite3.connect(store.database.sqlite_file, isolation_level=None)) as other:
        other.execute("begin immediate")
        answer = app.test_client().post("/upload", data={"file": (io.BytesIO(tone.read_bytes()), "a.wav")})
        contract.error(answer, 503, "storage_busy")
    assert [path.name for path in config.upload_folder.rglob("*")] == [".incoming"]
    store.database.close()


def test_a_full_database_leaves_no_upload(app: OpenAPI, config: Config, tone: Path) -> None:
    studio = app.extensions["studio"]
    engine = studio.store.database.engine
    engine.dispose()
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA max_page_count = 1"))
    songs = (Song(str(uuid.uuid4()), "x.wav", "wav", 1, 1.0, 44100, 1, "x", "", 1.0) for _ in range(2000))
    with pytest.raises(OperationalError, match="full"):
        deque(map(studio.songs.add, songs))  # until nothing is left of the last pages
    kept = studio.songs.search(limit=1)[1]
    assert kept > 0
    data = {"file": (io.BytesIO(tone.read_bytes()), f"{'x' * 200}.wav")}
    contract.error(app.test_client().post("/upload", data=data), 507, "storage_full")
    assert [path.name for path in config.upload_folder.rglob("*")] == [".incoming"]
    assert studio.songs.search(limit=1)[1] == kept


@pytest.mark.parametrize("given", ["a", "req-1", "0f9a:b.c_D", "x" * 128])
@pytest.mark.parametrize("path", ["/health", "/nope"])
def test_a_sane_request_id_is_echoed(reader: FlaskClient, given: str, path: str) -> None:
    assert reader.get(path, headers={"X-Request-ID": given}).headers["X-Request-ID"] == given


@pytest.mark.parametrize("given", ["", " ", "a b", "x" * 129, "é", "a;b", "<script>", "a,b"])
def test_any_other_request_id_is_replaced(reader: FlaskClient, given: str) -> None:
    seen = {reader.get("/nope", headers={"X-Request-ID": given}).json["request_id"] for _ in range(2)}
    assert len(seen) == 2
    assert all(re.fullmatch("[0-9a-f]{32}", made) for made in seen)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("get", "/health", 200), ("get", "/nope", 404), ("post", "/health", 405), ("post", "/upload", 400)],
)
def test_every_answer_may_be_read_from_any_origin(reader: FlaskClient, method: str, path: str, status: int) -> None:
    answer = getattr(reader, method)(path, headers={"Origin": ORIGIN})
    assert answer.status_code == status
    assert answer.headers["Access-Control-Allow-Origin"] in ("*", ORIGIN)
    exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
    assert {"X-Request-ID", "Location", "Retry-After", "Content-Disposition"} <= set(exposed)


def test_a_bug_too_may_be_read_from_any_origin(app: OpenAPI) -> None:
    answer = fail_with(app, raises(ZeroDivisionError())).get("/fail", headers={"Origin": ORIGIN})
    assert answer.status_code == 500
    assert answer.headers["Access-Control-Allow-Origin"] in ("*", ORIGIN)


@pytest.mark.parametrize(("path", "method"), [("/upload", "POST"), (SONG, "POST"), ("/cleanup/x", "DELETE")])
def test_a_browser_may_ask_first(reader: FlaskClient, path: str, method: str) -> None:
    wish = {"Origin": ORIGIN, "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": "content-type, x-request-id, prefer"}  # fmt: skip
    answer = reader.options(path, headers=wish)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] in ("*", ORIGIN)
    assert method in answer.headers["Access-Control-Allow-Methods"].split(", ")
    allowed = answer.headers["Access-Control-Allow-Headers"].lower().split(", ")
    assert {"content-type", "x-request-id", "prefer"} <= set(allowed)


def test_origins_can_be_narrowed(config: Config) -> None:
    client = create_app(replace(config, cors_origins="https://a.example, https://b.example")).test_client()
    for path in ("/health", "/nope"):
        for origin, allowed in (("https://b.example", "https://b.example"), ("https://c.example", None)):
            answer = client.get(path, headers={"Origin": origin})
            assert answer.headers.get("Access-Control-Allow-Origin") == allowed


def chunks(size_bytes: int) -> Iterator[bytes]:
    """A multipart body with a file of zeros, in pieces whose sum nobody announces."""
    yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    for start in range(0, size_bytes, 65536):
        yield bytes(min(65536, size_bytes - start))
    yield b"\r\n--b--\r\n"


@pytest.fixture(scope="module", params=["eventlet", "threading"])
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service without workers that takes uploads of 200 kB and logs JSON."""
    folder = tmp_path_factory.mktemp("small")
    running = Server(folder, folder, START_WORKERS="false", MAX_CONTENT_LENGTH=200_000, LOG_FORMAT="json",
                     ASYNC_MODE=request.param).start(ready=False)  # fmt: skip
    yield running
    assert running.stop() == 0


@pytest.mark.parametrize("size_bytes", [200_001, 3_000_000, 50_000_000])
def test_an_upload_over_the_limit(small: Server, size_bytes: int) -> None:
    whole = requests.post(f"{small.url}/upload", files={"file": ("a.wav", bytes(size_bytes))}, timeout=30)
    assert "200000" in contract.error(whole, 413, "too_large")["error"]
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    in_pieces = requests.post(f"{small.url}/upload", data=chunks(size_bytes), headers=headers, timeout=30)
    contract.error(in_pieces, 413, "too_large")
    assert [path.name for path in small.uploads.rglob("*")] == [".incoming"]


def test_an_upload_in_pieces_below_the_limit_is_read(small: Server) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = requests.post(f"{small.url}/upload", data=chunks(200_000), headers=headers, timeout=30)
    contract.error(answer, 415, "unsupported_audio")


def test_a_connection_outlives_an_error_that_left_a_body_unread(small: Server) -> None:
    with requests.Session() as session:
        for path in ("/nope", "/health", "/upload", "/jobs/x/cancel"):
            assert session.post(small.url + path, data=bytes(300_000), timeout=30).status_code in (400, 404, 405, 413)
            assert session.get(f"{small.url}/status", timeout=30).json() == {"status": "ok"}


def test_json_log_lines_carry_the_request_id(small: Server) -> None:
    made = uuid.uuid4().hex
    requests.get(f"{small.url}/songs?limit=x", headers={"X-Request-ID": made}, timeout=30)
    told = [json.loads(line) for line in small.log.read_text().splitlines() if line.startswith("{")]
    ours = [line for line in told if line["request_id"] == made]
    assert [line["message"].rsplit(" ", 2)[0] for line in ours] == ["GET /songs 400"]
    assert {"time", "level", "logger", "process"} <= ours[0].keys()


def test_a_path_cannot_forge_a_log_line(small: Server) -> None:
    requests.get(f"{small.url}/a%0Aforged%0D%1b[31m", timeout=30)
    log = small.log.read_text()
    assert "GET /a%0Aforged" in log
    assert not [line for line in log.splitlines() if line.startswith("forged")]


def test_log_lines_of_a_request_and_of_its_job_carry_its_id(server: Server, finished: dict[str, Any]) -> None:
    made = uuid.uuid4().hex
    url = f"{server.url}/process/karaoke/{finished['file_id']}"
    fields = {"variant": "x"}
    contract.error(requests.post(url, json=fields, headers={"X-Request-ID": made}, timeout=60), 400)
    answer = requests.post(url, json={"force": True}, headers={"X-Request-ID": made}, timeout=60)
    assert answer.ok, answer.text
    lines = [line for line in server.log.read_text().splitlines() if f"[{made}]" in line]
    assert re.search(r"INFO +studio .* POST /process/karaoke/\S+ 400 ", lines[0])
    assert f"job {answer.json()['job_id']}: karaoke full on song" in lines[1]
    assert re.search(r"INFO +studio .* POST /process/karaoke/\S+ 200 ", "\n".join(lines[2:]))


def test_requests_at_the_same_time_keep_their_ids(small: Server) -> None:
    def ask(number: int) -> tuple[str, str]:
        given = f"at-once-{number}"
        answer = requests.get(f"{small.url}/jobs/x", headers={"X-Request-ID": given}, timeout=30)
        return given, answer.json()["request_id"]

    with ThreadPoolExecutor(16) as pool:
        assert all(given == got for given, got in pool.map(ask, range(64)))
