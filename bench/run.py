"""Run every measurement and keep what it printed: `python -m bench.run` writes bench/RESULTS.md."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "RESULTS.md"
SCRIPTS = {"bench.web": "The web process"}
HEAD = """# Results

Measured by the scripts in this folder; `make bench` runs them again and writes this file.
"""


def measure(module: str) -> str:
    """What one script prints.

    Raises
    ------
    subprocess.CalledProcessError
        When it fails; nothing is written then.
    """
    done = subprocess.run([sys.executable, "-m", module], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


def main() -> None:
    """Run all, then write the file."""
    parts = [f"## {title}\n\n`python -m {module}`\n\n{measure(module)}\n" for module, title in SCRIPTS.items()]
    RESULTS.write_text(f"{HEAD}\nLast run: {datetime.now(UTC):%Y-%m-%d}.\n\n" + "\n".join(parts), encoding="utf-8")
    print(RESULTS.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
