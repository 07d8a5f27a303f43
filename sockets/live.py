"""The namespace /transcribe: sound in, text out, while it is spoken or sung.

Clients that know nothing more send `audio` and `finish` and hear `connected`, `transcription`, `error`, `finished`;
others may `start` with options and hear `partial`, `final` and `busy`, too.
"""

import base64
import re
from typing import Any

from flask import current_app, request
from flask_socketio import Namespace, disconnect, emit
from pydantic import ValidationError

from errors import InvalidInput, StudioError
from jobs.live import LiveService, Options
from sockets import socketio
from sockets.keys import owner_of

NAMESPACE = "/transcribe"
MIME_TYPE = re.compile(r"audio/(?:x-)?pcm\s*;\s*rate\s*=\s*(\d{1,6})(?:\s*;\s*channels\s*=\s*1)?", re.IGNORECASE)
LOWEST_RATE, HIGHEST_RATE = 4000, 192_000  # Hz
LARGEST_FRAME_BYTES = 4 * 1024 * 1024
BUSY_SECONDS = 10.0  # after which it is worth another try
EVENT = re.compile(rf"(?:2|5(\d{{1,9}})-){NAMESPACE},")  # as Engine.IO carries it; bytes follow in so many parts
TOO_EARLY = f'2{NAMESPACE},["error",{{"message":"Not connected to {NAMESPACE}: connect to that namespace first."}}]'


class LiveNamespace(Namespace):
    """The events of one client, which is one session."""

    def on_connect(self, auth: Any = None, *_: Any) -> None:
        """Greet it, if it may and there is room."""
        owner_of(auth)
        if _live().open(_sid()):
            emit("connected", {"session": _sid()})
            return
        message = f"All places for live sessions are taken; try again in {BUSY_SECONDS:g} s."
        emit("busy", {"seconds": BUSY_SECONDS, "message": message})
        emit("error", {"message": message})  # for who knows no `busy`
        disconnect()

    def on_start(self, wish: Any = None, *_: Any) -> None:
        """Choose language, variant and singing; without it, defaults hold."""
        self._try(lambda: _live().begin(_sid(), _options(wish)))

    def on_audio(self, message: Any = None, *_: Any) -> None:
        """Take in a frame of sound."""
        self._try(lambda: self._audio(*_frame(message)))

    def on_finish(self, *_: Any) -> None:
        """Hear what is left, then say goodbye."""
        self._try(lambda: _live().finish(_sid()))

    def on_disconnect(self, *_: Any) -> None:
        """Forget the client."""
        _live().leave(_sid())

    def _try(self, do: Any) -> None:
        """Do it, or say why not; the session lives on."""
        try:
            do()
        except StudioError as error:
            emit("error", {"message": error.message})

    def _audio(self, pcm: bytes, rate: int) -> None:
        """Pass on what is not empty."""
        if pcm:
            _live().audio(_sid(), pcm, rate)


def deliver(session: str, kind: str, payload: dict[str, Any]) -> None:
    """Send a client what a live worker says.

    Parameters
    ----------
    session : str
        The client's id in this namespace.
    kind : str
        final, partial, loading, error, finished or broken.
    payload : dict
    """
    event = "error" if kind == "broken" else kind
    socketio.emit(event, payload, to=session, namespace=NAMESPACE)
    if kind == "final":
        socketio.emit("transcription", {"transcription": payload["text"]}, to=session, namespace=NAMESPACE)
    if kind in ("finished", "broken"):
        socketio.server.disconnect(session, namespace=NAMESPACE)


def answer_early() -> None:
    """Answer who sends to this namespace without being connected to it: the library drops that without a word."""
    server = socketio.server
    take_in = server.eio.handlers["message"]
    refused: dict[str, int] = {}  # parts of bytes to come with an event that was answered, by connection

    def on_message(connection: str, message: Any) -> None:
        """See what comes before the library does."""
        if isinstance(message, bytes) and refused.get(connection):
            refused[connection] -= 1
            return
        refused.pop(connection, None)
        event = EVENT.match(message) if isinstance(message, str) else None
        if event is None or server.manager.sid_from_eio_sid(connection, NAMESPACE) is not None:
            take_in(connection, message)
            return
        for gone in refused.keys() - server.eio.sockets.keys():
            refused.pop(gone, None)
        refused[connection] = int(event[1] or 0)
        server.eio.send(connection, TOO_EARLY)

    server.eio.on("message", on_message)


def _options(wish: Any) -> Options:
    """What `start` asks for.

    Raises
    ------
    InvalidInput
    """
    if wish is not None and not isinstance(wish, dict):
        raise InvalidInput('start takes {"language": "en", "variant": "base", "singing": false}, or a part of it.')
    try:
        return Options.model_validate(wish or {})
    except ValidationError as error:
        first = error.errors()[0]
        message = first.get("ctx", {}).get("error") or first["msg"]
        raise InvalidInput(f"start: {'.'.join(map(str, first['loc']))}: {message}.") from error


def _frame(message: Any) -> tuple[bytes, int]:
    """Samples and rate of an `audio` event.

    Raises
    ------
    InvalidInput
        When it is not of the right form; says what is wrong.
    """
    payload = message.get("payload") if isinstance(message, dict) else None
    if not isinstance(payload, dict):
        raise InvalidInput('audio takes {"payload": {"data": base64 or bytes, "mimeType": "audio/pcm;rate=16000"}}.')
    return _samples(payload.get("data")), _rate(payload.get("mimeType"))


def _rate(mime_type: Any) -> int:
    """Samples a second."""
    match = MIME_TYPE.fullmatch(mime_type.strip()) if isinstance(mime_type, str) else None
    if match is None or not LOWEST_RATE <= int(match[1]) <= HIGHEST_RATE:
        raise InvalidInput(
            f"mimeType {str(mime_type)[:60]!r} is not audio/pcm;rate=N with N from {LOWEST_RATE} to {HIGHEST_RATE}: "
            "16-bit little-endian PCM, mono."
        )
    return int(match[1])


def _samples(data: Any) -> bytes:
    """16-bit samples, from bytes or base64."""
    if not isinstance(data, str | bytes | bytearray):
        raise InvalidInput("data is neither base64 text nor bytes.")
    size = len(data) * 3 // 4 if isinstance(data, str) else len(data)
    if size > LARGEST_FRAME_BYTES:
        raise InvalidInput(
            f"A frame of {size} bytes is too large; send {LARGEST_FRAME_BYTES} at most, better a second at a time."
        )
    if isinstance(data, str):
        try:
            data = base64.b64decode(data, validate=True)
        except ValueError as error:
            raise InvalidInput(f"data is not base64: {str(error).rstrip('.')}.") from error
    if len(data) % 2:
        raise InvalidInput(f"data has {len(data)} bytes, but 16-bit samples have two each.")
    return bytes(data)


def _live() -> LiveService:
    """The sessions and their workers."""
    service: LiveService = current_app.extensions["live"]
    return service


def _sid() -> str:
    """The client's id in this namespace."""
    sid: str = request.sid  # type: ignore[attr-defined]
    return sid


socketio.on_namespace(LiveNamespace(NAMESPACE))
