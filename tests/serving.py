"""A real server process with real workers, for tests and measurements."""

import contextlib
import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import redis
import requests
import socketio

from tests import compiled

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 60


class Server:
    """`python app.py` in a folder of its own.

    Parameters
    ----------
    folder : Path
        Uploads, outputs, database and log go here.
    models_dir : Path
        Weights, as tests/tiny_weights.py writes them.
    **environment
        Further settings, by the names of the environment variables.
    """

    def __init__(self, folder: Path, models_dir: Path, **environment: Any) -> None:
        self.folder, self.started_in = folder, ROOT
        self.uploads, self.outputs, self.log = folder / "uploads", folder / "outputs", folder / "server.log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        settings = {
            "PORT": self.port, "UPLOAD_FOLDER": self.uploads, "OUTPUT_FOLDER": self.outputs, "MODELS_DIR": models_dir,
            "DEVICE": "cpu", "HF_HUB_OFFLINE": "1",
            **_numba_folder(),
        } | environment  # fmt: skip
        self.environment = os.environ | {name: str(value) for name, value in settings.items()}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, ready: bool = True) -> "Server":
        """Start it, and wait until it answers and its workers are alive."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([sys.executable, ROOT / "app.py"], cwd=self.started_in,
                                            env=self.environment, stdout=log, stderr=log)  # fmt: skip
        self.wait_for("/health/ready" if ready else "/health")
        return self

    def wait_for(self, path: str) -> None:
        """Return when a path answers 200."""
        wait_until(lambda: _answers(self.url + path), START_SECONDS, lambda: f"{path}:\n{self.log.read_text()[-4000:]}")

    def stop(self) -> int:
        """Ask it to stop (SIGTERM); its exit status."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(60)

    def kill(self) -> None:
        """Kill the web process without a word."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def worker_pids(self, queue: str = "gpu") -> list[int]:
        """Process ids of the live workers of a queue."""
        return [json.loads(info)["pid"] for (info,) in self.rows("select info from workers where queue = ?", queue)]

    def stored_events(self, file_id: str) -> list[tuple[int, str, int]]:
        """Number, stage and progress of every event of a song, as the database has them."""
        return self.rows("select seq, stage, progress from events where file_id = ? order by seq", file_id)

    def wait_for_job(self, job_id: str, *statuses: str, timeout: float = 120) -> dict[str, Any]:
        """The job's record once it has one of these statuses."""

        def found() -> dict[str, Any] | None:
            record: dict[str, Any] = self.get(f"/jobs/{job_id}").json()
            return record if record.get("status") in statuses else None

        return wait_until(found, timeout, lambda: f"{statuses}: {self.get(f'/jobs/{job_id}').text}")

    def rows(self, query: str, *values: Any) -> list[Any]:
        """Rows of the service's database."""
        with contextlib.closing(sqlite3.connect(self.outputs / "studio.db", timeout=10)) as connection:
            return connection.execute(query, values).fetchall()

    def upload(self, path: Path, *, name: str | None = None, **fields: Any) -> dict[str, Any]:
        """Upload a file; the answer's body."""
        with path.open("rb") as file:
            files = {"file": (name or path.name, file)}
            answer = requests.post(f"{self.url}/upload", files=files, data=fields, timeout=300)
        assert answer.ok, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def post(self, path: str, **body: Any) -> requests.Response:
        """POST a JSON body."""
        return requests.post(self.url + path, json=body, timeout=300)

    def get(self, path: str, **options: Any) -> requests.Response:
        """GET a path."""
        return requests.get(self.url + path, timeout=60, **options)

    def delete(self, path: str) -> requests.Response:
        """DELETE a path."""
        return requests.delete(self.url + path, timeout=60)

    def listen(self) -> "Listener":
        """A connected Socket.IO client that keeps every event."""
        return Listener(self.url)


class Listener:
    """A real Socket.IO client; `events` are the payloads so far."""

    def __init__(self, url: str) -> None:
        self.events: list[dict[str, Any]] = []
        self.client = socketio.Client(reconnection=True, reconnection_delay=0.1, reconnection_delay_max=0.5)
        self.client.on("processing_progress", self.events.append)
        self.client.connect(url, transports=["websocket"])

    def of(self, file_id: str, stage: str | None = None) -> list[dict[str, Any]]:
        """Events of a song, or of one of its stages."""
        return [e for e in list(self.events) if e["file_id"] == file_id and stage in (None, e["stage"])]

    def wait_for(self, file_id: str, stage: str, progress: int = 100, timeout: float = 120) -> dict[str, Any]:
        """The first event of a stage that has come so far."""

        def found() -> dict[str, Any] | None:
            return next((e for e in self.of(file_id, stage) if e["progress"] >= progress), None)

        return wait_until(found, timeout, lambda: f"{stage} {progress} of {self.of(file_id)}")

    def subscribe(self, file_id: str, since_seq: int = 0) -> dict[str, Any]:
        """Narrow to one song and get what was missed; the acknowledgement."""
        return self.client.call("subscribe", {"file_id": file_id, "since_seq": since_seq}, timeout=20)

    def close(self) -> None:
        """Disconnect, and try no more to come back where the server is gone."""
        self.client.shutdown()


def close_all(listeners: list[Listener]) -> None:
    """Disconnect many at once: each may wait some seconds for the server's goodbye."""
    with ThreadPoolExecutor(len(listeners)) as pool:
        list(pool.map(Listener.close, listeners))


class RedisServer:
    """A Redis server of our own, on a free port, that keeps nothing on disk.

    Parameters
    ----------
    folder : Path
        Its working folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "RedisServer":
        """Start it and wait until it answers."""
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", self.folder]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_until(self._answers, START_SECONDS, lambda: "redis-server")
        return self

    def empty(self) -> None:
        """Forget everything."""
        with redis.Redis.from_url(self.url) as client:
            client.flushall()

    def stop(self) -> None:
        """End it."""
        assert self.process is not None
        self.process.terminate()
        self.process.wait(10)

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False


def wait_until(found: Any, timeout: float, describe: Any = lambda: "it", *, pause_seconds: float = 0.05) -> Any:
    """Look again and again until something is found; its value.

    Raises
    ------
    TimeoutError
        With what `describe` says.
    """
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if value := found():
            return value
        time.sleep(pause_seconds)
    raise TimeoutError(f"waited {timeout} s for {describe()}")


def free_port() -> int:
    """A TCP port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _numba_folder() -> dict[str, Path]:
    """A place for what Numba compiles that is the same in every run of a test file, whichever process runs it."""
    test = os.environ.get("PYTEST_CURRENT_TEST")
    return {"NUMBA_CACHE_DIR": compiled.folder_of(Path(test.partition("::")[0]).stem)} if test else {}


def _answers(url: str) -> bool:
    """Whether a URL answers 200."""
    try:
        return requests.get(url, timeout=5).status_code == 200
    except requests.ConnectionError:
        return False
