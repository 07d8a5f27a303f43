"""What Numba compiles for tests: once, kept for the next run, and copied to whoever needs it.

Half a minute is compiled before librosa and Whisper's timing work. Processes may not share a folder: two that fill one
at the same time can leave code in it that crashes whoever loads it.
"""

import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).parent.parent
KEPT = ROOT / ".pytest_cache" / "numba" / "-".join(version(name) for name in ("numba", "librosa", "openai-whisper"))
FIRST = "first"
WORKERS = ("cpu0", "gpu0")  # have folders of their own in a service's, as jobs.compiled makes them


def folder_of(place: str) -> Path:
    """The folder for a place: a test process, or the services of a test file.

    Parameters
    ----------
    place : str
        Not in use by two processes at the same time.

    Returns
    -------
    Path
        For NUMBA_CACHE_DIR; what is there already is kept.
    """
    KEPT.mkdir(parents=True, exist_ok=True)
    folder, first, unfinished = KEPT / place, KEPT / FIRST, KEPT / "unfinished"
    with FileLock(KEPT / "lock"):
        shutil.rmtree(unfinished, ignore_errors=True)
        if not first.exists():
            environment = os.environ | {"NUMBA_CACHE_DIR": str(unfinished)}
            subprocess.run([sys.executable, "-m", "tests.compiled"], cwd=ROOT, env=environment, check=True)
            unfinished.rename(first)
        if not folder.exists():
            for part in ("", *WORKERS):
                shutil.copytree(first, unfinished / part, dirs_exist_ok=True)
            unfinished.rename(folder)
    return folder


def compile_all() -> None:
    """Run what Numba compiles, on a second of a tone."""
    import librosa
    import numpy as np
    import torch
    from whisper import timing

    from models.whisper import keep_compiled

    keep_compiled()
    timing.dtw(torch.zeros(4, 8))
    tone = librosa.tone(220.0, sr=22050, length=22050).astype(np.float32)
    librosa.pyin(tone, sr=22050, fmin=65.0, fmax=1000.0)
    librosa.beat.beat_track(y=tone, sr=22050)


if __name__ == "__main__":
    compile_all()
