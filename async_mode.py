"""The one place that knows which server drives the web process: eventlet (the default), gevent or plain threads.

The service was specified on eventlet, and eventlet is in maintenance: nothing else may import it.
"""

import errno
import os
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from connections import Door

MODES = ("eventlet", "gevent", "threading")
MOST_UNREAD = 16  # messages of one WebSocket that wait to be handled
UNREAD_SECONDS = 0.01
IDLE_SECONDS = 90.0  # a connection on which nothing moves for so long while we wait for it is closed; pings come sooner
NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)
BACKLOG = 1024  # connections that wait to be accepted: after a restart everybody comes at once
BREATH_SECONDS = 0.1  # before another try to accept when there was no descriptor left


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
        # Its own name resolution is left out: a third of what the import costs. The system's goes on in a thread.
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
        eventlet.listen = partial(eventlet.listen, backlog=BACKLOG)  # 50 otherwise; the next try comes a second later
        _go_on_accepting()
        _look_up_in_threads()
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


def _go_on_accepting() -> None:
    """Let eventlet wait while there is no file descriptor left for a connection: it would end the server."""
    import eventlet
    from eventlet.greenio import base

    accept = base.socket_accept

    def accept_when_possible(listening: Any) -> Any:
        """A connection, None when there is none now."""
        try:
            return accept(listening)
        except OSError as error:
            if error.errno not in NO_DESCRIPTOR:
                raise
            eventlet.sleep(BREATH_SECONDS)
            return None

    base.socket_accept = accept_when_possible


def _look_up_in_threads() -> None:
    """Let nobody wait while the system looks up a host's name: it may take half a minute."""
    import socket as patched

    from eventlet import tpool

    look_up = patched.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        """As the system's."""
        try:
            ip_address(host)
        except ValueError:
            return tpool.execute(look_up, host, *arguments, **options)
        return look_up(host, *arguments, **options)

    patched.getaddrinfo = getaddrinfo


def server_options(mode: str, door: "Door") -> dict[str, Any]:
    """What SocketIO.run() hands to the server of a mode, so that connections pass by the door and dead ones end.

    Parameters
    ----------
    mode : str
        One of MODES, as it was given to patch().
    door : Door
    """
    return {"eventlet": _eventlet_options, "gevent": _gevent_options, "threading": _threading_options}[mode](door)


def _eventlet_options(door: "Door") -> dict[str, Any]:
    """For eventlet.wsgi.server()."""
    from eventlet.wsgi import HttpProtocol

    class Protocol(HttpProtocol):
        """One connection."""

        def __init__(self, connection: Any, server: Any) -> None:
            with door.passing(connection[1], connection[0]) as admitted:
                if admitted:
                    super().__init__(connection, server)

        def finish(self) -> None:
            """Close it: the descriptor of who left in mid-answer would stay until garbage is collected."""
            try:
                super().finish()
            finally:
                for file in (self.wfile, self.rfile):
                    with suppress(OSError):
                        file.close()

    # More than may pass, so that the others are refused and do not wait.
    return {"protocol": Protocol, "max_size": 2 * door.in_all, "socket_timeout": IDLE_SECONDS}


def _gevent_options(door: "Door") -> dict[str, Any]:
    """For gevent.pywsgi.WSGIServer."""
    from gevent import Greenlet

    def spawn(run: Callable[..., Any], handle: Any, close: Any, arguments: tuple[Any, ...]) -> Any:
        """Handle one connection."""

        def pass_by() -> None:
            with door.passing(arguments[0], arguments[1]) as admitted:
                if admitted:
                    arguments[0].settimeout(IDLE_SECONDS)
                    run(handle, close, arguments)
                else:
                    close(*arguments)

        return Greenlet.spawn(pass_by)

    return {"spawn": spawn, "backlog": BACKLOG}


def _threading_options(door: "Door") -> dict[str, Any]:
    """For werkzeug.serving.run_simple()."""
    from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler

    BaseWSGIServer.request_queue_size = BACKLOG

    class Handler(WSGIRequestHandler):
        """One connection."""

        timeout = IDLE_SECONDS

        def log_error(self, format: str, *args: Any) -> None:
            if not any(isinstance(each, TimeoutError) for each in args):  # an idle connection that ends is no error
                super().log_error(format, *args)

        def handle(self) -> None:
            with door.passing(self.connection, self.client_address) as admitted:
                if admitted:
                    super().handle()

    return {"request_handler": Handler, "allow_unsafe_werkzeug": True}
