"""Audio files as blocks of samples, at a wanted rate and with a wanted number of channels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from errors import UnsupportedAudio
from models.audio.opening import frames_of, opened, pyav
from models.audio.probing import probe

if TYPE_CHECKING:
    import numpy as np
    from av import AudioFrame, AudioResampler

CENTRE_GAIN = math.sqrt(0.5)  # ITU-R BS.775: centre and surround channels enter a stereo mix 3 dB down


def decode(
    path: Path, *, sample_rate: int | None = None, channels: int | None = None, block_seconds: float = 10.0
) -> Iterator[np.ndarray]:
    """Decode an audio file block by block.

    A damaged passage is stepped over and a truncated file ends where it breaks off, as players do.

    Parameters
    ----------
    path : Path
    sample_rate : int, optional
        In Hz; None keeps the file's own.
    channels : int, optional
        1 is the mean of all channels, 2 from one repeats it; None keeps the file's own.
    block_seconds : float

    Yields
    ------
    np.ndarray [shape=(channels, samples), dtype=float32]
        All of `block_seconds` but the last.

    Raises
    ------
    UnsupportedAudio
        As probe(); for samples that are not finite, anywhere, it names the time.
    NotFound
        When there is no such file.
    """
    with opened(path) as (container, stream):
        yield from _blocks(frames_of(container, stream), sample_rate, channels, block_seconds)


def read(path: Path, *, sample_rate: int | None = None, channels: int | None = None) -> tuple[np.ndarray, int]:
    """Decode a whole audio file into memory.

    Parameters
    ----------
    path : Path
    sample_rate, channels
        As decode().

    Returns
    -------
    samples : np.ndarray [shape=(channels, samples), dtype=float32]
    sample_rate : int
        In Hz.

    Raises
    ------
    UnsupportedAudio, NotFound
        As decode().
    """
    import numpy as np

    if sample_rate is None:
        sample_rate = probe(path).sample_rate
    return np.concatenate(list(decode(path, sample_rate=sample_rate, channels=channels)), axis=1), sample_rate


def _blocks(
    frames: Iterator[AudioFrame], sample_rate: int | None, channels: int | None, block_seconds: float
) -> Iterator[np.ndarray]:
    """Frames converted and gathered into blocks of equal length."""
    import numpy as np

    pending: list[np.ndarray] = []
    gathered = done = size = rate = 0
    for piece, rate in _converted(frames, sample_rate, channels):
        pending.append(piece)
        gathered += piece.shape[1]
        size = size or max(1, round(block_seconds * rate))
        while gathered >= size:
            whole = np.concatenate(pending, axis=1)
            yield _checked(whole[:, :size], done / rate, rate)
            pending, gathered, done = [whole[:, size:]], gathered - size, done + size
    if gathered:
        yield _checked(np.concatenate(pending, axis=1), done / rate, rate)


def _checked(block: np.ndarray, start_seconds: float, rate: int) -> np.ndarray:
    """The block, or UnsupportedAudio that names the first time where it is not finite."""
    import numpy as np

    bad = ~np.isfinite(block).all(axis=0)
    if bad.any():
        seconds = start_seconds + int(bad.argmax()) / rate
        raise UnsupportedAudio(f"The samples at {seconds:.3f} s are not finite numbers (NaN or infinity).")
    return block


def _converted(
    frames: Iterator[AudioFrame], sample_rate: int | None, channels: int | None
) -> Iterator[tuple[np.ndarray, int]]:
    """Each frame as float32 at one rate with one number of channels, and that rate.

    FFmpeg resamples but does not mix: its mono to stereo costs 3 dB, its stereo to mono adds 3 dB.
    """
    resampler: AudioResampler | None = None
    source: tuple[int, str, tuple[str, ...]] | None = None
    for frame in frames:
        names = tuple(channel.name for channel in frame.layout.channels)
        sample_rate, channels = sample_rate or frame.sample_rate, channels or len(names)
        if source != (frame.sample_rate, frame.format.name, names):  # the first, or a chained file went on differently
            if resampler and source:
                yield from _resampled(resampler, None, source[2], channels, sample_rate)
            source = (frame.sample_rate, frame.format.name, names)
            resampler = pyav().AudioResampler(format="flt", rate=sample_rate)
        frame.pts = None  # a gap in the file's clock must not become silence
        yield from _resampled(resampler, frame, names, channels, sample_rate)
    if resampler and source and sample_rate and channels:
        yield from _resampled(resampler, None, source[2], channels, sample_rate)


def _resampled(
    resampler: AudioResampler | None, frame: AudioFrame | None, names: tuple[str, ...], channels: int, rate: int
) -> Iterator[tuple[np.ndarray, int]]:
    """What the resampler gives for a frame, or for its end (None), mixed to the wanted channels."""
    assert resampler is not None
    for out in resampler.resample(frame):
        if out.samples:
            yield _mixed(out.to_ndarray().reshape(-1, len(names)).T, names, channels), rate


def _mixed(samples: np.ndarray, names: tuple[str, ...], channels: int) -> np.ndarray:
    """Samples with another number of channels, never louder than the loudest of them."""
    import numpy as np

    if len(names) == channels:
        return samples
    if channels == 1:
        return samples.mean(axis=0, keepdims=True)
    if len(names) == 1:
        return np.repeat(samples, channels, axis=0)
    if channels == 2:
        weights = np.array([[_weight(name, side) for name in names] for side in "LR"], dtype=np.float32)
        return (weights / weights.sum(axis=1, keepdims=True)) @ samples
    raise ValueError(f"cannot mix {len(names)} channels to {channels}")


def _weight(name: str, side: str) -> float:
    """How much of a channel (FL, FR, FC, LFE, BL, …) goes to one side ("L" or "R") of a stereo mix."""
    if name.startswith("LFE"):
        return 0.0
    if name == f"F{side}":
        return 1.0
    other = "R" if side == "L" else "L"
    return 0.0 if other in name else CENTRE_GAIN
