"""The one place that knows which server drives the web process: eventlet (the default), gevent or plain threads.

The service was specified on eventlet, and eventlet is in maintenance: nothing else may import it.
"""

import os
import warnings
from collections.abc import Sequence

MODES = ("eventlet", "gevent", "threading")


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
    elif mode == "gevent":
        from gevent import monkey

        monkey.patch_all()


def _unmask(data: bytes, mask: Sequence[int], length: int | None = None, offset: int = 0) -> bytes:
    """Undo the mask that clients put over what they send; eventlet's own way takes seconds for some megabytes."""
    data = bytes(data[:length])
    key = bytes(mask[(offset + place) % 4] for place in range(4)) * (len(data) // 4 + 1)
    unmasked = int.from_bytes(data, "little") ^ int.from_bytes(key[: len(data)], "little")
    return unmasked.to_bytes(len(data), "little")
