"""Workers that cannot work, or break: jobs end with the reason, and whoever asks learns it."""

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

import jobs.worker as worker_module
from config import Config
from errors import ModelUnavailable
from jobs.worker import Worker
from tests.serving import ROOT, Server, wait_until

NO_DEVICE = "DEVICE='cuda:99': there is no such device on this machine."


def test_without_its_device_a_worker_lives_and_fails_every_job_with_the_reason(
    tmp_path: Path, weights_dir: Path, tone: Path
) -> None:
    server = Server(tmp_path, weights_dir, DEVICE="cuda:99", HEARTBEAT_SECONDS=0.2).start(ready=False)
    file_id = server.upload(tone)["file_id"]
    for _ in range(2):
        answer = server.post(f"/process/demucs/{file_id}")
        assert (answer.status_code, answer.json()["code"], answer.json()["error"]) == (
            503, "model_unavailable", NO_DEVICE,
        )  # fmt: skip
    wait_until(lambda: server.get("/health/ready").status_code == 503, 30)
    assert NO_DEVICE in server.get("/health/ready").json()["error"]
    assert server.get("/health").json()["device"] is None
    assert server.get("/gpu-status").json()["torch_installed"]
    assert server.post(f"/process/pitch_analysis/{file_id}").status_code == 200, "light work goes on"
    assert server.stop() == 0
    assert "ended with exit status" not in server.log.read_text()


def test_a_required_gpu_that_is_not_there(config: Config) -> None:
    worker = Worker(dataclasses.replace(config, device="cpu", require_gpu=True), "gpu", "w")
    worker._prepare()
    assert isinstance(worker.trouble, ModelUnavailable)
    assert "REQUIRE_GPU" in worker.info["trouble"]


@pytest.mark.parametrize(
    ("queue", "device", "can"), [("gpu", "cuda:0", True), ("gpu", None, False), ("cpu", "cpu", False)]
)
def test_without_its_device_a_worker_leaves_jobs_to_others(
    config: Config, queue: str, device: str | None, can: bool
) -> None:
    worker = Worker(dataclasses.replace(config, device="cuda:99"), "gpu", "w")
    worker._prepare()
    worker.store.beat("w", "gpu", worker.info)
    worker.store.beat("another", queue, {"device": device})
    assert worker._others_can() is can


def test_a_worker_that_breaks_says_so_in_its_log(tmp_path: Path) -> None:
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    (uploads / ".incoming").write_text("no folder")
    environment = os.environ | {"UPLOAD_FOLDER": str(uploads), "OUTPUT_FOLDER": str(tmp_path), "LOG_FORMAT": "json"}
    ran = subprocess.run([sys.executable, "-m", "jobs.worker", "--queue", "cpu", "--id", "w"], cwd=ROOT,
                         env=environment, capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
    assert ran.returncode == 1
    (line,) = map(json.loads, ran.stderr.splitlines())
    assert (line["level"], line["message"]) == ("ERROR", "worker w ends")
    assert "FileExistsError" in line["traceback"]


def opened_by_a_reader(pipe: Path) -> int | None:
    """A named pipe, open for writing, once someone reads it, who then waits for us."""
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return None


@pytest.mark.skipif(sys.platform == "win32", reason="needs a file that never answers")
def test_what_is_logged_of_a_jobs_end_carries_its_request(tmp_path: Path, weights_dir: Path, tone: Path) -> None:
    settings = {"CANCEL_SECONDS": 0.5, "HEARTBEAT_SECONDS": 0.2, "LOG_FORMAT": "json"}
    server = Server(tmp_path, weights_dir, **settings).start()
    file_id = server.upload(tone)["file_id"]
    for model, parameters in (("demucs", {"output_format": "wav"}), ("whisper", {"model_variant": "tiny"})):
        assert server.post(f"/process/{model}/{file_id}", **parameters).status_code == 200
    (words,) = server.outputs.glob(f"{file_id}/whisper/*/*.json")
    words.unlink()
    os.mkfifo(words)  # who reads it waits, and cannot report
    url = f"{server.url}/process/karaoke/{file_id}?async=true"
    job_id = requests.post(url, headers={"X-Request-ID": "mine"}, timeout=60).json()["job_id"]
    pipe = wait_until(lambda: opened_by_a_reader(words), 60)
    os.kill(server.worker_pids("cpu")[0], signal.SIGKILL)
    os.close(pipe)
    wait_until(lambda: server.get(f"/jobs/{job_id}").json()["attempts"] == 2, 60)
    pipe = wait_until(lambda: opened_by_a_reader(words), 60)
    server.post(f"/jobs/{job_id}/cancel")
    server.wait_for_job(job_id, "cancelled")
    os.close(pipe)
    assert server.stop() == 0
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    about = [line for line in lines if line["message"].startswith(f"job {job_id}")]
    for end in ("killed by signal 9", "did not stop"):
        assert any(end in line["message"] for line in about), end
    assert {line["request_id"] for line in about} == {"mine"}


@pytest.mark.parametrize(("given", "kept"), [("", "outputs/.numba"), ("mine", "mine")])
def test_no_two_workers_compile_into_one_folder(
    given: str, kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folders = []
    for place in ("gpu0", "gpu1", "cpu0"):
        monkeypatch.setenv("NUMBA_CACHE_DIR", given)
        worker_module._keep_compiled_apart(Path("outputs"), place)
        folders.append(os.environ["NUMBA_CACHE_DIR"])
    assert folders == [str(tmp_path / kept / place) for place in ("gpu0", "gpu1", "cpu0")]
