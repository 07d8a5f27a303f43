"""Songs on disk for training: many of them, made once, read by crops.

python -m training.corpus FOLDER SONGS [--first SEED] [--voice]
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.signal import resample_poly

from training.score import SAMPLE_RATE
from training.song import make_song, truth

SHORTEST_SECONDS, LONGEST_SECONDS = 22.0, 60.0
EVALUATION_SEEDS = range(9_200_000, 9_200_030)  # of the songs that models are judged by; no training ever uses them
VOICE_RATE = 16000  # Hz, Whisper's
FULL_SCALE = 32767.0


@dataclass(frozen=True)
class CorpusSong:
    """A song of a corpus.

    Attributes
    ----------
    seed : int
    samples : np.ndarray [dtype=int16]
        Read from disk where it is touched. Stems have the shape (4, 2, samples), in the order of training.song.STEMS,
        at training.score.SAMPLE_RATE; a voice alone has the shape (samples,), at VOICE_RATE.
    truth : dict
        What training.song.truth says of it.
    """

    seed: int
    samples: np.ndarray
    truth: dict[str, Any]


def write_corpus(folder: Path, seeds: Sequence[int], *, voice: bool = False) -> None:
    """Make songs, those that are not there yet.

    Parameters
    ----------
    folder : Path
        Gets <seed>.npy and <seed>.json for each song.
    seeds : sequence of int
    voice : bool
        Songs of a voice alone, instead of stems.

    Raises
    ------
    ValueError
        When a seed belongs to the evaluation.
    """
    kept = sorted(set(seeds) & set(EVALUATION_SEEDS))
    if kept:
        raise ValueError(f"seeds {kept} are kept for evaluation")
    folder.mkdir(parents=True, exist_ok=True)
    missing = [seed for seed in seeds if not _file(folder, seed).exists()]
    with multiprocessing.get_context("spawn").Pool() as pool:
        for done, _ in enumerate(pool.imap_unordered(partial(_write, folder, voice=voice), missing), 1):
            if done % 50 == 0 or done == len(missing):
                print(f"{done} of {len(missing)} songs made", flush=True)


def read_corpus(folder: Path) -> list[CorpusSong]:
    """Open the songs of a corpus, in the order of their seeds.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    list of CorpusSong
    """
    return [
        CorpusSong(int(path.stem), np.load(path, mmap_mode="r"), json.loads(path.with_suffix(".json").read_text()))
        for path in sorted(folder.glob("*.npy"), key=lambda path: int(path.stem))
    ]


def voice_samples(samples: np.ndarray) -> np.ndarray:
    """Bring a stem to Whisper's rate.

    Parameters
    ----------
    samples : np.ndarray [shape=(2, n)]
        At training.score.SAMPLE_RATE.

    Returns
    -------
    np.ndarray [shape=(m,), dtype=float32]
        Mono, at VOICE_RATE.
    """
    common = math.gcd(VOICE_RATE, SAMPLE_RATE)
    return resample_poly(samples.mean(axis=0), VOICE_RATE // common, SAMPLE_RATE // common).astype(np.float32)


def write_samples(path: Path, samples: np.ndarray) -> None:
    """Write samples of full scale 1 as int16; who finds the file finds all of it.

    Parameters
    ----------
    path : Path
    samples : np.ndarray
    """
    partial_file = path.with_suffix(".part")
    with partial_file.open("wb") as file:
        np.save(file, np.round(samples.clip(-1, 1) * FULL_SCALE).astype(np.int16))
    partial_file.replace(path)


def _write(folder: Path, seed: int, *, voice: bool) -> None:
    """Make one song; its samples come last."""
    length = np.random.default_rng([seed, 1]).random()
    seconds = SHORTEST_SECONDS * (LONGEST_SECONDS / SHORTEST_SECONDS) ** float(length)
    song = make_song(seed, seconds, band=not voice)
    target = _file(folder, seed)
    target.with_suffix(".json").write_text(truth(song))
    write_samples(target, voice_samples(song.stems["vocals"]) if voice else np.stack(list(song.stems.values())))


def _file(folder: Path, seed: int) -> Path:
    """Where a song's stems are."""
    return folder / f"{seed}.npy"


def main() -> None:
    """Make the corpus that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m training.corpus", description="Make songs for training.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("songs", type=int)
    parser.add_argument("--first", type=int, default=0, help="the first song's seed")
    parser.add_argument("--voice", action="store_true", help="a voice alone, mono, at Whisper's rate")
    arguments = parser.parse_args()
    seeds = range(arguments.first, arguments.first + arguments.songs)
    write_corpus(arguments.folder, seeds, voice=arguments.voice)


if __name__ == "__main__":
    main()
