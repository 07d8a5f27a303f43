"""What tests share: weights, a running server, an app without workers, rendered songs."""

import ast
import hashlib
import os
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

# Tiny models gain nothing by more threads, and on a busy machine torch's threads mostly wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")  # Numba, which times Whisper's words, resets torch's threads to its own

from tests import compiled

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["NUMBA_CACHE_DIR"] = str(compiled.folder_of(os.environ["PYTEST_XDIST_WORKER"]))

import numpy as np
import pytest
from filelock import FileLock
from flask.testing import FlaskClient
from flask_openapi3 import OpenAPI
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from config import Config
from jobs.store import JobStore
from storage.database import Database
from tests import render, tiny_weights
from tests.library import Library
from tests.serving import ROOT, RedisServer, Server

LONGEST = ("test_static_page", "test_pipeline", "test_recovery", "test_demo", "test_models_demucs",
           "test_docs_progress_guide", "test_sockets_progress", "test_sockets_live", "test_jobs_worker",
           "test_training_song", "test_models_spool")  # fmt: skip
FEW = 3  # processes


def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are cores, since tests wait for services as often as they work."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no process is left alone with one of them at the end."""
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


class FewServices(LoadFileScheduling):
    """Gives files to processes whole, and those that share a service to the same process."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return service_of(ROOT / file) or file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> FewServices | None:
    """Start shared services once where few processes test; more have cores to spare, and less time for one chain."""
    return FewServices(config, log) if len(config.getvalue("tx")) <= FEW else None


@cache
def service_of(path: Path) -> str | None:
    """The shared service that tests or fixtures of a file ask for: one for the tests of pages, one for all others."""
    functions = [node for node in ast.parse(path.read_bytes()).body if isinstance(node, ast.FunctionDef)]
    asking = [node for node in functions if node.name.startswith("test_") or node.decorator_list]
    if not any(argument.arg in ("server", "finished", "studio") for node in asking for argument in node.args.args):
        return None
    return "pages" if path.stem.startswith("test_static_") else "service"


@pytest.fixture(scope="session")
def weights_dir(pytestconfig: pytest.Config) -> Path:
    """Small random checkpoints of every model, in the libraries' own formats; tests change copies of them only.

    Kept in pytest's cache until what makes them changes: to build them takes a quarter of a minute.
    """
    folder = pytestconfig.cache.mkdir("weights")
    recipe = b"".join(path.read_bytes() for path in (Path(tiny_weights.__file__), ROOT / "requirements.txt"))
    digest, made_of = hashlib.sha256(recipe).hexdigest(), folder / "made-of"
    with FileLock(folder.with_suffix(".lock")):
        if not made_of.exists() or made_of.read_text() != digest:
            shutil.rmtree(folder)
            tiny_weights.build(folder)
            made_of.write_text(digest)
    return folder


@pytest.fixture(scope="session")
def server(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory, weights_dir: Path
) -> Iterator[Server]:
    """A running service with its workers, shared by the tests that leave it as they found it.

    It has weights of its own, and finds none elsewhere.
    """
    folder, nowhere = tmp_path_factory.mktemp("server"), "http://127.0.0.1:9"
    weights, caches = shutil.copytree(weights_dir, folder / "weights"), pytestconfig.cache.mkdir("caches")
    place = f"server-{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}"
    running = Server(
        folder, weights, XDG_CACHE_HOME=caches, HTTPS_PROXY=nowhere, NUMBA_CACHE_DIR=compiled.folder_of(place)
    ).start()
    yield running
    assert running.stop() == 0


@pytest.fixture
def studio(server: Server) -> Iterator[Server]:
    """The shared server, from which the test's songs are removed at the end."""

    def songs() -> set[str]:
        return {song["file_id"] for song in server.get("/songs").json()["songs"]}

    there_before = songs()
    yield server
    for file_id in songs() - there_before:
        server.delete(f"/songs/{file_id}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window."""
    from tests.browser import chromium  # Playwright is not there for tests/audiocraft

    with chromium() as running:
        yield running


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Settings for an app in this process, without workers."""
    return Config(upload_folder=tmp_path / "uploads", output_folder=tmp_path / "outputs", async_mode="threading",
                  start_workers=False)  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    """An empty table of jobs."""
    database = Database(f"sqlite:///{tmp_path / 'studio.db'}")
    database.create_tables()
    yield JobStore(database)
    database.close()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis of our own."""
    running = RedisServer(tmp_path_factory.mktemp("redis")).start()
    yield running
    running.stop()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """An empty database of that Redis."""
    redis_server.empty()
    return redis_server.url


@pytest.fixture
def app(config: Config) -> Iterator[OpenAPI]:
    """The web process's app in this process: real database and queue, no workers."""
    from app import create_app

    made = create_app(config)
    made.extensions["background"].tail.start()
    yield made
    made.extensions["background"].tail.stop()
    made.extensions["studio"].jobs.queue.close()
    made.extensions["studio"].store.database.close()


@pytest.fixture
def client(app: OpenAPI) -> FlaskClient:
    """Sends requests to that app."""
    return app.test_client()


@pytest.fixture
def library(app: OpenAPI) -> Library:
    """Songs and jobs of that app, to be put there directly."""
    return Library(app)


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> FlaskClient:
    """Sends requests that change nothing to an app without workers, shared by all tests."""
    from app import create_app

    folder = tmp_path_factory.mktemp("reader")
    config = Config(upload_folder=folder / "uploads", output_folder=folder / "outputs", async_mode="threading",
                    start_workers=False)  # fmt: skip
    return create_app(config).test_client()


@pytest.fixture(scope="session")
def tone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of an A major chord."""
    time = np.arange(3 * render.RATE) / render.RATE
    chord = sum(np.sin(2 * np.pi * frequency * time) for frequency in (220.0, 277.18, 329.63)) / 4
    return render.save(tmp_path_factory.mktemp("tone") / "Dusk - River.wav", np.stack([chord, chord]).astype("f4"))


@pytest.fixture(scope="session")
def finished(server: Server, tone: Path) -> dict[str, Any]:
    """What the service answered for a song that went through the pipeline while the client waited.

    Tests leave its results: what they make of it besides has other names.
    """
    return server.upload(tone, auto_process="true", wait="true", transcription_model_variant="tiny")
