"""Is the service there, and what does it run on."""

from datetime import UTC, datetime
from typing import Any

from flask import Response, jsonify
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel

import models
from errors import ModelUnavailable
from jobs.job import QUEUED
from routes.context import service
from routes.errors import OPEN, UNLIMITED, ErrorAnswer

TAG = Tag(name="health", description="Is the service there?")
bp = APIBlueprint("health", __name__, abp_responses=UNLIMITED, abp_tags=[TAG])


class HealthAnswer(BaseModel):
    """What `GET /health` answers."""

    status: str
    message: str
    available_models: list[str]
    websocket_support: bool
    transcription_endpoint: str
    timestamp: str
    version: str
    workers: int
    queue_depth: int
    device: str | None


class GpuAnswer(BaseModel):
    """What the workers saw of torch and the GPUs."""

    available: bool
    torch_installed: bool
    torch_version: str | None
    cuda_available: bool
    gpu_count: int
    devices: list[dict[str, Any]]


class OkAnswer(BaseModel):
    """A plain yes."""

    status: str


@bp.get("/health", responses={200: HealthAnswer}, openapi_extensions=OPEN)
@bp.get("/health/health", responses={200: HealthAnswer}, openapi_extensions=OPEN)
@bp.get("/health/status", responses={200: HealthAnswer}, openapi_extensions=OPEN)
def health() -> Response:
    """The service's state in one look."""
    workers = service().alive_workers()
    devices = [w.info.get("device") for w in workers if w.queue == "gpu"]
    answer = HealthAnswer(
        status="healthy", message="The service is running.", available_models=list(models.REGISTRY),
        websocket_support=True, transcription_endpoint="/transcribe", timestamp=datetime.now(UTC).isoformat(),
        version=service().version, workers=len(workers), queue_depth=service().store.count(status=QUEUED),
        device=next(iter(devices), None),
    )  # fmt: skip
    return jsonify(answer.model_dump())


@bp.get("/status", responses={200: OkAnswer}, openapi_extensions=OPEN)
def status() -> Response:
    """The shortest sign of life."""
    return jsonify(status="ok")


@bp.get("/health/live", responses={200: OkAnswer}, openapi_extensions=OPEN)
def live() -> Response:
    """The web process answers."""
    return jsonify(status="ok")


@bp.get("/health/ready", responses={200: OkAnswer, 503: ErrorAnswer}, openapi_extensions=OPEN)
def ready() -> Response:
    """Work sent now would be done: a worker of every queue is alive and fit, and the service is not about to end."""
    if service().draining():
        raise ModelUnavailable("The service is shutting down.")
    workers = service().alive_workers()
    missing = {"gpu", "cpu"} - {worker.queue for worker in workers if "trouble" not in worker.info}
    for worker in workers:
        if worker.queue in missing:
            raise ModelUnavailable(f"The {worker.queue} worker can run no job: {worker.info['trouble']}")
    if missing:
        raise ModelUnavailable(f"No {' and no '.join(sorted(missing))} worker is alive.")
    return jsonify(status="ok")


@bp.get("/gpu-status", responses={200: GpuAnswer, 401: ErrorAnswer})
def gpu_status() -> Response:
    """GPUs and torch, as the heavy workers saw them; this process never imports torch."""
    heavy = [worker.info for worker in service().alive_workers() if worker.queue == "gpu"]
    seen: dict[str, Any] = next((info for info in heavy if "torch_version" in info), {})
    answer = GpuAnswer(
        available=bool(seen.get("cuda_available")), torch_installed=bool(seen.get("torch_installed")),
        torch_version=seen.get("torch_version"), cuda_available=bool(seen.get("cuda_available")),
        gpu_count=seen.get("gpu_count", 0), devices=seen.get("devices", []),
    )  # fmt: skip
    return jsonify(answer.model_dump())
