"""The default namespace: clients get processing_progress of every file or of those they asked for, each of its own."""

import time
from typing import Any

from flask import current_app, request
from flask_socketio import emit, join_room, leave_room

from jobs.events import EVERY_FILE, PROGRESS, payload, room, rooms
from jobs.service import JobService
from jobs.song_status import song_status
from sockets import socketio
from sockets.keys import owner_of
from storage.songs import is_file_id

AT_ONCE = 100  # subscriptions that a connection may ask for together, as a page with a queue of songs does
A_SECOND = 10  # after those; the rest waits unread, which costs nobody but its sender
MOST_FILES = 1000  # that a connection may follow
MOST_REPLAYED = 1000  # events of a song's past, the newest
EVENTS_A_TURN = 100  # of a replay; more of them cost as much as another subscription


def emit_event(row: Any) -> None:
    """Send one stored event to who listens."""
    body = payload(row)
    for where in rooms(row):
        socketio.emit(PROGRESS, body, to=where)


@socketio.on("connect")
def connect(auth: Any = None) -> None:
    """With no further word a client gets every file's events, with a key those of its own files."""
    _session()["owner"] = owner_of(auth)
    join_room(_room(EVERY_FILE))


@socketio.on("subscribe")
def subscribe(wish: Any = None) -> dict[str, Any]:
    """Narrow the view to one file and replay what was missed, MOST_REPLAYED events at most.

    Parameters
    ----------
    wish : dict
        {"file_id", "since_seq"?: int, 0 for its whole past}

    Returns
    -------
    dict
        The acknowledgement: the song's present state, and `seq`, the last event it includes; or {"error"}.
    """
    file_id, since = _parse(wish)
    if file_id is None:
        return {"error": 'subscribe takes {"file_id": "...", "since_seq": 0}.'}
    _take_turn()
    if len(_followed()) >= MOST_FILES and _room(file_id) not in _followed():
        return {"error": f"One connection may follow {MOST_FILES} files; unsubscribe from some first."}
    jobs: JobService = current_app.extensions["studio"].jobs.seen_by(_session()["owner"])
    past = jobs.store.events(after=since, file_id=file_id, until=jobs.tail.seq or None, newest=MOST_REPLAYED)
    leave_room(_room(EVERY_FILE))
    leave_room(_room(file_id))  # what is new must not overtake what is old
    for number, row in enumerate(past, 1):
        emit(PROGRESS, payload(row))
        if number % EVENTS_A_TURN == 0:
            _take_turn()
    with jobs.tail.lock:  # nothing is emitted between the last of the past and the joining of the room
        jobs.tail.emit_new()  # where workers emit, nobody else keeps up with what is stored
        seen = past[-1].seq if past else since
        for row in jobs.store.events(after=seen, file_id=file_id, until=jobs.tail.seq or None, newest=MOST_REPLAYED):
            emit(PROGRESS, payload(row))
        join_room(_room(file_id))
        jobs.tail.emit_new()
        seq = jobs.tail.seq  # before the state, which may be newer than it, but never older
        state = song_status(jobs.store, jobs.songs, file_id) or {"file_id": file_id, "status": "unknown"}
    return state | {"seq": seq}


@socketio.on("unsubscribe")
def unsubscribe(wish: Any = None) -> dict[str, Any]:
    """Leave a file's events; who follows no file any more gets every file's again.

    Parameters
    ----------
    wish : dict
        {"file_id"}
    """
    file_id, _ = _parse(wish)
    if file_id is None:
        return {"error": 'unsubscribe takes {"file_id": "..."}.'}
    _take_turn()
    leave_room(_room(file_id))
    if not _followed():
        join_room(_room(EVERY_FILE))
    return {"file_id": file_id}


def _followed() -> set[str]:
    """Rooms of the files that the present client asked for."""
    sid = request.sid  # type: ignore[attr-defined]
    return set(socketio.server.rooms(sid)) - {sid, _room(EVERY_FILE), None}


def _room(which: str) -> str:
    """Where the present client hears of a file or of every one: nobody else's events come there."""
    return room(which, _session()["owner"])


def _session() -> dict[str, Any]:
    """What is kept of the present client."""
    session: dict[str, Any] = socketio.server.get_session(request.sid)  # type: ignore[attr-defined]
    return session


def _take_turn() -> None:
    """Let the present client wait when it asks too often; what it sends meanwhile stays unread."""
    session, now = _session(), time.monotonic()
    due = max(session.get("due", 0.0), now - AT_ONCE / A_SECOND) + 1 / A_SECOND
    session["due"] = due
    socketio.sleep(max(0.0, due - now))  # at least let the others have their turn


def _parse(wish: Any) -> tuple[str | None, int]:
    """File and sequence number of a wish; no file when it is not of the right form."""
    if not isinstance(wish, dict) or not isinstance(wish.get("file_id"), str) or not is_file_id(wish["file_id"]):
        return None, 0
    since = wish.get("since_seq", 0)
    if isinstance(since, bool) or not isinstance(since, int) or not 0 <= since < 2**62:
        return None, 0
    return wish["file_id"], since
