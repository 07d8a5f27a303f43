"""Webhooks: a real receiver is told by a signed message, once, however often it has to be tried."""

import base64
import contextlib
import io
import json
import re
import socket
import threading
import wave
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from flask.testing import FlaskClient
from flask_openapi3 import OpenAPI
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from config import Config
from errors import InvalidInput, QueueFull
from jobs import outbound, pipeline, webhooks
from jobs.courier import AT_ONCE_EACH, Courier
from jobs.job import COMPLETED, FAILED
from tests import contract
from tests.library import Library
from tests.rows import a_job
from tests.serving import wait_until

SECRET = "whsec_" + base64.b64encode(b"thirty-two bytes of a good secret").decode()
PUBLIC = "8.8.8.8"


class Receiver(ThreadingHTTPServer):
    """Keeps what it is sent, and answers with `statuses` in turn, then 204."""

    daemon_threads = True

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        super().__init__(("127.0.0.1", 0), _Answer)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}/told?by=studio"

    def messages(self, count: int) -> list[dict[str, Any]]:
        """The first messages, once there are so many, their signatures checked."""
        wait_until(lambda: len(self.got) >= count, 20, lambda: f"{count} messages, there are {self.got}")
        return [Verifier(SECRET).verify(body, headers) for headers, body in self.got]


class _Answer(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 204)
        self.send_header("Location", self.server.url)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def config(config: Config) -> Config:
    """Settings of a service that sends webhooks, to this host, too."""
    return replace(config, webhook_secret=SECRET, webhook_private=True)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Somebody who wants to be told."""
    running = Receiver()
    yield running
    running.shutdown()
    running.server_close()


@pytest.fixture
def courier(app: OpenAPI, monkeypatch: pytest.MonkeyPatch) -> Iterator[Courier]:
    """The app's courier at work, with short pauses."""
    monkeypatch.setattr(webhooks, "PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setattr("jobs.courier.LOOK_SECONDS", 0.02)
    running: Courier = app.extensions["background"].courier
    running.start()
    yield running
    running.stop()


def told(library: Library, job_id: str) -> list[tuple[str, int, str | None]]:
    """Status, attempts and error of a job's webhooks."""
    found = library.studio.jobs.webhooks.of_job(library.job(job_id))
    return [(hook.status, hook.attempts, hook.error) for hook in found]


def submit(library: Library, url: str, **fields: Any) -> str:
    """Queue a job with a webhook; its id."""
    library.add_workers()
    return library.studio.jobs.submit(a_job(**fields), webhook_url=url)[0].id


@pytest.mark.usefixtures("courier")
def test_the_end_of_a_job_is_told_once_and_signed(client: FlaskClient, library: Library, receiver: Receiver) -> None:
    file_id = library.add_song()
    library.add_workers()
    answer = client.post(f"/process/demucs/{file_id}?async=true", json={"webhook_url": receiver.url})
    assert answer.status_code == 202
    job_id = answer.json["job_id"]
    assert client.get(f"/jobs/{job_id}").json["webhooks"] == [
        {"url": receiver.url, "status": "waiting", "attempts": 0, "error": None}
    ]
    assert "webhook_url" not in library.job(job_id).parameters
    library.complete(job_id, {"vocals.mp3": b"la"}, {"tracks": ["vocals"]})
    (message,) = receiver.messages(1)
    assert message["type"] == "processing.completed"
    record = client.get(f"/jobs/{job_id}").json
    assert message["data"]["jobs"] == [{name: record[name] for name in record if name != "webhooks"}]
    assert {name: message["data"][name] for name in ("file_id", "job_id", "status", "status_url")} == {
        "file_id": file_id, "job_id": job_id, "status": "completed", "status_url": f"/status/{file_id}",
    }  # fmt: skip
    wait_until(lambda: told(library, job_id) == [("delivered", 1, None)], 10)
    headers, body = receiver.got[0]
    assert headers["content-type"] == "application/json"
    with pytest.raises(WebhookVerificationError):
        Verifier(SECRET).verify(body + b" ", headers)
    assert library.studio.jobs.webhooks.due() == []


@pytest.mark.usefixtures("courier")
def test_a_pipeline_is_told_when_all_of_it_has_ended(client: FlaskClient, library: Library, receiver: Receiver) -> None:
    library.add_workers()
    form = {"file": (_wav(), "a.wav"), "auto_process": "true", "webhook_url": receiver.url}
    answer = client.post("/upload", data=form).json
    file_id, stems = answer["file_id"], library.job(answer["job_id"])
    library.complete(stems.id, {"vocals.mp3": b"la"}, {"tracks": ["vocals"]})
    words = library.queued(file_id=file_id, model="whisper")
    assert library.studio.jobs.webhooks.due() == []
    library.fail(words.id, "It heard nothing.")
    (message,) = receiver.messages(1)
    assert message["type"] == "processing.failed"
    assert [(job["model"], job["status"]) for job in message["data"]["jobs"]] == [
        ("demucs", "completed"), ("whisper", "failed"),
    ]  # fmt: skip
    assert message["data"]["jobs"][1]["error"]["message"] == "It heard nothing."
    wait_until(lambda: told(library, stems.id) == [("delivered", 1, None)], 10)
    client.post(f"/jobs/{words.id}/retry")
    library.complete(words.id, {"words.json": b"{}"})
    library.complete(library.queued(file_id=file_id, model="karaoke").id, {"song.lrc": b""})
    again = receiver.messages(2)[1]
    assert (again["type"], len(again["data"]["jobs"])) == ("processing.completed", 3)
    assert receiver.got[0][0]["webhook-id"] != receiver.got[1][0]["webhook-id"]


@pytest.mark.usefixtures("courier")
def test_who_joins_a_job_or_finds_it_done_is_told_too(library: Library, receiver: Receiver) -> None:
    file_id = library.add_song()
    job_id = submit(library, receiver.url, file_id=file_id)
    assert submit(library, receiver.url, file_id=file_id) == job_id
    library.studio.jobs.cancel(job_id)
    assert [message["type"] for message in receiver.messages(2)] == ["processing.cancelled"] * 2
    done = submit(library, receiver.url, file_id=file_id)
    library.complete(done, {"vocals.mp3": b"la"})
    receiver.messages(3)
    assert submit(library, receiver.url, file_id=file_id) == done
    assert [message["data"]["status"] for message in receiver.messages(4)[2:]] == [COMPLETED] * 2
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 4


@pytest.mark.usefixtures("courier")
def test_who_joins_a_pipeline_hears_when_all_of_it_has_ended(library: Library, receiver: Receiver) -> None:
    file_id = library.add_song()
    library.add_workers()
    words = pipeline.new_job("gemma_3n", file_id, "gemma-2-2b-it", {"task": "transcribe"})
    for _ in range(2):
        heard = library.studio.jobs.submit(words, webhook_url=receiver.url)[0]
        assert heard.model == "whisper", "it comes first"
    library.complete(heard.id, {"words.json": b"{}"}, {"transcription_file": "words.json"})
    library.fail(library.queued(file_id=file_id, model="gemma_3n").id)
    assert [len(message["data"]["jobs"]) for message in receiver.messages(2)] == [2, 2]


def test_a_retry_while_a_message_is_on_its_way_is_told_of_too(library: Library, receiver: Receiver) -> None:
    job_id = submit(library, receiver.url)
    library.fail(job_id)
    hooks = library.studio.jobs.webhooks
    (hook,) = hooks.due()
    assert hooks.claim(hook)
    library.studio.jobs.retry(job_id)
    hooks.settle(hook, None)
    assert told(library, job_id) == [("waiting", 0, None)]


def test_so_many_may_wait_for_one_job(library: Library, receiver: Receiver) -> None:
    file_id = library.add_song()
    for _ in range(webhooks.MOST_WAITING):
        job_id = submit(library, receiver.url, file_id=file_id)
    with pytest.raises(QueueFull, match="20 webhooks wait"):
        submit(library, receiver.url, file_id=file_id)
    assert len(told(library, job_id)) == webhooks.MOST_WAITING


@pytest.mark.usefixtures("courier")
@pytest.mark.parametrize("host", ["a..b.example", f"{'a' * 64}.example"])
def test_a_host_whose_name_is_none_is_given_up(library: Library, host: str) -> None:
    job_id = submit(library, f"http://{host}/")
    library.fail(job_id)
    wait_until(lambda: told(library, job_id)[0][0] == "given_up", 20, lambda: str(told(library, job_id)))
    assert "UnicodeError" in str(told(library, job_id)[0][2])


@pytest.mark.usefixtures("courier")
def test_a_receiver_that_is_slow_holds_up_no_other(library: Library, receiver: Receiver) -> None:
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(socket.create_server(("127.0.0.2", 0))) for _ in range(5)]
        for port in [each.getsockname()[1] for each in silent] * 2:
            library.fail(submit(library, f"http://127.0.0.2:{port}/"))
        library.fail(submit(library, receiver.url))
        receiver.messages(1)
        begun = 0
        for each in silent:
            each.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    stack.enter_context(each.accept()[0])
                    begun += 1
        assert begun <= AT_ONCE_EACH


def test_a_look_up_that_outlasts_the_lease_is_one_attempt(
    library: Library, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    asked: list[str] = []
    known, look_up = threading.Event(), socket.getaddrinfo

    def slow(host: str, *arguments: Any, **options: Any) -> Any:
        if host != "slow.example":
            return look_up(host, *arguments, **options)
        asked.append(host)
        assert known.wait(20)
        return look_up("127.0.0.1", *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    monkeypatch.setattr(webhooks, "LEASE_SECONDS", 0.0)
    request.getfixturevalue("courier")
    job_id = submit(library, f"http://slow.example:{receiver.server_port}/")
    library.fail(job_id)
    wait_until(lambda: asked, 10)
    for count in (1, 2):  # the courier looks at what is due at least as often
        library.fail(submit(library, receiver.url))
        receiver.messages(count)
    known.set()
    wait_until(lambda: told(library, job_id) == [("delivered", 1, None)], 10, lambda: str(told(library, job_id)))
    assert (len(asked), len(receiver.got)) == (1, 3)


def test_an_attempt_that_ends_late_undoes_none_that_began_after_it(
    library: Library, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "LEASE_SECONDS", 0.0)
    hooks = library.studio.jobs.webhooks

    def two_attempts() -> tuple[str, Any, Any]:
        job_id = submit(library, receiver.url)
        library.fail(job_id)
        attempts = []
        for _ in range(2):
            (hook,) = hooks.due()
            assert hooks.claim(hook)
            attempts.append(hook)
        return job_id, *attempts

    job_id, first, second = two_attempts()
    assert hooks.settle(first, "late") is None
    assert told(library, job_id) == [("waiting", 2, None)]
    assert hooks.settle(second, None) == "delivered"
    assert hooks.settle(first, "late") is None
    assert told(library, job_id) == [("delivered", 2, None)]
    job_id, first, second = two_attempts()
    assert hooks.settle(first, None) == "delivered"
    assert hooks.settle(second, "no") is None
    assert told(library, job_id) == [("delivered", 2, None)]


def test_a_message_that_cannot_be_made_is_no_attempt_and_holds_up_no_other(
    library: Library, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(webhooks, "LEASE_SECONDS", 0.1)
    hooks = library.studio.jobs.webhooks
    job_ids = [submit(library, receiver.url) for _ in range(2)]
    for job_id in job_ids:
        library.fail(job_id)
    damaged = library.job(job_ids[0])

    def store(parameters: str) -> None:
        with hooks.store.database.writing() as connection:
            connection.exec_driver_sql("update jobs set parameters = ? where id = ?", (parameters, damaged.id))

    store("{no JSON")
    request.getfixturevalue("courier")
    wait_until(lambda: caplog.text.count("message could not be made") > len(webhooks.PAUSES) + 1, 20)
    assert receiver.messages(1)[0]["data"]["job_id"] == job_ids[1]
    (hook,) = hooks.of_job(damaged)
    assert (hook.status, hook.attempts, hook.error) == ("waiting", 0, None)
    store(json.dumps(damaged.parameters))
    assert receiver.messages(2)[1]["data"]["job_id"] == damaged.id
    wait_until(lambda: told(library, damaged.id) == [("delivered", 1, None)], 10)


@pytest.mark.usefixtures("courier")
def test_what_fails_within_is_not_told_in_its_own_words(
    client: FlaskClient, library: Library, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def look_up(*_: Any, **__: Any) -> Any:
        raise RuntimeError("(psycopg.Error) at 10.0.0.5, user studio")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    job_id = submit(library, "http://any.example/")
    library.fail(job_id)
    wait_until(lambda: told(library, job_id)[0][0] == "given_up", 20)
    (shown,) = client.get(f"/jobs/{job_id}").json["webhooks"]
    assert shown["error"] == "The service could not send it; its log says why."
    assert "psycopg.Error" in caplog.text


@pytest.mark.usefixtures("courier")
@pytest.mark.parametrize(("statuses", "messages", "end"), [
    ([500, 302, 200], 3, ("delivered", 3, None)),
    ([503] * 9, 4, ("given_up", 4, "The receiver answered 503.")),
    ([410, 200], 1, ("given_up", 1, "The receiver answered 410.")),
])  # fmt: skip
def test_what_fails_is_tried_again_for_some_time(
    library: Library, receiver: Receiver, statuses: list[int], messages: int, end: tuple[str, int, str | None]
) -> None:
    receiver.statuses = statuses
    job_id = submit(library, receiver.url)
    library.fail(job_id)
    wait_until(lambda: told(library, job_id) == [end], 20, lambda: str(told(library, job_id)))
    assert {message["data"]["status"] for message in receiver.messages(messages)} == {FAILED}
    assert len(receiver.got) == messages
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1


def test_the_pauses_grow(library: Library) -> None:
    job_id = submit(library, "http://127.0.0.1:9/")
    library.studio.jobs.cancel(job_id)
    hooks = library.studio.jobs.webhooks
    waits = []
    for attempt in range(len(webhooks.PAUSES) + 1):
        (hook,) = hooks.of_job(library.job(job_id))
        assert hook.attempts == attempt
        assert hooks.claim(hook)
        assert not hooks.claim(hook), "another process may not tell it at the same time"
        if hooks.settle(hook, "no") == "waiting":
            (left,) = hooks.of_job(library.job(job_id))
            waits.append(left.next_at - hook.next_at)
            assert hooks.due() == []
            with hooks.store.database.writing() as connection:
                connection.exec_driver_sql("update webhooks set next_at = ?", (hook.next_at,))
    assert told(library, job_id) == [("given_up", 7, "no")]
    assert waits == pytest.approx(webhooks.PAUSES, abs=5)
    assert waits == sorted(waits)


def test_what_a_dead_process_had_begun_is_begun_again(
    library: Library, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    job_id = submit(library, receiver.url)
    library.fail(job_id)
    hooks = library.studio.jobs.webhooks
    (hook,) = hooks.due()
    with monkeypatch.context() as long_ago:
        long_ago.setattr(webhooks, "LEASE_SECONDS", 0.0)
        assert hooks.claim(hook)
    request.getfixturevalue("courier")
    receiver.messages(1)
    wait_until(lambda: told(library, job_id) == [("delivered", 2, None)], 10)


@pytest.mark.usefixtures("courier")
def test_nobody_there(library: Library) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
    job_id = submit(library, f"http://127.0.0.1:{port}/")
    library.fail(job_id)
    wait_until(lambda: told(library, job_id)[0][0] == "given_up", 20)
    assert "refused" in str(told(library, job_id)[0][2])


@pytest.mark.usefixtures("courier")
def test_a_removed_song_is_told_of_no_more(library: Library, receiver: Receiver) -> None:
    file_id = library.add_song()
    submit(library, receiver.url, file_id=file_id)
    library.studio.jobs.webhooks.check(receiver.url)
    library.store.remove_song(file_id)
    with library.store.database.reading() as connection:
        assert connection.exec_driver_sql("select count(*) from webhooks").scalar() == 0
    assert receiver.got == []


@pytest.mark.parametrize(("url", "words"), [
    ("ftp://example.com/", "not a URL like https://"),
    ("example.com/hook", "not a URL like https://"),
    ("https:///hook", "not a URL like https://"),
    ("https://example.com:0/", "not a URL like https://"),
    ("https://example.com:99999/", "not a URL"),
    ("https://example.com/a b", "not a URL like https://"),
    ("https://example.com/\r\nX: y", "not a URL like https://"),
    ("https://bücher.example/", "not a URL like https://"),
    ("https://[::1", "not a URL"),
    ("https://example.com/" + "a" * 2000, "not a URL like https://"),
    ("https://me:word@example.com/", "name or password"),
    ("http://localhost:5000/", "private network"),
    ("http://LOCALHOST./", "private network"),
    ("http://127.0.0.1/", "private network"),
    ("http://10.1.2.3/", "private network"),
    ("http://169.254.169.254/latest/meta-data", "private network"),
    ("http://0.0.0.0/", "private network"),
    ("http://224.0.0.1/", "private network"),
    ("http://[::1]/", "private network"),
    ("http://[fe80::1]/", "private network"),
    ("http://[fd00::1]/", "private network"),
    ("http://[::ffff:192.168.1.1]/", "private network"),
    ("http://[2002:7f00:1::]/", "private network"),
    ("http://[64:ff9b::10.0.0.1]/", "private network"),
    ("http://[64:ff9b:1::7f00:1]/", "private network"),
    ("http://[fec0::1]/", "private network"),
    ("http://[::127.0.0.1]/", "private network"),
    ("http://[::ffff:0:127.0.0.1]/", "private network"),
    ("http://[2001:db8::1]/", "private network"),
])  # fmt: skip
def test_urls_that_are_never_called(url: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        outbound.checked_url(url, allow_private=False)
    with pytest.raises(InvalidInput, match=words):
        outbound.post(url, b"", {}, allow_private=False)


@pytest.mark.parametrize("url", [
    "https://example.com", f"http://{PUBLIC}:8080/a?b=c", "https://[2606:4700::1111]/", f"https://[64:ff9b::{PUBLIC}]/",
])
def test_urls_that_may_be_called(url: str) -> None:
    assert outbound.checked_url(url, allow_private=False).geturl() == url
    assert bool(re.match(outbound.PATTERN, url)) == ("[" not in url)


@pytest.mark.parametrize("spelled", ["127.1", "0x7f000001", "2130706433", "0177.0.0.1"])
def test_a_name_that_leads_inside_is_found_out_when_it_is_looked_up(spelled: str, receiver: Receiver) -> None:
    with pytest.raises((outbound.Refused, InvalidInput), match="private network"):
        outbound.post(f"http://{spelled}:{receiver.server_port}/", b"{}", {}, allow_private=False)
    assert receiver.got == []


def test_one_private_address_among_public_ones_is_enough(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in (PUBLIC, "127.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", found)
    with pytest.raises(outbound.Refused, match=r"rebinds\.example is 127\.0\.0\.1"):
        outbound.post(f"http://rebinds.example:{receiver.server_port}/", b"{}", {}, allow_private=False)
    assert receiver.got == []


def test_who_answers_a_byte_at_a_time_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "ANSWER_SECONDS", 0.2)
    left = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip() -> None:
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                for _ in range(100):
                    connection.sendall(b"H")
                    left.wait(0.05)

        dripping = threading.Thread(target=drip)
        dripping.start()
        with pytest.raises(TimeoutError, match=r"No answer within 0\.2 s"):
            outbound.post(f"http://127.0.0.1:{listening.getsockname()[1]}/", b"{}", {}, allow_private=True)
        left.set()
        dripping.join()


def _process(client: FlaskClient, file_id: str, url: Any) -> Any:
    return client.post(f"/process/demucs/{file_id}", json={"webhook_url": url})


@pytest.mark.parametrize(("url", "words"), [("nonsense", "not a URL"), (7, "webhook_url"), ("ftp://a.b/", "not a URL")])
def test_a_request_that_names_no_url(client: FlaskClient, library: Library, url: Any, words: str) -> None:
    file_id = library.add_song()
    library.add_workers()
    before = library.contents()
    body = contract.error(_process(client, file_id, url), 400, "invalid_input")
    assert words in body["error"]
    assert body["details"]["field"] == "webhook_url"
    assert library.contents() == before


def test_an_upload_that_starts_nothing_tells_nothing(client: FlaskClient, library: Library, receiver: Receiver) -> None:
    answer = client.post("/upload", data={"file": (_wav(), "a.wav"), "webhook_url": receiver.url})
    assert "auto_process" in contract.error(answer, 400, "invalid_input")["error"]
    assert library.contents() == set()


class TestWithoutASecret:
    """A service that sends no webhooks."""

    @pytest.fixture
    def config(self, config: Config) -> Config:
        return replace(config, webhook_secret="")

    def test_they_are_refused(self, client: FlaskClient, library: Library, receiver: Receiver) -> None:
        body = contract.error(_process(client, library.add_song(), receiver.url), 409, "conflict")
        assert "WEBHOOK_SECRET" in body["error"]
        form = {"file": (_wav(), "a.wav"), "auto_process": "true", "webhook_url": receiver.url}
        before = library.contents()
        contract.error(client.post("/upload", data=form), 409, "conflict")
        assert library.contents() == before

    @pytest.mark.parametrize("secret", ["secret", "whsec_", "whsec_c2hvcnQ=", "whsec_!!!!", SECRET[6:],
                                        "whsec_" + base64.b64encode(bytes(65)).decode()])  # fmt: skip
    def test_a_secret_has_the_form_that_libraries_expect(self, library: Library, secret: str) -> None:
        with pytest.raises(InvalidInput, match="WEBHOOK_SECRET must be whsec_") as refused:
            webhooks.Webhooks(library.store, secret, allow_private=False)
        assert refused.value.message == "WEBHOOK_SECRET must be whsec_ and 24 to 64 bytes in base64."


def _wav() -> Any:
    """A second of silence."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(16000))
    file.seek(0)
    return file
