"""Describing songs and correcting their words: Gemma through transformers.

The text variants (Gemma 2) cannot hear: they get measurements of the song, or the words that Whisper heard. The native
variants (Gemma 3n) get the sound itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from errors import Conflict, ModelUnavailable
from models import Report, audio, features, prompts
from models.checkpoints import loading
from models.progress import EveryStep
from models.rewording import reworded

if TYPE_CHECKING:
    import numpy as np

SAMPLE_RATE = 16000  # Hz, of Gemma 3n's audio encoder
LINES_AT_ONCE = 12  # to correct: so many fit into an answer, and a miscounted answer spoils no more
WINDOW_SECONDS = 30.0  # the longest sound that Gemma 3n takes
MEASURED = 0.4  # fraction done when the song is measured


class Request(BaseModel):
    """What Gemma shall do."""

    model_config = ConfigDict(extra="forbid")

    task: Literal["analyze", "transcribe"] = Field("analyze", description="Describe the song, or write its words.")
    temperature: float = Field(0.7, ge=0.1, le=2.0, allow_inf_nan=False, description="Of sampling.")
    top_p: float = Field(0.9, gt=0, le=1, allow_inf_nan=False, description="Sample among this share.")
    do_sample: bool = Field(True, description="Sample, or take the likeliest token.")
    max_new_tokens: int = Field(512, ge=1, le=4096, description="Length of an answer at most.")
    seed: int | None = Field(None, ge=0, le=2**32 - 1, description="The same seed gives the same answer.")


class Inputs(Request):
    """The request completed with what the song has."""

    song_title: str = ""
    song_artist: str = ""
    stems: list[str] = []
    transcription: Path | None = None


class Result(BaseModel):
    """What Gemma answered."""

    model: str
    task: str
    audio_analysis: str
    output_files: dict[str, str]
    transcription_file: str | None = None
    text: str | None = None
    language: str | None = None
    message: str | None = None
    files: list[str]


@dataclass(frozen=True)
class Gemma:
    """A loaded model with what prepares its input: a tokenizer, or a processor that takes sound too."""

    variant: str
    device: str
    model: Any
    processor: Any

    @property
    def hears(self) -> bool:
        """Whether it takes sound."""
        return hears_sound(self.variant)

    @property
    def tokenizer(self) -> Any:
        """What turns tokens into text."""
        return getattr(self.processor, "tokenizer", self.processor)


def hears_sound(variant: str) -> bool:
    """Whether a variant takes sound, or text alone."""
    return "3n" in variant


def load(variant: str, device: str, weights: Path | None) -> Gemma:
    """Load a model folder, spread over the devices by accelerate.

    Parameters
    ----------
    variant : str
    device : str
        bfloat16 everywhere: Gemma was made in it, and takes half the memory.
    weights : Path
        A Hugging Face model folder.

    Raises
    ------
    ModelUnavailable
        When the folder does not load.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer

    if weights is None:
        raise ModelUnavailable(f"There are no weights for gemma_3n {variant}.")
    hears = hears_sound(variant)
    if hears:
        leave_out_vision()
    place: Any = "auto" if device.startswith("cuda") else {"": device}  # several GPUs may be needed for one model
    with loading(f"The weights in {weights} do not load"):
        cls: Any = AutoModelForImageTextToText if hears else AutoModelForCausalLM
        network = cls.from_pretrained(weights, local_files_only=True, device_map=place, dtype=torch.bfloat16)
        processor = (AutoProcessor if hears else AutoTokenizer).from_pretrained(weights, local_files_only=True)
    return Gemma(variant, device, network.eval(), processor)


def leave_out_vision() -> None:
    """Have transformers build Gemma 3n without its eyes, which songs do not need.

    They are 300 million weights, and would take timm and torchvision to load. Sets it for the whole process.
    """
    from transformers import AutoModel, Gemma3nVisionConfig, PreTrainedModel

    class NoVision(PreTrainedModel):
        """Stands where the vision tower does, without a weight."""

        config_class = Gemma3nVisionConfig

        def __init__(self, config: Gemma3nVisionConfig) -> None:
            super().__init__(config)
            self.post_init()

    AutoModel.register(Gemma3nVisionConfig, NoVision, exist_ok=True)


def run(model: Gemma, request: Inputs, audio_path: Path, out_dir: Path, report: Report) -> Result:
    """Describe a song or write its words.

    Parameters
    ----------
    model : Gemma
    request : Inputs
    audio_path : Path
    out_dir : Path
        Where analysis_<variant>_<task>.txt and .json are written.
    report : Report
        Called for each generated token.

    Raises
    ------
    Cancelled
        Within one token of a cancellation.
    Conflict
        When words shall be corrected that nobody has heard yet.
    """
    if request.seed is not None:
        import torch

        torch.manual_seed(request.seed)
    answer = _analyze if request.task == "analyze" else _hear if model.hears else _correct
    details = answer(model, request, audio_path, out_dir, report)
    stem = f"analysis_{model.variant}_{request.task}"
    files = {"text": f"{stem}.txt", "json": f"{stem}.json"}
    (out_dir / files["text"]).write_text(details["answer"] + "\n", encoding="utf-8")
    (out_dir / files["json"]).write_text(json.dumps(details, ensure_ascii=False, indent=1), encoding="utf-8")
    written = details.get("transcription_file")
    report(1.0)
    return Result(
        model=model.variant, task=request.task, audio_analysis=details["answer"], output_files=files,
        transcription_file=written, text=details["answer"] if request.task == "transcribe" else None,
        language=details.get("language"), message=details.get("message"),
        files=[*files.values(), *([written] if written else [])],
    )  # fmt: skip


def _analyze(model: Gemma, request: Inputs, audio_path: Path, out_dir: Path, report: Report) -> dict[str, Any]:
    """A description, with the features it was given."""
    found = features.measure(audio_path, lambda fraction, message=None: report(MEASURED * fraction, message))
    if request.song_title:
        found |= {"title": request.song_title, "artist": request.song_artist}
    if request.stems:
        found["stems"] = request.stems
    if request.transcription:
        found["lyrics"] = json.loads(request.transcription.read_text(encoding="utf-8"))["text"].strip()
    prompt = prompts.analyze(found)
    sound = next(_windows(audio_path)) if model.hears else None
    answer = _generate(model, request, prompt, sound, lambda f: report(MEASURED + (1 - MEASURED) * f, "Describing"))
    return {"model": model.variant, "task": request.task, "features": found, "prompt": prompt, "answer": answer}


def _correct(model: Gemma, request: Inputs, audio_path: Path, out_dir: Path, report: Report) -> dict[str, Any]:
    """The words that Whisper heard, line by line corrected where the correction stays close to what was heard."""
    if request.transcription is None:
        raise Conflict(f"{model.variant} cannot hear; run whisper on this song first, then it corrects the words.")
    heard = json.loads(request.transcription.read_text(encoding="utf-8"))
    segments, answers, corrected, changes = heard["segments"], [], [], []
    for begin in range(0, len(segments), LINES_AT_ONCE):
        some = segments[begin : begin + LINES_AT_ONCE]

        def show(fraction: float, begun: int = begin, count: int = len(some)) -> None:
            report((begun + count * fraction) / len(segments), "Correcting")

        prompt = prompts.correct([segment["text"].strip() for segment in some])
        answers.append(_generate(model, request, prompt, None, show))
        kept, changed = reworded(some, answers[-1].splitlines())
        corrected += kept
        changes += changed
    name = f"transcription_{model.variant}.json"
    text = "\n".join(segment["text"].strip() for segment in corrected)
    result = {**heard, "segments": corrected, "text": text, "model": "gemma_3n", "model_variant": model.variant}
    (out_dir / name).write_text(json.dumps(result, ensure_ascii=False, indent=1), encoding="utf-8")
    return {
        "model": model.variant, "task": request.task, "heard": [segment["text"].strip() for segment in segments],
        "rewritten": answers, "changes": changes,
        "answer": text, "language": heard.get("language"), "transcription_file": name, "message": heard.get("message"),
    }  # fmt: skip


def _hear(model: Gemma, request: Inputs, audio_path: Path, out_dir: Path, report: Report) -> dict[str, Any]:
    """The words as a native variant hears them, window after window."""
    count = max(1, round(audio.probe(audio_path).duration_seconds / WINDOW_SECONDS + 0.5))
    texts: list[str] = []
    for index, sound in enumerate(_windows(audio_path)):

        def show(fraction: float, begun: int = index) -> None:
            report(min((begun + fraction) / count, 1.0), "Listening")

        texts.append(_generate(model, request, prompts.TRANSCRIBE, sound, show).strip())
    answer = "\n".join(text for text in texts if text)
    return {"model": model.variant, "task": request.task, "windows": texts, "answer": answer}


def _windows(path: Path) -> Iterator[np.ndarray]:
    """The sound in pieces of at most 30 s, mono, (samples,)."""
    for block in audio.decode(path, sample_rate=SAMPLE_RATE, channels=1, block_seconds=WINDOW_SECONDS):
        yield block[0]


def _generate(model: Gemma, request: Request, prompt: str, sound: np.ndarray | None, report: Any) -> str:
    """One answer to one prompt; report(fraction) is called for every token."""
    import torch
    from transformers import StoppingCriteriaList

    inputs = _chat(model, prompt, sound)
    sampling = {"temperature": request.temperature, "top_p": request.top_p} if request.do_sample else {}
    with torch.inference_mode():
        tokens = model.model.generate(
            **inputs, do_sample=request.do_sample, max_new_tokens=request.max_new_tokens, **sampling,
            stopping_criteria=StoppingCriteriaList([EveryStep(report, 0, request.max_new_tokens)]),
        )  # fmt: skip
    return str(model.tokenizer.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)).strip()


def _chat(model: Gemma, prompt: str, sound: np.ndarray | None) -> dict[str, Any]:
    """A conversation of one turn, as the model takes it."""
    import torch

    content: Any = prompt
    if model.hears:
        content = [{"type": "text", "text": prompt}]
        if sound is not None:
            content.insert(0, {"type": "audio", "audio": sound})
    found = model.processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=True, return_dict=True,
        return_tensors="pt",
    )  # fmt: skip
    dtype = model.model.dtype
    return {
        name: value.to(model.model.device, dtype if torch.is_floating_point(value) else None)
        for name, value in found.items()
    }
