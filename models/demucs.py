"""Separation into stems: Demucs, streamed.

Rouard, Massa and Défossez, "Hybrid Transformers for Music Source Separation", 2023, by the library demucs. The result
equals demucs.api.Separator's; decoding, separating and encoding go on side by side, so that memory does not grow with
the song.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from errors import Cancelled, InvalidInput, ModelUnavailable, UnsupportedAudio
from models import Report, audio, checkpoints
from models.memory import is_out_of_memory
from models.overlap import Separation, Source
from models.progress import share
from models.spool import Place, Spool
from models.stem_files import Block, StemFiles

if TYPE_CHECKING:
    import torch

CONTRACT_ORDER = ("vocals", "bass", "drums", "other")  # in which stems are listed; others follow
VOCALS = "vocals"
INSTRUMENTAL = "instrumental"
MEASURED = 0.03  # fraction done when the level of the song is known
RESCALED = 0.1  # share of turning the stems down, where that is asked for
BITRATES = (64, 80, 96, 112, 128, 160, 192, 224, 256, 320)  # kbit/s, those of MPEG-1 layer III
FORM = 1  # of what is kept to go on from; another number where it would mean something else
FLOAT_BYTES = 4
DEPTHS: dict[int, audio.SampleFormat] = {16: "s16", 24: "s24", 32: "f32"}


Level = tuple[float, float, int]  # mean, deviation, and length in samples


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
        "clamp",
        description="Of samples beyond full scale: cut them (32-bit wav keeps them), or turn the whole stem down. That "
        "costs a second pass, room on disk for all stems as float, and the balance between stems.",
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
    """A loaded bag of models.

    Attributes
    ----------
    weights : list of str
        What the files hold, by checksums.
    """

    variant: str
    device: str
    bag: Any
    weights: list[str]

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
        When a file is missing or does not load; names it.
    """
    if weights is None:
        raise ModelUnavailable(f"There are no weights for demucs {variant}.")
    first = weights / f"{variant}.yaml"
    bag = _load_bag(first)
    bag.to(device)
    bag.eval()
    return Demucs(variant, device, bag, [checkpoints.sha256(first), *map(_checksum, checkpoints.parts(first).values())])


def run(model: Demucs, request: Request, audio_path: Path, out_dir: Path, report: Report,
        spool: Spool | None = None) -> Result:  # fmt: skip
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
    spool : Spool, optional
        Where what is finished is kept: a run of the same that was stopped goes on from its last segment, and gives the
        bytes that it would have given. It is the caller's to remove.

    Returns
    -------
    Result

    Raises
    ------
    InvalidInput
        When two_stems names no stem of this model.
    UnsupportedAudio
        When the file does not decode.
    StorageFull
        When the disk is full.
    Cancelled
        Within one segment of a cancellation.
    """
    mixes = _mixes(model, request)
    rate, channels = int(model.bag.samplerate), int(model.bag.audio_channels)
    separated = 1 - RESCALED if request.clip_mode == "rescale" else 1
    separating = share(report, MEASURED, separated)
    place = spool.open(_what(model, request, audio_path), separating) if spool else None
    level = place.facts["level"] if place else _level(audio_path, rate, channels, share(report, 0, MEASURED))
    mean, deviation, length = level
    files = StemFiles(
        out_dir, list(mixes), rate, channels, suffix=f".{request.output_format}", bitrate_kbps=request.mp3_bitrate,
        sample_format=DEPTHS[request.bit_depth],
    )  # fmt: skip
    separation = Separation(
        list(model.bag.models), model.bag.weights, length, shifts=request.shifts, overlap=request.overlap,
        seed=request.seed, device=model.device,
    )  # fmt: skip
    with closing(_blocks(audio_path, rate, channels)) as blocks:
        source = Source(((block - mean) / deviation for block in blocks), channels)
        if spool and place:
            separation.go_to(place)
        elif spool:
            spool.reserve(length * len(model.sources) * channels * FLOAT_BYTES)
        parts = (_kept(separation, source, spool, level, model.device, separating) if spool
                 else separation.run(source, separating))  # fmt: skip
        stems = _mixed((part * deviation + mean for part in parts), mixes)
        if request.clip_mode == "rescale":
            files.write_rescaled(stems, length, share(report, separated, 1))
        else:
            files.write_clamped(stems)
    tracks = [name for name in mixes if name != INSTRUMENTAL]
    seconds = length / rate
    return Result(model=model.variant, tracks=tracks, sample_rate=rate, duration_seconds=seconds, files=files.names)


def _what(model: Demucs, request: Request, audio_path: Path) -> dict[str, Any]:
    """All that decides what is separated, so that nothing goes on from what was kept of something else."""
    sound = [audio_path.name, audio_path.stat().st_size]
    return {"form": FORM, "variant": model.variant, "weights": model.weights, "sound": sound,
            "request": request.model_dump(mode="json")}  # fmt: skip


def _kept(separation: Separation, source: Source, spool: Spool, level: Level, device: str,
          report: Callable[[float], None]) -> Iterator[torch.Tensor]:  # fmt: skip
    """What was finished before, then what is separated from there on, kept as it comes."""
    import torch

    def save() -> None:
        place = separation.place()
        spool.save(Place(place.facts | {"level": level}, place.samples), separation.fraction)

    for block in spool.blocks():
        report(separation.fraction)
        yield torch.from_numpy(block).to(device)
    source.skip_to(separation.needs_from, lambda: report(separation.fraction))
    try:
        for part in separation.run(source, report):
            spool.add(part.cpu().numpy())
            if spool.is_due:
                save()
            yield part
    except Cancelled:
        save()
        raise
    save()  # what follows may take its time, too


def _load_bag(path: Path) -> Any:
    """The library's own bag of models, from either kind of folder; one file at a time, so that an error can name it."""
    import yaml
    from demucs.apply import BagOfModels

    with checkpoints.loading(f"{path} does not load as a bag of demucs models"):
        bag = yaml.safe_load(path.read_text(encoding="utf-8"))
        files = checkpoints.parts(path)
        models = [_load_model(path.parent, signature, files[signature]) for signature in bag["models"]]
        return BagOfModels(models, bag.get("weights"), bag.get("segment"))


def _load_model(folder: Path, signature: str, path: Path | None) -> Any:
    """One of a bag's models."""
    from demucs.hf import load_safetensors_model
    from demucs.states import load_model

    if path is None:
        raise ModelUnavailable(f"{folder} has neither {signature}-<checksum>.th nor {signature}.safetensors.")
    if trouble := checkpoints.damage(path):
        raise ModelUnavailable(f"{path} is damaged: {trouble}; remove it to have it fetched again.")
    try:
        return load_safetensors_model(path) if path.suffix == ".safetensors" else load_model(path)
    except (Exception, SystemExit) as error:  # pickles fail in many ways, and the library exits where diffq is missing
        if is_out_of_memory(error):
            raise
        raise ModelUnavailable(f"{path} does not load as a demucs model: {error!r}.") from error


def _blocks(path: Path, rate: int, channels: int) -> Generator[torch.Tensor]:
    """The song as the model takes it, block by block, (channels, samples)."""
    import torch

    for block in audio.decode(path, sample_rate=rate, channels=channels):
        yield torch.from_numpy(block)


def _checksum(path: Path | None) -> str:
    """Of a file of weights: what its name claims, which was checked as it was loaded, else its own."""
    assert path is not None, "it was loaded"
    claimed = path.stem.rpartition("-")[2] if path.suffix == ".th" and "-" in path.stem else ""
    return claimed or checkpoints.sha256(path)


def _level(path: Path, rate: int, channels: int, report: Callable[[float], None]) -> Level:
    """Mean and standard deviation of the mono mix, as demucs.api normalises by, and the length in samples."""
    expected = max(audio.probe(path).duration_seconds * rate, 1)
    count, total, squares = 0, 0.0, 0.0
    for block in _blocks(path, rate, channels):
        mono = block.mean(0).double()
        count, total, squares = count + len(mono), total + float(mono.sum()), squares + float((mono**2).sum())
        report(min(count / expected, 1))
    if not count:
        raise UnsupportedAudio("The file is too short: it holds no samples.")
    mean = total / count
    variance = max(squares - count * mean**2, 0.0) / max(count - 1, 1)
    return mean, variance**0.5 + 1e-8, count


def _mixes(model: Demucs, request: Request) -> dict[str, list[int]]:
    """What is written: for each file the indices of the sources that it sums."""
    sources, chosen = model.sources, request.two_stems
    if chosen is not None:
        if chosen not in sources:
            raise InvalidInput(
                f"two_stems: {chosen!r} is no stem of {model.variant}; it has {', '.join(sources)}.",
                details={"field": "two_stems", "available": sources},
            )
        others = [index for index, name in enumerate(sources) if name != chosen]
        return {chosen: [sources.index(chosen)], f"no_{chosen}": others}
    order = sorted(sources, key=lambda name: (*CONTRACT_ORDER, name).index(name))
    mixes = {name: [sources.index(name)] for name in order}
    if request.instrumental and VOCALS in sources:
        mixes[INSTRUMENTAL] = [index for index, name in enumerate(sources) if name != VOCALS]
    return mixes


def _mixed(parts: Iterator[torch.Tensor], mixes: dict[str, list[int]]) -> Iterator[Block]:
    """What goes into each file, from (sources, channels, samples)."""
    for part in parts:
        yield {name: part[indices].sum(0).cpu().numpy() for name, indices in mixes.items()}
