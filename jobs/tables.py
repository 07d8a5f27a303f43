"""The tables of jobs, events, workers, webhooks and counters."""

from sqlalchemy import JSON, BigInteger, Column, Float, Index, Integer, String, Table, Text, func

from jobs.job import ACTIVE
from storage.database import METADATA
from storage.owners import MAX_OWNER_CHARACTERS

jobs = Table(
    "jobs", METADATA,
    Column("id", String(36), primary_key=True),
    Column("file_id", String(36), nullable=False, index=True),
    Column("model", String(32), nullable=False),
    Column("variant", String(32), nullable=False),
    Column("parameters", JSON, nullable=False),
    Column("parameters_hash", String(64), nullable=False, index=True),
    Column("source", String(16), nullable=False),
    Column("following", JSON, nullable=False),
    Column("pipeline_id", String(36), index=True),
    Column("queue", String(8), nullable=False),
    Column("request_id", String(128), nullable=False),
    Column("status", String(16), nullable=False, index=True),
    Column("stage", String(16), nullable=False),
    Column("progress", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("cancel_requested_at", Float),
    Column("worker_id", String(64)),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("finished_at", Float),
    Column("folder", String),
    Column("result", JSON),
    Column("files", JSON),
    Column("error", JSON),
    Column("pause_requested_at", Float),
    Column("paused_at", Float),
    Column("earlier_seconds", Float),
)  # fmt: skip

# Two equal requests at once: the second insert fails and joins the first one's job. A pipeline's later stages are not
# requests: they run although an equal job is active, which may work on older inputs and cannot end the pipeline.
Index("one_active_job", jobs.c.parameters_hash, func.coalesce(jobs.c.pipeline_id, ""), unique=True,
      sqlite_where=jobs.c.status.in_(ACTIVE), postgresql_where=jobs.c.status.in_(ACTIVE))  # fmt: skip

# Counting what ended in the last hours must read neither the rest nor the results.
Index("ended_jobs", jobs.c.finished_at, jobs.c.stage, jobs.c.model, jobs.c.queue, jobs.c.status)

events = Table(
    "events", METADATA,
    Column("seq", Integer, primary_key=True),
    Column("job_id", String(36), nullable=False, index=True),
    Column("file_id", String(36), nullable=False, index=True),
    Column("stage", String(16), nullable=False),
    Column("progress", Integer, nullable=False),
    Column("message", Text, nullable=False),
    Column("error", Text),
    Column("eta_seconds", Float),
    Column("created_at", Float, nullable=False),
    Column("owner", String(MAX_OWNER_CHARACTERS)),  # whose the song was, for who sends it on
    sqlite_autoincrement=True,  # a number is never used twice, even when a song's events are removed
)  # fmt: skip

workers = Table(
    "workers", METADATA,
    Column("id", String(64), primary_key=True),
    Column("queue", String(8), nullable=False),
    Column("heartbeat_at", Float, nullable=False),
    Column("info", JSON, nullable=False),
)  # fmt: skip

webhooks = Table(
    "webhooks", METADATA,
    Column("id", String(36), primary_key=True),
    Column("job_id", String(36), nullable=False, index=True),
    Column("pipeline_id", String(36), index=True),
    Column("file_id", String(36), nullable=False, index=True),
    Column("url", Text, nullable=False),
    Column("status", String(16), nullable=False, index=True),
    Column("attempts", Integer, nullable=False),
    Column("next_at", Float, nullable=False),
    Column("error", Text),
    Column("created_at", Float, nullable=False),
)  # fmt: skip

counters = Table(
    "counters", METADATA,
    Column("name", String(32), primary_key=True),
    Column("labels", String(200), primary_key=True),  # a JSON object, its keys sorted
    Column("number", BigInteger, nullable=False),
    Column("seconds", Float, nullable=False),
)  # fmt: skip
