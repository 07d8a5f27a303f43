"""What a killed, stopped or stuck process costs: with real processes, jobs go on, end as asked, or say why not."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from tests import render
from tests.serving import Listener, Server, wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends signals that Windows does not have")

LONG = {"shifts": 4, "output_format": "wav"}  # some seconds of work with tiny weights
SETTINGS = {"SILENCE_SECONDS": 3, "HEARTBEAT_SECONDS": 0.5, "CANCEL_SECONDS": 1, "DRAIN_SECONDS": 1}


def noise(path: Path, seconds: float) -> Path:
    """Noise of that length."""
    samples = np.random.default_rng(0).normal(0, 0.1, (2, round(seconds * render.RATE))).astype(np.float32)
    return render.save(path, samples)


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some seconds of noise."""
    return noise(tmp_path_factory.mktemp("song") / "noise.wav", 8)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, weights_dir: Path) -> Iterator[Server]:
    """A service that is impatient, so that tests need not be patient."""
    running = Server(tmp_path_factory.mktemp("recovery"), weights_dir, **SETTINGS).start()
    yield running
    assert running.stop() == 0


@pytest.fixture
def client(service: Server) -> Iterator[Listener]:
    """Someone who watches."""
    listener = service.listen()
    yield listener
    listener.close()


def separating(server: Server, client: Listener, song: Path, percent: int = 20) -> tuple[str, str]:
    """Song and job of a long separation that has come so far."""
    file_id = server.upload(song)["file_id"]
    job_id = server.post(f"/process/demucs/{file_id}?async=true", **LONG).json()["job_id"]
    client.wait_for(file_id, "separation", percent)
    return file_id, job_id


def gpu_pid(server: Server) -> int:
    """The heavy worker's process."""
    return wait_until(lambda: [pid for pid in server.worker_pids() if psutil.pid_exists(pid)], 30)[-1]


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
    pid = gpu_pid(service)
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


def test_the_third_death_is_the_jobs_failure(service: Server, client: Listener, song: Path) -> None:
    file_id, job_id = separating(service, client, song, 10)
    for attempt in (1, 2, 3):
        pid = wait_until(lambda n=attempt: _runner(service, job_id, n), 60)
        os.kill(pid, signal.SIGKILL)
    job = service.wait_for_job(job_id, "failed", "completed")
    assert job["error"]["code"] == "worker_died"
    assert "killed by signal 9, perhaps out of memory" in job["error"]["message"]
    last = client.wait_for(file_id, "separation")
    assert last["message"] == "Separation failed"
    assert "killed by signal 9" in last["error"]
    answer = service.post(f"/process/demucs/{file_id}", output_format="wav")
    assert answer.status_code == 200, "the service goes on"


def test_a_silent_worker_is_replaced_and_its_job_completes(service: Server, client: Listener, song: Path) -> None:
    file_id, job_id = separating(service, client, song)
    pid = gpu_pid(service)
    os.kill(pid, signal.SIGSTOP)
    job = service.wait_for_job(job_id, "completed", "failed")
    assert (job["status"], job["attempts"]) == ("completed", 2)
    client.wait_for(file_id, "separation")
    assert "Worker silent for 3 s; trying again" in [event["message"] for event in client.of(file_id)]
    assert progress_never_goes_back(client.of(file_id))
    assert not psutil.pid_exists(pid)


def test_a_cancelled_job_stops_soon_and_its_worker_goes_on(service: Server, client: Listener, song: Path) -> None:
    file_id, job_id = separating(service, client, song)
    pid = gpu_pid(service)
    asked_at = time.monotonic()
    assert service.post(f"/jobs/{job_id}/cancel").json()["cancel_requested"]
    last = client.wait_for(file_id, "separation")
    assert time.monotonic() - asked_at < 2
    assert (last["message"], last["error"]) == ("Separation cancelled", "Cancelled on request.")
    assert service.get(f"/jobs/{job_id}").json()["status"] == "cancelled"
    assert service.post(f"/jobs/{job_id}/cancel").status_code == 409
    assert left_of(service, file_id, job_id) == [str(service.uploads / f"{file_id}.wav")]
    assert service.post(f"/process/demucs/{file_id}", output_format="wav").status_code == 200
    assert gpu_pid(service) == pid


def test_a_job_that_does_not_stop_loses_its_process(service: Server, client: Listener, song: Path) -> None:
    file_id = service.upload(song)["file_id"]
    for model, parameters in (("demucs", {"output_format": "wav"}), ("whisper", {})):
        assert service.post(f"/process/{model}/{file_id}", **parameters).status_code == 200
    (words,) = service.outputs.glob(f"{file_id}/whisper/*/*.json")
    words.unlink()
    os.mkfifo(words)  # a disk that never answers: who opens it waits for ever, and cannot report
    job_id = service.post(f"/process/karaoke/{file_id}?async=true").json()["job_id"]
    pid = wait_until(lambda: _runner(service, job_id, 1), 30)
    asked_at = time.monotonic()
    service.post(f"/jobs/{job_id}/cancel")
    service.wait_for_job(job_id, "cancelled", timeout=20)
    assert time.monotonic() - asked_at > SETTINGS["CANCEL_SECONDS"]
    assert client.wait_for(file_id, "karaoke")["message"] == "Karaoke cancelled"
    wait_until(lambda: not psutil.pid_exists(pid), 10)
    assert service.post(f"/process/pitch_analysis/{file_id}").status_code == 200, "another takes its place"


def test_cleanup_in_the_middle_of_a_job_leaves_nothing(service: Server, client: Listener, song: Path) -> None:
    file_id, job_id = separating(service, client, song)
    pid = gpu_pid(service)
    answer = service.delete(f"/cleanup/{file_id}")
    assert answer.status_code == 200
    assert answer.json()["deleted_files"] == [f"{file_id}.wav"]
    assert left_of(service, file_id, job_id) == []
    assert service.stored_events(file_id) == []
    for path in (f"/status/{file_id}", f"/jobs/{job_id}", f"/download/{file_id}"):
        assert service.get(path).status_code == 404
    assert client.wait_for(file_id, "separation")["message"] == "Separation cancelled"
    assert gpu_pid(service) == pid


def test_a_killed_service_finishes_its_jobs_after_a_restart(tmp_path: Path, weights_dir: Path, song: Path) -> None:
    server = Server(tmp_path, weights_dir, **SETTINGS).start()
    client = server.listen()
    file_id, job_id = separating(server, client, song)
    workers = server.worker_pids("gpu") + server.worker_pids("cpu")
    server.kill()
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    seen = client.of(file_id)[-1]["seq"]
    server.start()
    wait_until(lambda: client.client.connected, 20)
    client.subscribe(file_id, seen)
    job = server.wait_for_job(job_id, "completed", "failed")
    assert (job["status"], job["attempts"]) == ("completed", 2)
    client.wait_for(file_id, "separation")
    events = sorted({event["seq"]: event for event in client.of(file_id)}.values(), key=lambda event: event["seq"])
    assert [event["seq"] for event in events] == [seq for seq, _, _ in server.stored_events(file_id)]
    assert "Worker silent for 3 s; trying again" in [event["message"] for event in events]
    assert progress_never_goes_back(events)
    assert server.get(f"/download/{file_id}/vocals").ok
    client.close()
    assert server.stop() == 0


def test_workers_do_not_outlive_a_killed_web_process(tmp_path: Path, weights_dir: Path, song: Path) -> None:
    server = Server(tmp_path, weights_dir, **SETTINGS).start()
    client = server.listen()
    file_id, job_id = separating(server, client, song)
    workers = server.worker_pids("gpu") + server.worker_pids("cpu")
    server.kill()
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in workers), 10, lambda: f"the end of {workers}")
    server.start()
    job = server.wait_for_job(job_id, "completed", "failed")
    assert (job["status"], job["attempts"]) == ("completed", 1), "put back by the worker itself, which is no death"
    shown = [{"stage": stage, "progress": progress} for _, stage, progress in server.stored_events(file_id)]
    assert progress_never_goes_back(shown)
    client.close()
    assert server.stop() == 0


def test_sigterm_gives_running_jobs_a_grace_time_then_puts_them_back(
    tmp_path: Path, weights_dir: Path, song: Path
) -> None:
    grace_seconds = 2
    server = Server(tmp_path, weights_dir, **SETTINGS | {"DRAIN_SECONDS": grace_seconds}).start()
    client = server.listen()
    waiting_song = server.upload(song)["file_id"]
    file_id, job_id = separating(server, client, noise(tmp_path / "long.wav", 60), 11)
    waiting_id = server.post(f"/process/demucs/{waiting_song}?async=true", output_format="wav").json()["job_id"]
    asked_at = time.monotonic()
    server.process.terminate()
    wait_until(lambda: server.get("/health/ready").status_code == 503, 1, lambda: "503 while draining")
    assert server.process.wait(20) == 0
    assert grace_seconds <= time.monotonic() - asked_at < grace_seconds + 5
    assert _attempts(server) == {job_id: ("queued", 0), waiting_id: ("queued", 0)}
    assert not list((server.outputs / ".incoming").iterdir())
    server.start()
    assert server.wait_for_job(job_id, "running")["attempts"] == 1
    server.post(f"/jobs/{job_id}/cancel")  # that jobs complete after a restart is shown above
    assert server.wait_for_job(waiting_id, "completed", "failed")["status"] == "completed"
    shown = [{"stage": stage, "progress": progress} for _, stage, progress in server.stored_events(file_id)]
    assert progress_never_goes_back(shown)
    client.close()
    assert server.stop() == 0


def _runner(server: Server, job_id: str, attempt: int) -> int | None:
    """The process that runs a job's attempt, once it does."""
    query = "select info from jobs j join workers w on w.id = j.worker_id where j.id = ? and j.attempts = ?"
    rows = server.rows(query, job_id, attempt)
    return int(json.loads(rows[0][0])["pid"]) if rows else None


def _attempts(server: Server) -> dict[str, tuple[str, int]]:
    """Status and attempts of every job, as the database has them."""
    rows = server.rows("select id, status, attempts from jobs")
    return {job_id: (status, attempts) for job_id, status, attempts in rows}
