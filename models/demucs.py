"""Separation into stems: Demucs, streamed.

Rouard, Massa and Défossez, "Hybrid Transformers for Music Source Separation", 2023, by the library demucs. The result
equals demucs.api.Separator's; decoding, separating and encoding go on side by side, so that memory does not grow with
the song.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from errors import InvalidInput, ModelUnavailable
from models import Report, audio
from models.overlap import Source, separate
from models.stem_files import StemFiles

if TYPE_CHECKING:
    import torch

CONTRACT_ORDER = ("vocals", "bass", "drums", "other")  # in which stems are listed; others follow
VOCALS = "vocals"
MEASURED = 0.03  # fraction done when the level of the song is known
BITRATES = (64, 96, 128, 160, 192, 224, 256, 320)  # kbit/s


class Request(BaseModel):
    """How to separate. The defaults of shifts and overlap are the library's."""

    model_config = ConfigDict(extra="forbid")

    two_stems: str | None = Field(None, max_length=32, description="One stem's name: it and the sum of the others.")
    output_format: Literal["mp3", "wav", "flac"] = Field("mp3", description="Of the stems.")
    mp3_bitrate: Literal[BITRATES] = Field(320, description="In kbit/s.")  # type: ignore[valid-type]
    bit_depth: Literal[16, 24, 32] = Field(16, description="Of wav and flac; 32 is float, for wav alone.")
    shifts: int = Field(1, ge=0, le=20, description="Passes on grids moved at random, which are averaged.")
    overlap: float = Field(0.25, ge=0, lt=1, allow_inf_nan=False, description="Of neighbouring segments.")
    seed: int | None = Field(None, ge=0, le=2**32 - 1, description="Of the shifts; the same gives the same bytes.")
    clip_mode: Literal["clamp", "rescale"] = Field(
        "clamp", description="What happens to samples beyond full scale: cut, or the whole stem turned down."
    )
    instrumental: bool = Field(True, description="Also write the sum of all stems but the vocals.")

    @model_validator(mode="after")
    def _float_is_wav(self) -> Request:
        """Only wav holds float samples."""
        if self.bit_depth == 32 and self.output_format != "wav":
            raise ValueError("bit_depth 32 needs output_format wav")
        return self


class Result(BaseModel):
    """The stems. File names are relative to the result's folder."""

    model: str
    tracks: list[str]
    sample_rate: int
    duration_seconds: float
    files: list[str]


@dataclass(frozen=True)
class Demucs:
    """A loaded bag of models."""

    variant: str
    device: str
    bag: Any

    @property
    def sources(self) -> list[str]:
        """The stems' names, in the model's order."""
        return list(self.bag.sources)


def load(variant: str, device: str, weights: Path | None) -> Demucs:
    """Load a variant from a folder.

    Parameters
    ----------
    variant : str
    device : str
    weights : Path
        A demucs repository (a bag's yaml and .th files), or the hub's folder (yaml and safetensors).

    Raises
    ------
    ModelUnavailable
        When its files do not load.
    """
    if weights is None:
        raise ModelUnavailable(f"There are no weights for demucs {variant}.")
    try:
        bag = _load_bag(variant, weights)
    except Exception as error:  # pickles and checksums fail in many ways
        raise ModelUnavailable(f"The weights of demucs {variant} in {weights} do not load: {error}") from error
    bag.to(device)
    bag.eval()
    return Demucs(variant, device, bag)


def run(model: Demucs, request: Request, audio_path: Path, out_dir: Path, report: Report) -> Result:
    """Separate a song of any length.

    Parameters
    ----------
    model : Demucs
    request : Request
    audio_path : Path
    out_dir : Path
        Gets <stem>.<format> for each stem, and instrumental.<format>.
    report : Report
        Called for each segment of each model and shift.

    Raises
    ------
    InvalidInput
        When two_stems names no stem of this model.
    UnsupportedAudio
        When the file does not decode.
    Cancelled
        Within one segment of a cancellation.
    """
    if request.two_stems is not None and request.two_stems not in model.sources:
        raise InvalidInput(
            f"two_stems: {request.two_stems!r} is no stem of {model.variant}; it has {', '.join(model.sources)}.",
            details={"field": "two_stems", "available": model.sources},
        )
    if request.seed is not None:
        random.seed(request.seed)
    rate, channels = int(model.bag.samplerate), int(model.bag.audio_channels)
    mean, deviation, length = _level(_blocks(audio_path, rate, channels), report)
    source = Source(((block - mean) / deviation for block in _blocks(audio_path, rate, channels)), channels)
    mixes = _mixes(model.sources, request)
    with StemFiles(out_dir, list(mixes), rate, channels, request) as files:
        separated = separate(
            list(model.bag.models), model.bag.weights, source, length, shifts=request.shifts, overlap=request.overlap,
            device=model.device, report=_rest(report),
        )  # fmt: skip
        for stems in separated:
            heard = stems * deviation + mean
            files.write({name: heard[indices].sum(0).numpy() for name, indices in mixes.items()})
    tracks = [name for name in mixes if name != "instrumental"]
    seconds = length / rate
    return Result(model=model.variant, tracks=tracks, sample_rate=rate, duration_seconds=seconds, files=files.names)


def _load_bag(variant: str, folder: Path) -> Any:
    """The library's own bag of models, from either kind of folder."""
    import yaml
    from demucs.apply import BagOfModels
    from demucs.hf import load_safetensors_model
    from demucs.pretrained import get_model

    bag = yaml.safe_load((folder / f"{variant}.yaml").read_text())
    tensors = [folder / f"{signature}.safetensors" for signature in bag["models"]]
    if not all(path.exists() for path in tensors):
        return get_model(variant, repo=folder)
    return BagOfModels([load_safetensors_model(path) for path in tensors], bag.get("weights"), bag.get("segment"))


def _blocks(path: Path, rate: int, channels: int) -> Iterator[torch.Tensor]:
    """The song as the model takes it, block by block, (channels, samples)."""
    import torch

    return (torch.from_numpy(block) for block in audio.decode(path, sample_rate=rate, channels=channels))


def _level(blocks: Iterator[torch.Tensor], report: Report) -> tuple[float, float, int]:
    """Mean and standard deviation of the mono mix, as demucs.api normalises by, and the length in samples."""
    count, total, squares = 0, 0.0, 0.0
    for block in blocks:
        mono = block.mean(0).double()
        count, total, squares = count + len(mono), total + float(mono.sum()), squares + float((mono**2).sum())
        report(0.0)
    mean = total / count
    variance = max(squares - count * mean**2, 0.0) / max(count - 1, 1)
    report(MEASURED)
    return mean, variance**0.5 + 1e-8, count


def _mixes(sources: list[str], request: Request) -> dict[str, list[int]]:
    """What is written: for each file the indices of the sources that it sums."""
    if request.two_stems is not None:
        chosen = sources.index(request.two_stems)
        others = [index for index in range(len(sources)) if index != chosen]
        return {request.two_stems: [chosen], f"no_{request.two_stems}": others}
    order = sorted(sources, key=lambda name: (*CONTRACT_ORDER, name).index(name))
    mixes = {name: [sources.index(name)] for name in order}
    if request.instrumental and VOCALS in sources:
        mixes["instrumental"] = [index for index, name in enumerate(sources) if name != VOCALS]
    return mixes


def _rest(report: Report) -> Callable[[float], None]:
    """A report for what comes after the measuring."""
    return lambda fraction: report(MEASURED + (1 - MEASURED) * fraction)
