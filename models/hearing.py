"""Running Whisper with its windows and tokens in view: real progress, a quick stop, and an ear for voice alone.

The text is the library's own: `whisper.transcribe` decodes, and where no passage is gated its result is unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

from models import audio, voice
from models.voice import SAMPLE_RATE, Passage

if TYPE_CHECKING:
    import numpy as np
    import torch

PART_SECONDS = 900.0  # a spectrogram and its making take 0.45 MB a second; longer files are heard part by part
WINDOW_SECONDS = 30.0
FRAMES_PER_SECOND = 100  # of Whisper's spectrogram
SAMPLES_PER_FRAME = SAMPLE_RATE // FRAMES_PER_SECOND


class Progress:
    """Where in the voice a model is, from the windows and tokens it works on.

    Parameters
    ----------
    passages : sequence of (float, float)
        With voice, in seconds of the file; not empty.
    report : callable
        Told the fraction of the voice that is done; what it raises stops the model.
    tokens_per_window : int
        The most that a window can have.
    """

    def __init__(
        self, passages: Sequence[Passage], report: Callable[[float], None], tokens_per_window: int
    ) -> None:
        self._passages, self._report, self._tokens_per_window = passages, report, tokens_per_window
        self._total = self._voice_before(math.inf)
        self._begun = self._length = self._told = 0.0  # voice before this window, and in it
        self._tokens = 0
        self.part_start = 0.0

    def window(self, seconds: float) -> None:
        """A window begins, at a time after `part_start`."""
        start = self.part_start + seconds
        self._begun = self._voice_before(start)
        self._length = self._voice_before(start + WINDOW_SECONDS) - self._begun
        self._tokens = 0
        self.beat()

    def token(self) -> None:
        """The decoder has run once more in this window."""
        self._tokens += 1
        self.beat()

    def beat(self) -> None:
        """Tell the present state; never less than told before."""
        done = self._begun + self._length * min(self._tokens / self._tokens_per_window, 1.0)
        self._told = max(self._told, min(done / self._total, 1.0))
        self._report(self._told)

    def _voice_before(self, seconds: float) -> float:
        """How much voice there is before a time, in seconds."""
        return sum(max(0.0, min(end, seconds) - start) for start, end in self._passages)


@contextmanager
def watched(network: Any, progress: Progress) -> Iterator[None]:
    """Let `progress` hear of every layer and token that a network computes; what it raises stops the network.

    Parameters
    ----------
    network : whisper.model.Whisper
    progress : Progress
    """
    layers = [*network.encoder.blocks, *network.decoder.blocks]
    hooks = [layer.register_forward_hook(lambda *_: progress.beat()) for layer in layers]
    hooks.append(network.decoder.register_forward_hook(lambda *_: progress.token()))
    try:
        yield
    except BaseException:
        # The library leaves its attention hooks behind when its aligner is stopped, and the next run would trip over
        # them. The network has no hooks of its own.
        network.apply(lambda module: module._forward_hooks.clear())
        raise
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def encoded_once(network: Any) -> Iterator[None]:
    """Let a network encode a window once, where the library does it again to time the words.

    Parameters
    ----------
    network : whisper.model.Whisper
    """
    import torch

    encode = network.encoder.forward
    last: list[torch.Tensor] = []

    def encode_or_remember(mel: torch.Tensor) -> torch.Tensor:
        if not last or last[0].shape != mel.shape or not torch.equal(last[0], mel):
            last[:] = [mel, encode(mel)]
        return last[1]

    network.encoder.forward = encode_or_remember
    try:
        yield
    finally:
        del network.encoder.forward


def transcribe(
    network: Any, path: Path, loudness: voice.Loudness, passages: Sequence[Passage], progress: Progress,
    options: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Transcribe the passages of a file that have voice.

    Parameters
    ----------
    network : whisper.model.Whisper
    path : Path
    loudness : Loudness
        Of that file.
    passages : sequence of (float, float)
        As voice.passages(); not empty.
    progress : Progress
    options : dict
        Of whisper.transcribe. With language None, that of the first part with voice is used for all.

    Returns
    -------
    dict
        As whisper.transcribe: text, segments, language; times in seconds of the file.
    """
    heard: dict[str, Any] = {"text": "", "segments": [], "language": options["language"]}
    parts = voice.parts(loudness, PART_SECONDS)
    with watched(network, progress):
        for (start, end), samples in zip(parts, _read(path, parts), strict=True):
            clips = [(max(a, start) - start, min(b, end) - start) for a, b in passages if a < end and b > start]
            if not clips:
                continue
            progress.part_start = start
            options = options | {"language": heard["language"]}
            if clips != [(0.0, end - start)]:
                part = _transcribe_clips(network, samples, clips, progress, options)
            else:
                part = _transcribe_with(progress.window)(network, samples, **options)
            heard["language"] = part["language"]
            heard["text"] += part["text"]
            heard["segments"] += [_shifted(segment, start, len(heard["segments"])) for segment in part["segments"]]
    return heard


def _read(path: Path, parts: Sequence[Passage]) -> Iterator[np.ndarray]:
    """The samples (n,) of each part of a file, at SAMPLE_RATE, mono; no more than one part is in memory."""
    import numpy as np

    blocks = (block[0] for block in audio.decode(path, sample_rate=SAMPLE_RATE, channels=1))
    pieces: list[np.ndarray] = []
    for start, end in parts:
        length = round(end * SAMPLE_RATE) - round(start * SAMPLE_RATE)
        while sum(map(len, pieces)) < length:
            pieces.append(next(blocks))
        samples = np.concatenate(pieces)
        pieces = [samples[length:].copy()]
        yield samples[:length]
        del samples


def detect_language(network: Any, samples: np.ndarray, *, fp16: bool) -> str:
    """The language of the first 30 s.

    Parameters
    ----------
    network : whisper.model.Whisper
    samples : np.ndarray [shape=(n,), dtype=float32]
        At SAMPLE_RATE, mono.
    fp16 : bool

    Returns
    -------
    str
        Such as "en".
    """
    if not network.is_multilingual:
        return "en"
    _, probabilities = network.detect_language(spectrogram(network, samples, fp16=fp16))
    return max(probabilities, key=probabilities.get)


def spectrogram(network: Any, samples: np.ndarray, *, fp16: bool) -> torch.Tensor:
    """The log mel spectrogram of one window, padded or cut to 30 s, on the network's device.

    Returns
    -------
    torch.Tensor [shape=(n_mels, 3000)]
    """
    import torch
    import whisper

    mel = whisper.log_mel_spectrogram(whisper.pad_or_trim(samples), network.dims.n_mels)
    return mel.to(network.device, torch.float16 if fp16 else torch.float32)


def _transcribe_clips(
    network: Any, samples: np.ndarray, clips: Sequence[Passage], progress: Progress, options: dict[str, Any]
) -> dict[str, Any]:
    """The library's result when it may listen to these clips only."""
    import numpy as np

    if options["language"] is None:
        voiced = np.concatenate([samples[round(a * SAMPLE_RATE) : round(b * SAMPLE_RATE)] for a, b in clips])
        options = options | {"language": detect_language(network, voiced, fp16=options["fp16"])}
    # A clip that reached beyond the last frame would never end: the library would wait for it.
    last_frame = len(samples) // SAMPLES_PER_FRAME
    edges = [min(round(time * FRAMES_PER_SECOND), last_frame) / FRAMES_PER_SECOND for clip in clips for time in clip]
    result: dict[str, Any] = _transcribe_with(progress.window)(network, samples, clip_timestamps=edges, **options)
    for segment in result["segments"]:
        _keep_inside(segment, clips)
    return result


def _transcribe_with(on_window: Callable[[float], None]) -> Callable[..., dict[str, Any]]:
    """`whisper.transcribe` that tells the time at which each of its windows begins.

    The library shows its position on a terminal only, and not where it skips. But it cuts every window from the
    spectrogram as a view and hands it to `pad_or_trim`: the view's offset is the position. So its function is copied
    with a `pad_or_trim` of ours among the names it sees. The library itself stays as it is for everyone else.
    """
    import whisper

    def pad_or_trim(window: torch.Tensor, length: int) -> torch.Tensor:
        on_window(window.storage_offset() / FRAMES_PER_SECOND)
        return whisper.pad_or_trim(window, length)

    original = whisper.transcribe
    names = original.__globals__ | {"pad_or_trim": pad_or_trim}
    copy = FunctionType(original.__code__, names, closure=original.__closure__)
    copy.__kwdefaults__ = original.__kwdefaults__
    return copy


def _keep_inside(segment: dict[str, Any], clips: Sequence[Passage]) -> None:
    """Cut the times of a segment to the clip it was heard in; time stamps can lie beyond its end."""
    seek = segment["seek"] / FRAMES_PER_SECOND
    start, end = next(clip for clip in reversed(clips) if clip[0] <= seek + 1 / FRAMES_PER_SECOND)
    for timed in (segment, *segment.get("words", ())):
        timed["start"], timed["end"] = (min(max(timed[key], start), end) for key in ("start", "end"))


def _shifted(segment: dict[str, Any], seconds: float, index: int) -> dict[str, Any]:
    """A segment of a part as one of the file: later, and numbered on."""
    moved = segment | {"id": index + segment["id"], "seek": segment["seek"] + round(seconds * FRAMES_PER_SECOND)}
    if "words" in segment:
        moved["words"] = [dict(word) for word in segment["words"]]
    for timed in (moved, *moved.get("words", ())):
        for key in ("start", "end"):  # the library begins a file of less than 0.03 s at -0.02 s
            timed[key] = max(0.0, timed[key] + seconds)
    return moved
