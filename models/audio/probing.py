"""What an audio file holds: its true length, its format, its tags."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from errors import UnsupportedAudio
from models.audio.opening import frames_of, opened, pyav

if TYPE_CHECKING:
    from av import AudioFrame, AudioStream
    from av.container import InputContainer

PROBE_SECONDS = 1.0
MAX_TAG_CHARACTERS = 1000  # of a title or an artist; the rest of a longer one is left out
HEADER_TOLERANCE_SECONDS = 0.1  # a header that is further off than a few frames is not believed


@dataclass(frozen=True)
class Probe:
    """What an audio file holds.

    Attributes
    ----------
    duration_seconds : float
    sample_rate : int
        In Hz.
    channels : int
    codec : str
        FFmpeg's name: mp3, pcm_s16le, flac, aac, vorbis, opus, …
    title, artist : str or None
        From the tags.
    """

    duration_seconds: float
    sample_rate: int
    channels: int
    codec: str
    title: str | None
    artist: str | None


def probe(path: Path) -> Probe:
    """Open an audio file, decode its first second and find its true length.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Probe

    Raises
    ------
    UnsupportedAudio
        Not one of the accepted kinds, no audio stream, nothing decodes, or the samples are not finite numbers.
    NotFound
        When there is no such file.
    """
    with opened(path) as (container, stream):
        decoded = 0.0
        for frame in frames_of(container, stream):
            if not _finite(frame):
                raise UnsupportedAudio(f"The samples at {decoded:.3f} s are not finite numbers (NaN or infinity).")
            decoded += frame.samples / frame.sample_rate
            rate, channels = frame.sample_rate, len(frame.layout.channels)
            if decoded >= PROBE_SECONDS:
                break
        tags = _tags(container, stream)
        codec = str(stream.codec_context.codec.canonical_name)
    duration = _duration(path) if decoded >= PROBE_SECONDS else decoded
    return Probe(duration, rate, channels, codec, tags.get("title"), tags.get("artist"))


def _finite(frame: AudioFrame) -> bool:
    """Whether the samples of float PCM are numbers; told by their sum, which needs no numpy."""
    if frame.format.name not in ("flt", "dbl"):
        return True
    size = frame.samples * frame.format.bytes * len(frame.layout.channels)
    samples = memoryview(frame.planes[0])[:size].cast("f" if frame.format.name == "flt" else "d")
    return math.isfinite(sum(samples))


def _tags(container: InputContainer, stream: AudioStream) -> dict[str, str]:
    """The tags that say something, by lower-case name; ogg keeps them in the stream."""
    tags = {**stream.metadata, **container.metadata}
    return {key.lower(): value.strip()[:MAX_TAG_CHARACTERS] for key, value in tags.items() if value.strip()}


def _duration(path: Path) -> float:
    """Length in seconds by the packets that are there; the header's exact one where it agrees."""
    with opened(path) as (container, stream):
        total = 0
        try:
            for packet in container.demux(stream):
                total += 0 if packet.is_discard else packet.duration or 0
        except pyav().FFmpegError:
            pass  # truncated: what was counted stands
        clock = float(stream.time_base or 0)
        measured, header = total * clock, (stream.duration or 0) * clock
    return header if abs(header - measured) < HEADER_TOLERANCE_SECONDS else measured
