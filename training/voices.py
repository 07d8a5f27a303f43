"""What Whisper shall hear of a corpus of songs: their voices, their bands, and the voices as separation leaves them.

python -m training.voices CORPUS [--model MODEL.th] [--songs SONGS] [--threads THREADS]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from demucs.apply import apply_model
from demucs.states import load_model

from training.corpus import FULL_SCALE, CorpusSong, read_corpus, voice_samples, write_samples
from training.song import STEMS

VOCALS = STEMS.index("vocals")


def write_bands(corpus: Path) -> None:
    """Write the voice of each song into the folder `voice`, what plays without it into `bands`.

    Parameters
    ----------
    corpus : Path
        A folder that training.corpus filled.
    """
    for song in _missing(corpus, "bands"):
        stems = _stems(song)
        _write(corpus / "voice", song, stems[VOCALS])
        _write(corpus / "bands", song, stems.sum(axis=0) - stems[VOCALS])


def write_separated(corpus: Path, model_path: Path, songs: int) -> None:
    """Write each song's vocals as a model separates them into the folder `separated`.

    Parameters
    ----------
    corpus : Path
        A folder that training.corpus filled.
    model_path : Path
        What training.separation wrote.
    songs : int
        How many, from the first.
    """
    model = load_model(model_path).eval()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for song in _missing(corpus, "separated", songs):
        mixture = torch.from_numpy(_stems(song).sum(axis=0))
        mean, deviation = mixture.mean(), mixture.mean(dim=0).std() + 1e-8
        separated = apply_model(model, (mixture - mean)[None] / deviation, device=device)[0, VOCALS]
        _write(corpus / "separated", song, (separated * deviation + mean).cpu().numpy())


def _missing(corpus: Path, name: str, songs: int | None = None) -> Iterator[CorpusSong]:
    """The songs that are not in a folder yet."""
    (corpus / name).mkdir(parents=True, exist_ok=True)
    for song in read_corpus(corpus)[:songs]:
        if not (corpus / name / f"{song.seed}.npy").exists():
            yield song


def _stems(song: CorpusSong) -> np.ndarray:
    """A song's stems as float32."""
    return song.samples.astype(np.float32) / FULL_SCALE


def _write(folder: Path, song: CorpusSong, samples: np.ndarray) -> None:
    """Write a voice or a band, with the song's truth beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{song.seed}.json").write_text(json.dumps(song.truth))
    write_samples(folder / f"{song.seed}.npy", voice_samples(samples))


def main() -> None:
    """Write what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m training.voices", description="Voices and bands for Whisper.")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--model", type=Path, help="separates the vocals, too")
    parser.add_argument("--songs", type=int, default=250, help="how many it separates")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    write_bands(arguments.corpus)
    if arguments.model:
        write_separated(arguments.corpus, arguments.model, arguments.songs)


if __name__ == "__main__":
    main()
