"""The queue, over SQLite and over a real Redis: first in, first out; each message to one; nothing lost."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobs.queue import Queue


@pytest.fixture(params=["sqlite", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """Where the queue lives: Redis, or a file in a folder that is not there yet."""
    redis_url = request.getfixturevalue("redis_url") if request.param == "redis" else ""
    return redis_url, tmp_path / "folder" / "queue.db"


@pytest.fixture
def queue(place: tuple[str, Path]) -> Iterator[Queue]:
    """An empty queue."""
    queue = Queue(*place)
    yield queue
    queue.close()


def test_first_in_first_out(queue: Queue) -> None:
    for job_id in ("a", "b", "c"):
        queue.put("gpu", job_id)
    assert queue.waiting("gpu") == 3
    assert [queue.get("gpu") for _ in range(3)] == ["a", "b", "c"]
    assert (queue.waiting("gpu"), queue.get("gpu")) == (0, None)


def test_light_work_has_a_queue_of_its_own(queue: Queue) -> None:
    queue.put("gpu", "heavy")
    queue.put("cpu", "light")
    assert (queue.waiting("gpu"), queue.waiting("cpu")) == (1, 1)
    assert queue.get("cpu") == "light"
    assert queue.get("cpu") is None
    assert queue.get("gpu") == "heavy"


def test_messages_outlive_who_wrote_them(queue: Queue, place: tuple[str, Path]) -> None:
    queue.put("gpu", "a")
    queue.close()
    later = Queue(*place)
    assert later.get("gpu") == "a"
    later.close()


def test_each_message_goes_to_one_of_many(queue: Queue, place: tuple[str, Path]) -> None:
    for number in range(60):
        queue.put("gpu", str(number))

    def take(_: int) -> list[str]:
        mine, taken = Queue(*place), []
        while (job_id := mine.get("gpu")) is not None:
            taken.append(job_id)
        mine.close()
        return taken

    with ThreadPoolExecutor(4) as pool:
        taken = [job_id for one in pool.map(take, range(4)) for job_id in one]
    assert sorted(taken, key=int) == [str(number) for number in range(60)]


def test_a_look_waits_only_where_the_queue_can_wake_it(queue: Queue, place: tuple[str, Path]) -> None:
    assert queue.blocking == bool(place[0])
