"""Live transcription's service with real worker processes, which load no model here: places, order, silence, bounds."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from config import Config
from errors import Conflict, InvalidInput, QueueFull
from jobs.live import BUFFER_SECONDS, Deliver, LiveService, Options
from tests.serving import wait_until

PATIENCE = 120.0
SECOND = bytes(2 * 4000)  # at the lowest rate
Heard = list[tuple[str, str, dict[str, Any]]]


@pytest.fixture
def heard() -> Heard:
    """What sessions were told: session, kind, payload."""
    return []


@pytest.fixture
def deaths() -> list[str]:
    """How often a worker was lost."""
    return []


@pytest.fixture
def make(tmp_path: Path, heard: Heard, deaths: list[str]) -> Iterator[Callable[..., LiveService]]:
    """Makes a service with settings; it is stopped at the end, and leaves no process."""
    made = []

    def make_one(deliver: Deliver = lambda *told: heard.append(told), **settings: Any) -> LiveService:
        config = Config(output_folder=tmp_path, models_dir=tmp_path, async_mode="threading", device="cpu", **settings)
        made.append(LiveService(config, deliver, lambda: deaths.append("one")))
        return made[-1]

    yield make_one
    for service in made:
        service.stop()
    assert workers() == []


def workers() -> list[psutil.Process]:
    """The live workers of this process."""
    children = psutil.Process().children()
    return [child for child in children if child.status() != psutil.STATUS_ZOMBIE and "jobs.live_worker" in
            child.cmdline()]  # fmt: skip


def test_places_are_counted_from_the_connection_to_the_end(make: Callable[..., LiveService], heard: Heard) -> None:
    service = make(live_sessions=2)
    assert [service.open(name) for name in ("a", "b", "c")] == [True, True, False]
    service.leave("a")
    assert service.open("c")
    service.finish("b")
    assert heard == [("b", "finished", {"seconds": 0.0})]
    assert service.open("d")
    assert len(workers()) == 1, "one worker, whoever comes"


def test_events_out_of_order_are_conflicts(make: Callable[..., LiveService]) -> None:
    service = make()
    with pytest.raises(Conflict, match="over"):
        service.audio("nobody", SECOND, 4000)
    service.open("a")
    service.begin("a", Options())
    with pytest.raises(Conflict, match="start comes before"):
        service.begin("a", Options())
    service.finish("a")
    for again in (lambda: service.finish("a"), lambda: service.audio("a", SECOND, 4000)):
        with pytest.raises(Conflict, match="finish already"):
            again()
    service.leave("a")
    service.leave("a")


def test_who_falls_silent_is_told_and_finished(make: Callable[..., LiveService], heard: Heard) -> None:
    service = make(live_idle_seconds=0.5)
    service.open("a")
    wait_until(lambda: len(heard) == 2, PATIENCE)
    message = "Nothing came for 0.5 s, so this session ends."
    assert heard == [("a", "error", {"message": message}), ("a", "finished", {"seconds": 0.0})]
    with pytest.raises(Conflict, match="over"):
        service.finish("a")


def test_no_more_than_a_minute_waits_to_be_heard(make: Callable[..., LiveService], heard: Heard) -> None:
    """The worker is held, so that it hears nothing; who sends is not held."""
    service = make()
    service.open("a")
    (worker,) = workers()
    worker.send_signal(signal.SIGSTOP)
    for _ in range(round(BUFFER_SECONDS)):
        service.audio("a", SECOND, 4000)
    with pytest.raises(QueueFull, match="60 s of audio wait"):
        service.audio("a", SECOND, 4000)
    service.audio("a", SECOND, 4000)  # dropped as well, but said once is enough
    worker.send_signal(signal.SIGCONT)
    assert heard == []


def test_a_frame_that_could_never_wait_says_so_and_begins_nothing(make: Callable[..., LiveService]) -> None:
    service = make()
    service.open("a")
    for _ in range(2):
        with pytest.raises(InvalidInput, match="61 s of audio is too long, since 60 s may wait"):
            service.audio("a", 61 * SECOND, 4000)
    service.begin("a", Options())


def test_a_client_that_cannot_be_told_does_others_no_harm(
    make: Callable[..., LiveService], heard: Heard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # so that its worker finds no model, and says it
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    tried: list[str] = []

    def deliver(session: str, kind: str, payload: dict[str, Any]) -> None:
        tried.append(session)
        if session == "a":
            raise OSError("the client is gone")
        heard.append((session, kind, payload))

    service = make(deliver)
    service.open("a")
    (worker,) = workers()
    service.begin("a", Options())
    wait_until(lambda: tried, PATIENCE)
    service.open("b")
    service.begin("b", Options())
    wait_until(lambda: [kind for _, kind, _ in heard if kind == "broken"], PATIENCE)
    assert "models.weights pull whisper base" in heard[-1][2]["message"]
    assert workers() == [worker]


def test_a_worker_that_ends_early_is_noticed_at_once(
    make: Callable[..., LiveService], heard: Heard, deaths: list[str]
) -> None:
    service = make()
    service.open("a")
    service.begin("a", Options())
    os.kill(workers()[0].pid, signal.SIGTERM)
    wait_until(lambda: heard, PATIENCE)
    assert heard == [("a", "broken", {"message": "The live worker ended (killed by signal 15); start a new session."})]
    wait_until(lambda: deaths, PATIENCE)


def test_sessions_spread_over_as_many_workers_as_there_may_be(make: Callable[..., LiveService]) -> None:
    service = make(live_workers=2)
    for session in ("a", "b", "c", "d"):
        service.open(session)
        service.begin(session, Options())
    assert len(workers()) == 2
    assert sorted(worker.cmdline()[-1] for worker in workers()) == ["0", "1"]


def test_a_stop_is_told_and_nobody_comes_after_it(
    make: Callable[..., LiveService], heard: Heard, deaths: list[str]
) -> None:
    service = make()
    service.open("a")
    service.begin("a", Options())
    service.stop()
    wait_until(lambda: heard, PATIENCE)
    assert heard == [("a", "broken", {"message": "The service is shutting down."})]
    assert deaths == []
    assert not service.open("b")
