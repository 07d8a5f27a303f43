"""What a measurement was taken on, and when."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import psutil

CPU_FILE = Path("/proc/cpuinfo")


def machine() -> str:
    """Date, machine and its load just now, in one line."""
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {platform.system()} {platform.machine()}, {_processor()}, "
        f"{os.cpu_count()} cores, {memory:.0f} GB, Python {platform.python_version()}, "
        f"load {psutil.getloadavg()[0]:.1f} before it"
    )


def _processor() -> str:
    """The processor's name as far as it is known."""
    lines = CPU_FILE.read_text().splitlines() if CPU_FILE.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or "unknown processor"
