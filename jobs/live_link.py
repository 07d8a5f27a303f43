"""The line between the web process and a live worker: messages with sound, over a socket of this machine.

A pipe would do as well, but the servers of the web process (async_mode.py) can wait for sockets only.
"""

import json
import socket
import struct
import threading
from contextlib import suppress
from typing import Any

TOKEN_VARIABLE = "STUDIO_LIVE_TOKEN"  # a secret by which the web process knows its worker
HEAD = struct.Struct(">II")  # bytes of the message, bytes of sound
LARGEST_MESSAGE_BYTES = 1 << 20
LARGEST_SOUND_BYTES = 1 << 25


class Link:
    """One end of the line.

    Parameters
    ----------
    connection : socket.socket
        Connected.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._reader = connection.makefile("rb")
        self._lock = threading.Lock()

    def send(self, message: dict[str, Any], sound: bytes = b"") -> None:
        """Send a message.

        Raises
        ------
        OSError
            When the other end is gone.
        """
        text = json.dumps(message).encode()
        with self._lock:
            self._connection.sendall(HEAD.pack(len(text), len(sound)) + text + sound)

    def receive(self) -> tuple[dict[str, Any], bytes] | None:
        """Wait for a message and its sound; None when the other end is gone."""
        try:
            head = self._reader.read(HEAD.size)
            if len(head) < HEAD.size:
                return None
            text_bytes, sound_bytes = HEAD.unpack(head)
            if text_bytes > LARGEST_MESSAGE_BYTES or sound_bytes > LARGEST_SOUND_BYTES:
                return None
            body = self._reader.read(text_bytes + sound_bytes)
        except (OSError, ValueError):  # ValueError: closed by close() meanwhile
            return None
        if len(body) < text_bytes + sound_bytes:
            return None
        return json.loads(body[:text_bytes]), body[text_bytes:]

    def close(self) -> None:
        """Hang up; who waits in receive() gets None."""
        with suppress(OSError):  # the other end was quicker
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()
