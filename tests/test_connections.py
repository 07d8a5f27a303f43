"""One address that opens more connections than it may, in each mode of the server: the others do not notice."""

import resource
import signal
import socket
import time
import wave
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests
from requests.adapters import HTTPAdapter

from tests.serving import Server, wait_until

MOST, TRIED = 20, 120
AT_ONCE = 200  # more than the servers let wait by themselves
LONG_BYTES = 20_000_000  # more than the buffers of a connection hold
GREEDY, DRIPPING, MANY = "127.0.0.2", "127.0.0.3", "127.0.0.4"  # any of 127.0.0.0/8 may be one's own address
LONGEST_ANSWER_SECONDS = 1.0  # on a busy machine; milliseconds on a free one
BEGINNINGS = {
    "idle": b"",
    "headers": b"GET /health HTTP/1.1\r\nX-A: b\r\n",
    "upload": b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n"
              b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n",
    "socket": b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
              b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
              b"Sec-WebSocket-Version: 13\r\n\r\n",
}  # fmt: skip


class From(HTTPAdapter):
    """Requests from an address."""

    def init_poolmanager(self, *args: object, **kwargs: object) -> None:
        super().init_poolmanager(*args, source_address=(GREEDY, 0), **kwargs)  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module", params=["eventlet", "gevent", "threading"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A web process without workers that lets few connections in."""
    folder = tmp_path_factory.mktemp(request.param)
    running = Server(folder, folder, ASYNC_MODE=request.param, START_WORKERS="false", MAX_CONNECTIONS_PER_CLIENT=MOST)
    running.start(ready=False)
    yield running
    assert running.stop() == 0


def greedy(server: Server, count: int, beginning: bytes = b"", address: str = GREEDY) -> list[socket.socket]:
    """So many connections from one address, each with the beginning of a request."""
    opened = []
    for _ in range(count):
        opened.append(socket.create_connection(("127.0.0.1", server.port), timeout=10, source_address=(address, 0)))
        opened[-1].sendall(beginning)
    return opened


def held(process: int, file_id: str) -> list[str]:
    """The connections that a process has open, and a song's files; not the database, whose connections come and go."""
    found = []
    for descriptor in Path(f"/proc/{process}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(str(descriptor.readlink()))
    return [name for name in found if name.startswith("socket:") or file_id in name]


def others_are_answered(server: Server) -> None:
    """Check that another address is answered soon."""
    for _ in range(5):
        began = time.monotonic()
        assert requests.get(f"{server.url}/health", timeout=10).status_code == 200
        assert time.monotonic() - began < LONGEST_ANSWER_SECONDS


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_who_opens_many_connections_gets_so_many_and_the_others_are_served(service: Server, beginning: str) -> None:
    opened = greedy(service, TRIED, BEGINNINGS[beginning])
    others_are_answered(service)
    refused = 0
    for each in opened:
        each.setblocking(False)

    def told() -> bool:
        nonlocal refused
        for each in opened:
            try:
                refused += each.recv(100).startswith(b"HTTP/1.1 429")
            except BlockingIOError:
                continue
            except ConnectionError:
                refused += 1  # what it had sent was not read, so the answer was lost
        return refused >= TRIED - MOST

    wait_until(told, 10, lambda: f"{TRIED - MOST} refusals, {refused} came")
    assert refused == TRIED - MOST
    for each in opened:
        each.close()
    session = requests.Session()
    session.mount("http://", From())

    def welcome() -> bool:
        try:
            return session.get(f"{service.url}/health", timeout=10).status_code == 200
        except requests.ConnectionError:
            return False

    wait_until(welcome, 10, lambda: "the address to be let in again")
    session.close()


def test_who_sends_a_byte_at_a_time_holds_up_nobody_and_leaves_nothing(service: Server) -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + bytes(150_000)
    head = BEGINNINGS["upload"].removesuffix(b"--x\r\n").replace(b": 999", b": 999999")
    incoming = service.uploads / ".incoming"
    opened = greedy(service, MOST, head + part, DRIPPING)
    wait_until(lambda: len(list(incoming.iterdir())) == MOST, 10, lambda: str(list(incoming.iterdir())))
    for _ in range(3):
        for each in opened:
            each.sendall(b"\0")
        others_are_answered(service)
    for each in opened:
        each.close()
    wait_until(lambda: not list(incoming.iterdir()), 10, lambda: str(list(incoming.iterdir())))


def test_those_who_come_at_once_wait_until_they_are_let_in(service: Server) -> None:
    assert service.process is not None
    service.process.send_signal(signal.SIGSTOP)  # it is busy
    try:
        opened = greedy(service, AT_ONCE, address=MANY)
    finally:
        service.process.send_signal(signal.SIGCONT)
    others_are_answered(service)
    for each in opened:
        each.close()


def test_who_leaves_in_the_middle_of_a_download_leaves_nothing(service: Server, tmp_path: Path) -> None:
    assert service.process is not None
    process = service.process.pid
    with wave.open(str(tmp_path / "long.wav"), "wb") as song:
        song.setparams((2, 2, 44100, 0, "NONE", ""))
        song.writeframes(bytes(LONG_BYTES))
    file_id = service.upload(tmp_path / "long.wav")["file_id"]
    before = len(held(process, file_id))
    opened = greedy(service, MOST, f"GET /download/{file_id} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    for each in opened:
        assert each.recv(10) == b"HTTP/1.1 2"
    assert len(held(process, file_id)) >= 2 * MOST
    for each in opened:
        each.close()
    wait_until(lambda: len(held(process, file_id)) <= before, 10, lambda: (before, held(process, file_id)))


def test_without_file_descriptors_it_waits_and_goes_on(service: Server) -> None:
    assert service.process is not None
    process, here = service.process.pid, Path(f"/proc/{service.process.pid}/fd")
    soft, hard = resource.prlimit(process, resource.RLIMIT_NOFILE)
    resource.prlimit(process, resource.RLIMIT_NOFILE, (40, hard))
    try:
        opened = [each for address in (GREEDY, DRIPPING, MANY) for each in greedy(service, MOST, address=address)]
        wait_until(lambda: len(list(here.iterdir())) >= 40, 10)
        for each in opened:
            each.close()
        service.wait_for("/health")
    finally:
        resource.prlimit(process, resource.RLIMIT_NOFILE, (soft, hard))
