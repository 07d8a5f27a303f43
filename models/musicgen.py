"""Music from text, a tune or a beginning: MusicGen through transformers (musicgen_audiocraft has the other engine).

Copet et al., "Simple and Controllable Music Generation", 2023. Longer pieces than the model was trained on are made
window after window, each beginning with the end of the one before, as audiocraft does.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from errors import InvalidInput, ModelUnavailable
from models import Report, audio
from models.checkpoints import loading
from models.melody import melody
from models.progress import EveryStep

if TYPE_CHECKING:
    import numpy as np
    import torch

WINDOW_SECONDS = 30.0  # what MusicGen was trained on
CARRIED_SECONDS = 12.0  # of a window's end, with which the next one begins
MAX_PROMPT_CHARACTERS = 1000
MAX_SEED = 2**32 - 1
WAV = "generated_music.wav"

Samples = TypeVar("Samples", "np.ndarray", "torch.Tensor")


class Request(BaseModel):
    """What to generate."""

    model_config = ConfigDict(extra="forbid")

    prompt: str = Field(
        min_length=1, max_length=MAX_PROMPT_CHARACTERS, description="The music in words.",
        json_schema_extra={"pattern": r"\S"},
    )  # fmt: skip
    duration: float = Field(15.0, ge=1, le=120, allow_inf_nan=False, description="Length in seconds.")
    temperature: float = Field(1.0, ge=0.1, le=2.0, allow_inf_nan=False, description="Of sampling.")
    cfg_coeff: float = Field(3.0, ge=1, le=10, allow_inf_nan=False, description="How closely to follow the prompt.")
    top_k: int = Field(250, ge=0, le=2048, description="Sample among so many likeliest tokens; 0 for all.")
    top_p: float = Field(0.0, ge=0, le=1, allow_inf_nan=False, description="Sample among this share; 0 for all.")
    seed: int | None = Field(None, ge=0, le=MAX_SEED, description="The same seed gives the same bytes.")
    output_format: Literal["wav", "mp3", "flac"] = Field("wav", description="A second file besides the wav.")
    prompt_seconds: float = Field(
        10.0, gt=0, le=20, allow_inf_nan=False, description="How much of an uploaded clip's end is continued."
    )

    @field_validator("prompt")
    @classmethod
    def _says_something(cls, prompt: str) -> str:
        """White space is no description."""
        if not prompt.strip():
            raise ValueError("prompt must describe the music in words")
        return prompt


class Result(BaseModel):
    """What was generated. Durations are seconds, sample_rate is Hz."""

    model: str
    generated_file: str
    duration: float
    sample_rate: int
    seed: int
    files: list[str]


@dataclass(frozen=True)
class MusicGen:
    """A loaded model with its tokenizer."""

    variant: str
    device: str
    model: Any
    tokenizer: Any

    @property
    def hears_melody(self) -> bool:
        """Whether an upload is its tune, not its beginning."""
        return bool(self.model.config.model_type == "musicgen_melody")

    @property
    def sample_rate(self) -> int:
        """In Hz."""
        return int(self.model.config.audio_encoder.sampling_rate)

    @property
    def frame_rate(self) -> int:
        """Frames of codes a second."""
        return int(self.model.config.audio_encoder.frame_rate)

    @property
    def delay(self) -> int:
        """Steps that the last code book lags behind the first."""
        return int(self.model.decoder.num_codebooks) - 1


def load(variant: str, device: str, weights: Path | None) -> MusicGen:
    """Load a model folder.

    Parameters
    ----------
    variant : str
    device : str
        bfloat16 on GPUs, float32 on CPUs; the audio decoder is float32 everywhere.
    weights : Path
        A Hugging Face model folder.

    Raises
    ------
    ModelUnavailable
        When the folder does not load.
    """
    import torch
    from transformers import (
        AutoConfig,
        AutoTokenizer,
        MusicgenForConditionalGeneration,
        MusicgenMelodyForConditionalGeneration,
    )

    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    if weights is None:
        raise ModelUnavailable(f"There are no weights for musicgen {variant}.")
    with loading(f"The weights in {weights} do not load"):
        kind = AutoConfig.from_pretrained(weights, local_files_only=True).model_type
        hears = kind == "musicgen_melody"
        cls: Any = MusicgenMelodyForConditionalGeneration if hears else MusicgenForConditionalGeneration
        model = cls.from_pretrained(weights, dtype=dtype, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(weights, local_files_only=True)
    model.audio_encoder.float()
    return MusicGen(variant, device, model.to(device).eval(), tokenizer)


def run(model: MusicGen, request: Request, audio_path: Path | None, out_dir: Path, report: Report) -> Result:
    """Generate music.

    Parameters
    ----------
    model : MusicGen
    request : Request
    audio_path : Path or None
        An uploaded clip: the tune to follow for the melody variant, else the beginning to go on from.
    out_dir : Path
        Where generated_music.wav is written, and its mp3 or flac when asked.
    report : Report
        Called for each generated frame.

    Raises
    ------
    Cancelled
        Within one frame of a cancellation.
    InvalidInput
        When a clip to go on from leaves no room for new music.
    """
    import torch

    seed = sow(request)
    clip = _clip(model, audio_path) if audio_path else None
    with torch.inference_mode():
        codes = _codes(model, request, clip, report)
        samples = model.model.audio_encoder.decode(codes[None], [None]).audio_values[0].float().cpu().numpy()
    result = save(samples, model.sample_rate, model.variant, request, seed, out_dir)
    report(1.0)
    return result


def sow(request: Request) -> int:
    """Seed torch as the request says, or at random; the seed."""
    import torch

    seed = request.seed if request.seed is not None else random.randint(0, MAX_SEED)
    torch.manual_seed(seed)
    return seed


def clip_end(clip: Samples, request: Request, sample_rate: int, frame_rate: float) -> Samples:
    """What of an uploaded clip is gone on from: its last seconds.

    Parameters
    ----------
    clip : np.ndarray or torch.Tensor, shape (..., samples)
    request : Request
    sample_rate : int
        Hz
    frame_rate : float
        Frames of codes a second.

    Raises
    ------
    InvalidInput
        When it is shorter than a frame.
    """
    end = clip[..., -round(request.prompt_seconds * sample_rate) :]
    if end.shape[-1] < sample_rate / frame_rate:
        raise InvalidInput("The uploaded clip is too short to go on from; it must be longer than one frame.")
    return end


def save(samples: np.ndarray, sample_rate: int, variant: str, request: Request, seed: int, out_dir: Path) -> Result:
    """Write generated_music.wav, and its mp3 or flac when asked.

    Parameters
    ----------
    samples : np.ndarray, shape (channels, samples), float32
    sample_rate : int
        Hz
    variant : str
    request : Request
    seed : int
        As sow() gave it.
    out_dir : Path
    """
    names = [WAV] if request.output_format == "wav" else [WAV, f"generated_music.{request.output_format}"]
    for name in names:
        with audio.Writer(out_dir / name, sample_rate, samples.shape[0]) as writer:
            writer.write(samples)
    return Result(model=variant, generated_file=WAV, duration=samples.shape[1] / sample_rate, sample_rate=sample_rate,
                  seed=seed, files=names)  # fmt: skip


def _clip(model: MusicGen, path: Path) -> np.ndarray:
    """An uploaded clip at the model's rate, mono, (samples,)."""
    return audio.read(path, sample_rate=model.sample_rate, channels=1)[0][0]


def _codes(model: MusicGen, request: Request, clip: np.ndarray | None, report: Report) -> torch.Tensor:
    """All code frames of the piece, (1, code books, frames), window after window."""
    import torch

    done = _beginning(model, request, clip)
    total = done.shape[-1] + round(request.duration * model.frame_rate)
    window, carried = (round(seconds * model.frame_rate) for seconds in (WINDOW_SECONDS, CARRIED_SECONDS))
    while done.shape[-1] < total:
        prompt = done if done.shape[-1] < window else done[..., -carried:]
        new = min(window - prompt.shape[-1], total - done.shape[-1])
        inputs = _inputs(model, request, clip, (done.shape[-1] - prompt.shape[-1]) / model.frame_rate)
        progress = EveryStep(report, done.shape[-1], total)
        generated = _generate(model, request, inputs, prompt, new, progress)
        done = torch.cat([done, generated[..., prompt.shape[-1] :]], dim=-1)
    return done


def _beginning(model: MusicGen, request: Request, clip: np.ndarray | None) -> torch.Tensor:
    """The codes that the piece begins with: an uploaded clip's end, or none; (1, code books, frames)."""
    import torch

    if clip is None or model.hears_melody:
        return torch.zeros(1, model.delay + 1, 0, dtype=torch.long, device=model.device)
    end = torch.from_numpy(clip_end(clip, request, model.sample_rate, model.frame_rate).copy()).to(model.device)
    return model.model.audio_encoder.encode(end[None, None]).audio_codes[0]


def _inputs(model: MusicGen, request: Request, clip: np.ndarray | None, begin_seconds: float) -> dict[str, Any]:
    """Text, and for the melody variant the tune from that time on, as the model takes them."""
    inputs = model.tokenizer([request.prompt], return_tensors="pt").to(model.device)
    if clip is None or not model.hears_melody:
        return dict(inputs)
    import numpy as np

    begin = round(begin_seconds * model.sample_rate) % len(clip)
    tune = np.resize(np.roll(clip, -begin), round(WINDOW_SECONDS * model.sample_rate))  # a short tune is repeated
    return {**inputs, "input_features": melody(tune, model.sample_rate).to(model.device, model.model.dtype)}


def _generate(model: MusicGen, request: Request, inputs: dict[str, Any], prompt: torch.Tensor, new_frames: int,
              progress: EveryStep) -> torch.Tensor:  # fmt: skip
    """One window's codes, prompt included, (1, code books, frames)."""
    from transformers import StoppingCriteriaList

    if prompt.shape[-1]:
        inputs = inputs | {"decoder_input_ids": prompt[0]}
    with _codes_of(model) as codes:
        model.model.generate(
            **inputs, do_sample=True, guidance_scale=request.cfg_coeff, temperature=request.temperature,
            top_k=request.top_k, top_p=request.top_p or 1.0, max_new_tokens=new_frames + model.delay,
            stopping_criteria=StoppingCriteriaList([progress]),
        )  # fmt: skip
    return codes[0][0]


@contextmanager
def _codes_of(model: MusicGen) -> Iterator[list[torch.Tensor]]:
    """The codes that generate() hands to its audio decoder: it returns sound, and the next window needs codes."""
    encoder = model.model.audio_encoder
    decode, codes = encoder.decode, []

    def keep(audio_codes: torch.Tensor, *arguments: Any, **options: Any) -> Any:
        codes.append(audio_codes)
        return decode(audio_codes[..., :1], *arguments, **options)  # the whole piece is decoded once, at the end

    encoder.decode = keep
    try:
        yield codes
    finally:
        encoder.decode = decode
