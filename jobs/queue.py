"""The queue: it only says "look at job N"; what N is and whether it may run stands in its row."""

from pathlib import Path

from huey import Huey, RedisHuey, SqliteHuey

NAMES = ("gpu", "cpu")
REDIS_WAIT_SECONDS = 1  # how long a worker's look into an empty Redis queue may block


def look(job_id: str) -> str:
    """The only message: look at the job of that id."""
    return job_id


class Queue:
    """Two named queues in Redis, or in one SQLite file.

    Parameters
    ----------
    redis_url : str
        Empty for SQLite.
    sqlite_file : Path
        Used when there is no Redis.
    """

    def __init__(self, redis_url: str, sqlite_file: Path) -> None:
        self.blocking = bool(redis_url)
        self._queues = {name: _open(name, redis_url, sqlite_file) for name in NAMES}
        self._messages = {name: queue.task()(look) for name, queue in self._queues.items()}

    def put(self, name: str, job_id: str) -> None:
        """Ask the workers of a queue to look at a job."""
        self._messages[name](job_id)

    def get(self, name: str) -> str | None:
        """The next job to look at, None when nothing waits (Redis: after REDIS_WAIT_SECONDS)."""
        message = self._queues[name].dequeue()
        return message.args[0] if message else None

    def waiting(self, name: str) -> int:
        """How many messages wait."""
        return self._queues[name].pending_count()

    def close(self) -> None:
        """Close the files or connections."""
        for queue in self._queues.values():
            queue.storage.close()


def _open(name: str, redis_url: str, sqlite_file: Path) -> Huey:
    """One queue."""
    if redis_url:
        return RedisHuey(name, url=redis_url, results=False, read_timeout=REDIS_WAIT_SECONDS)
    sqlite_file.parent.mkdir(parents=True, exist_ok=True)
    return SqliteHuey(name, filename=str(sqlite_file), results=False)
