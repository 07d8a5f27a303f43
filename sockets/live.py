"""The namespace /transcribe: sound in, text out, while it is spoken or sung.

Clients that know nothing more send `audio` and `finish` and hear `connected`, `transcription`, `error`, `finished`;
others may `start` with options and hear `partial`, `final` and `busy`, too.
"""

import base64
import binascii
import re
from typing import Any

from flask import current_app, request
from flask_socketio import Namespace, disconnect, emit
from pydantic import ValidationError

from jobs.live import BUFFER_SECONDS, LiveService, Options
from sockets import socketio

NAMESPACE = "/transcribe"
MIME_TYPE = re.compile(r"audio/(?:pcm|l16|x-pcm)\s*;\s*rate\s*=\s*(\d{1,6})(?:\s*;\s*channels\s*=\s*1)?", re.IGNORECASE)
LOWEST_RATE, HIGHEST_RATE = 4000, 192_000  # Hz
LARGEST_FRAME_BYTES = 4 * 1024 * 1024
BUSY_SECONDS = 10.0  # after which it is worth another try


class _Refused(Exception):
    """Why something that a client sent is not taken: one sentence."""


class LiveNamespace(Namespace):
    """The events of one client, which is one session."""

    def on_connect(self) -> None:
        """Greet it."""
        if _live().full:
            emit("busy", {"seconds": BUSY_SECONDS, "message": "As many sessions as there may be are in use."})
            disconnect()
            return
        emit("connected", {"session": _sid()})
        _live().wake()

    def on_start(self, wish: Any = None) -> None:
        """Choose language, variant and singing; without it, defaults hold."""
        self._try(self._start, wish)

    def on_audio(self, message: Any = None) -> None:
        """Take in a frame of sound."""
        self._try(self._audio, message)

    def on_finish(self, *_: Any) -> None:
        """Hear what is left, then say goodbye."""
        self._try(self._finish)

    def on_disconnect(self, *_: Any) -> None:
        """Forget the client."""
        _live().leave(_sid())

    def _try(self, do: Any, *arguments: Any) -> None:
        """Do it, or say why not; the session lives on."""
        try:
            do(*arguments)
        except _Refused as refusal:
            emit("error", {"message": str(refusal)})

    def _start(self, wish: Any) -> None:
        """Begin the session with options."""
        if _live().knows(_sid()):
            raise _Refused("start comes before the first audio, and once.")
        try:
            options = Options.model_validate(wish or {})
        except ValidationError as error:
            first = error.errors()[0]
            raise _Refused(f"start: {'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}.") from error
        self._begin(options)

    def _begin(self, options: Options) -> None:
        """Begin the session, if there is room."""
        if _live().full:
            emit("busy", {"seconds": BUSY_SECONDS, "message": "As many sessions as there may be are in use."})
            disconnect()
            return
        _live().start(_sid(), options)

    def _audio(self, message: Any) -> None:
        """Check a frame and pass it on."""
        pcm, rate = _frame(message)
        if not _live().knows(_sid()):
            self._begin(Options())
        if not _live().knows(_sid()):
            return
        if _live().finishing(_sid()):
            raise _Refused("audio after finish is not heard.")
        if pcm and not _live().audio(_sid(), pcm, rate):
            raise _Refused(
                f"{BUFFER_SECONDS:g} s of audio wait to be heard already, so this frame was dropped; send it slower."
            )

    def _finish(self) -> None:
        """Drain the session; one that never sent anything is over at once."""
        if not _live().knows(_sid()):
            emit("finished", {})
            disconnect()
        elif _live().finishing(_sid()):
            raise _Refused("finish was said already.")
        else:
            _live().finish(_sid())


def deliver(session: str, kind: str, payload: dict[str, Any]) -> None:
    """Send a client what a live worker says.

    Parameters
    ----------
    session : str
        The client's id in this namespace.
    kind : str
        final, partial, finished or broken.
    payload : dict
    """
    event = "error" if kind == "broken" else kind
    socketio.emit(event, payload, to=session, namespace=NAMESPACE)
    if kind == "final":
        socketio.emit("transcription", {"transcription": payload["text"]}, to=session, namespace=NAMESPACE)
    if kind in ("finished", "broken"):
        socketio.server.disconnect(session, namespace=NAMESPACE)


def _frame(message: Any) -> tuple[bytes, int]:
    """Samples and rate of an `audio` event.

    Raises
    ------
    _Refused
        When it is not of the right form; says what is wrong.
    """
    payload = message.get("payload") if isinstance(message, dict) else None
    if not isinstance(payload, dict):
        raise _Refused('audio takes {"payload": {"data": base64 or bytes, "mimeType": "audio/pcm;rate=16000"}}.')
    mime_type = payload.get("mimeType")
    match = MIME_TYPE.fullmatch(mime_type.strip()) if isinstance(mime_type, str) else None
    if match is None or not LOWEST_RATE <= int(match[1]) <= HIGHEST_RATE:
        raise _Refused(
            f"mimeType {str(mime_type)[:60]!r} is not audio/pcm;rate=N with N from {LOWEST_RATE} to {HIGHEST_RATE}: "
            "16-bit PCM, mono."
        )
    data = payload.get("data")
    if isinstance(data, str):
        if len(data) > LARGEST_FRAME_BYTES * 4 / 3 + 4:
            raise _Refused(_too_large(len(data) * 3 // 4))
        try:
            data = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError) as error:
            raise _Refused(f"data is not base64: {error}.") from error
    if not isinstance(data, bytes | bytearray):
        raise _Refused("data is neither base64 text nor bytes.")
    if len(data) > LARGEST_FRAME_BYTES:
        raise _Refused(_too_large(len(data)))
    if len(data) % 2:
        raise _Refused(f"data has {len(data)} bytes, but 16-bit samples have two each.")
    return bytes(data), int(match[1])


def _too_large(size: int) -> str:
    """What is said of a frame that is too large."""
    return f"A frame of {size} bytes is too large; send {LARGEST_FRAME_BYTES} at most, better a second at a time."


def _live() -> LiveService:
    """The sessions and their workers."""
    service: LiveService = current_app.extensions["live"]
    return service


def _sid() -> str:
    """The client's id in this namespace."""
    sid: str = request.sid  # type: ignore[attr-defined]
    return sid


socketio.on_namespace(LiveNamespace(NAMESPACE))
