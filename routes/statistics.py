"""How the work goes: success, times and load, by stage and model."""

import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from flask import Response, jsonify
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, ConfigDict, Field

from jobs.queue import NAMES
from jobs.statistics import Counts, StageStatistics, statistics
from routes.context import as_text, studio
from routes.errors import COMMON, ErrorAnswer

TAG = Tag(name="jobs", description="Jobs")
bp = APIBlueprint("statistics", __name__, abp_responses=COMMON, abp_tags=[TAG])

MAX_HOURS = 24 * 366
DECIMALS = 4


class StatisticsQuery(BaseModel):
    """Which jobs count as ended."""

    model_config = ConfigDict(json_schema_extra=as_text)

    hours: float | None = Field(
        None, gt=0, le=MAX_HOURS, allow_inf_nan=False,
        description="Of what ended, only what ended in the last so many hours; without it, all.",
    )  # fmt: skip


class CountsAnswer(BaseModel):
    """How many jobs ended how in the window, and how many are there now."""

    completed: int
    failed: int
    cancelled: int
    running: int
    queued: int
    paused: int
    success_rate: float | None = Field(ge=0, le=1, description="Completed of ended; null while nothing has ended.")


class StageAnswer(CountsAnswer):
    """One model at one stage; times are null where there is nothing to measure."""

    model_config = ConfigDict(protected_namespaces=())

    stage: str
    model: str
    average_run_seconds: float | None = Field(description="Of completed jobs, from their last start to their end.")
    median_run_seconds: float | None
    average_wait_seconds: float | None = Field(
        description="Of jobs that completed at their first attempt, from the request to the start."
    )
    median_wait_seconds: float | None
    run_seconds_per_song_second: float | None = Field(
        description="Run time by the length of the songs, or of the music made; below 1 is faster than it plays."
    )
    run_seconds_per_song_second_by_variant: dict[str, float] = Field(
        description="The same of each variant that has been measured."
    )


class QueueAnswer(BaseModel):
    """A queue now, of all owners, and who works on it."""

    queue: str
    queued: int
    running: int
    workers: int = Field(description="Workers that gave a sign of life lately.")
    device: str | None = Field(description="What the first of them runs on.")
    trouble: str | None = Field(description="Why they can run no job; null when they can.")


class StatisticsAnswer(BaseModel):
    """How the work goes; a deleted song's jobs count no more, nor, with API keys, do those of others."""

    timestamp: str
    hours: float | None
    stages: list[StageAnswer] = Field(description="Stages that have jobs, in a pipeline's order.")
    total: CountsAnswer
    queue_depth: int = Field(description="Jobs that wait for a worker, of all queues and owners.")
    workers: int = Field(description="Workers of all queues that gave a sign of life lately.")
    queues: list[QueueAnswer]


@bp.get("/jobs/statistics", responses={200: StatisticsAnswer, 400: ErrorAnswer})
def job_statistics(query: StatisticsQuery) -> Response:
    """Success rate, run and waiting times of each stage and model; queues and workers now."""
    since = None if query.hours is None else time.time() - 3600 * query.hours
    store, workers = studio().store, studio().alive_workers()
    found = statistics(store.database, since, store.owner)
    answer = StatisticsAnswer(
        timestamp=datetime.now(UTC).isoformat(), hours=query.hours, stages=[_stage(stage) for stage in found.stages],
        total=CountsAnswer(**_counts(found.total)), queue_depth=sum(counts.queued for counts in found.active.values()),
        workers=len(workers),
        queues=[
            _queue(name, found.active.get(name, Counts()), [worker.info for worker in workers if worker.queue == name])
            for name in NAMES
        ],
    )  # fmt: skip
    return jsonify(answer.model_dump())


def _counts(counts: Counts) -> dict[str, Any]:
    """Counts as clients see them."""
    return asdict(counts) | {"success_rate": _rounded(counts.success_rate)}


def _stage(found: StageStatistics) -> StageAnswer:
    """A stage as clients see it."""
    times = {name: _rounded(value) for name, value in asdict(found.times).items()}
    rates = {variant: round(rate, DECIMALS) for variant, rate in found.variant_rates.items()}
    named = {"stage": found.stage, "model": found.model, "run_seconds_per_song_second_by_variant": rates}
    return StageAnswer.model_validate(named | _counts(found.counts) | times)


def _queue(name: str, counts: Counts, workers: list[dict[str, Any]]) -> QueueAnswer:
    """A queue as clients see it, from what its live workers tell of themselves."""
    fit = [info for info in workers if "trouble" not in info]
    return QueueAnswer(
        queue=name, queued=counts.queued, running=counts.running, workers=len(workers),
        device=next((info.get("device") for info in fit), None),
        trouble=workers[0]["trouble"] if workers and not fit else None,
    )  # fmt: skip


def _rounded(value: float | None) -> float | None:
    """As exact as anyone reads it."""
    return None if value is None else round(value, DECIMALS)
