"""What confined_probe() runs to have a file opened: `python -m models.audio.probe_process PATH BYTES SECONDS`."""

import json
import os
import re
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

from errors import StudioError
from models.audio.confined import REFUSED, TOO_LARGE
from models.audio.opening import pyav
from models.audio.probing import probe

LARGEST_BLOCK_BYTES = 2**31  # that FFmpeg asks for at once
WATCH_SECONDS = 0.01


def main() -> None:
    """Probe the file, and write what it holds, or why not, as JSON."""
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


if __name__ == "__main__":
    main()
