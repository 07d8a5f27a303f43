"""How quick the web process is: `python -m bench.web` prints a Markdown table.

Everything runs on this machine: the service with its workers on small random weights (tests/tiny_weights.py), and the
clients in processes of their own. The separation that runs meanwhile takes every core, so the figures under load are
those of a busy machine.
"""

import argparse
import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from bench.machine import machine
from tests import tiny_weights
from tests.serving import ROOT, Server, wait_until

STARTS, FIRST_LINES, UPLOADS = 7, 15, 5
CLIENTS = 100
LOAD_SECONDS = 30.0
ARRIVAL_SECONDS = 5.0  # events younger than that at the end may be on their way
HEALTH_GAP_SECONDS = 0.05
UPLOAD_BYTES = 95_000_000
BLOCK_BYTES = 1 << 20
SONG_SECONDS, SHORT_SECONDS, RATE = 15, 2, 44100
MEGABYTE = 1e6

Row = tuple[str, str, str]  # what, measured, goal


def measure(load_seconds: float = LOAD_SECONDS) -> str:
    """Take every measurement; the date, the machine and a table, as Markdown.

    Parameters
    ----------
    load_seconds : float
        How long the measurements under load last.
    """
    heading = machine()
    with tempfile.TemporaryDirectory(prefix="bench") as name:
        folder = Path(name)
        weights = folder / "weights"
        tiny_weights.build(weights)
        rows = [_start_row(start_times(folder, weights))]
        server = Server(folder / "service", weights, PYTHONPATH=_as_installed(folder / "hidden"),
                        MAX_CONNECTIONS_PER_CLIENT=0).start()
        try:
            wait_until(lambda: server.get("/gpu-status").json()["torch_version"], 60)  # every worker is up
            idle = _web_memory(server)
            rows += _first_rows(*first_lines(server, noise(folder / "short.wav", SHORT_SECONDS)))
            rows += _load_rows(*under_load(server, noise(folder / "long.wav", SONG_SECONDS), load_seconds))
            rows.append(_upload_row(*uploads(server, folder)))
            rows.insert(1, _memory_row(idle, _web_memory(server)))
        finally:
            server.stop()
    return f"{heading}\n\n{table(rows)}\n"


def _as_installed(folder: Path) -> Path:
    """A folder for PYTHONPATH that hides gevent, which Huey would load: only the tests install it."""
    folder.mkdir()
    (folder / "gevent.py").write_text("raise ImportError")
    return folder


def start_times(folder: Path, weights: Path) -> list[float]:
    """Seconds from the start of `python app.py` to its first answer, several times."""
    found, hidden = [], _as_installed(folder / "hidden_at_start")
    for number in range(STARTS):
        server = Server(folder / f"start{number}", weights, PYTHONPATH=hidden)
        server.folder.mkdir(parents=True)
        begun_at = time.perf_counter()
        with server.log.open("wb") as log:
            server.process = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=server.environment,
                                              stdout=log, stderr=log)  # fmt: skip
        wait_until(lambda port=server.port: _answers(port), 60, pause_seconds=0.005)
        found.append(time.perf_counter() - begun_at)
        server.wait_for("/health/ready")
        server.stop()
    return found


def first_lines(server: Server, song: Path) -> tuple[list[float], list[float]]:
    """Milliseconds from sending a POST to the worker's first log line, and to the first event, on an idle service."""
    file_id = server.upload(song)["file_id"]
    to_line, to_event = [], []
    for _ in range(FIRST_LINES):
        written, sent_at = server.log.stat().st_size, time.time()
        answer = server.post(f"/process/demucs/{file_id}?async=true", force=True, output_format="wav")
        needle = f"job {answer.json()['job_id']}: demucs".encode()
        wait_until(lambda at=written, line=needle: line in _written(server.log, at), 10, pause_seconds=0.001)
        to_line.append((time.time() - sent_at) * 1000)
        server.wait_for_job(answer.json()["job_id"], "completed")
        query = "select min(created_at) from events where job_id = ?"
        to_event.append((server.rows(query, answer.json()["job_id"])[0][0] - sent_at) * 1000)
    return to_line, to_event


def under_load(
    server: Server, song: Path, seconds: float, clients: int = CLIENTS
) -> tuple[list[float], dict[int, list[float]]]:
    """Milliseconds of /health, and of each event's way to each client, while a separation runs and many listen.

    Parameters
    ----------
    server : Server
    song : Path
    seconds : float
    clients : int
        Of Socket.IO.

    Returns
    -------
    answers : list of float
    deliveries : dict of int to list of float
        For each event, by its number, those of all clients; empty for one that reached nobody. The last events, which
        may be on their way, are left out.
    """
    file_id = server.upload(song)["file_id"]
    with _crowd(server.url, clients) as leave:
        began_at = time.time()
        for seed in range(round(seconds)):  # one after the other, and more than can be done
            wish = {"shifts": 10, "seed": seed, "output_format": "wav"}
            job_id = server.post(f"/process/demucs/{file_id}?async=true", **wish).json()["job_id"]
        answers = list(_health(server.port, seconds))
        ended_at = time.time() - ARRIVAL_SECONDS
        received = leave()
    if server.get(f"/jobs/{job_id}").json()["status"] != "queued":
        raise RuntimeError("the separations ended before the measurement did; give them a longer song")
    created = dict(server.rows("select seq, created_at from events"))
    server.delete(f"/cleanup/{file_id}")
    deliveries: dict[int, list[float]] = {seq: [] for seq, at in created.items() if began_at <= at <= ended_at}
    for seq, at in received:
        if seq in deliveries:
            deliveries[seq].append((at - created[seq]) * 1000)
    return answers, deliveries


def uploads(server: Server, folder: Path) -> tuple[list[float], list[float]]:
    """Seconds of uploading a large wav, and of copying it, by turns; each until it is on the disk."""
    source, copy = noise(folder / "large.wav", UPLOAD_BYTES / (4 * RATE)), folder / "copy.wav"
    sent, copied = [], []
    for _ in range(UPLOADS):
        begun_at = time.perf_counter()
        shutil.copyfile(source, copy)
        _to_disk(copy)
        copied.append(time.perf_counter() - begun_at)
        begun_at = time.perf_counter()
        file_id = _post_file(server.port, source)
        _to_disk(server.uploads / f"{file_id}.wav")
        sent.append(time.perf_counter() - begun_at)
        server.delete(f"/cleanup/{file_id}")
    return sent, copied


def _health(port: int, seconds: float) -> Iterator[float]:
    """Milliseconds of GET /health over one connection, again and again."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begun_at = time.perf_counter()
        connection.request("GET", "/health")
        connection.getresponse().read()
        yield (time.perf_counter() - begun_at) * 1000
        time.sleep(HEALTH_GAP_SECONDS)
    connection.close()


@contextmanager
def _crowd(url: str, clients: int) -> Iterator[Callable[[], list[tuple[int, float]]]]:
    """Many listening clients; what is yielded ends them and tells what they received."""
    command = [sys.executable, "-m", "bench.crowd", url, str(clients)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()  # all are connected
    try:
        yield lambda: json.loads(process.communicate()[0])
    finally:
        process.kill()
        process.wait()


def _post_file(port: int, path: Path) -> str:
    """Upload a file as fast as the socket takes it; the song's id."""
    boundary = "a-boundary-that-no-audio-holds"
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="large.wav"\r\n'
        "Content-Type: audio/wav\r\n\r\n"
    ).encode()
    tail = f"\r\n--{boundary}--\r\n".encode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300, blocksize=BLOCK_BYTES)
    connection.putrequest("POST", "/upload")
    connection.putheader("Content-Type", f"multipart/form-data; boundary={boundary}")
    connection.putheader("Content-Length", str(len(head) + path.stat().st_size + len(tail)))
    connection.endheaders(head)
    with path.open("rb") as file:
        connection.sock.sendfile(file)
    connection.send(tail)
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return str(answer["file_id"])


def noise(path: Path, seconds: float) -> Path:
    """Noise: 16 bits, stereo, at RATE."""
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, RATE, 0, "NONE", ""))
        left = round(seconds * RATE) * 4
        while left > 0:
            file.writeframes(os.urandom(min(left, BLOCK_BYTES)))
            left -= BLOCK_BYTES
    return path


def _to_disk(path: Path) -> None:
    """Wait until a file is on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _written(path: Path, offset: int) -> bytes:
    """What was written to a file since it was so long."""
    with path.open("rb") as file:
        file.seek(offset)
        return file.read()


def _answers(port: int) -> bool:
    """Whether the service answers yet."""
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False


def _web_memory(server: Server) -> float:
    """Resident megabytes of the web process alone."""
    assert server.process is not None
    return float(psutil.Process(server.process.pid).memory_info().rss / MEGABYTE)


def _start_row(times: list[float]) -> Row:
    measured = f"{statistics.median(times):.2f} s ({min(times):.2f} to {max(times):.2f}, {len(times)} starts)"
    return "start to first `/health`, median", measured, "1.0 s"


def _memory_row(idle: float, after: float) -> Row:
    return "resident memory of the web process", f"{idle:.0f} MB idle, {after:.0f} MB after all below", "120 MB"


def _first_rows(to_line: list[float], to_event: list[float]) -> list[Row]:
    return [("POST to the worker's first log line, p50 / p99", percentiles(to_line), "150 ms"),
            ("POST to the job's first event, p50 / p99", percentiles(to_event), "")]  # fmt: skip


def _load_rows(answers: list[float], deliveries: dict[int, list[float]]) -> list[Row]:
    ways = [way for ways in deliveries.values() for way in ways]
    when = f"a separation runs, {CLIENTS} Socket.IO clients listen"
    return [(f"`/health` while {when}, p50 / p99", percentiles(answers), "p99 50 ms"),
            (f"event, worker to client, while {when}, p50 / p99", percentiles(ways), "p99 50 ms")]  # fmt: skip


def _upload_row(sent: list[float], copied: list[float]) -> Row:
    rate, plain = (UPLOAD_BYTES / MEGABYTE / statistics.median(times) for times in (sent, copied))
    ratio = statistics.median(a / b for a, b in zip(sent, copied, strict=True))
    measured = f"{rate:.0f} MB/s; plain copy {plain:.0f} MB/s; it takes {ratio:.1f} times as long"
    return f"upload of a 95 MB wav, median of {len(sent)}", measured, ""


def percentiles(milliseconds: list[float]) -> str:
    """p50 and p99 with how many there were."""
    p50, p99 = (percentile(milliseconds, share) for share in (0.5, 0.99))
    return f"{p50:.1f} ms / {p99:.1f} ms (n = {len(milliseconds)})"


def percentile(milliseconds: list[float], share: float) -> float:
    """The least time that so large a share of all, 0 to 1, does not exceed."""
    ordered = sorted(milliseconds)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def table(rows: list[Row]) -> str:
    """Rows as Markdown."""
    return "\n".join(["| what | measured | goal |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure the web process.")
    parser.add_argument("--load-seconds", type=float, default=LOAD_SECONDS, help="how long to measure under load")
    print(measure(parser.parse_args().load_seconds))


if __name__ == "__main__":
    main()
