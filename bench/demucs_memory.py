"""Memory and time of separating a long song, beside the `demucs` command: `python -m bench.demucs_memory`.

Both take the same file and the same small random checkpoint (tests/tiny_weights.py), one after the other, each in a
process of its own whose peak the kernel tells (Linux). The command holds the song whole; so that a small machine
survives it, it gets no more memory than is free, and the table says when that was too little.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from bench.machine import machine
from tests.serving import ROOT

MINUTES = 60
GOAL_GB = 2.5
VARIANT = "htdemucs"
LEFT_FOR_OTHERS_BYTES = 4 << 30
ONE_THREAD = {"OMP_NUM_THREADS": "1"}  # more would wait for each other in so small a model

# These run in processes of their own: a child's peak is never below what its parent held, so this one stays small.
PREPARE = """
import sys
from pathlib import Path
import numpy as np
from models import audio
from tests import tiny_weights
folder, minutes = Path(sys.argv[1]), float(sys.argv[2])
tiny_weights.build_demucs(folder)
block = np.random.default_rng(1).normal(0, 0.1, (2, 10 * 44100)).astype(np.float32)
with audio.Writer(folder / "song.wav", 44100, 2) as writer:
    for _ in range(round(minutes * 6)):
        writer.write(block)
"""
OURS = """
import sys
from pathlib import Path
from models import demucs
folder, variant = Path(sys.argv[1]), sys.argv[2]
(folder / "ours").mkdir()
model = demucs.load(variant, "cpu", folder / "demucs")
request = demucs.Request(output_format="wav", instrumental=False)
demucs.run(model, request, folder / "song.wav", folder / "ours", lambda fraction, message=None: None)
"""


def measure(command: list[str], most_bytes: int | None = None) -> tuple[int, float, float]:
    """Run a command.

    Parameters
    ----------
    command : list of str
    most_bytes : int, optional
        Of memory that it may take.

    Returns
    -------
    status : int
        Its exit status, or minus the signal that ended it.
    peak_gb : float
        The most it held resident.
    seconds : float
    """
    begun_at = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | ONE_THREAD, stdout=output, stderr=output)
        if most_bytes is not None:
            resource.prlimit(process.pid, resource.RLIMIT_DATA, (most_bytes, most_bytes))
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode and most_bytes is None:
            output.seek(0)
            raise SystemExit(output.read().decode(errors="replace"))
    return process.returncode, usage.ru_maxrss * 1024 / 1e9, time.perf_counter() - begun_at


def main() -> None:
    """Measure, and print a Markdown table."""
    heading = machine()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="length of the song")
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measure([sys.executable, "-c", PREPARE, name, str(minutes)])
        _, peak_gb, seconds = measure([sys.executable, "-c", OURS, name, VARIANT])
        rows = [("models/demucs.py", f"{peak_gb:.2f} GB", f"{seconds:.0f} s", f"at most {GOAL_GB} GB")]
        shutil.rmtree(folder / "ours")
        most_bytes = psutil.virtual_memory().available - LEFT_FOR_OTHERS_BYTES
        command = [sys.executable, "-m", "demucs.separate", "--repo", str(folder / "demucs"), "-n", VARIANT]
        options = ["-d", "cpu", "--clip-mode", "clamp", "-o", str(folder / "library"), str(folder / "song.wav")]
        status, peak_gb, seconds = measure([*command, *options], most_bytes)
        outcome = "" if status == 0 else f"did not end: it needs more than the {most_bytes / 1e9:.0f} GB free here"
        rows.append(("`demucs` command", f"{peak_gb:.2f} GB", f"{seconds:.0f} s", outcome))
    print(f"{heading}\n")
    print(f"A song of {minutes:g} minutes, {VARIANT} with tiny weights on one thread, four stems as wav.\n")
    print("| what | peak resident memory | time | |\n|---|---|---|---|")
    print("\n".join(f"| {' | '.join(row)} |" for row in rows))


if __name__ == "__main__":
    main()
