"""MusicGen through audiocraft, the library of its authors: the same request and result as models.musicgen.

audiocraft pins an old torch, so it has an environment of its own (requirements-audiocraft.txt); MUSICGEN_ENGINE chooses
it. Besides its two checkpoints it loads the text encoder and the audio codec that these name, from the hub's cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from errors import ModelUnavailable
from models import Report, audio
from models.checkpoints import loading
from models.musicgen import CARRIED_SECONDS, Request, Result, clip_end, save, sow

if TYPE_CHECKING:
    import torch

MELODY = "self_wav"  # audiocraft's name for the condition of the melody variant


@dataclass(frozen=True)
class MusicGen:
    """A loaded audiocraft.models.MusicGen."""

    variant: str
    model: Any

    @property
    def hears_melody(self) -> bool:
        """Whether an upload is its tune, not its beginning."""
        return MELODY in self.model.lm.condition_provider.conditioners


def load(variant: str, device: str, weights: Path | None) -> MusicGen:
    """Load audiocraft's two checkpoints.

    Parameters
    ----------
    variant : str
    device : str
        float16 on GPUs, float32 on CPUs, as audiocraft does.
    weights : Path
        A folder with state_dict.bin and compression_state_dict.bin.

    Raises
    ------
    ModelUnavailable
        When audiocraft is not installed, or the checkpoints or what they name do not load.
    """
    if weights is None:
        raise ModelUnavailable(f"There are no weights for musicgen {variant}.")
    try:
        from audiocraft.models import MusicGen as Library
    except ImportError as error:
        raise ModelUnavailable(
            f"MUSICGEN_ENGINE=audiocraft needs audiocraft, which does not import here ({error}): install "
            "requirements-audiocraft.txt into an environment of its own, as the README says."
        ) from error
    import torch

    kind = torch.device(device).type  # audiocraft takes no index
    if kind == "cuda":
        torch.cuda.set_device(device)
    with loading(f"The weights in {weights}, or models that they name, do not load"):
        return MusicGen(variant, Library.get_pretrained(str(weights), device=kind))


def run(model: MusicGen, request: Request, audio_path: Path | None, out_dir: Path, report: Report) -> Result:
    """Generate music; parameters and errors are those of models.musicgen.run."""
    seed = sow(request)
    clip = _clip(model, audio_path) if audio_path else None
    rates = model.model.sample_rate, model.model.frame_rate
    end = None if clip is None or model.hears_melody else clip_end(clip, request, *rates)
    samples = _generate(model, request, clip, end, report)
    result = save(samples[0].float().cpu().numpy(), model.model.sample_rate, model.variant, request, seed, out_dir)
    report(1.0)
    return result


def _generate(model: MusicGen, request: Request, clip: torch.Tensor | None, end: torch.Tensor | None,
              report: Report) -> torch.Tensor:  # fmt: skip
    """The piece, (1, channels, samples)."""
    library = model.model
    begin_seconds = 0.0 if end is None else end.shape[-1] / library.sample_rate
    duration = begin_seconds + request.duration
    library.set_generation_params(
        duration=duration, top_k=request.top_k, top_p=request.top_p, temperature=request.temperature,
        cfg_coef=request.cfg_coeff, extend_stride=library.max_duration - CARRIED_SECONDS,
    )  # fmt: skip
    total, frames = request.duration * float(library.frame_rate), count(1)  # its own count begins anew in each window
    library.set_custom_progress_callback(lambda *_: report(min(next(frames) / total, 0.99)))
    if end is not None:
        return library.generate_continuation(end, library.sample_rate, [request.prompt], progress=True)
    if clip is not None:
        return library.generate_with_chroma([request.prompt], clip[None], library.sample_rate, progress=True)
    return library.generate([request.prompt], progress=True)


def _clip(model: MusicGen, path: Path) -> torch.Tensor:
    """An uploaded clip at the model's rate, (1, samples)."""
    import torch

    return torch.from_numpy(audio.read(path, sample_rate=model.model.sample_rate, channels=1)[0].copy())
