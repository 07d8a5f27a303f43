"""A live worker as the web process sees it: a process of its own, and what goes to it and comes from it."""

import logging
import queue
import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import processes
from config import Config
from jobs.live_link import TOKEN_VARIABLE, Link
from jobs.supervisor import describe_exit

HELLO_SECONDS = 60.0  # it may take so long until it connects
LOOK_SECONDS = 0.5  # between looks at whether it still lives, until it has connected
END_SECONDS = 5.0  # between the end of its connection and its own

log = logging.getLogger(__name__)


class LiveProcess:
    """A live worker process, started now.

    Parameters
    ----------
    config : Config
    index : int
        Which of several.
    on_message : callable
        Told what it says: a dict.
    on_end : callable
        Told, once, why it ended.
    """

    def __init__(
        self, config: Config, index: int, on_message: Callable[[dict[str, Any]], None],
        on_end: Callable[["LiveProcess", str], None],
    ) -> None:  # fmt: skip
        self.index, self.heard_at = index, time.monotonic()
        self._on_message, self._on_end = on_message, on_end
        self._outgoing: queue.Queue[tuple[dict[str, Any], bytes] | None] = queue.Queue()
        self._stopping = False
        token = secrets.token_hex(16)
        listener = socket.create_server(("127.0.0.1", 0))
        command = processes.command("jobs.live_worker", "--port", listener.getsockname()[1], "--index", index)
        environment = processes.environment(**config.environment(), **{TOKEN_VARIABLE: token})
        self._process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
        threading.Thread(target=self._serve, args=(listener, token), name="live-worker", daemon=True).start()

    def send(self, message: dict[str, Any], sound: bytes = b"") -> None:
        """Send a message as soon as it can be sent; never waits. One that has ended gets nothing."""
        self._outgoing.put((message, sound))

    def kill(self) -> None:
        """End it at once; `on_end` follows."""
        self._process.kill()

    def stop(self) -> None:
        """End it at once, and wait for that."""
        self._stopping = True
        self._process.kill()
        self._process.wait()

    def _serve(self, listener: socket.socket, token: str) -> None:
        """Hand on what it says, until it ends."""
        link = None
        try:
            with listener:
                link = self._welcome(listener, token)
            if link is not None:
                threading.Thread(target=self._write, args=(link,), name="live-write", daemon=True).start()
                while (said := link.receive()) is not None:
                    self.heard_at = time.monotonic()
                    self._on_message(said[0])
        finally:
            self._outgoing.put(None)
            if link is not None:
                link.close()
            self._on_end(self, self._bury())

    def _welcome(self, listener: socket.socket, token: str) -> Link | None:
        """The line to the worker, once somebody connects who knows the token; None when it did not in time."""
        listener.settimeout(LOOK_SECONDS)
        deadline = time.monotonic() + HELLO_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                connection, _ = listener.accept()
                connection.settimeout(LOOK_SECONDS)
            except OSError:  # nobody has come yet
                continue
            link = Link(connection)
            hello = link.receive()
            if hello is not None and secrets.compare_digest(str(hello[0].get("token")), token):
                connection.settimeout(None)
                return link
            link.close()
        return None

    def _write(self, link: Link) -> None:
        """Send what is to be sent, until it ends: to wait for a slow worker is nobody else's business."""
        while (item := self._outgoing.get()) is not None:
            try:
                link.send(*item)
            except OSError as error:
                log.info("live worker %d: %s", self.index, error)
                return

    def _bury(self) -> str:
        """Wait for its end, or bring it about; why it ended."""
        try:
            status = self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        if self._stopping:
            return "The service is shutting down."
        reason = describe_exit(status)
        log.error("live worker %d ended: %s", self.index, reason)
        return f"The live worker ended ({reason}); start a new session."
