"""Events straight to every web host's clients, through Flask-SocketIO's own Redis message queue."""

from collections.abc import Callable
from typing import Any

from jobs.events import PROGRESS, payload, rooms

CHANNEL = "flask-socketio"  # Flask-SocketIO's default


def redis_publisher(redis_url: str) -> Callable[[list[Any]], None]:
    """A function that emits stored events from any process.

    Parameters
    ----------
    redis_url : str
    """
    from socketio import RedisManager

    manager = RedisManager(redis_url, channel=CHANNEL, write_only=True)

    def publish(rows: list[Any]) -> None:
        for row in rows:
            for room in rooms(row):
                manager.emit(PROGRESS, payload(row), namespace="/", room=room)

    return publish
