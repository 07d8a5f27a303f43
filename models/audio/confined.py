"""A probe in a process of its own, which a hostile file may fill, keep busy or crash without harm to who asks."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from pathlib import Path

import processes
from errors import UnsupportedAudio, from_code
from models.audio.probing import Probe

MEMORY_BYTES = 256 * 1024 * 1024  # that a file may need besides the libraries; eight hours of m4a need 60 MiB
CPU_SECONDS = 10  # eight hours of mp3 take three
WAIT_SECONDS = 120.0  # by the clock, where all cores are busy
AT_ONCE = 4
REFUSED, TOO_LARGE = 3, 4  # exit statuses: the child said why; it needs too much memory

_places = threading.Semaphore(AT_ONCE)


def confined_probe(
    path: Path, *, memory_bytes: int = MEMORY_BYTES, cpu_seconds: int = CPU_SECONDS, wait_seconds: float = WAIT_SECONDS
) -> Probe:
    """Probe a file that may be hostile, in a process with limits; on Windows only `wait_seconds` holds.

    Parameters
    ----------
    path : Path
    memory_bytes : int
        What the file may take of it.
    cpu_seconds : int
    wait_seconds : float
        By the clock.

    Returns
    -------
    Probe

    Raises
    ------
    UnsupportedAudio
        As probe(), and when the process reaches a limit or dies.
    NotFound
        When there is no such file.
    """
    command = processes.command("models.audio.probe_process", path.absolute(), memory_bytes, cpu_seconds)
    with _places:
        try:
            ran = subprocess.run(command, env=processes.environment(), stdin=subprocess.DEVNULL, capture_output=True,
                                 timeout=wait_seconds, check=False)  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise UnsupportedAudio(f"The file takes more than {wait_seconds:g} s to open.") from error
    if ran.returncode == 0:
        return Probe(**json.loads(ran.stdout))
    if ran.returncode == REFUSED:
        raise from_code(**json.loads(ran.stdout))
    if ran.returncode == TOO_LARGE:
        raise UnsupportedAudio(f"The file needs more than {memory_bytes} bytes of memory to open: its tags, pictures "
                               "or tables are too large for a song.")  # fmt: skip
    if ran.returncode != 1:  # which is Python's own, for a fault of ours
        raise UnsupportedAudio(_death(ran.returncode, cpu_seconds))
    raise RuntimeError(f"A probe ended with {ran.returncode}: {ran.stderr.decode(errors='replace')[-4000:]}")


def _death(status: int, cpu_seconds: int) -> str:
    """What the end of a probe says of its file; below zero it is a signal's."""
    if -status == getattr(signal, "SIGXCPU", None):
        return f"The file takes more than {cpu_seconds} s of work to open: too many tags, packets or streams."
    return f"The file breaks the decoder ({status})."
