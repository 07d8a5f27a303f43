"""Health: exact shapes, and ready only when work sent now would be done."""

import time
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any

import pytest
from flask.testing import FlaskClient

import app as web
from jobs.tables import workers
from tests import contract
from tests.library import Library
from tests.serving import Server, wait_until

SIX = ["demucs", "whisper", "musicgen", "pitch_analysis", "gemma_3n", "karaoke"]
GPU_FIELDS = {"available", "torch_installed", "torch_version", "cuda_available", "gpu_count", "devices"}


@pytest.mark.parametrize("path", ["/health", "/health/health", "/health/status"])
def test_health(client: FlaskClient, path: str) -> None:
    answer: dict[str, Any] = client.get(path).json
    told = datetime.fromisoformat(answer.pop("timestamp"))
    assert abs(datetime.now(UTC) - told) < timedelta(seconds=10)
    assert answer.pop("message")
    assert answer == {
        "status": "healthy", "available_models": SIX, "websocket_support": True,
        "transcription_endpoint": "/transcribe", "version": web.VERSION, "workers": 0, "queue_depth": 0, "device": None,
    }  # fmt: skip


def test_health_counts_workers_and_what_waits(client: FlaskClient, library: Library) -> None:
    library.store.beat("a", "gpu", {"device": "cuda:0"})
    library.store.beat("b", "cpu", {"device": "cpu"})
    library.add_job()
    library.claim(library.add_job().id)
    answer = client.get("/health").json
    assert (answer["workers"], answer["queue_depth"], answer["device"]) == (2, 1, "cuda:0")


@pytest.mark.parametrize("path", ["/status", "/health/live"])
def test_the_shortest_signs_of_life(client: FlaskClient, path: str) -> None:
    assert client.get(path).json == {"status": "ok"}


def test_ready_needs_a_live_worker_of_every_queue(client: FlaskClient, library: Library) -> None:
    assert "gpu" in contract.error(client.get("/health/ready"), 503, "model_unavailable")["error"]
    library.store.beat("a", "gpu", {})
    missing = contract.error(client.get("/health/ready"), 503, "model_unavailable")["error"]
    assert ("cpu" in missing, "gpu" in missing) == (True, False)
    library.store.beat("b", "cpu", {})
    assert client.get("/health/ready").json == {"status": "ok"}
    long_ago = time.time() - library.studio.silence_seconds - 1
    with library.store.database.writing() as connection:
        connection.execute(workers.update().where(workers.c.id == "a").values(heartbeat_at=long_ago))
    contract.error(client.get("/health/ready"), 503, "model_unavailable")
    assert client.get("/health").json["workers"] == 1


def test_not_ready_once_it_is_about_to_end(client: FlaskClient, library: Library) -> None:
    library.add_workers()
    assert client.get("/health/ready").status_code == 200
    library.app.extensions["background"].supervisor.drain()
    assert "shutting down" in contract.error(client.get("/health/ready"), 503, "model_unavailable")["error"]
    assert client.get("/health/live").status_code == 200


def test_gpu_status_without_workers(client: FlaskClient) -> None:
    assert client.get("/gpu-status").json == {
        "available": False, "torch_installed": False, "torch_version": None, "cuda_available": False, "gpu_count": 0,
        "devices": [],
    }  # fmt: skip


def test_a_running_service(server: Server) -> None:
    wait_until(lambda: server.get("/health").json()["device"], 60)  # the worker tells it once torch is there
    health = server.get("/health").json()
    assert (health["status"], health["workers"], health["device"]) == ("healthy", 2, "cpu")
    gpu = server.get("/gpu-status").json()
    assert gpu.keys() == GPU_FIELDS
    assert (gpu["torch_installed"], gpu["torch_version"]) == (True, version("torch"))
    assert gpu["available"] == gpu["cuda_available"] == (gpu["gpu_count"] > 0)
    assert server.get("/health/ready").json() == {"status": "ok"}
