"""The default namespace, with real clients on real servers: who gets what, once and in order."""

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import render
from tests.serving import ROOT, Listener, Server, close_all, wait_until

MODES = ("eventlet", "threading", "gevent")
CROWD = 12
LONG = {"shifts": 3, "output_format": "wav"}  # some seconds of work with tiny weights
NEVER_SENT = str(uuid.uuid4())
MALFORMED: list[Any] = [
    None, "text", 7, [], {}, {"file_id": None}, {"file_id": 7}, {"file_id": "nope"}, {"file_id": "every-file"},
    {"file_id": NEVER_SENT.upper()}, {"file_id": NEVER_SENT, "since_seq": -1},
    {"file_id": NEVER_SENT, "since_seq": "1"}, {"file_id": NEVER_SENT, "since_seq": 1.5},
    {"file_id": NEVER_SENT, "since_seq": True}, {"file_id": NEVER_SENT, "since_seq": 2**80},
]  # fmt: skip


@dataclass
class Watched:
    """A song that was separated, and what each of many clients saw of it."""

    server: Server
    file_id: str
    stored: list[tuple[int, str, int]]  # number, stage, progress
    crowd: list[Listener]  # connected before the upload
    elsewhere: Listener  # follows another song
    late: Listener  # came in the middle and wanted everything
    late_ack: dict[str, Any]
    resumed: Listener  # came in the middle and had seen the first events already
    resumed_after: int
    returned: Listener  # followed the song, unsubscribed in the middle
    returned_at: int
    malformed: Listener

    def numbers(self, listener: Listener) -> list[int]:
        """Event numbers of the song as a client got them."""
        return [event["seq"] for event in listener.of(self.file_id)]


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some seconds of noise."""
    noise = np.random.default_rng(0).normal(0, 0.1, (2, 8 * render.RATE)).astype(np.float32)
    return render.save(tmp_path_factory.mktemp("song") / "noise.wav", noise)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, weights_dir: Path) -> Iterator[Server]:
    """A service in the first mode, whose workers and database serve web processes in the other modes too."""
    server = Server(tmp_path_factory.mktemp("home"), weights_dir, ASYNC_MODE=MODES[0]).start()
    yield server
    assert server.stop() == 0


@pytest.fixture(scope="module", params=MODES)
def watched(request: pytest.FixtureRequest, home: Server, weights_dir: Path, song: Path) -> Iterator[Watched]:
    """One separation in each mode."""
    server = home
    if request.param != MODES[0]:
        server = Server(home.folder, weights_dir, ASYNC_MODE=request.param, START_WORKERS="false").start()
    clients = [server.listen() for _ in range(CROWD + 5)]
    *crowd, elsewhere, late, resumed, returned, malformed = clients
    for client in (elsewhere, late, resumed):
        client.subscribe(NEVER_SENT)
    file_id = server.upload(song)["file_id"]
    returned.subscribe(file_id)
    server.post(f"/process/demucs/{file_id}?async=true", **LONG)
    seen = crowd[0].wait_for(file_id, "separation", 30)
    late_ack = late.subscribe(file_id)
    resumed.subscribe(file_id, seen["seq"])
    returned.client.call("unsubscribe", {"file_id": file_id}, timeout=20)
    returned_at = crowd[0].of(file_id)[-1]["seq"]
    for wish in MALFORMED:
        assert "error" in malformed.client.call("subscribe", wish, timeout=20), wish
    crowd[0].wait_for(file_id, "separation")
    stored = server.stored_events(file_id)
    last = stored[-1][0]
    for client in (*crowd, late, resumed, returned, malformed):
        wait_until(lambda c=client: any(e["seq"] == last for e in list(c.events)), 10)
    yield Watched(server, file_id, stored, crowd, elsewhere, late, late_ack, resumed, seen["seq"], returned,
                  returned_at, malformed)  # fmt: skip
    close_all(clients)
    assert server is home or server.stop() == 0


def test_everybody_gets_every_event_once_and_in_order(watched: Watched) -> None:
    every = [seq for seq, _, _ in watched.stored]
    assert len(every) > 4
    for client in watched.crowd:
        assert watched.numbers(client) == every


def test_progress_is_whole_percents_that_only_grow_and_come_seldom(watched: Watched) -> None:
    events = watched.crowd[0].of(watched.file_id, "separation")
    percents = [event["progress"] for event in events]
    assert all(isinstance(percent, int) for percent in percents)
    assert percents == sorted(set(percents))
    assert (percents[0], percents[-1]) == (10, 100)
    times = [event["timestamp"] for event in events]
    assert max(sum(start <= time < start + 1 for time in times) for start in times) <= 5


def test_payloads_are_small_and_have_the_contracts_fields(watched: Watched) -> None:
    fields = {"file_id", "stage", "progress", "message", "error", "job_id", "seq", "timestamp"}
    for event in watched.crowd[0].of(watched.file_id):
        assert len(json.dumps(event, separators=(",", ":"))) <= 300
        assert event.keys() - {"eta_seconds"} == fields


def test_who_follows_another_song_hears_nothing_of_this_one(watched: Watched) -> None:
    assert watched.elsewhere.events == []


def test_who_comes_in_the_middle_gets_what_was_missed_then_what_follows(watched: Watched) -> None:
    assert watched.numbers(watched.late) == [seq for seq, _, _ in watched.stored]


def test_the_acknowledgement_carries_the_present_state(watched: Watched) -> None:
    ack = watched.late_ack
    assert (ack["file_id"], ack["status"]) == (watched.file_id, "processing")
    upto = [(stage, progress) for seq, stage, progress in watched.stored if seq <= ack["seq"]]
    assert watched.stored[0][0] < ack["seq"] < watched.stored[-1][0]
    assert {stage: shown["progress"] for stage, shown in ack["stages"].items()} == dict(upto)
    assert ack["jobs"][0]["status"] == "running"


def test_who_had_seen_the_first_events_gets_the_rest(watched: Watched) -> None:
    rest = [seq for seq, _, _ in watched.stored if seq > watched.resumed_after]
    assert watched.numbers(watched.resumed) == rest
    assert 0 < len(rest) < len(watched.stored)


def test_who_unsubscribes_gets_every_file_again(watched: Watched) -> None:
    assert watched.numbers(watched.returned) == [seq for seq, _, _ in watched.stored]
    assert watched.returned_at < watched.stored[-1][0]


def test_malformed_wishes_get_an_error_and_break_nothing(watched: Watched) -> None:
    assert watched.numbers(watched.malformed) == [seq for seq, _, _ in watched.stored]
    for wish in MALFORMED:
        if not (isinstance(wish, dict) and wish.get("file_id") == NEVER_SENT):  # unsubscribe has no since_seq
            assert "error" in watched.malformed.client.call("unsubscribe", wish, timeout=20), wish
    assert watched.malformed.client.call("subscribe", timeout=20)["error"].startswith("subscribe takes")


def test_after_the_end_everything_is_replayed(watched: Watched) -> None:
    client = watched.server.listen()
    ack = client.subscribe(watched.file_id)
    assert watched.numbers(client) == [seq for seq, _, _ in watched.stored]
    assert (ack["status"], ack["seq"]) == ("completed", watched.stored[-1][0])
    assert client.subscribe(NEVER_SENT)["status"] == "unknown"
    client.close()


def test_over_redis_a_worker_of_its_own_shares_work_and_events(
    tmp_path: Path, weights_dir: Path, redis_url: str, tone: Path
) -> None:
    server = Server(tmp_path, weights_dir, START_WORKERS="false", REDIS_URL=redis_url).start(ready=False)
    file_id = server.upload(tone)["file_id"]
    nobody = server.post(f"/process/demucs/{file_id}")
    assert (nobody.status_code, nobody.json()["code"]) == (503, "model_unavailable")
    with (tmp_path / "workers.log").open("wb") as log:
        workers = [
            subprocess.Popen([sys.executable, "-m", "jobs.worker", "--queue", queue], cwd=ROOT, env=server.environment,
                             stdout=log, stderr=log)
            for queue in ("gpu", "cpu")
        ]  # fmt: skip
        try:
            server.wait_for("/health/ready")
            everything, narrow = server.listen(), server.listen()
            narrow.subscribe(NEVER_SENT)
            narrow.subscribe(file_id)
            separated = server.post(f"/process/demucs/{file_id}", output_format="wav")
            assert separated.status_code == 200, separated.text
            narrow.subscribe(NEVER_SENT)  # who asks for the past hears of all that was stored since anyone asked
            analysed = server.post(f"/process/pitch_analysis/{file_id}", model_variant="basic_chroma", plot=False)
            assert analysed.status_code == 200, analysed.text
            for client in (everything, narrow):
                client.wait_for(file_id, "analysis")
                assert [e["seq"] for e in client.of(file_id)] == [seq for seq, _, _ in server.stored_events(file_id)]
            late = server.listen()
            stored = [seq for seq, _, _ in server.stored_events(file_id)]
            assert late.subscribe(file_id)["seq"] == stored[-1]
            wait_until(lambda: [e["seq"] for e in late.of(file_id)] == stored, 10, lambda: late.of(file_id))
            close_all([everything, narrow, late])
        finally:
            for worker in workers:
                worker.terminate()
            statuses = [worker.wait(30) for worker in workers]
    assert statuses == [0, 0], (tmp_path / "workers.log").read_text()
    assert server.get("/health/ready").status_code == 503
    assert server.stop() == 0
