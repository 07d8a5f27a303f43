"""One client that floods, in each mode of the server: the others are answered as if it were not there."""

import contextlib
import json
import math
import sqlite3
import statistics
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import websocket
from flask_openapi3 import OpenAPI
from werkzeug.serving import make_server

from sockets import progress
from sockets.progress import A_SECOND, AT_ONCE, MOST_REPLAYED
from tests import contract
from tests.serving import Server, wait_until

FLOOD_SECONDS = 1.3
REPLAY_SECONDS, REPLAY_ANSWERS = 6.0, 20  # the first of them wait for what a connection may ask for at once
A_HANDFUL = 100  # messages that are sent with one call: the flood is the server's work, not the client's
LONGEST_ANSWER_SECONDS = 1.6  # on a busy machine; milliseconds on a free one


@pytest.fixture(scope="module", params=["eventlet", "gevent", "threading"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A web process without workers that takes one upload a minute."""
    folder = tmp_path_factory.mktemp(request.param)
    running = Server(folder, folder, ASYNC_MODE=request.param, START_WORKERS="false", UPLOAD_RATE_LIMIT=1)
    running.start(ready=False)
    yield running
    assert running.stop() == 0


def connected(url: str) -> websocket.WebSocket:
    """A client that is in the default namespace."""
    address = url.replace("http", "ws", 1) + "/socket.io/?EIO=4&transport=websocket"
    client = websocket.create_connection(address, timeout=10)
    client.recv()
    client.send("40")
    assert client.recv().startswith("40")
    return client


def subscribe(file_id: str, number: int | str = "") -> str:
    """The event as Socket.IO writes it, with the number of its acknowledgement."""
    return f"42{number}" + json.dumps(["subscribe", {"file_id": file_id}])


def answer_times(url: str, seconds: float, most: float = math.inf) -> list[float]:
    """How long somebody else waits for each answer, in seconds, for so long while the flood lasts, or so many times."""
    times: list[float] = []
    ends = time.monotonic() + seconds
    while len(times) < most and (began := time.monotonic()) < ends:
        assert requests.get(url, timeout=10).status_code == 200
        times.append(time.monotonic() - began)
        time.sleep(0.02)
    return times


@pytest.mark.parametrize("wish", [subscribe(str(uuid.uuid4())), '42["nothing",{}]'], ids=["subscribe", "unknown"])
def test_who_floods_waits_and_nobody_else(service: Server, wish: str) -> None:
    flooding, over = connected(service.url), threading.Event()
    handful = b"".join(websocket.ABNF.create_frame(wish, websocket.ABNF.OPCODE_TEXT).format() for _ in range(A_HANDFUL))

    def flood() -> None:
        with contextlib.suppress(OSError, websocket.WebSocketException):  # it waits for room until it is shut down
            while not over.is_set():
                flooding.sock.sendall(handful)

    threading.Thread(target=flood, daemon=True).start()
    longest = max(answer_times(f"{service.url}/jobs", FLOOD_SECONDS))
    late = connected(service.url)
    late.send(subscribe(str(uuid.uuid4()), 7))
    assert json.loads(late.recv().removeprefix("437"))[0]["status"] == "unknown"
    assert longest < LONGEST_ANSWER_SECONDS
    over.set()
    flooding.shutdown()
    late.close()


def a_past(service: Server, events: int) -> str:
    """A file with so many events, each with its number as its message."""
    file_id, job_id = str(uuid.uuid4()), str(uuid.uuid4())
    rows = [(job_id, file_id, "separation", 10, str(number), 1.0) for number in range(events)]
    insert = "insert into events (job_id, file_id, stage, progress, message, created_at) values (?, ?, ?, ?, ?, ?)"
    with contextlib.closing(sqlite3.connect(service.outputs / "studio.db", timeout=10)) as connection, connection:
        connection.executemany(insert, rows)
    return file_id


def test_a_long_past_makes_a_flood_no_stronger(service: Server) -> None:
    file_id, over = a_past(service, 20 * MOST_REPLAYED), threading.Event()
    asking = connected(service.url)

    def ask() -> None:
        with contextlib.suppress(OSError, websocket.WebSocketException):
            for number in range(AT_ONCE):
                asking.send(subscribe(file_id, number))
            while not over.is_set() and asking.sock.recv(65536):  # it reads as fast as it can
                pass

    threading.Thread(target=ask, daemon=True).start()
    times = answer_times(f"{service.url}/health", REPLAY_SECONDS, REPLAY_ANSWERS)
    assert statistics.median(times) < LONGEST_ANSWER_SECONDS / 4
    over.set()
    asking.shutdown()


def test_of_a_long_past_the_newest_part_is_replayed_in_order(service: Server) -> None:
    file_id, told = a_past(service, MOST_REPLAYED + 20), []
    (newest,) = service.rows("select max(seq) from events")[0]
    client = connected(service.url)

    def nothing_is_new() -> bool:
        client.send(subscribe(str(uuid.uuid4()), 2))
        while not (said := client.recv()).startswith("432["):
            pass
        return bool(json.loads(said.removeprefix("432"))[0]["seq"] >= newest)

    wait_until(nothing_is_new, 10)
    client.send(subscribe(file_id, 3))
    while not (said := client.recv()).startswith("433["):
        told.append(json.loads(said.removeprefix("42"))[1])
    replayed = [event["message"] for event in told]
    assert replayed == [str(number) for number in range(20, MOST_REPLAYED + 20)]
    assert json.loads(said.removeprefix("433"))[0]["seq"] >= told[-1]["seq"]
    client.close()


def test_rates_hold_in_every_mode_and_a_large_upload_hears_of_them(service: Server) -> None:
    assert requests.post(f"{service.url}/upload", timeout=20).status_code == 400
    answer = requests.post(f"{service.url}/upload", files={"file": ("x.wav", bytes(20_000_000))}, timeout=20)
    contract.error(answer, 429, "rate_limited")


def test_a_side_that_is_gone_is_missed_soon(service: Server) -> None:
    answer = requests.get(f"{service.url}/socket.io/?EIO=4&transport=polling", timeout=10)
    told = json.loads(answer.text[1:])
    assert told["pingInterval"] + told["pingTimeout"] <= 10_000


def test_a_page_with_many_songs_is_served_at_once_and_more_at_a_steady_pace(service: Server) -> None:
    client, more = connected(service.url), 5
    began, times = time.monotonic(), []
    for number in range(AT_ONCE + more):
        client.send(subscribe(str(uuid.uuid4()), number))
    for number in range(AT_ONCE + more):
        assert client.recv().startswith(f"43{number}[")
        times.append(time.monotonic() - began)
    assert times[-1] > (more - 1) / A_SECOND
    assert times[AT_ONCE - 1] < AT_ONCE / A_SECOND / 2
    client.close()


def test_a_connection_follows_so_many_files_and_no_more(app: OpenAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "MOST_FILES", 3)
    web = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    client = connected(f"http://127.0.0.1:{web.server_port}")
    files = [str(uuid.uuid4()) for _ in range(4)]

    def answer(wish: str) -> dict[str, Any]:
        client.send(wish)
        acknowledged: dict[str, Any] = json.loads(client.recv().removeprefix("431"))[0]
        return acknowledged

    for file_id in files[:3]:
        assert answer(subscribe(file_id, 1))["status"] == "unknown"
    assert "may follow 3 files" in answer(subscribe(files[3], 1))["error"]
    assert answer(subscribe(files[0], 1))["status"] == "unknown", "again what it follows already"
    assert answer(subscribe(files[1], 1).replace("subscribe", "unsubscribe")) == {"file_id": files[1]}
    assert answer(subscribe(files[3], 1))["status"] == "unknown"
    client.close()
    web.shutdown()
