"""What has happened since the database was made, counted where it happens: it outlives processes and removed songs."""

import json
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from jobs.tables import counters

JOBS = "jobs"  # that ended, by stage, model and status; their run time
MODEL_LOADS = "model_loads"  # by model and variant; how long they took
WORKER_RESTARTS = "worker_restarts"  # after a worker of ours had ended, by queue


@dataclass(frozen=True)
class Counter:
    """How often something has happened, and how long all of it took together."""

    name: str
    labels: dict[str, str]
    number: int
    seconds: float


def add(connection: Connection, name: str, seconds: float = 0.0, **labels: str) -> None:
    """Count one event, within the transaction of what it counts.

    Parameters
    ----------
    connection : Connection
        Of a writing transaction.
    name : str
        One of this module's.
    seconds : float
        How long it took.
    **labels : str
        Few values each: a row is kept for every combination.
    """
    text = json.dumps(labels, sort_keys=True)
    more = (
        update(counters)
        .where(counters.c.name == name, counters.c.labels == text)
        .values(number=counters.c.number + 1, seconds=counters.c.seconds + seconds)
    )
    if connection.execute(more).rowcount:
        return
    try:
        with connection.begin_nested():
            connection.execute(insert(counters).values(name=name, labels=text, number=1, seconds=seconds))
    except IntegrityError:  # another process was the first to count it
        connection.execute(more)


def read(connection: Connection) -> list[Counter]:
    """Everything that was counted, in one query."""
    rows = connection.execute(select(counters).order_by(counters.c.name, counters.c.labels))
    return [Counter(row.name, json.loads(row.labels), row.number, row.seconds) for row in rows]
