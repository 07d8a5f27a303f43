"""The parent of the workers: it and they mean the same by the same words."""

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from config import Config
from jobs.queue import Queue
from jobs.store import JobStore
from jobs.supervisor import Supervisor
from jobs.sweeper import Sweeper
from storage.database import METADATA
from storage.files import Files
from tests.serving import Server, wait_until


def test_relative_places_are_the_same_to_workers_wherever_it_is_started(
    tmp_path: Path, weights_dir: Path, tone: Path
) -> None:
    folder = tmp_path / "somewhere else"
    folder.mkdir()
    for ours in ("logs.py", "errors.py"):
        (folder / ours).write_text("raise SystemExit('a stranger of the same name')")
    relative = {"MODELS_DIR": os.path.relpath(weights_dir, folder), "DATABASE_URL": "sqlite:///rel.db",
                "UPLOAD_FOLDER": "up", "OUTPUT_FOLDER": "out"}  # fmt: skip
    server = Server(folder, weights_dir, **relative)
    server.started_in = folder
    server.start()
    file_id = server.upload(tone)["file_id"]
    answer = server.post(f"/process/demucs/{file_id}", output_format="wav")
    assert answer.status_code == 200, answer.text
    assert server.get(f"/download/{file_id}/vocals").ok
    assert (folder / "rel.db").exists()
    assert (folder / "out" / file_id).is_dir()
    assert server.stop() == 0


@pytest.mark.skipif(shutil.which("false") is None, reason="needs a program that fails at once")
def test_workers_that_cannot_even_begin_are_no_longer_expected(
    config: Config, store: JobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    sweeper = Sweeper(store, Queue("", tmp_path / "queue.db"), 5, 3, Files(config.upload_folder, config.output_folder))
    supervisor = Supervisor(replace(config, start_workers=True), store, sweeper)
    assert supervisor.expects("gpu")
    supervisor.start()
    wait_until(lambda: not supervisor.expects("gpu"), 20)
    supervisor.drain()
    assert supervisor.stopped.wait(20)


@pytest.mark.skipif(shutil.which("false") is None, reason="needs a program that fails at once")
def test_without_its_database_it_can_still_be_stopped(
    config: Config, store: JobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    METADATA.drop_all(store.database.engine)
    sweeper = Sweeper(store, Queue("", tmp_path / "queue.db"), 5, 3, Files(config.upload_folder, config.output_folder))
    supervisor = Supervisor(replace(config, start_workers=True), store, sweeper)
    supervisor.start()
    wait_until(lambda: "a round failed" in caplog.text, 20)
    supervisor.drain()
    assert supervisor.stopped.wait(20)


def test_nobody_is_taken_for_dead_while_the_database_takes_no_writes(
    config: Config, store: JobStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sweeper = Sweeper(store, Queue("", tmp_path / "queue.db"), 5, 3, Files(config.upload_folder, config.output_folder))
    supervisor = Supervisor(replace(config, silence_seconds=0.5), store, sweeper)
    assert supervisor._can_hear()
    with store.database.writing():
        assert not supervisor._can_hear()
    assert "takes no writes" in caplog.text
    assert not supervisor._can_hear(), "they have had no time yet to say that they live"
    wait_until(supervisor._can_hear, 10)
