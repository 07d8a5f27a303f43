"""Run the measurements and keep what they print: `python -m bench.run` writes bench/RESULTS.md.

Each has its own section between two markers; the others' stay as they are.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "RESULTS.md"
TITLES = {
    "web": "The web process",
    "load": "A thousand clients",
    "live": "Live transcription",
    "demucs_memory": "Separating a long song",
    "demo_models": "The demo models on unseen songs",
}
HEAD = """# Results

Measured by the scripts in this folder; `make bench` runs them again. Each section says when and on what.
"""


def measure(name: str) -> str:
    """What one script prints.

    Raises
    ------
    subprocess.CalledProcessError
        When it fails; nothing is written then.
    """
    command = [sys.executable, "-m", f"bench.{name}"]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def with_section(document: str, name: str, printed: str) -> str:
    """The document with one section replaced, or added at its end.

    Parameters
    ----------
    document : str
        Markdown.
    name : str
        Of the script.
    printed : str
        What it printed.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    section = f"{begin}\n## {TITLES[name]}\n\n`python -m bench.{name}`\n\n{printed}\n{end}"
    there = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if there.search(document):
        return there.sub(lambda _: section, document)
    return f"{document.rstrip()}\n\n{section}\n"


def main() -> None:
    """Run what was asked for, and write the file after each."""
    parser = argparse.ArgumentParser(description="Run measurements and write bench/RESULTS.md.")
    parser.add_argument("--long", action="store_true", help="also those that take many minutes")
    names = ["web", "load", "live", *(["demucs_memory", "demo_models"] if parser.parse_args().long else [])]
    for name in names:
        document = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else HEAD
        RESULTS.write_text(with_section(document, name, measure(name)), encoding="utf-8")
    print(RESULTS.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
