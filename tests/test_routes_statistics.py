"""The statistics: known jobs in, exact numbers out."""

import time
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import update

from jobs import statistics as counting
from jobs.tables import jobs, workers
from storage.database import Database
from tests import contract
from tests.library import Library
from tests.queries import asked_here

NOTHING = {"completed": 0, "failed": 0, "cancelled": 0, "running": 0, "queued": 0, "paused": 0, "success_rate": None}
UNMEASURED = {
    "average_run_seconds": None, "median_run_seconds": None, "average_wait_seconds": None, "median_wait_seconds": None,
    "run_seconds_per_song_second": None, "run_seconds_per_song_second_by_variant": {},
}  # fmt: skip
WHISPER = {"model": "whisper", "variant": "tiny", "stage": "transcription"}
MUSICGEN = {"model": "musicgen", "variant": "small", "stage": "generation"}
KARAOKE = {"model": "karaoke", "variant": "full", "stage": "karaoke", "queue": "cpu"}


def put(library: Library, status: str, *, ended_ago: float = 60.0, wait: float = 1.0, run: float | None = 10.0,
        attempts: int = 1, result: dict[str, Any] | None = None, **fields: Any) -> None:  # fmt: skip
    """A job that waited and ran so many seconds; one that never ran has no `run`."""
    job = library.add_job(**fields)
    end = time.time() - ended_ago if status in ("completed", "failed", "cancelled") else None
    start = None if run is None else (end or time.time()) - run
    values = {"status": status, "finished_at": end, "started_at": start, "attempts": attempts, "result": result,
              "created_at": (start or time.time()) - wait}  # fmt: skip
    with library.store.database.writing() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job.id).values(values))


def stages(answer: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """An answer's stages by stage and model."""
    return {(each.pop("stage"), each.pop("model")): each for each in answer["stages"]}


@pytest.mark.parametrize("query", ["", "?hours=24"])
def test_nothing_has_run_yet(client: FlaskClient, library: Library, query: str) -> None:
    answer = client.get(f"/jobs/statistics{query}").json
    assert answer.pop("timestamp")
    assert answer == {
        "hours": 24 if query else None, "stages": [], "total": NOTHING, "queue_depth": 0, "workers": 0,
        "queues": [{"queue": queue, "queued": 0, "running": 0, "workers": 0, "device": None, "trouble": None}
                   for queue in ("gpu", "cpu")],
    }  # fmt: skip


def test_known_jobs_give_exact_numbers(client: FlaskClient, library: Library) -> None:
    short, long = library.add_song(duration_seconds=20.0), library.add_song(duration_seconds=100.0)
    for file_id, run, wait, variant in (
        (short, 4.0, 1.0, "htdemucs"), (short, 6.0, 2.0, "htdemucs"), (long, 50.0, 9.0, "mdx"),
    ):  # fmt: skip
        put(library, "completed", file_id=file_id, run=run, wait=wait, variant=variant)
    put(library, "completed", run=20.0, wait=500.0, attempts=2)  # of no song; its wait has its first attempt in it
    put(library, "failed", run=1000.0)
    put(library, "cancelled", run=None)
    put(library, "completed", run=7.0, wait=0.5, ended_ago=7200, **WHISPER)
    put(library, "completed", run=3.0, wait=-5.0, result={"duration": 15.0}, file_id=long, **MUSICGEN)
    for status in ("running", "queued", "queued", "paused"):
        put(library, status, run=1.0 if status == "running" else None, **KARAOKE)
    answer = client.get("/jobs/statistics").json
    assert [each["stage"] for each in answer["stages"]] == ["separation", "transcription", "karaoke", "generation"]
    assert stages(answer) == {
        ("separation", "demucs"): NOTHING | {
            "completed": 4, "failed": 1, "cancelled": 1, "success_rate": 0.6667, "average_run_seconds": 20.0,
            "median_run_seconds": 13.0, "average_wait_seconds": 4.0, "median_wait_seconds": 2.0,
            "run_seconds_per_song_second": 0.4286,
            "run_seconds_per_song_second_by_variant": {"htdemucs": 0.25, "mdx": 0.5},
        },
        ("transcription", "whisper"): NOTHING | {
            "completed": 1, "success_rate": 1.0, "average_run_seconds": 7.0, "median_run_seconds": 7.0,
            "average_wait_seconds": 0.5, "median_wait_seconds": 0.5, "run_seconds_per_song_second": None,
            "run_seconds_per_song_second_by_variant": {},
        },
        ("karaoke", "karaoke"): NOTHING | UNMEASURED | {"running": 1, "queued": 2, "paused": 1},
        ("generation", "musicgen"): NOTHING | {
            "completed": 1, "success_rate": 1.0, "average_run_seconds": 3.0, "median_run_seconds": 3.0,
            "average_wait_seconds": 0.0, "median_wait_seconds": 0.0, "run_seconds_per_song_second": 0.2,
            "run_seconds_per_song_second_by_variant": {"small": 0.2},
        },
    }  # fmt: skip
    assert answer["total"] == {"completed": 6, "failed": 1, "cancelled": 1, "success_rate": 0.75, "running": 1,
                               "queued": 2, "paused": 1}  # fmt: skip
    assert answer["queue_depth"] == 2
    lately = client.get("/jobs/statistics?hours=1.5").json
    assert stages(lately).keys() == {("separation", "demucs"), ("karaoke", "karaoke"), ("generation", "musicgen")}
    assert lately["total"] == answer["total"] | {"completed": 5, "success_rate": 0.7143}


def test_queues_and_their_live_workers(client: FlaskClient, library: Library) -> None:
    library.add_workers()
    library.store.beat("broken", "cpu", {"device": None, "trouble": "torch does not start"})
    put(library, "queued", run=None)
    put(library, "running", **KARAOKE)
    answer = client.get("/jobs/statistics").json
    assert answer["queues"] == [
        {"queue": "gpu", "queued": 1, "running": 0, "workers": 1, "device": "cpu", "trouble": None},
        {"queue": "cpu", "queued": 0, "running": 1, "workers": 2, "device": "cpu", "trouble": None},
    ]
    assert (answer["workers"], answer["queue_depth"]) == (3, 1)
    with library.store.database.writing() as connection:
        connection.execute(update(workers).where(workers.c.id != "broken").values(heartbeat_at=time.time() - 3600))
    gpu, cpu = client.get("/jobs/statistics").json["queues"]
    assert (gpu["workers"], gpu["device"]) == (0, None)
    assert (cpu["workers"], cpu["trouble"]) == (1, "torch does not start")


def test_a_long_history_is_counted_whole_and_measured_at_its_end(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "MEASURED_JOBS", 3)
    for run in range(1, 8):
        put(library, "completed", run=float(run), ended_ago=1000.0 - run)
    database: Database = library.store.database
    asked = asked_here(database.engine)
    (found,) = counting.statistics(database).stages
    assert found.counts.completed == 7
    assert (found.times.average_run_seconds, found.times.median_run_seconds) == (pytest.approx(6), pytest.approx(6))
    assert len(asked) == 7
    with database.reading() as connection:
        for query, values in asked[2:]:
            plan = " ".join(row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", values))
            assert "ended_jobs (finished_at>?)" in plan, "what ended before is not read"


@pytest.mark.parametrize("hours", ["0", "-1", "8785", "nan", "inf", "x", "", "1e999"])
def test_a_wrong_window(reader: FlaskClient, hours: str) -> None:
    answer = reader.get(f"/jobs/statistics?hours={hours}")
    assert contract.error(answer, 400, "invalid_input")["details"]["field"] == "hours"
