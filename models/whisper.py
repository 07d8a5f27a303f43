"""Whisper: speech and lyrics with a time for every word, or given lyrics timed by the voice.

Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", 2022, by the library openai-whisper. What
it hears is the library's own; around it are a gate that keeps it from inventing text where there is no voice, a guard
against repetition, and files.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from errors import InvalidInput, ModelUnavailable
from models import alignment, hearing, singing, subtitles, unsung, voice
from models.checkpoints import loading
from models.progress import share
from models.repetition import cut_repetition

if TYPE_CHECKING:
    from models import Report

LISTENED = 0.05  # fraction done when the level of the file is measured
WITHOUT_PAST = ("demo",)  # variants that hear worse with earlier text before them, since they know little of it

NO_VOICE = "No voice found in this recording."
NO_WORDS = "There is voice, but no words were understood."
REPEATED = "Repeated lines left out, since they were hardly heard: {}."
NO_TIME = "Lines left out, since they were hardly heard and their words took no time: {}."

_CODES = """
en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th ur hr bg lt la mi ml cy sk
te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn yo so af oc ka be tg sd gu am yi lo uz fo
ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su yue
"""
LANGUAGES = tuple(_CODES.split())  # in the library's order; yue came with large-v3


class Request(BaseModel):
    """What a caller may ask of Whisper. The defaults are those of `whisper.transcribe`, with word times."""

    model_config = ConfigDict(extra="forbid")

    language: str | None = Field(
        None, description="Of the words, as a code such as en; detected when left out.",
        json_schema_extra={"enum": [*LANGUAGES, None]},
    )  # fmt: skip
    task: Literal["transcribe", "translate"] = Field(
        "transcribe", description="translate gives English; the turbo variant was not trained for it."
    )
    initial_prompt: str | None = Field(
        None, max_length=1000, description="Names and rare words to expect, or text that came before.",
        json_schema_extra={"pattern": r"^(?![\s\S]*<\|)"},
    )  # fmt: skip
    word_timestamps: bool = Field(True, description="Find start, end and probability of every word.")
    beam_size: int | None = Field(
        None, ge=1, le=10, description="Beams searched at temperature 0; greedy when left out. Slower, a little better."
    )
    best_of: int | None = Field(None, ge=1, le=10, description="Samples drawn above temperature 0, the best is kept.")
    temperature: float | None = Field(
        None, ge=0, le=1, allow_inf_nan=False,
        description="0 takes the likeliest word. When left out it rises from 0 to 1 until a passage is plausible.",
    )
    condition_on_previous_text: bool | None = Field(
        None,
        description="Let each window read what was heard before it. When left out it does, but not in variant demo.",
    )
    hallucination_guard: bool = Field(
        True,
        description="Listen only where there is voice, and leave out what is hardly heard and repeated over and over "
        "or, in a recording with long pauses, takes no time.",
    )
    lyrics: str | None = Field(
        None, min_length=1, max_length=20_000,
        description="The words when they are known, one lyric line per line: they are timed instead of heard.",
        json_schema_extra={"pattern": r"\S"},
    )

    @field_validator("language")
    @classmethod
    def _known_language(cls, language: str | None) -> str | None:
        if language is not None and language.lower() not in LANGUAGES:
            raise ValueError(f"{language!r} is no code that Whisper knows, such as en or ja; leave it out to detect it")
        return language and language.lower()

    @field_validator("initial_prompt")
    @classmethod
    def _plain_text(cls, prompt: str | None) -> str | None:
        if prompt and "<|" in prompt:
            raise ValueError("'<|' begins one of the model's own marks and cannot be in a prompt")
        return (prompt or "").strip() or None

    @field_validator("lyrics")
    @classmethod
    def _has_words(cls, lyrics: str | None) -> str | None:
        if lyrics is not None and not alignment.sung_lines(lyrics.splitlines()):
            raise ValueError("there are no words in it")
        return lyrics


class Result(BaseModel):
    """What was heard; file names are relative to the output folder."""

    model: str = Field(description="The variant that ran.")
    transcription_file: str = Field(description="JSON with segments, words and times.")
    text_file: str
    language: str | None = Field(description="Code of the language; null when there is no voice.")
    text: str
    segment_count: int
    duration_seconds: float = Field(description="Of the recording.")
    files: list[str]
    message: str | None = None


@dataclass(frozen=True)
class Whisper:
    """A loaded model.

    Attributes
    ----------
    variant : str
    device : str
        Where it runs: "cpu" or "cuda:N".
    network : whisper.model.Whisper
    """

    variant: str
    device: str
    network: Any


def load(variant: str, device: str, weights: Path | None) -> Whisper:
    """Load a checkpoint in the library's own format.

    Parameters
    ----------
    variant : str
        Names the attention heads that time words; the library knows them for its own models.
    device : str
        "cpu", "cuda:N" or "mps"; the last runs on the CPU, since Metal lacks the float64 that timing words needs.
    weights : Path
        A .pt file.

    Returns
    -------
    Whisper

    Raises
    ------
    ModelUnavailable
        When the file is not there or is not a Whisper checkpoint.
    """
    import whisper

    if weights is None or not weights.is_file():
        raise ModelUnavailable(f"There is no Whisper checkpoint {weights or variant}.")
    keep_compiled()
    device = "cpu" if device == "mps" else device
    with loading(f"{weights} is not a Whisper checkpoint, or it is damaged; remove it to have it fetched again"):
        network = whisper.load_model(str(weights), device=device)
    _set_alignment_heads(network, variant)
    return Whisper(variant, device, network)


def keep_compiled() -> None:
    """Let Numba keep the functions that time words from one process to the next; they take two seconds to compile."""
    from whisper import timing

    for compiled in (timing.dtw_cpu, timing.backtrace):
        compiled.enable_caching()


def run(model: Whisper, request: Request, audio_path: Path, out_dir: Path, report: Report) -> Result:
    """Transcribe a recording, or time its lyrics.

    Writes `transcription_<variant>` as .json, .txt, .srt, .vtt and .lrc. The JSON is what `whisper.transcribe` returns
    with more fields: for each segment `confidence` (0..1, mean probability of its words; without word times the mean
    of its window's tokens), and at the top `duration_seconds`, `model`, `model_variant`, `message`, `voice` (passages
    where it listened) and `aligned` (whether the words were given). Where it did not listen to all of the recording,
    words that reach into a pause are cut to where the voice sounds.

    Parameters
    ----------
    model : Whisper
    request : Request
    audio_path : Path
        A vocal stem or anything else.
    out_dir : Path
    report : Report

    Returns
    -------
    Result

    Raises
    ------
    UnsupportedAudio, NotFound
        As audio.decode().
    InvalidInput
        When the model does not know the language, or the lyrics do not fit the recording.
    """
    heard = _hear(model, request, audio_path, report)
    name = f"transcription_{model.variant}"
    cues = [_cue(segment) for segment in heard["segments"]]
    texts = {
        f"{name}.json": json.dumps(_plain(heard), ensure_ascii=False, indent=2, allow_nan=False) + "\n",
        f"{name}.txt": subtitles.txt(cues),
        f"{name}.srt": subtitles.srt(cues),
        f"{name}.vtt": subtitles.vtt(cues),
        f"{name}.lrc": subtitles.lrc(cues),
    }
    for file_name, text in texts.items():
        (out_dir / file_name).write_text(text, encoding="utf-8", newline="\n")
    report(1.0)
    return Result(
        model=model.variant, transcription_file=f"{name}.json", text_file=f"{name}.txt", language=heard["language"],
        text=heard["text"].strip(), segment_count=len(heard["segments"]), duration_seconds=heard["duration_seconds"],
        files=list(texts), message=heard["message"],
    )  # fmt: skip


def _set_alignment_heads(network: Any, variant: str) -> None:
    """Choose the attention heads known to time words well, which the library does for downloads only."""
    import whisper

    # In a checkpoint of another shape the library's default stays: the heads of the later half of its layers.
    with suppress(KeyError, RuntimeError):
        network.set_alignment_heads(whisper._ALIGNMENT_HEADS[variant])


def _hear(model: Whisper, request: Request, audio_path: Path, report: Report) -> dict[str, Any]:
    """The transcription as the JSON file has it."""
    check_language(model, request.language)
    loudness = voice.listen(audio_path, share(report, 0.0, LISTENED))
    passages = voice.passages(loudness)
    heard: dict[str, Any] = {"text": "", "segments": [], "language": None}
    message = None if passages else NO_VOICE
    if passages and request.lyrics:
        lines, language = _align(model, audio_path, request.lyrics.splitlines(), loudness, report, request.language)
        segments = [line.segment(number) for number, line in enumerate(lines)]
        heard = {"text": "".join(s["text"] for s in segments), "segments": segments, "language": language}
    elif passages:
        whole = [(0.0, loudness.duration_seconds)]
        gated = request.hallucination_guard and passages != whole
        passages = passages if gated else whole
        progress = hearing.Progress(passages, share(report, LISTENED, 1.0), model.network.dims.n_text_ctx // 2)
        heard = hearing.transcribe(model.network, audio_path, loudness, passages, progress, _options(model, request))
        sounding = singing.sounding(loudness) if gated else None
        heard, message = _guarded(heard, sounding, request.hallucination_guard)
    return heard | {
        "duration_seconds": loudness.duration_seconds, "model": "whisper", "model_variant": model.variant,
        "message": message, "voice": [list(passage) for passage in passages], "aligned": bool(request.lyrics),
    }  # fmt: skip


def check_language(model: Whisper, language: str | None) -> None:
    """Refuse a language that came with a later checkpoint.

    Raises
    ------
    InvalidInput
    """
    known = LANGUAGES[: model.network.num_languages]
    if language is not None and model.network.is_multilingual and language not in known:
        raise InvalidInput(f"language: whisper {model.variant} does not know {language!r}; large and turbo do.")


def _options(model: Whisper, request: Request) -> dict[str, Any]:
    """The request in the words of whisper.transcribe."""
    options = request.model_dump(exclude={"hallucination_guard", "lyrics", "temperature"})
    if request.temperature is not None:
        options["temperature"] = request.temperature
    if request.condition_on_previous_text is None:
        options["condition_on_previous_text"] = model.variant not in WITHOUT_PAST
    return options | {"fp16": model.device.startswith("cuda")}


def _align(
    model: Whisper, audio_path: Path, lyrics: Sequence[str], loudness: voice.Loudness, report: Report,
    language: str | None,
) -> tuple[list[alignment.Line], str]:  # fmt: skip
    """Lyrics as timed lines, and their language."""
    progress = hearing.Progress(voice.passages(loudness), share(report, LISTENED, 1.0), alignment.RUNS_PER_WINDOW)
    fp16 = model.device.startswith("cuda")
    with hearing.watched(model.network, progress):
        return alignment.align(model.network, audio_path, lyrics, loudness, progress, language, fp16=fp16)


def _guarded(
    heard: dict[str, Any], sounding: list[voice.Passage] | None, guard: bool
) -> tuple[dict[str, Any], str | None]:
    """The transcription with confidences, without lines that were hardly heard or not sung, and a message about it.

    Its words are fitted to where the voice sounds; None leaves them as the library heard them.
    """
    segments = [segment | {"confidence": _confidence(segment)} for segment in heard["segments"]]
    sung = segments if sounding is None else unsung.fit_words(unsung.cut_instant(segments), sounding)
    kept = cut_repetition(sung) if guard else sung
    left_out = [(NO_TIME, len(segments) - len(sung)), (REPEATED, len(sung) - len(kept))]
    notes = [why.format(count) for why, count in left_out if count]
    if notes:
        kept = [segment | {"id": number} for number, segment in enumerate(kept)]
        heard = heard | {"text": "".join(segment["text"] for segment in kept)}
    if not heard["text"].strip():
        notes.insert(0, NO_WORDS)
    return heard | {"segments": kept}, " ".join(notes) or None


def _confidence(segment: dict[str, Any]) -> float:
    """Mean probability of the segment's words, or of its window's tokens when the words are not known."""
    if words := segment.get("words"):
        return float(sum(word["probability"] for word in words) / len(words))
    return math.exp(segment["avg_logprob"])


@dataclass(frozen=True)
class _Cue:
    """A segment as subtitles show it."""

    text: str
    start: float
    end: float


def _cue(segment: dict[str, Any]) -> _Cue:
    """A segment from the start of its first word to the end of its last one."""
    words = segment.get("words") or [segment]
    return _Cue(segment["text"], words[0]["start"], words[-1]["end"])


def _plain(value: Any) -> Any:
    """The value as JSON can hold it: numbers that are not finite become null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
