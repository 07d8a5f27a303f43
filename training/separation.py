"""Training of the small separation model: an HTDemucs, the library's own class, on synthesised stems.

python -m training.separation CORPUS OUT_DIR --steps STEPS [--width WIDTH] [--start MODEL.th] [--threads THREADS]

The recipe is that of Défossez, "Hybrid Spectrogram and Waveform Source Separation", 2021: L1 on waveforms, stems of
different songs mixed anew, gains, polarity and channels changed at random; the weights that are kept are a moving
average. A run that was stopped goes on from its last checkpoint. A narrow model learns faster than a wide one, which
then starts from it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from demucs.htdemucs import HTDemucs
from demucs.states import get_state, load_model, save_with_checksum

from training.corpus import FULL_SCALE, CorpusSong, read_corpus
from training.measures import sdr
from training.run import go_on, save, set_learning_rate
from training.score import SAMPLE_RATE
from training.song import STEMS
from training.widening import widen

SEED = 20261121
WIDTH = 32  # channels of the outermost layer of the spectral branch; the other branch has half of them
BATCH = 3
CROP_SAMPLES = 2 * SAMPLE_RATE
REMIXED_CHANCE = 0.5  # of a crop whose stems come from different songs
GAIN_DB = (-6.0, 4.0)
ABSENT_CHANCE = np.array([0.08, 0.08, 0.08, 0.12])  # of a stem, in the order of STEMS
FLIPPED_CHANCE = 0.5
LEARNING_RATE = 1.5e-3
BETAS = (0.9, 0.99)
WEIGHT_DECAY = 1e-2
WARM_UP_STEPS = 50
COOL_DOWN = 0.3  # share of the steps at the end, over which the learning rate falls to nothing
LARGEST_GRADIENT = 2.0
AVERAGED_STEPS = 300
REPORT_SECONDS = 300.0
PASSAGE_SECONDS = 4.0  # of validation
FLOOR = 1e-4  # of a mixture's deviation
CHECKPOINT = "separation.pt"


class Batches:
    """Endless random crops of a corpus: mixtures and their stems, scaled as demucs scales what it separates."""

    def __init__(self, songs: Sequence[CorpusSong], seed: int) -> None:
        self._songs = songs
        self._rng = np.random.default_rng(seed)

    def draw(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw one batch: mixtures (BATCH, 2, CROP_SAMPLES) and stems (BATCH, 4, 2, CROP_SAMPLES)."""
        stems = torch.from_numpy(np.stack([self._augmented(self._stems()) for _ in range(BATCH)]))
        mixtures = stems.sum(dim=1)
        scale = mixtures.mean(dim=1).std(dim=-1)[:, None, None] + FLOOR
        return mixtures / scale, stems / scale[:, None]

    def _stems(self) -> np.ndarray:
        """Four stems of one moment, or each of another song: (4, 2, CROP_SAMPLES)."""
        if self._rng.random() < REMIXED_CHANCE:
            return np.stack([self._crop()[index] for index in range(len(STEMS))])
        return self._crop()

    def _crop(self) -> np.ndarray:
        """A random passage of a random song."""
        stems = self._songs[self._rng.integers(len(self._songs))].samples
        start = self._rng.integers(stems.shape[-1] - CROP_SAMPLES)
        return stems[..., start : start + CROP_SAMPLES].astype(np.float32) / FULL_SCALE

    def _augmented(self, stems: np.ndarray) -> np.ndarray:
        """Stems louder, softer, absent, with turned polarity; left and right changed."""
        count = len(STEMS)
        gains = 10 ** (self._rng.uniform(*GAIN_DB, count) / 20) * (self._rng.random(count) >= ABSENT_CHANCE)
        gains *= np.where(self._rng.random(count) < FLIPPED_CHANCE, -1, 1)
        changed = stems * gains.astype(np.float32)[:, None, None]
        return changed[:, ::-1].copy() if self._rng.random() < FLIPPED_CHANCE else changed


def new_model(width: int = WIDTH) -> HTDemucs:
    """Make an untrained model.

    Parameters
    ----------
    width : int
        Channels of the outermost layer of the spectral branch.
    """
    return HTDemucs(
        sources=list(STEMS), channels=width, channels_time=width // 2, depth=4, nfft=4096, t_layers=0, segment=4
    )


def train(corpus: Path, out_dir: Path, steps: int, width: int, start: Path | None, threads: int) -> Path:
    """Train the model.

    Parameters
    ----------
    corpus : Path
        A folder that training.corpus filled; those of its songs in the folder `validation` only report progress.
    out_dir : Path
        Gets separation.pt, from which a stopped run goes on, and the model for demucs.
    steps : int
        In all, those of the stopped run included.
    width : int
        Of the model.
    start : Path, optional
        A narrower model, from which this one starts.
    threads : int
        Of torch, on a CPU.

    Returns
    -------
    Path
        The model for demucs: half precision, <signature>-<checksum>.th.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(SEED)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    out_dir.mkdir(parents=True, exist_ok=True)
    songs, validation = read_corpus(corpus), read_corpus(corpus / "validation")
    model = new_model(width).to(device)
    if start:
        widen(load_model(start), model)
    optimiser = torch.optim.AdamW(model.parameters(), LEARNING_RATE, betas=BETAS, weight_decay=WEIGHT_DECAY)
    average = {name: values.clone() for name, values in model.state_dict().items()}
    stopped = go_on(out_dir / CHECKPOINT, model, optimiser)
    first = stopped["step"]
    average.update(stopped.get("average", {}))
    batches = Batches(songs, SEED + first)
    losses: list[float] = []
    reported = time.monotonic()
    for step in range(first, steps):
        set_learning_rate(optimiser, LEARNING_RATE, step, steps, warm_up_steps=WARM_UP_STEPS, cool_down=COOL_DOWN)
        losses.append(_step(model, optimiser, *batches.draw(), device))
        _average_in(average, model, min(1 - 1 / AVERAGED_STEPS, (step + 1) / (step + 20)))
        if time.monotonic() - reported > REPORT_SECONDS or step + 1 == steps:
            ratios = _validate(_with(average, width).to(device), validation)
            said = ", ".join(f"{name} {ratio:.1f}" for name, ratio in zip(STEMS, ratios, strict=True))
            print(f"step {step + 1} of {steps}, {len(songs)} songs, loss {np.mean(losses):.4f}, SDR {said}", flush=True)
            save(out_dir / CHECKPOINT, model, optimiser, step + 1, average=average)
            losses, reported = [], time.monotonic()
    return export(_with(average, width), out_dir)


def export(model: HTDemucs, out_dir: Path) -> Path:
    """Write a model as demucs reads it.

    Parameters
    ----------
    model : HTDemucs
    out_dir : Path

    Returns
    -------
    Path
        Half precision; a part of its SHA-256 is in its name, which demucs checks.
    """
    arguments, options = model._init_args_kwargs
    package = {"klass": HTDemucs, "args": arguments, "kwargs": options, "state": get_state(model, None, half=True)}
    for old in out_dir.glob("demo-*.th"):
        old.unlink()
    save_with_checksum(package, out_dir / "demo.th")
    return next(out_dir.glob("demo-*.th"))


def _step(
    model: HTDemucs, optimiser: torch.optim.Optimizer, mixtures: torch.Tensor, stems: torch.Tensor, device: str
) -> float:
    """Learn from one batch: its loss."""
    with torch.autocast(device, torch.bfloat16):
        estimates = model(mixtures.to(device))
    loss = (estimates.float() - stems.to(device)).abs().mean()
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), LARGEST_GRADIENT)
    optimiser.step()
    return float(loss.detach())


@torch.no_grad()
def _average_in(average: dict[str, torch.Tensor], model: HTDemucs, kept: float) -> None:
    """Move the average towards the model's weights."""
    for name, values in model.state_dict().items():
        average[name].lerp_(values, 1 - kept)


def _with(weights: dict[str, torch.Tensor], width: int) -> HTDemucs:
    """A model of these weights, which does not learn."""
    model = new_model(width)
    model.load_state_dict(weights)
    return model.eval()


@torch.no_grad()
def _validate(model: HTDemucs, songs: Sequence[CorpusSong]) -> list[float]:
    """Mean SDR of each stem over two passages of every song."""
    length = round(PASSAGE_SECONDS * SAMPLE_RATE)
    device = next(model.parameters()).device
    ratios = []
    for song in songs:
        for start in (length * 2, song.samples.shape[-1] - 2 * length):
            stems = song.samples[..., start : start + length].astype(np.float32) / FULL_SCALE
            mixture = torch.from_numpy(stems.sum(axis=0)).to(device)
            scale = mixture.mean(dim=0).std() + FLOOR
            with torch.autocast(device.type, torch.bfloat16):
                estimates = (model(mixture[None] / scale)[0].float() * scale).cpu().numpy()
            ratios.append([sdr(*pair) for pair in zip(stems, estimates, strict=True)])
    return np.nanmean(ratios, axis=0).tolist()


def main() -> None:
    """Train as the command line asks."""
    parser = argparse.ArgumentParser(prog="python -m training.separation", description="Train the separation model.")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--width", type=int, default=WIDTH)
    parser.add_argument("--start", type=Path, help="a narrower model to start from")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    print(train(**vars(arguments)))


if __name__ == "__main__":
    main()
