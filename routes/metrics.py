"""What Prometheus scrapes: this process's requests and memory, and what the database knows of all processes."""

import time
from collections.abc import Iterator

from flask import Response, current_app, g, request
from flask_openapi3 import APIBlueprint, Tag
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from jobs import counters
from jobs.job import ACTIVE
from jobs.queue import NAMES
from jobs.statistics import active_jobs
from routes.context import Studio
from routes.errors import UNLIMITED, ErrorAnswer

TAG = Tag(name="health", description="Is the service there?")
bp = APIBlueprint("metrics", __name__, abp_responses=UNLIMITED, abp_tags=[TAG])

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}  # any other word is a client's invention
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600)  # a request may wait for its job


class Metrics:
    """One app's numbers.

    Parameters
    ----------
    rooms : Studio
        Whose database is asked at each scrape.
    """

    def __init__(self, rooms: Studio) -> None:
        disable_created_metrics()  # a series more for each of ours, of which nobody asks
        self.registry = CollectorRegistry()
        self._requests = Counter("studio_http_requests", "Requests answered by this process.",
                                 ("method", "route", "status"), registry=self.registry)  # fmt: skip
        self._seconds = Histogram("studio_http_request_seconds", "Time to the first byte of the answer.",
                                  ("method", "route"), buckets=SECONDS, registry=self.registry)  # fmt: skip
        self.registry.register(_Rooms(rooms))
        ProcessCollector(registry=self.registry)

    def note(self, response: Response) -> Response:
        """Count the present request; routes go by their rule, so that no client can make series without end."""
        method = request.method if request.method in METHODS else "other"
        route = request.url_rule.rule if request.url_rule else "unknown"
        self._requests.labels(method, route, str(response.status_code)).inc()
        self._seconds.labels(method, route).observe(time.perf_counter() - g.get("began_at", time.perf_counter()))
        return response


class _Rooms(Collector):
    """What the database knows, asked with three queries at each scrape."""

    def __init__(self, rooms: Studio) -> None:
        self._rooms = rooms

    def describe(self) -> list[Metric]:
        """Nothing beforehand: the registry would ask the database for it."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Jobs now, events so far, live workers."""
        yield InfoMetricFamily("studio", "The service.", {"version": self._rooms.version})
        with self._rooms.store.database.reading() as connection:
            now, past = active_jobs(connection), counters.read(connection)
        jobs = GaugeMetricFamily("studio_jobs_active", "Jobs that are there now.", labels=("queue", "status"))
        depth = GaugeMetricFamily("studio_queue_depth", "Jobs that wait for a worker.", labels=("queue",))
        for queue in NAMES:
            depth.add_metric((queue,), now.get((queue, "queued"), 0))
            for status in ACTIVE:
                jobs.add_metric((queue, status), now.get((queue, status), 0))
        yield from (jobs, depth)
        yield from _of_the_past(past)
        yield from self._workers()

    def _workers(self) -> Iterator[Metric]:
        """What live workers tell of themselves."""
        alive = self._rooms.alive_workers()
        count = GaugeMetricFamily("studio_workers", "Workers that gave a sign of life lately.", labels=("queue",))
        memory = GaugeMetricFamily("studio_workers_resident_memory_bytes", "Memory of all workers of a queue.",
                                   labels=("queue",))  # fmt: skip
        loaded = GaugeMetricFamily("studio_models_loaded", "Workers that have the model in memory.",
                                   labels=("model", "variant"))  # fmt: skip
        for queue in NAMES:
            infos = [worker.info for worker in alive if worker.queue == queue]
            count.add_metric((queue,), len(infos))
            memory.add_metric((queue,), sum(info.get("resident_bytes", 0) for info in infos))
        held = [tuple(key) for worker in alive for key in worker.info.get("loaded", ())]
        for key in sorted(set(held)):
            loaded.add_metric(key, held.count(key))
        yield from (count, memory, loaded)


def _of_the_past(counted: list[counters.Counter]) -> Iterator[Metric]:
    """What has happened since the database was made."""
    ended = CounterMetricFamily("studio_jobs", "Jobs that ended.", labels=("stage", "model", "status"))
    ran = SummaryMetricFamily("studio_job_seconds", "Run time of the attempts that completed.",
                              labels=("stage", "model"))  # fmt: skip
    loads = SummaryMetricFamily("studio_model_load_seconds", "Loads of models, with their downloads.",
                                labels=("model", "variant"))  # fmt: skip
    restarts = CounterMetricFamily("studio_worker_restarts", "Workers that ended and were replaced.",
                                   labels=("queue",))  # fmt: skip
    for each in counted:
        labels = each.labels
        if each.name == counters.JOBS:
            ended.add_metric((labels["stage"], labels["model"], labels["status"]), each.number)
            if labels["status"] == "completed":
                ran.add_metric((labels["stage"], labels["model"]), each.number, each.seconds)
        elif each.name == counters.MODEL_LOADS:
            loads.add_metric((labels["model"], labels["variant"]), each.number, each.seconds)
        elif each.name == counters.WORKER_RESTARTS:
            restarts.add_metric((labels["queue"],), each.number)
    yield from (ended, ran, loads, restarts)


@bp.get("/metrics", responses={200: {"description": "For Prometheus", "content": {"text/plain": {}}}, 401: ErrorAnswer})
def metrics() -> Response:
    """Requests, queue, outcomes, times, models, memory and workers, as Prometheus reads them."""
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return Response(encode(current_app.extensions["metrics"].registry), content_type=content_type)
