"""Live transcription's service with real worker processes, which load no model here: places, order, silence, bounds."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from config import Config
from errors import Conflict, QueueFull
from jobs.live import BUFFER_SECONDS, LiveService, Options
from tests.serving import wait_until

PATIENCE = 120.0
SECOND = bytes(2 * 4000)  # at the lowest rate
Heard = list[tuple[str, str, dict[str, Any]]]


@pytest.fixture
def heard() -> Heard:
    """What sessions were told: session, kind, payload."""
    return []


@pytest.fixture
def make(tmp_path: Path, heard: Heard) -> Iterator[Callable[..., LiveService]]:
    """Makes a service with settings; it is stopped at the end, and leaves no process."""
    made = []

    def make_one(**settings: Any) -> LiveService:
        config = Config(output_folder=tmp_path, models_dir=tmp_path, async_mode="threading", device="cpu", **settings)
        made.append(LiveService(config, lambda *told: heard.append(told)))
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


def test_a_worker_that_ends_early_is_noticed_at_once(make: Callable[..., LiveService], heard: Heard) -> None:
    service = make()
    service.open("a")
    service.begin("a", Options())
    os.kill(workers()[0].pid, signal.SIGTERM)
    wait_until(lambda: heard, PATIENCE)
    assert heard == [("a", "broken", {"message": "The live worker ended (killed by signal 15); start a new session."})]


def test_sessions_spread_over_as_many_workers_as_there_may_be(make: Callable[..., LiveService]) -> None:
    service = make(live_workers=2)
    for session in ("a", "b", "c", "d"):
        service.open(session)
        service.begin(session, Options())
    assert len(workers()) == 2
    assert sorted(worker.cmdline()[-1] for worker in workers()) == ["0", "1"]


def test_a_stop_is_told_and_nobody_comes_after_it(make: Callable[..., LiveService], heard: Heard) -> None:
    service = make()
    service.open("a")
    service.begin("a", Options())
    service.stop()
    wait_until(lambda: heard, PATIENCE)
    assert heard == [("a", "broken", {"message": "The service is shutting down."})]
    assert not service.open("b")
