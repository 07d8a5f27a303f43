"""The registry: which models there are and which module wraps each.

A module has four public names: `Request` (pydantic), `Result` (pydantic), `load(variant, device, weights)` and
`run(model, request, audio_path, out_dir, report)`. Importing one is cheap: heavy imports are inside functions.
A second engine of a model is a module with `load` and `run` for the same `Request`.
"""

import importlib
from dataclasses import dataclass
from typing import Any, Protocol

from errors import InvalidInput, NotFound

FILE_TYPES = ("mp3", "wav", "flac", "m4a", "ogg")


class Report(Protocol):
    """How a model tells its progress; raises errors.Cancelled when the job is to stop."""

    def __call__(self, fraction: float, message: str | None = None) -> None: ...


@dataclass(frozen=True)
class ModelSpec:
    """One row of the model table.

    Attributes
    ----------
    name : str
        As in URLs, and the module's name in this package.
    purpose : str
        One phrase for people.
    stage : str
        The stage its progress shows as: separation, transcription, generation, analysis, karaoke.
    queue : str
        "gpu" (heavy, holds a model on a device) or "cpu" (light).
    default_variant : str
    variants : tuple of str
    engines : tuple of str
        Libraries that it may run on, the default first; empty where there is only one.
    goes_on : bool
        Its run() takes a `spool` (models/spool.py): stopped, it goes on from there and does not begin anew.
    """

    name: str
    purpose: str
    stage: str
    queue: str
    default_variant: str
    variants: tuple[str, ...]
    engines: tuple[str, ...] = ()
    goes_on: bool = False

    @property
    def module(self) -> Any:
        """The wrapper module."""
        return importlib.import_module(f"models.{self.name}")

    def wrapper(self, engine: str) -> str:
        """Name of the module that loads and runs the model on an engine, and of its rows in the table of weights.

        Parameters
        ----------
        engine : str
            Means nothing to models that have only one.
        """
        return f"{self.name}_{engine}" if engine in self.engines[1:] else self.name

    def variant(self, wanted: str | None, field: str = "model_variant") -> str:
        """The variant to use for what a caller asked in that field, the default when nothing was.

        Raises
        ------
        InvalidInput
            When there is no such variant.
        """
        if wanted is None:
            return self.default_variant
        if wanted not in self.variants:
            raise InvalidInput(
                f"{field} {wanted!r} is not a variant of {self.name}; choose one of {', '.join(self.variants)}.",
                details={"field": field, "available": list(self.variants)},
            )
        return wanted


REGISTRY: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        ModelSpec("demucs", "Audio separation into stems", "separation", "gpu", "htdemucs",
                  ("htdemucs", "mdx_extra", "mdx", "mdx_q", "mdx_extra_q", "htdemucs_ft", "htdemucs_6s",
                   "demo"), goes_on=True),
        ModelSpec("whisper", "Speech and lyrics transcription", "transcription", "gpu", "medium",
                  ("tiny", "base", "small", "medium", "large", "turbo", "demo")),
        ModelSpec("musicgen", "Music generation from text", "generation", "gpu", "large",
                  ("small", "medium", "large", "melody"), engines=("transformers", "audiocraft")),
        ModelSpec("pitch_analysis", "Key, tempo and chord detection", "analysis", "cpu", "enhanced_chroma",
                  ("basic_chroma", "enhanced_chroma", "librosa_chroma")),
        ModelSpec("gemma_3n", "Listening to and describing audio", "analysis", "gpu", "gemma-2-9b-it",
                  ("gemma-2-2b-it", "gemma-2-9b-it", "gemma-2-27b-it", "gemma-3n-E2B-it", "gemma-3n-E4B-it")),
        ModelSpec("karaoke", "Karaoke package from stems and words", "karaoke", "cpu", "full",
                  ("full", "instrumental_only")),
    )
}


def spec(name: str) -> ModelSpec:
    """The model table's row of that name.

    Raises
    ------
    NotFound
        When there is no such model.
    """
    try:
        return REGISTRY[name]
    except KeyError:
        raise NotFound(f"There is no model {name!r}; choose one of {', '.join(REGISTRY)}.") from None
