"""The thread that follows the database: nothing that goes wrong once costs a client an event."""

from typing import Any

from jobs import pipeline
from jobs.store import JobStore
from jobs.tail import Tail
from tests.rows import a_job
from tests.serving import wait_until


def test_what_a_failed_look_missed_comes_with_the_next(store: JobStore) -> None:
    broken, told = [ConnectionError("the client is gone")], []

    def emit(row: Any) -> None:
        if broken:
            raise broken.pop()
        told.append(row.seq)

    tail = Tail(store, emit)
    tail.start()
    new = a_job()
    store.create(new, [pipeline.upload_event(new)])
    wait_until(lambda: told == [1], 10, lambda: f"event 1, told {told}")
    tail.stop()
