"""How many connections the web process takes: of each client, and in all. Who comes too many is refused with a 429."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from socket import socket
from typing import Any

MOST_CONNECTIONS, LEAST_CONNECTIONS = 10_000, 50
DESCRIPTORS_EACH = 2  # a connection's own, and what it downloads or wakes by
OWN_DESCRIPTORS = 200  # for the database, uploads, workers
WARN_SECONDS = 60.0  # between log lines about refused connections
REFUSAL = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 10\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

log = logging.getLogger(__name__)


class Door:
    """How many connections there are, of each client and in all.

    Parameters
    ----------
    per_client : int
        Most of one client; 0 for no limit.
    in_all : int
        Most of all together.
    client_of : callable
        Who counts as one client, by address.
    """

    def __init__(self, per_client: int, in_all: int, client_of: Callable[[str], str]) -> None:
        self.in_all, self._per_client, self._client_of = in_all, per_client, client_of
        self._connected: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._warned_at = -WARN_SECONDS

    @contextmanager
    def passing(self, connection: socket, address: Any) -> Iterator[bool]:
        """Whether a new connection may stay, for as long as the block lasts; one that may not is told so.

        Parameters
        ----------
        connection : socket
        address : tuple or str
            As accept() gave it.
        """
        client = self._client_of(address[0] if isinstance(address, tuple) else "")
        with self._lock:
            full = self._connected.total() >= self.in_all
            admitted = not full and not 0 < self._per_client <= self._connected[client]
            if admitted:
                self._connected[client] += 1
        if not admitted:
            self._refuse(connection, client, full)
            yield False
            return
        try:
            yield True
        finally:
            with self._lock:
                self._connected[client] -= 1
                if not self._connected[client]:
                    del self._connected[client]

    def _refuse(self, connection: socket, client: str, full: bool) -> None:
        """Say that there are too many, to the client and now and then to the log."""
        now = time.monotonic()
        if now - self._warned_at >= WARN_SECONDS:
            self._warned_at = now
            reason = f"all {self.in_all} are taken" if full else f"it has {self._per_client}"
            log.warning("a connection from %s is refused: %s", client, reason)
        with suppress(OSError):
            connection.setblocking(False)
            connection.send(REFUSAL)


def most_connections() -> int:
    """How many connections there may be in all: those that the file descriptors suffice for.

    The process's limit of descriptors is raised for it, as far as it may be.

    Returns
    -------
    int
        From LEAST_CONNECTIONS to MOST_CONNECTIONS.
    """
    try:
        import resource
    except ModuleNotFoundError:  # Windows, which has no such limit
        return MOST_CONNECTIONS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_CONNECTIONS * DESCRIPTORS_EACH + OWN_DESCRIPTORS
    allowed = most if hard == resource.RLIM_INFINITY else min(hard, most)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        except (OSError, ValueError):  # macOS allows less than its hard limit says
            allowed = soft
    return max(LEAST_CONNECTIONS, (allowed - OWN_DESCRIPTORS) // DESCRIPTORS_EACH)
