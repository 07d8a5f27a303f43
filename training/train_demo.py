"""From nothing to the demo models: songs, both trainings, the files in models/demo.

python -m training.train_demo FOLDER [--threads THREADS]

What is there already is kept, so a run that was stopped goes on where it was. The demo models are judged by
`python -m bench.demo_models`.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
from pathlib import Path

import torch

from models.sources import BUNDLED
from training import demo_song, separation, transcription
from training.corpus import write_corpus
from training.voices import write_bands, write_separated

SONGS = [seed for seed in range(521) if seed != demo_song.SEED]
VALIDATION_SONGS = range(8_000_000, 8_000_006)
VOICES = range(1_000_000, 1_002_500)
NARROW_WIDTH = 16
NARROW_STEPS, WIDE_STEPS, WORDS_STEPS = 2000, 8000, 22000
SEPARATED_SONGS = 250
CHECKSUMS = "SHA256SUMS"


def train_demo(folder: Path, threads: int) -> None:
    """Make the songs, train both models, put them into models/demo.

    Parameters
    ----------
    folder : Path
        For songs and checkpoints, some 20 GB.
    threads : int
        Of torch, on a CPU.
    """
    corpus = folder / "corpus"
    write_corpus(corpus, SONGS)
    write_corpus(corpus / "validation", VALIDATION_SONGS)
    write_corpus(corpus / "voice", VOICES, voice=True)
    write_bands(corpus)
    narrow = separation.train(corpus, folder / "narrow", NARROW_STEPS, NARROW_WIDTH, None, threads)
    stems = separation.train(corpus, folder, WIDE_STEPS, separation.WIDTH, narrow, threads)
    write_separated(corpus, stems, SEPARATED_SONGS)
    words = transcription.train(corpus, folder, WORDS_STEPS, None, threads)
    bundle(stems, words, BUNDLED)


def bundle(stems: Path, words: Path, target: Path) -> None:
    """Put the two models where the service looks for them, with their checksums.

    Parameters
    ----------
    stems, words : Path
        What the trainings wrote.
    target : Path
        A folder; what it holds is replaced.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    (target / "demo.yaml").write_text('models: ["demo"]\n')
    shutil.copy(stems, target)
    shutil.copy(words, target)
    files = sorted(target.iterdir())
    sums = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)
    (target / CHECKSUMS).write_text(sums)


def main() -> None:
    """Train in the folder that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m training.train_demo", description="Train the demo models.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    train_demo(arguments.folder, arguments.threads)


if __name__ == "__main__":
    main()
