"""How the work goes: what ended how, how long it took and waited, what waits now. The database counts."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Label, Select, and_, case, func, select

from jobs.events import STAGES
from jobs.job import ACTIVE, COMPLETED, ENDED
from jobs.tables import jobs
from storage.database import Database
from storage.owners import seen_by
from storage.songs import songs

MEASURED_JOBS = 10_000  # the newest that ended are measured, so that a long history holds up nobody


@dataclass(frozen=True)
class Counts:
    """How many jobs ended how, and how many are there now."""

    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    running: int = 0
    queued: int = 0
    paused: int = 0

    @property
    def success_rate(self) -> float | None:
        """Completed of ended, 0 to 1; None while nothing has ended."""
        ended = self.completed + self.failed + self.cancelled
        return self.completed / ended if ended else None


@dataclass(frozen=True)
class Times:
    """How long completed jobs took and waited, in seconds; None where there is nothing to measure.

    Attributes
    ----------
    average_run_seconds, median_run_seconds : float or None
        From the start of the attempt that completed to its end, and before it what earlier ones took for what it went
        on from.
    average_wait_seconds, median_wait_seconds : float or None
        From the request to the start, of jobs that completed at their first attempt and were never paused.
    run_seconds_per_song_second : float or None
        Run time of all these jobs by the length of their songs, or of the music that was made; less than 1 is faster
        than it plays.
    """

    average_run_seconds: float | None = None
    median_run_seconds: float | None = None
    average_wait_seconds: float | None = None
    median_wait_seconds: float | None = None
    run_seconds_per_song_second: float | None = None


@dataclass(frozen=True)
class StageStatistics:
    """One model at one stage.

    Attributes
    ----------
    stage, model : str
    counts : Counts
    times : Times
    variant_rates : dict of str to float
        Run time by the length of the sound, of each variant that has been measured.
    """

    stage: str
    model: str
    counts: Counts
    times: Times
    variant_rates: dict[str, float]


@dataclass(frozen=True)
class Statistics:
    """How the work goes as a whole.

    Attributes
    ----------
    stages : list of StageStatistics
        In a pipeline's order; only those that have jobs.
    total : Counts
        All of them together.
    active : dict of str to Counts
        What is there now, by queue; queues without jobs are left out.
    """

    stages: list[StageStatistics]
    total: Counts
    active: dict[str, Counts]


def statistics(database: Database, since: float | None = None, owner: str | None = None) -> Statistics:
    """Count every job and measure the newest MEASURED_JOBS that ended, with seven queries however many there are.

    Jobs of songs that were deleted are gone with them and count no more.

    Parameters
    ----------
    database : Database
    since : float or None
        Unix seconds: of what ended, only what ended after it. What is there now is always all of it.
    owner : str or None
        Whose jobs count, all when None; `active` is always of all, since they wait in the same queues.
    """
    seen = seen_by(owner, jobs.c.file_id)
    # What has not ended has no such time; an index finds it.
    ended = and_(jobs.c.finished_at >= (since or 0.0), *seen)
    recent = _recent(ended)
    with database.reading() as connection:
        active = active_jobs(connection)
        waiting = and_(jobs.c.status.in_(ACTIVE), *seen)
        now, past = (connection.execute(_counted(which)).all() for which in (waiting, ended))
        averages = {(row.stage, row.model): row for row in connection.execute(_averages(recent))}
        rates = connection.execute(_variant_rates(recent)).all()
        runs, waits = (
            {(row.stage, row.model): row.median for row in connection.execute(_medians(recent, value))}
            for value in (recent.c.run, recent.c.wait)
        )
    rows = [*now, *past]
    return Statistics(
        stages=[
            StageStatistics(
                *group, counts=_counts([row for row in rows if (row.stage, row.model) == group]),
                times=_times(averages.get(group), runs.get(group), waits.get(group)),
                variant_rates={row.variant: row.rate for row in rates if (row.stage, row.model) == group},
            )
            for group in sorted({(row.stage, row.model) for row in rows}, key=_order)
        ],
        total=_counts(rows),
        active={
            queue: Counts(**{status: number for (of, status), number in active.items() if of == queue})
            for queue in {queue for queue, _ in active}
        },
    )  # fmt: skip


def active_jobs(connection: Connection) -> dict[tuple[str, str], int]:
    """How many jobs there are now, by queue and status, in one query."""
    counted = select(jobs.c.queue, jobs.c.status, func.count()).where(jobs.c.status.in_(ACTIVE))
    rows = connection.execute(counted.group_by(jobs.c.queue, jobs.c.status))
    return {(queue, status): count for queue, status, count in rows}


def _counted(which: ColumnElement[bool]) -> Select[Any]:
    """How many jobs there are of each stage, model, queue and status."""
    group = (jobs.c.stage, jobs.c.model, jobs.c.queue, jobs.c.status)
    return select(*group, func.count().label("jobs")).where(which).group_by(*group)


def _recent(ended: ColumnElement[bool]) -> Any:
    """Run time, wait and length of the sound, of the newest jobs that ended; NULL where they do not count."""
    ran = and_(jobs.c.status == COMPLETED, jobs.c.started_at.is_not(None))
    waited = and_(ran, jobs.c.attempts == 1, jobs.c.paused_at.is_(None))
    earlier = func.coalesce(jobs.c.earlier_seconds, 0.0)
    made = case((jobs.c.stage == "generation", jobs.c.result["duration"].as_float()), else_=songs.c.duration_seconds)
    return (
        select(
            jobs.c.stage,
            jobs.c.model,
            jobs.c.variant,
            case((ran, _elapsed(jobs.c.started_at, jobs.c.finished_at) + earlier)).label("run"),
            # Of a later attempt it would hold the earlier ones too, and of one that was paused the time that it was.
            case((waited, _elapsed(jobs.c.created_at, jobs.c.started_at))).label("wait"),
            case((ran, made)).label("sound"),
        )
        .select_from(jobs.outerjoin(songs, songs.c.file_id == jobs.c.file_id))
        .where(ended)
        .order_by(jobs.c.finished_at.desc())
        .limit(MEASURED_JOBS)
        .cte("recent")
    )


def _elapsed(start: ColumnElement[float], end: ColumnElement[float]) -> ColumnElement[float]:
    """Seconds between two times, which may come from the clocks of two hosts: never less than 0."""
    return case((end > start, end - start), else_=0.0)


def _averages(recent: Any) -> Select[Any]:
    """Averages of each stage and model, and its run time by the length of the sound."""
    group = (recent.c.stage, recent.c.model)
    averages = (func.avg(recent.c.run).label("run"), func.avg(recent.c.wait).label("wait"), _rate(recent))
    return select(*group, *averages).group_by(*group)


def _variant_rates(recent: Any) -> Select[Any]:
    """Run time by the length of the sound, of each stage, model and variant that has one."""
    group = (recent.c.stage, recent.c.model, recent.c.variant)
    return select(*group, _rate(recent)).where(recent.c.sound > 0).group_by(*group)


def _rate(recent: Any) -> Label[Any]:
    """Run time by the length of the sound, where there is one."""
    rated = recent.c.sound > 0
    return (func.sum(recent.c.run).filter(rated) / func.sum(recent.c.sound).filter(rated)).label("rate")


def _medians(recent: Any, value: ColumnElement[float]) -> Select[Any]:
    """The mean of the middle one or two values of each stage and model."""
    group = (recent.c.stage, recent.c.model)
    rank = func.row_number().over(partition_by=group, order_by=value).label("rank")
    size = func.count().over(partition_by=group).label("size")
    ranked = select(*group, value.label("value"), rank, size).where(value.is_not(None)).subquery()
    middle = (2 * ranked.c.rank).between(ranked.c.size, ranked.c.size + 2)
    group = (ranked.c.stage, ranked.c.model)
    return select(*group, func.avg(ranked.c.value).label("median")).where(middle).group_by(*group)


def _counts(rows: list[Any]) -> Counts:
    """The sums of counted rows by their status."""
    return Counts(**{each: sum(row.jobs for row in rows if row.status == each) for each in (*ENDED, *ACTIVE)})


def _times(averages: Any, run: float | None, wait: float | None) -> Times:
    """The times of a group, of which perhaps nothing has ended."""
    if averages is None:
        return Times()
    return Times(
        average_run_seconds=averages.run, median_run_seconds=run, average_wait_seconds=averages.wait,
        median_wait_seconds=wait, run_seconds_per_song_second=averages.rate,
    )  # fmt: skip


def _order(group: tuple[str, str]) -> tuple[int, str, str]:
    """Where a group stands: as its stage does in a pipeline, stages that are no more known at the end."""
    stage, model = group
    return (list(STAGES).index(stage) if stage in STAGES else len(STAGES), stage, model)
