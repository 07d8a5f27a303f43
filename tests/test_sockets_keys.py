"""API keys over Socket.IO, with real clients: who may connect, and that each hears of its own alone."""

import dataclasses
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
import socketio
from flask_openapi3 import OpenAPI
from socketio.exceptions import ConnectionError as Refused
from werkzeug.serving import make_server

from api_keys import COOKIE, hash_of, new_key
from config import Config
from jobs.events import first
from tests.library import Library
from tests.serving import wait_until

ALICE, BOB = new_key(), new_key()
NAMESPACES = ("/", "/transcribe")


@pytest.fixture
def config(config: Config) -> Config:
    """Settings with keys."""
    return dataclasses.replace(config, api_keys=f"alice:{hash_of(ALICE)},bob:{hash_of(BOB)}")


@pytest.fixture
def url(app: OpenAPI) -> Iterator[str]:
    """The app, served."""
    web = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{web.server_port}"
    web.shutdown()


def connected(url: str, key: str | None, namespace: str = "/", **options: Any) -> socketio.Client:
    """A client with a key."""
    client = socketio.Client(reconnection=False)
    auth = None if key is None else {"api_key": key}
    client.connect(url, auth=auth, namespaces=[namespace], transports=["websocket"], wait_timeout=10, **options)
    return client


def close(clients: list[socketio.Client]) -> None:
    """Disconnect all at once: each may wait some seconds for the server's goodbye."""
    with ThreadPoolExecutor(len(clients)) as pool:
        list(pool.map(lambda client: client.disconnect(), clients))


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_who_has_no_key_is_told_so_and_comes_no_further(url: str, namespace: str) -> None:
    for key in (None, "studio_wrong", f"alice:{hash_of(ALICE)}"):
        client: socketio.Client = socketio.Client(reconnection=False)
        told: list[Any] = []
        client.on("connect_error", told.append, namespace=namespace)
        client.on("connect", partial(told.append, "connected"), namespace=namespace)
        with pytest.raises(Refused):
            client.connect(url, auth={"api_key": key} if key else None, namespaces=[namespace],
                           transports=["websocket"], wait_timeout=10)  # fmt: skip
        assert [answer["data"] for answer in told] == [{"code": "unauthorized"}]
        assert "API key" in told[0]["message"]
        client.disconnect()


@pytest.mark.parametrize("given", [
    {"headers": {"Authorization": f"Bearer {BOB}"}}, {"headers": {"X-API-Key": BOB}},
    {"headers": {"Cookie": f"{COOKIE}={BOB}"}},
])  # fmt: skip
def test_a_key_may_come_with_the_connection(url: str, given: dict[str, Any]) -> None:
    close([connected(url, None, namespace, **given) for namespace in NAMESPACES])
    foreign = {"headers": given["headers"] | {"Origin": "http://elsewhere.example"}}
    if "Cookie" in given["headers"]:
        with pytest.raises(Refused):
            connected(url, None, **foreign)


def test_each_hears_of_its_own_alone(url: str, app: OpenAPI) -> None:
    alices, bobs = Library(app, "alice"), Library(app, "bob")
    clients, heard = {}, {"alice": [], "bob": [], "nosy": []}
    for name, key in (("alice", ALICE), ("bob", BOB), ("nosy", BOB)):
        clients[name] = connected(url, key)
        clients[name].on("processing_progress", heard[name].append)
    hers = alices.add_job()
    alices.store.progress(alices.claim(hers.id), first("separation"))
    wait_until(lambda: heard["alice"], 10)
    asked = {"file_id": hers.file_id, "since_seq": 0}
    assert clients["nosy"].call("subscribe", asked)["status"] == "unknown"
    assert clients["alice"].call("subscribe", asked)["status"] == "processing"
    alices.fail(alices.add_job(file_id=hers.file_id, model="whisper", stage="transcription").id)
    mine = bobs.add_job()
    bobs.fail(mine.id)
    wait_until(lambda: heard["bob"], 10)
    wait_until(lambda: [e["stage"] for e in heard["alice"]] == ["separation", "separation", "transcription"], 10)
    assert {event["file_id"] for event in heard["bob"]} == {mine.file_id}
    assert heard["nosy"] == []
    clients["nosy"].call("unsubscribe", {"file_id": hers.file_id})
    bobs.fail(bobs.add_job().id)
    wait_until(lambda: heard["nosy"], 10)
    assert {event["file_id"] for event in heard["alice"]} == {hers.file_id}
    close([*clients.values()])
