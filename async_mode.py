"""The one place that knows which server drives the web process: eventlet (the default), gevent or plain threads.

The service was specified on eventlet, and eventlet is in maintenance: nothing else may import it.
"""

import os
import time
import warnings
from collections.abc import Sequence
from typing import Any

MODES = ("eventlet", "gevent", "threading")
MOST_UNREAD = 16  # messages of one WebSocket that wait to be handled
UNREAD_SECONDS = 0.01


def patch(mode: str) -> None:
    """Make the standard library cooperate with the server. Call before other imports.

    Parameters
    ----------
    mode : str
        One of MODES.

    Raises
    ------
    ValueError
        When there is no such mode.
    """
    if mode not in MODES:
        raise ValueError(f"ASYNC_MODE={mode!r} is not one of {', '.join(MODES)}.")
    if mode == "eventlet":
        # Its own name resolution is left out: a third of what the import costs, and we resolve next to nothing.
        os.environ.setdefault("EVENTLET_NO_GREENDNS", "yes")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the decision is documented above
            import eventlet
        eventlet.monkey_patch()
        from eventlet import websocket

        websocket.RFC6455WebSocket._apply_mask = staticmethod(_unmask)
        read = websocket.RFC6455WebSocket.wait

        def wait(self: Any) -> Any:
            """The next message, after others' turn: where there is always one, nobody else would get on."""
            eventlet.sleep(0)
            return read(self)

        websocket.RFC6455WebSocket.wait = wait
    elif mode == "gevent":
        from gevent import monkey

        monkey.patch_all()
    if mode != "eventlet":
        _read_no_faster_than_handled()


def _read_no_faster_than_handled() -> None:
    """Let who floods a WebSocket wait: simple_websocket keeps all that comes, and under gevent nobody else gets on."""
    from simple_websocket import ws

    take_in = ws.Base._handle_events

    def handle_events(self: Any) -> bool:
        """Take in what has come, then wait until it is handled."""
        going: bool = take_in(self)
        time.sleep(0)  # others' turn
        while going and self.connected and len(self.input_buffer) > MOST_UNREAD:
            time.sleep(UNREAD_SECONDS)
        return going

    ws.Base._handle_events = handle_events


def _unmask(data: bytes, mask: Sequence[int], length: int | None = None, offset: int = 0) -> bytes:
    """Undo the mask that clients put over what they send; eventlet's own way takes seconds for some megabytes."""
    data = bytes(data[:length])
    key = bytes(mask[(offset + place) % 4] for place in range(4)) * (len(data) // 4 + 1)
    unmasked = int.from_bytes(data, "little") ^ int.from_bytes(key[: len(data)], "little")
    return unmasked.to_bytes(len(data), "little")
