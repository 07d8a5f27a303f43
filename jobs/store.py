"""The rows of jobs, events and workers: the only truth between processes."""

import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, func, insert, select, union_all, update
from sqlalchemy.exc import IntegrityError

from errors import NotFound, QueueFull
from jobs import counters
from jobs.events import Event, paused, resumed
from jobs.job import ACTIVE, CANCELLED, COMPLETED, FAILED, PAUSED, QUEUED, RUNNING, Job, NewJob, Outcome
from jobs.tables import events, jobs, webhooks, workers
from storage.database import Database
from storage.owners import own, owner_of, seen_by
from storage.songs import songs


class State(NamedTuple):
    """Status and worker of a job, and since when it is wished to end or to pause."""

    status: str | None = None
    worker_id: str | None = None
    cancel_requested_at: float | None = None
    pause_requested_at: float | None = None


class JobStore:
    """Jobs, their events and the workers, each change one short transaction.

    Parameters
    ----------
    database : Database
    publish : callable, optional
        Gets the stored events after each change, when no one tails the table.
    owner : str, optional
        Who finds, counts and hears only of its own, and whose the jobs of new music are; without one, all is seen.
    """

    def __init__(
        self, database: Database, publish: Callable[[list[Any]], None] | None = None, owner: str | None = None
    ) -> None:
        self.database, self.owner = database, owner
        self._publish = publish or (lambda rows: None)

    def seen_by(self, owner: str | None) -> "JobStore":
        """The same rows as an owner sees them."""
        return JobStore(self.database, self._publish, owner)

    def create(
        self, new: NewJob, opening: Sequence[Event] = (), *, max_queued: int | None = None
    ) -> tuple[Job, bool]:
        """Queue a job, or join the equal one that is queued or running.

        Parameters
        ----------
        new : NewJob
        opening : sequence of Event
            Stored with it when it is created.
        max_queued : int, optional
            How many jobs may wait in its queue, with this one; no limit when there is none.

        Returns
        -------
        job : Job
        created : bool
            False when an equal active job was there.

        Raises
        ------
        QueueFull
            When it would be one more than may wait; nothing is stored then.
        NotFound
            When what it works on is not the owner's.
        """
        for active in self.find(parameters_hash=new.parameters_hash, status=ACTIVE):
            if not new.following or active.following == list(new.following):  # what follows must not be lost
                return active, False
        try:
            with self.database.writing() as connection:
                _claim_song(connection, new.file_id, self.owner)
                job = _insert(connection, new)
                _check_length(connection, job.queue, max_queued)  # after it, so that an equal job is joined before
                told = _append(connection, job.id, job.file_id, opening)
        except IntegrityError:  # an equal request came in between
            return self.create(new, opening, max_queued=max_queued)
        self._publish(told)
        return job, True

    def get(self, job_id: str) -> Job | None:
        """The job of that id, None when there is none."""
        found = self.find(id=job_id)
        return found[0] if found else None

    def find(self, *, limit: int | None = None, offset: int = 0, **equal: Any) -> list[Job]:
        """Jobs whose columns equal (or are among, for a tuple) the given values, newest first."""
        query = select(jobs).order_by(jobs.c.created_at.desc(), jobs.c.id).limit(limit).offset(offset)
        with self.database.reading() as connection:
            return [Job(**row._mapping) for row in connection.execute(query.where(*self._matching(equal)))]

    def count(self, **equal: Any) -> int:
        """How many jobs match, as in find()."""
        with self.database.reading() as connection:
            return connection.execute(select(func.count()).select_from(jobs).where(*self._matching(equal))).scalar_one()

    def claim(self, job_id: str, worker_id: str) -> Job | None:
        """Take a queued job: one conditional UPDATE, so a message delivered twice does no harm."""
        taking = (
            update(jobs)
            .where(jobs.c.id == job_id, jobs.c.status == QUEUED)
            .values(status=RUNNING, worker_id=worker_id, attempts=jobs.c.attempts + 1, started_at=time.time())
        )
        with self.database.writing() as connection:
            taken = connection.execute(taking).rowcount == 1
        return self.get(job_id) if taken else None

    def progress(self, job: Job, event: Event) -> None:
        """Append one event of a running job."""
        with self.database.writing() as connection:
            if event.stage == job.stage:
                connection.execute(update(jobs).where(jobs.c.id == job.id).values(progress=event.progress))
            told = _append(connection, job.id, job.file_id, [event])
        self._publish(told)

    def state(self, job_id: str) -> State:
        """What a worker has to know of its job again and again; the status is None when the job is gone."""
        columns = (jobs.c.status, jobs.c.worker_id, jobs.c.cancel_requested_at, jobs.c.pause_requested_at)
        with self.database.reading() as connection:
            row = connection.execute(select(*columns).where(jobs.c.id == job_id)).first()
        return State(*row) if row else State()

    def finish(self, job: Job, outcome: Outcome) -> list[str] | None:
        """End a running job: its row, its events and the jobs that follow, in one transaction.

        When it completes although it was to pause, what follows is paused in its place.

        Returns
        -------
        list of str or None
            Ids of the jobs that follow; None, and nothing was changed, when the job was no longer this worker's, or
            was to complete or fail although its cancellation had been accepted.
        """
        mine = [jobs.c.id == job.id, jobs.c.status == RUNNING, jobs.c.worker_id == job.worker_id]
        now = time.time()
        values = {
            "status": outcome.status, "finished_at": now, "folder": outcome.folder, "result": outcome.result,
            "files": outcome.files, "error": outcome.error, "worker_id": None,
            "earlier_seconds": outcome.earlier_seconds,
        }  # fmt: skip
        if outcome.status != CANCELLED:
            mine.append(jobs.c.cancel_requested_at.is_(None))
        if outcome.status == COMPLETED:
            values["progress"] = 100
        seconds = max(now - (job.started_at or now), 0.0) + outcome.earlier_seconds
        with self.database.writing() as connection:
            ended = update(jobs).where(*mine).values(values).returning(jobs.c.pause_requested_at)
            if (row := connection.execute(ended).first()) is None:
                return None
            counters.add(connection, counters.JOBS, seconds, stage=job.stage, model=job.model, status=outcome.status)
            told = _append(connection, job.id, job.file_id, outcome.events)
            following = [_insert(connection, new) for new in outcome.then]
            for new in following if row.pause_requested_at is not None else ():
                told += _pause(connection, (jobs.c.id == new.id,), {})
        self._publish(told)
        return [new.id for new in following]

    def put_back(self, job: Job, *, refund: bool, event: Event | None = None) -> bool:
        """Queue a running job again; `refund` when the attempt shall not count (a drain, not a death).

        Parameters
        ----------
        event : Event, optional
            Of its stage: stored with it, so that it comes before whatever becomes of the job then.

        Returns
        -------
        bool
            False, and nothing was changed, when it was no longer this worker's.
        """
        attempts = jobs.c.attempts - 1 if refund else jobs.c.attempts
        mine = (jobs.c.id == job.id, jobs.c.status == RUNNING, jobs.c.worker_id == job.worker_id)
        values: dict[str, Any] = {"status": QUEUED, "worker_id": None, "started_at": None, "attempts": attempts}
        if event:
            values["progress"] = event.progress
        with self.database.writing() as connection:
            taken = connection.execute(update(jobs).where(*mine).values(values)).rowcount == 1
            told = _append(connection, job.id, job.file_id, [event]) if event and taken else []
        self._publish(told)
        return taken

    def pause(self, job: Job, *, refund: bool) -> bool:
        """Pause a running job that was asked to; `refund` as put_back() has it.

        Returns
        -------
        bool
            False, and nothing was changed, when it is no longer this worker's, or no longer to pause.
        """
        mine = (jobs.c.id == job.id, jobs.c.status == RUNNING, jobs.c.worker_id == job.worker_id,
                jobs.c.pause_requested_at.is_not(None), jobs.c.cancel_requested_at.is_(None))  # fmt: skip
        attempts = {"attempts": jobs.c.attempts - 1} if refund else {}
        with self.database.writing() as connection:
            told = _pause(connection, mine, attempts)
        self._publish(told)
        return bool(told)

    def request_pause(self, job_id: str) -> State:
        """Pause a queued job at once, ask a running one to; what is to be cancelled is left alone.

        Returns
        -------
        State
            How it is after that.
        """
        wanted = (jobs.c.id == job_id, jobs.c.cancel_requested_at.is_(None))
        wish = func.coalesce(jobs.c.pause_requested_at, time.time())
        running = update(jobs).where(*wanted, jobs.c.status == RUNNING).values(pause_requested_at=wish)
        with self.database.writing() as connection:
            told = _pause(connection, (*wanted, jobs.c.status == QUEUED), {})
            connection.execute(running)
        self._publish(told)
        return self.state(job_id)

    def resume(self, job_id: str, *, max_queued: int | None = None) -> bool:
        """Queue a paused job again, or take back that a running one is to pause; whether it was paused.

        Raises
        ------
        QueueFull
            As in create().
        """
        paused_one = update(jobs).where(jobs.c.id == job_id, jobs.c.status == PAUSED).values(status=QUEUED)
        told: list[Any] = []
        with self.database.writing() as connection:
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(pause_requested_at=None))
            what = (jobs.c.queue, jobs.c.file_id, jobs.c.stage, jobs.c.progress)
            row = connection.execute(paused_one.returning(*what)).first()
            if row is not None:
                _check_length(connection, row.queue, max_queued)
                told = _append(connection, job_id, row.file_id, [resumed(row.stage, row.progress)])
        self._publish(told)
        return row is not None

    def request_cancel(self, job_id: str, closing: Sequence[Event]) -> str | None:
        """Cancel a queued job at once, ask a running one to stop.

        Returns
        -------
        str or None
            The status after that; None when there is no such job.
        """
        told: list[Any] = []
        with self.database.writing() as connection:
            queued = update(jobs).where(jobs.c.id == job_id, jobs.c.status.in_((QUEUED, PAUSED)))
            if connection.execute(queued.values(status=CANCELLED, finished_at=time.time())).rowcount:
                what = select(jobs.c.file_id, jobs.c.stage, jobs.c.model).where(jobs.c.id == job_id)
                file_id, stage, model = connection.execute(what).one()
                counters.add(connection, counters.JOBS, stage=stage, model=model, status=CANCELLED)
                told = _append(connection, job_id, file_id, closing)
            running = update(jobs).where(jobs.c.id == job_id, jobs.c.status == RUNNING)
            wish = func.coalesce(jobs.c.cancel_requested_at, time.time())
            connection.execute(running.values(cancel_requested_at=wish))
            status = connection.execute(select(jobs.c.status).where(jobs.c.id == job_id)).scalar()
        self._publish(told)
        return status

    def retry(self, job_id: str, *, max_queued: int | None = None) -> bool:
        """Queue a failed or cancelled job anew; False when it is neither, or an equal one is active already.

        Raises
        ------
        QueueFull
            As in create().
        """
        ended = update(jobs).where(jobs.c.id == job_id, jobs.c.status.in_((FAILED, CANCELLED)))
        fresh = {
            "status": QUEUED, "attempts": 0, "error": None, "cancel_requested_at": None, "progress": 0,
            "started_at": None, "finished_at": None, "pause_requested_at": None, "paused_at": None,
            "earlier_seconds": None,
        }  # fmt: skip
        try:
            with self.database.writing() as connection:
                queue = connection.execute(ended.values(fresh).returning(jobs.c.queue)).scalar()
                if queue is not None:
                    _check_length(connection, queue, max_queued)
                return queue is not None
        except IntegrityError:
            return False

    def remove_song(self, file_id: str) -> None:
        """Forget every job, event and webhook of a song."""
        with self.database.writing() as connection:
            connection.execute(delete(jobs).where(jobs.c.file_id == file_id))
            connection.execute(delete(events).where(events.c.file_id == file_id))
            connection.execute(delete(webhooks).where(webhooks.c.file_id == file_id))

    def events(
        self, *, after: int, file_id: str | None = None, until: int | None = None, newest: int | None = None
    ) -> list[Any]:
        """Stored events with a greater sequence number, oldest first.

        Parameters
        ----------
        after, until : int
            Sequence numbers: greater than the one, not greater than the other.
        file_id : str, optional
            Of one song.
        newest : int, optional
            No more than so many, the newest of them.
        """
        query = select(events).where(events.c.seq > after, *seen_by(self.owner, events.c.file_id))
        if file_id is not None:
            query = query.where(events.c.file_id == file_id)
        if until is not None:
            query = query.where(events.c.seq <= until)
        with self.database.reading() as connection:
            if newest is None:
                return list(connection.execute(query.order_by(events.c.seq)))
            return list(connection.execute(query.order_by(events.c.seq.desc()).limit(newest)))[::-1]

    def last_events(self, file_id: str) -> list[Any]:
        """The last event of every stage of a song, oldest first."""
        last = select(func.max(events.c.seq)).where(events.c.file_id == file_id).group_by(events.c.stage)
        query = select(events).where(events.c.seq.in_(last), *seen_by(self.owner, events.c.file_id))
        with self.database.reading() as connection:
            return list(connection.execute(query.order_by(events.c.seq)))

    def last_seq(self) -> int:
        """The greatest sequence number so far, 0 when there is none."""
        with self.database.reading() as connection:
            return connection.execute(select(func.max(events.c.seq))).scalar() or 0

    def beat(self, worker_id: str, queue: str, info: dict[str, Any]) -> None:
        """Say that a worker lives, and what it knows of its device and models."""
        values = {"queue": queue, "heartbeat_at": time.time(), "info": info}
        with self.database.writing() as connection:
            if connection.execute(update(workers).where(workers.c.id == worker_id).values(values)).rowcount == 0:
                connection.execute(insert(workers).values(id=worker_id, **values))

    def workers(self, *, alive_since: float = 0.0) -> list[Any]:
        """Workers that gave a sign of life since that time (Unix seconds)."""
        with self.database.reading() as connection:
            return list(connection.execute(select(workers).where(workers.c.heartbeat_at >= alive_since)))

    def remove_worker(self, worker_id: str) -> None:
        """Forget a worker that has ended."""
        with self.database.writing() as connection:
            connection.execute(delete(workers).where(workers.c.id == worker_id))

    def tally(self, name: str, seconds: float = 0.0, **labels: str) -> None:
        """Count something that changes no row; as counters.add()."""
        with self.database.writing() as connection:
            counters.add(connection, name, seconds, **labels)

    def newest_of_each_song(self, *, limit: int, offset: int = 0, **equal: Any) -> tuple[list[Job], int]:
        """The newest matching job of every song of the library, newest first, and of how many songs there is one.

        Parameters
        ----------
        limit, offset : int
            Which part of the list.
        equal
            As in find().
        """
        matching = (*self._matching(equal), jobs.c.file_id.in_(select(songs.c.file_id)))
        newest = (jobs.c.created_at.desc(), jobs.c.id)
        rank = func.row_number().over(partition_by=jobs.c.file_id, order_by=newest)
        ranked = select(jobs.c.id, rank.label("rank")).where(*matching).subquery()
        found = select(jobs).join(ranked, ranked.c.id == jobs.c.id).where(ranked.c.rank == 1).order_by(*newest)
        with self.database.reading() as connection:
            total = connection.execute(select(func.count(jobs.c.file_id.distinct())).where(*matching)).scalar_one()
            rows = connection.execute(found.limit(limit).offset(offset))
            return [Job(**row._mapping) for row in rows], total

    def _matching(self, equal: dict[str, Any]) -> Iterable[Any]:
        """Conditions on columns of jobs that the owner may see: a tuple means any of its values."""
        yield from seen_by(self.owner, jobs.c.file_id)
        for name, value in equal.items():
            yield jobs.c[name].in_(value) if isinstance(value, tuple) else jobs.c[name] == value


def _claim_song(connection: Connection, file_id: str, owner: str | None) -> None:
    """See to it that a song is the owner's, as a new id becomes by its first job; raises NotFound."""
    known = None if owner is None else owner_of(connection, file_id)
    if known == owner:
        return
    there = union_all(*(select(table.c.file_id).where(table.c.file_id == file_id) for table in (songs, jobs)))
    if known is not None or connection.execute(there.limit(1)).first() is not None:
        raise NotFound(f"There is no song {file_id}; upload it first: POST /upload.")
    own(connection, file_id, owner)


def _insert(connection: Connection, new: NewJob) -> Job:
    """Write a queued job's row."""
    row = connection.execute(
        insert(jobs)
        .values(
            id=str(uuid.uuid4()), file_id=new.file_id, model=new.model, variant=new.variant, parameters=new.parameters,
            parameters_hash=new.parameters_hash, source=new.source, following=list(new.following),
            pipeline_id=new.pipeline_id, queue=new.queue, request_id=new.request_id, status=QUEUED, stage=new.stage,
            progress=0, attempts=0, created_at=time.time(),
        )
        .returning(jobs)
    ).one()  # fmt: skip
    return Job(**row._mapping)


def _pause(connection: Connection, which: tuple[Any, ...], more: dict[str, Any]) -> list[Any]:
    """Pause the job of which that is true, if there is one, and say so; the event's row."""
    values = {"status": PAUSED, "worker_id": None, "started_at": None, "pause_requested_at": None,
              "paused_at": time.time()} | more  # fmt: skip
    what = (jobs.c.id, jobs.c.file_id, jobs.c.stage, jobs.c.progress)
    row = connection.execute(update(jobs).where(*which).values(values).returning(*what)).first()
    return _append(connection, row.id, row.file_id, [paused(row.stage, row.progress)]) if row else []


def _check_length(connection: Connection, queue: str, max_queued: int | None) -> None:
    """Raise QueueFull, which rolls back, when more jobs wait in a queue than may."""
    if max_queued is None:
        return
    waiting = select(func.count()).select_from(jobs).where(jobs.c.status == QUEUED, jobs.c.queue == queue)
    if connection.execute(waiting).scalar_one() > max_queued:
        raise QueueFull(f"{max_queued} {queue} jobs wait already, which is as many as may; come back later.")


def _append(connection: Connection, job_id: str, file_id: str, new_events: Sequence[Event]) -> list[Any]:
    """Write events, which get their sequence numbers by that; the stored rows."""
    owner = owner_of(connection, file_id) if new_events else None
    return [
        connection.execute(
            insert(events)
            .values(job_id=job_id, file_id=file_id, created_at=time.time(), owner=owner, **asdict(event))
            .returning(events)
        ).one()
        for event in new_events
    ]
