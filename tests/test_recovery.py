"""What a killed, stopped or stuck process costs: with real processes, jobs go on, end as asked, or say why not."""

import errno
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import requests

from tests import render
from tests.serving import Listener, Server, wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends signals that Windows does not have")

LONG = {"shifts": 2, "output_format": "wav"}  # some seconds of work with tiny weights
SETTINGS = {
    "SILENCE_SECONDS": 3, "HEARTBEAT_SECONDS": 0.5, "CANCEL_SECONDS": 3, "DRAIN_SECONDS": 2, "LOG_FORMAT": "json",
}  # fmt: skip


def noise(path: Path, seconds: float) -> Path:
    """Noise of that length."""
    samples = np.random.default_rng(0).normal(0, 0.1, (2, round(seconds * render.RATE))).astype(np.float32)
    return render.save(path, samples)


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some seconds of noise."""
    return noise(tmp_path_factory.mktemp("song") / "noise.wav", 8)


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory, weights_dir: Path) -> Iterator[Server]:
    """A service that is impatient, so that tests need not be patient."""
    running = Server(tmp_path_factory.mktemp("recovery"), weights_dir, **SETTINGS).start()
    yield running
    assert running.stop() == 0


@pytest.fixture
def service(impatient: Server) -> Server:
    """That service, started again where a test failed between its end and its next start."""
    assert impatient.process is not None
    return impatient if impatient.process.poll() is None else impatient.start()


@pytest.fixture(scope="module")
def words(impatient: Server, song: Path) -> Path:
    """What Whisper heard in a separated song: karaoke has to read it."""
    file_id = impatient.upload(song)["file_id"]
    for model, parameters in (("demucs", {"output_format": "wav"}), ("whisper", {})):
        assert impatient.post(f"/process/{model}/{file_id}", **parameters).status_code == 200
    (found,) = impatient.outputs.glob(f"{file_id}/whisper/*/*.json")
    return found


@pytest.fixture
def client(service: Server) -> Iterator[Listener]:
    """Someone who watches."""
    listener = service.listen()
    yield listener
    listener.close()


def separating(server: Server, client: Listener, song: Path, percent: int = 20, **more: Any) -> tuple[str, str]:
    """Song and job of a long separation that has come so far."""
    file_id = server.upload(song)["file_id"]
    job_id = server.post(f"/process/demucs/{file_id}?async=true", **LONG, **more).json()["job_id"]
    client.wait_for(file_id, "separation", percent)
    return file_id, job_id


def worker_pid(server: Server, queue: str = "gpu") -> int:
    """The process of a queue's worker."""
    return wait_until(lambda: [pid for pid in server.worker_pids(queue) if psutil.pid_exists(pid)], 30)[-1]


@contextmanager
def never_answering(path: Path) -> Iterator[None]:
    """A file on a disk that never answers: who opens it waits for ever, and cannot report."""
    kept = path.rename(path.with_name("kept"))
    os.mkfifo(path)
    yield
    kept.replace(path)


def opened_by_a_reader(pipe: Path) -> int | None:
    """A named pipe, open for writing, once someone reads it, who then waits for us."""
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return None


def karaoke(server: Server, file_id: str, request_id: str) -> str:
    """The job of a karaoke package that was asked for in a request of that name."""
    url = f"{server.url}/process/karaoke/{file_id}?async=true"
    answer = requests.post(url, json={"force": True}, headers={"X-Request-ID": request_id}, timeout=60)
    return str(answer.json()["job_id"])


def logged(server: Server, job_id: str, end: str) -> set[str]:
    """To which requests the log lines about a job belong; one of them says how it ended."""
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    about = [line for line in lines if line["message"].startswith(f"job {job_id}")]
    assert any(end in line["message"] for line in about), about
    return {line["request_id"] for line in about}


def progress_never_goes_back(events: list[dict[str, Any]]) -> bool:
    """Whether every stage only grows."""
    by_stage: dict[str, list[int]] = {}
    for event in events:
        by_stage.setdefault(event["stage"], []).append(event["progress"])
    return all(percents == sorted(percents) for percents in by_stage.values())


def left_of(server: Server, file_id: str, job_id: str) -> list[str]:
    """Files and folders that still belong to a song or its job."""
    folders = (server.uploads, server.outputs)
    return [str(p) for folder in folders for p in folder.rglob("*") if file_id in p.name or job_id in p.name]


def test_a_killed_workers_job_is_tried_again_and_completes(service: Server, client: Listener, song: Path) -> None:
    file_id, job_id = separating(service, client, song)
    pid = worker_pid(service)
    os.kill(pid, signal.SIGKILL)
    job = service.wait_for_job(job_id, "completed", "failed")
    assert (job["status"], job["attempts"]) == ("completed", 2)
    client.wait_for(file_id, "separation")
    events = client.of(file_id)
    told = [event["message"] for event in events]
    assert "Worker killed by signal 9, perhaps out of memory; trying again" in told
    assert progress_never_goes_back(events)
    assert (events[-1]["message"], events[-1]["error"]) == ("Audio separation complete", None)
    assert [event["seq"] for event in events] == [seq for seq, _, _ in service.stored_events(file_id)]
    assert service.get(f"/download/{file_id}/vocals").ok
    assert not list((service.outputs / ".incoming").iterdir())


def test_the_third_death_is_the_jobs_failure(service: Server, client: Listener, words: Path) -> None:
    file_id = words.relative_to(service.outputs).parts[0]
    with never_answering(words):
        job_id = karaoke(service, file_id, "mine")
        for attempt in (1, 2, 3):
            pid = wait_until(lambda n=attempt: _runner(service, job_id, n), 60)
            os.kill(pid, signal.SIGKILL)
        job = service.wait_for_job(job_id, "failed", "completed")
    assert job["error"]["code"] == "worker_died"
    assert "killed by signal 9, perhaps out of memory" in job["error"]["message"]
    last = client.wait_for(file_id, "karaoke")
    assert last["message"] == "Karaoke failed"
    assert "killed by signal 9" in last["error"]
    assert logged(service, job_id, "killed by signal 9") == {"mine"}
    answer = service.post(f"/process/karaoke/{file_id}")
    assert answer.status_code == 200, "the service goes on"


def test_a_silent_worker_is_replaced_and_its_job_completes(service: Server, client: Listener, song: Path) -> None:
    file_id, job_id = separating(service, client, song)
    pid = worker_pid(service)
    os.kill(pid, signal.SIGSTOP)
    job = service.wait_for_job(job_id, "completed", "failed")
    assert (job["status"], job["attempts"]) == ("completed", 2)
    client.wait_for(file_id, "separation")
    assert "Worker silent for 3 s; trying again" in [event["message"] for event in client.of(file_id)]
    assert progress_never_goes_back(client.of(file_id))
    assert not psutil.pid_exists(pid)


def test_a_cancelled_job_stops_soon_and_its_worker_goes_on(service: Server, client: Listener, tmp_path: Path) -> None:
    long = noise(tmp_path / "long.wav", 60)  # it would not end by itself before it loses its process
    file_id, job_id = separating(service, client, long, 11)
    pid = worker_pid(service)
    asked_at = time.monotonic()
    assert service.post(f"/jobs/{job_id}/cancel").json()["cancel_requested"]
    last = client.wait_for(file_id, "separation")
    assert time.monotonic() - asked_at < SETTINGS["CANCEL_SECONDS"]
    assert (last["message"], last["error"]) == ("Separation cancelled", "Cancelled on request.")
    assert service.get(f"/jobs/{job_id}").json()["status"] == "cancelled"
    assert service.post(f"/jobs/{job_id}/cancel").status_code == 409
    assert left_of(service, file_id, job_id) == [str(service.uploads / f"{file_id}.wav")]
    assert service.post(f"/process/demucs/{file_id}", output_format="wav").status_code == 200
    assert worker_pid(service) == pid


def test_a_job_that_does_not_stop_loses_its_process(service: Server, client: Listener, words: Path) -> None:
    file_id = words.relative_to(service.outputs).parts[0]
    with never_answering(words):
        job_id = karaoke(service, file_id, "yours")
        pipe = wait_until(lambda: opened_by_a_reader(words), 60)
        pid = _runner(service, job_id, 1)
        assert pid
        asked_at = time.monotonic()
        service.post(f"/jobs/{job_id}/cancel")
        service.wait_for_job(job_id, "cancelled", timeout=20)
        assert time.monotonic() - asked_at > SETTINGS["CANCEL_SECONDS"]
        wait_until(lambda: not psutil.pid_exists(pid), 10)
        os.close(pipe)
    wait_until(lambda: _last_message(client, job_id) == "Karaoke cancelled", 20, lambda: client.of(file_id))
    assert logged(service, job_id, "did not stop") == {"yours"}
    assert service.post(f"/process/karaoke/{file_id}", force=True).status_code == 200, "another takes its place"


def test_cleanup_in_the_middle_of_a_job_leaves_nothing(service: Server, client: Listener, song: Path) -> None:
    file_id, job_id = separating(service, client, song)
    pid = worker_pid(service)
    answer = service.delete(f"/cleanup/{file_id}")
    assert answer.status_code == 200
    assert answer.json()["deleted_files"] == [f"{file_id}.wav"]
    assert left_of(service, file_id, job_id) == []
    assert service.stored_events(file_id) == []
    for path in (f"/status/{file_id}", f"/jobs/{job_id}", f"/download/{file_id}"):
        assert service.get(path).status_code == 404
    assert client.wait_for(file_id, "separation")["message"] == "Separation cancelled"
    assert worker_pid(service) == pid


def test_a_killed_service_finishes_its_jobs_after_a_restart(service: Server, client: Listener, song: Path) -> None:
    file_id, job_id = separating(service, client, song)
    workers = [worker_pid(service, queue) for queue in ("gpu", "cpu")]
    service.kill()
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    seen = client.of(file_id)[-1]["seq"]
    service.start()
    wait_until(lambda: client.client.connected, 20)
    client.subscribe(file_id, seen)
    job = service.wait_for_job(job_id, "completed", "failed")
    assert (job["status"], job["attempts"]) == ("completed", 2)
    client.wait_for(file_id, "separation")
    events = sorted({event["seq"]: event for event in client.of(file_id)}.values(), key=lambda event: event["seq"])
    assert [event["seq"] for event in events] == [seq for seq, _, _ in service.stored_events(file_id)]
    assert "Worker silent for 3 s; trying again" in [event["message"] for event in events]
    assert progress_never_goes_back(events)
    assert service.get(f"/download/{file_id}/vocals").ok


def test_workers_do_not_outlive_a_killed_web_process(service: Server, client: Listener, song: Path) -> None:
    file_id, job_id = separating(service, client, song)
    workers = [worker_pid(service, queue) for queue in ("gpu", "cpu")]
    service.kill()
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in workers), 30, lambda: f"the end of {workers}")
    service.start()
    job = service.wait_for_job(job_id, "completed", "failed")
    assert (job["status"], job["attempts"]) == ("completed", 1), "put back by the worker itself, which is no death"
    shown = [{"stage": stage, "progress": progress} for _, stage, progress in service.stored_events(file_id)]
    assert progress_never_goes_back(shown)


def test_sigterm_gives_running_jobs_a_grace_time_then_puts_them_back_and_paused_ones_stay_so(
    service: Server, client: Listener, song: Path, tmp_path: Path
) -> None:
    paused_song, paused_id = separating(service, client, song, seed=1)
    assert service.post(f"/jobs/{paused_id}/pause").status_code == 200
    assert service.wait_for_job(paused_id, "paused", "completed")["status"] == "paused"
    waiting_song = service.upload(song)["file_id"]
    file_id, job_id = separating(service, client, noise(tmp_path / "long.wav", 60), 11)
    waiting_id = service.post(f"/process/demucs/{waiting_song}?async=true", **LONG, seed=1).json()["job_id"]
    asked_at = time.monotonic()
    service.process.terminate()
    wait_until(lambda: service.get("/health/ready").status_code == 503, 1, lambda: "503 while draining")
    assert service.process.wait(20) == 0
    assert SETTINGS["DRAIN_SECONDS"] <= time.monotonic() - asked_at < SETTINGS["DRAIN_SECONDS"] + 15
    assert _unfinished(service) == {job_id: ("queued", 0), waiting_id: ("queued", 0)}
    assert not list((service.outputs / ".incoming").iterdir())
    assert {path.name.rpartition("-")[0] for path in (service.outputs / ".spool").iterdir()} == {job_id, paused_id}
    service.start()
    assert service.wait_for_job(job_id, "running")["attempts"] == 1
    service.post(f"/jobs/{job_id}/cancel")  # that jobs complete after a restart is shown above
    assert service.wait_for_job(waiting_id, "completed", "failed")["status"] == "completed"
    assert service.post(f"/jobs/{paused_id}/resume").json()["status"] == "queued", "nobody had resumed it"
    resumed = service.wait_for_job(paused_id, "completed", "failed")
    assert (resumed["status"], resumed["attempts"]) == ("completed", 1)
    for stem in ("vocals", "drums", "instrumental"):
        files = [service.get(f"/download/{file_id}/{stem}").content for file_id in (paused_song, waiting_song)]
        assert files[0] == files[1], f"{stem} is another than without the pause"
    assert "begins anew" not in service.log.read_text()
    assert not list((service.outputs / ".spool").iterdir())
    for song_id in (file_id, paused_song):
        shown = [{"stage": stage, "progress": progress} for _, stage, progress in service.stored_events(song_id)]
        assert progress_never_goes_back(shown)


def _runner(server: Server, job_id: str, attempt: int) -> int | None:
    """The process that runs a job's attempt, once it does."""
    query = "select info from jobs j join workers w on w.id = j.worker_id where j.id = ? and j.attempts = ?"
    rows = server.rows(query, job_id, attempt)
    return int(json.loads(rows[0][0])["pid"]) if rows else None


def _unfinished(server: Server) -> dict[str, tuple[str, int]]:
    """Status and attempts of every job that has not ended, as the database has them."""
    rows = server.rows("select id, status, attempts from jobs where status in ('queued', 'running')")
    return {job_id: (status, attempts) for job_id, status, attempts in rows}


def _last_message(client: Listener, job_id: str) -> str:
    """What a client was told last about a job."""
    return next((event["message"] for event in reversed(list(client.events)) if event["job_id"] == job_id), "")
