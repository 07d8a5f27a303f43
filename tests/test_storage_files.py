"""Files: what is half-written is never visible, what is removed is gone, what belongs to others stays."""

import errno
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from errors import StorageFull
from storage.files import ABANDONED_SECONDS, INCOMING, Files, is_full, result_folder

SONG, OTHER = str(uuid.uuid4()), str(uuid.uuid4())
JOB = str(uuid.uuid4())


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Empty folders."""
    return Files(tmp_path / "uploads", tmp_path / "outputs")


def visible(folder: Path) -> list[str]:
    """Every file below a folder, apart from those in progress."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*")
                  if path.is_file() and ".incoming" not in path.parts)  # fmt: skip


def keep_upload(files: Files, file_id: str, extension: str = "mp3") -> None:
    """An upload that is complete."""
    incoming = files.incoming_upload()
    incoming.write_bytes(b"sound")
    files.accept_upload(incoming, file_id, extension)


def keep_result(files: Files, file_id: str, name: str, attempt: int = 1) -> str:
    """A finished job's only file; the folder."""
    folder = result_folder(file_id, "demucs", "htdemucs", JOB, attempt)
    staging = files.staging(JOB, attempt)
    (staging / name).write_text(f"attempt {attempt}")
    files.publish(staging, folder)
    return folder


def test_of_attempts_one_or_all_are_discarded(tmp_path: Path) -> None:
    files = Files(tmp_path / "uploads", tmp_path / "outputs")
    first, second, other = files.staging("job", 1), files.staging("job", 2), files.staging("another", 1)
    files.discard_staging("job", 1)
    assert (first.exists(), second.exists(), other.exists()) == (False, True, True), "another attempt lives"
    files.discard_staging("job")
    assert (second.exists(), other.exists()) == (False, True)


def test_an_upload_shows_only_when_it_is_complete(files: Files) -> None:
    incoming = files.incoming_upload()
    incoming.write_bytes(b"half")
    assert visible(files.uploads) == []
    complete = files.complete_upload(incoming, SONG, "mp3")
    assert visible(files.uploads) == []
    files.accept_upload(complete, SONG, "mp3")
    assert visible(files.uploads) == [f"{SONG}.mp3"]
    assert files.upload(SONG, "mp3").read_bytes() == b"half"
    assert not incoming.exists()


def test_names_of_uploads_in_progress_differ(files: Files) -> None:
    assert len({files.incoming_upload() for _ in range(100)}) == 100


def test_results_show_only_when_they_are_complete(files: Files) -> None:
    staging = files.staging(JOB, 1)
    (staging / "vocals.mp3").write_text("half")
    assert visible(files.outputs) == []
    files.publish(staging, "a/b/c")
    assert visible(files.outputs) == ["a/b/c/vocals.mp3"]
    assert files.result("a/b/c", "vocals.mp3").read_text() == "half"


def test_staging_is_empty_whatever_an_earlier_attempt_left(files: Files) -> None:
    (files.staging(JOB, 1) / "left.mp3").write_text("left")
    assert list(files.staging(JOB, 1).iterdir()) == []


def test_publishing_again_replaces(files: Files) -> None:
    for name in ("old.mp3", "new.mp3"):
        staging = files.staging(JOB, 1)
        (staging / name).write_text(name)
        files.publish(staging, "a/b")
    assert visible(files.outputs) == ["a/b/new.mp3"]


def test_discarding_takes_every_attempt_at_one_job(files: Files) -> None:
    other = files.staging(str(uuid.uuid4()), 1)
    mine = [files.staging(JOB, attempt) for attempt in (1, 2)]
    files.discard_staging(JOB)
    assert other.exists()
    assert not any(folder.exists() for folder in mine)


def test_attempts_have_folders_of_their_own(files: Files) -> None:
    folders = [keep_result(files, SONG, "vocals.mp3", attempt) for attempt in (1, 2)]
    assert [files.result(folder, "vocals.mp3").read_text() for folder in folders] == ["attempt 1", "attempt 2"]


def test_removed_results_leave_no_empty_folders(files: Files) -> None:
    first, second = (keep_result(files, SONG, "vocals.mp3", attempt) for attempt in (1, 2))
    files.remove_results(first)
    assert visible(files.outputs) == [f"{second}/vocals.mp3"]
    files.remove_results(second)
    assert not (files.outputs / SONG).exists()
    assert files.outputs.exists()


def test_removing_a_song_tells_names_and_leaves_others(files: Files) -> None:
    for file_id in (SONG, OTHER):
        keep_upload(files, file_id)
        keep_result(files, file_id, "vocals.mp3")
    assert files.remove_song(SONG) == [f"{SONG}.mp3", "vocals.mp3"]
    assert visible(files.uploads) == [f"{OTHER}.mp3"]
    assert [name.split("/")[0] for name in visible(files.outputs)] == [OTHER]
    assert files.remove_song(SONG) == []


def test_what_nobody_touched_for_a_day_is_removed(files: Files) -> None:
    old_upload, new_upload = files.incoming_upload(), files.incoming_upload()
    for path in (old_upload, new_upload):
        path.write_bytes(b"half")
    old_staging, new_staging = files.staging(JOB, 1), files.staging(JOB, 2)
    (old_staging / "vocals.mp3").write_text("half")
    long_ago = time.time() - ABANDONED_SECONDS - 60
    for path in (old_upload, old_staging):
        os.utime(path, (long_ago, long_ago))
    files.remove_abandoned(lambda file_id: True)
    assert [path.exists() for path in (old_upload, old_staging, new_upload, new_staging)] == [False, False, True, True]


def test_uploads_of_a_process_that_died_are_removed_or_completed_when_their_songs_are_known(files: Files) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        dead.wait()
    host, left = socket.gethostname(), {}
    names = {"half": f"{host}~{dead.pid}~{uuid.uuid4().hex}", "unknown": f"{host}~{dead.pid}~{OTHER}.mp3",
             "known": f"{host}~{dead.pid}~{SONG}.mp3", "mine": f"{host}~{os.getpid()}~{uuid.uuid4().hex}",
             "elsewhere": f"other~{dead.pid}~{OTHER}.mp3", "earlier": f"{host}~{os.getpid()}~{OTHER}.wav"}  # fmt: skip
    for kind, name in names.items():
        left[kind] = files.uploads / INCOMING / name
        left[kind].write_text(kind)
    os.utime(left["earlier"], (time.time() - 3600 * 23,) * 2)  # another process had our number then
    files.remove_abandoned(lambda file_id: file_id == SONG)
    assert {kind for kind, path in left.items() if path.exists()} == {"mine", "elsewhere"}
    assert files.upload(SONG, "mp3").read_text() == "known"
    assert visible(files.uploads) == [f"{SONG}.mp3"]


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (sqlite3.OperationalError("database or disk is full"), True),
        (OSError(errno.EACCES, "Permission denied"), False),
        (ValueError("full"), False),
    ],
)
def test_a_full_disk_is_known_by_its_errors(error: Exception, full: bool) -> None:
    assert is_full(error) is full


@pytest.mark.parametrize(("free", "arriving", "room"), [(1000, 0, True), (999, 0, False), (1500, 501, False),
                                                        (1500, 500, True)])  # fmt: skip
@pytest.mark.parametrize("full", ["uploads", "outputs"])
def test_room_that_is_to_stay_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: str, free: int, arriving: int, room: bool
) -> None:
    files = Files(tmp_path / "uploads", tmp_path / "outputs", min_free_bytes=1000)
    usage = type(shutil.disk_usage(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(9999, 0, free if folder.name == full else 9999))
    if room or (full == "outputs" and free >= 1000):  # an upload takes no room there
        files.check_room(arriving)
    else:
        with pytest.raises(StorageFull, match="remove songs"):
            files.check_room(arriving)
