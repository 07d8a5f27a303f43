"""The files: uploads by song id, results by song, model and job; half-written ones are never visible."""

import errno
import io
import os
import shutil
import socket
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from errors import StorageFull

MEBIBYTE = 1024 * 1024
INCOMING = ".incoming"  # half-written files live here, on the same file system, until they are renamed
SPOOLS = ".spool"  # what jobs have finished that are not at their end yet
FULL = "The disk is full; remove songs or make room."
OWNER_END = "~"  # ends the host's name, and the process's number, in the names of uploads in progress
ABANDONED_SECONDS = 24 * 3600  # a half-written file nobody touched for so long belongs to no one


class Files:
    """Local folders of uploads and results.

    Parameters
    ----------
    uploads, outputs : Path
        Made when they do not exist.
    min_free_bytes : int
        Room that is to stay free on the disks of both.
    """

    def __init__(self, uploads: Path, outputs: Path, min_free_bytes: int = 0) -> None:
        self.uploads, self.outputs = uploads.absolute(), outputs.absolute()
        self._min_free_bytes = min_free_bytes
        for folder in (self.uploads, self.outputs):
            (folder / INCOMING).mkdir(parents=True, exist_ok=True)

    def check_room(self, arriving_bytes: int = 0) -> None:
        """Nothing, while there is room for more.

        Parameters
        ----------
        arriving_bytes : int
            Size of an upload that is about to be written.

        Raises
        ------
        StorageFull
            When less than `min_free_bytes` would be left; what makes room, and reads, goes on.
        """
        for folder, more in ((self.uploads, arriving_bytes), (self.outputs, 0)):
            self._check_disk(folder, more)

    def _check_disk(self, folder: Path, more: int) -> None:
        """Raise StorageFull when the disk of a folder would have too little room left."""
        free = shutil.disk_usage(folder).free
        if free - more < self._min_free_bytes:
            raise StorageFull(f"The disk is nearly full: {free // MEBIBYTE} MiB are free, of which "
                              f"{self._min_free_bytes // MEBIBYTE} MiB are kept; remove songs or make room.")

    def incoming_upload(self) -> Path:
        """A fresh name for an upload in progress, which tells whose it is."""
        return self._incoming(uuid.uuid4().hex)

    def open_incoming(self, incoming: Path) -> "Arriving":
        """An upload in progress, to be written; StorageFull as soon as there is too little room for more of it."""
        return Arriving(incoming, partial(self._check_disk, self.uploads))

    def complete_upload(self, incoming: Path, file_id: str, extension: str) -> Path:
        """Name a complete upload after its song, not yet in place: when we die now, remove_abandoned() knows it."""
        return incoming.replace(self._incoming(f"{file_id}.{extension}"))

    def upload(self, file_id: str, extension: str) -> Path:
        """Where an upload lives once it is complete."""
        return self.uploads / f"{file_id}.{extension}"

    def accept_upload(self, complete: Path, file_id: str, extension: str) -> None:
        """Move an upload, as complete_upload() named it, into place."""
        complete.replace(self.upload(file_id, extension))

    def staging(self, job_id: str, attempt: int) -> Path:
        """An empty folder for a job's results while they are made."""
        folder = self.outputs / INCOMING / f"{job_id}-{attempt}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def publish(self, staging: Path, folder: str) -> None:
        """Move a finished job's results into place.

        Parameters
        ----------
        staging : Path
            As staging() gave it.
        folder : str
            Relative to the outputs, as result_folder() names it.
        """
        target = self.outputs / folder
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        staging.replace(target)

    def discard_attempt(self, folder: str, job_id: str, attempt: int) -> None:
        """Remove what an attempt left that did not complete: half-made results, or whole ones that no row tells of.

        Parameters
        ----------
        folder : str
            As result_folder() names it.
        """
        shutil.rmtree(self.outputs / INCOMING / f"{job_id}-{attempt}", ignore_errors=True)
        self.remove_results(folder)

    def discard_staging(self, job_id: str, attempt: int | None = None) -> None:
        """Remove what an attempt at a job left half-made, or every one."""
        for folder in (self.outputs / INCOMING).glob(f"{job_id}-{'*' if attempt is None else attempt}"):
            shutil.rmtree(folder, ignore_errors=True)

    def spool(self, job_id: str) -> Path:
        """A folder for what a job finishes, which keeps what earlier attempts left; made by who writes to it.

        It has another name each time: a process that was taken for dead and is not finds its own no more.
        """
        mine = self.outputs / SPOOLS / f"{job_id}-{uuid.uuid4().hex}"
        left = sorted((self.outputs / SPOOLS).glob(f"{job_id}-*"), key=partial(_written_at, gone=0.0))
        for path in left[:-1]:
            shutil.rmtree(path, ignore_errors=True)
        with suppress(FileNotFoundError):  # its owner may remove it just now
            for path in left[-1:]:
                path.rename(mine)
        return mine

    def discard_spools(self, job_id: str) -> None:
        """Remove what any attempt at a job has finished."""
        for folder in (self.outputs / SPOOLS).glob(f"{job_id}-*"):
            shutil.rmtree(folder, ignore_errors=True)

    def spooled_jobs(self) -> set[str]:
        """Ids of the jobs of which something finished is kept."""
        return {path.name.rpartition("-")[0] for path in (self.outputs / SPOOLS).glob("*-*")}

    def result(self, folder: str, filename: str) -> Path:
        """Where one file of a job's results is."""
        return self.outputs / folder / filename

    def remove_results(self, folder: str) -> None:
        """Remove one job's results, and the folders above that nothing else lives in."""
        path = self.outputs / folder
        shutil.rmtree(path, ignore_errors=True)
        for parent in path.relative_to(self.outputs).parents[:-1]:
            try:
                (self.outputs / parent).rmdir()
            except OSError:  # something lives there, or it is gone already
                break

    def remove_song(self, file_id: str) -> list[str]:
        """Remove a song's upload and results; the names of the files that were there."""
        removed = [*self.uploads.glob(f"{file_id}.*")]
        folder = self.outputs / file_id
        names = [path.name for path in removed] + sorted(path.name for path in folder.rglob("*") if path.is_file())
        for path in removed:
            path.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        return names

    def remove_abandoned(self, is_song: Callable[[str], bool]) -> None:
        """Remove uploads whose process on this host has died, and whatever nobody has touched for a day.

        Parameters
        ----------
        is_song : callable
            Whether a song of that id is known. Its upload was complete, and is moved into place.
        """
        limit = time.time() - ABANDONED_SECONDS
        for path in (self.uploads / INCOMING).iterdir():
            file_id, _, extension = path.name.rpartition(OWNER_END)[2].partition(".")
            if not (_owner_died(path) or _written_at(path, gone=limit) < limit):
                continue
            if extension and is_song(file_id):
                path.replace(self.upload(file_id, extension))
            else:
                path.unlink(missing_ok=True)
        for path in (self.outputs / INCOMING).iterdir():
            if _written_at(path, gone=limit) < limit:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

    def _incoming(self, name: str) -> Path:
        """A path for an upload that is not in place yet: of this process."""
        return self.uploads / INCOMING / OWNER_END.join((socket.gethostname(), str(os.getpid()), name))


class Arriving(io.BufferedRandom):
    """A file that is written while there is room.

    Each upload sees room for itself when it begins. Together they may have too little, and one that does not say how
    large it is has promised nothing; so what counts is what is free as they are written. To keep room for what was
    announced would let anybody take all of it, by announcing much and sending nothing.

    Parameters
    ----------
    path : Path
    check : callable
        Raises StorageFull when there is no room for so many bytes more.
    """

    def __init__(self, path: Path, check: Callable[[int], None]) -> None:
        super().__init__(io.FileIO(path, "w+"))
        self._check = check

    def write(self, data: Any) -> int:
        """Write some bytes; StorageFull when there is no room for them."""
        self._check(len(data))
        return super().write(data)


def _owner_died(path: Path) -> bool:
    """Whether the process that wrote an upload was one of this host and is no more; its number may be another's now."""
    host, _, rest = path.name.partition(OWNER_END)
    pid = rest.partition(OWNER_END)[0]
    if host != socket.gethostname() or not pid.isdecimal():
        return False
    try:
        return psutil.Process(int(pid)).create_time() > _written_at(path, gone=time.time())
    except psutil.NoSuchProcess:
        return True


def _written_at(path: Path, *, gone: float) -> float:
    """When something was last written to it, Unix seconds; `gone` when it has just gone."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return gone


def result_folder(file_id: str, model: str, variant: str, job_id: str, attempt: int) -> str:
    """A job's results, relative to the outputs: one folder an attempt, so that none overwrites another."""
    return f"{file_id}/{model}/{variant}-{job_id[:8]}-{attempt}"


def is_full(error: Exception) -> bool:
    """Whether the operating system or SQLite says by an error that the disk is full."""
    return (isinstance(error, OSError) and error.errno == errno.ENOSPC) or "disk is full" in str(error)
