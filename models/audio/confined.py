"""A probe in a process of its own, which a hostile file may fill, keep busy or crash without harm to who asks."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

from errors import StudioError, UnsupportedAudio, from_code
from models.audio.opening import pyav
from models.audio.probing import Probe, probe

ROOT = Path(__file__).resolve().parents[2]
CHILD = "import sys; sys.path.insert(0, sys.argv.pop(1)); from models.audio.confined import main; main()"
MEMORY_BYTES = 256 * 1024 * 1024  # that a file may need besides the libraries; eight hours of m4a need 60 MiB
LARGEST_BLOCK_BYTES = 2**31  # that FFmpeg asks for at once
CPU_SECONDS = 10  # eight hours of mp3 take three
WAIT_SECONDS = 120.0  # by the clock, where all cores are busy
WATCH_SECONDS = 0.01
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
    command = [sys.executable, "-P", "-c", CHILD, str(ROOT), str(path.absolute()), str(memory_bytes), str(cpu_seconds)]
    with _places:
        try:
            ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=wait_seconds,
                                 check=False)  # fmt: skip
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


def main() -> None:
    """The process: probe the file that the command line names, and write what it holds, or why not, as JSON."""
    path, memory_bytes, cpu_seconds = sys.argv[1:]
    pyav()
    most_bytes = _peak_bytes() + int(memory_bytes)
    _confine(most_bytes, int(cpu_seconds))
    try:
        found, status = asdict(probe(Path(path))), 0
    except StudioError as error:
        found, status = {"code": error.code, "message": error.message, "details": error.details}, REFUSED
    except MemoryError:
        sys.exit(TOO_LARGE)
    if _peak_bytes() > most_bytes:
        sys.exit(TOO_LARGE)
    print(json.dumps(found))
    sys.exit(status)


def _confine(most_bytes: int, cpu_seconds: int) -> None:
    """Give this process limits, and let its death leave no core file.

    What exceeds its memory has to end: FFmpeg steps over what it gets no memory for, and a worker would give it. So
    the system's limit leaves room for one block more, with which a watch sees that it is too much.
    """
    try:
        import resource
    except ImportError:  # Windows
        return
    limits = {resource.RLIMIT_DATA: most_bytes + LARGEST_BLOCK_BYTES, resource.RLIMIT_CPU: cpu_seconds,
              resource.RLIMIT_CORE: 0}  # fmt: skip
    for kind, most in limits.items():
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    threading.Thread(target=_watch, args=(most_bytes,), daemon=True).start()


def _watch(most_bytes: int) -> None:
    """End this process when it has too much memory."""
    while _peak_bytes() <= most_bytes:
        time.sleep(WATCH_SECONDS)
    os._exit(TOO_LARGE)


def _peak_bytes() -> int:
    """The most memory that this process had so far; 0 where Linux is not there to tell."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return 0
    found = re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
