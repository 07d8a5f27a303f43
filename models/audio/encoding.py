"""Samples to audio files, block by block."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from errors import JobFailed, StorageFull
from models.audio.opening import pyav
from models.audio.wholeness import size_at_least

if TYPE_CHECKING:
    import numpy as np
    from av import AudioFrame

SampleFormat = Literal["s16", "s24", "f32"]

MP3_SAMPLE_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
LAYOUTS = {1: "mono", 2: "stereo"}


class Writer:
    """Encode audio to a file as blocks come; a context manager.

    MP3 is written with constant bitrate and the gapless header, so it decodes to the samples' own length. A rate that
    MP3 does not know is resampled to the nearest lower one that it does.

    Parameters
    ----------
    path : Path
        The suffix names the format: .mp3, .wav or .flac.
    sample_rate : int
        Of the blocks, in Hz.
    channels : int
        1 or 2.
    bitrate_kbps : int
        Of mp3.
    sample_format : "s16", "s24" or "f32"
        Of wav; flac has no "f32"; mp3 ignores it. Integer formats and mp3 clip to [-1, 1].

    Raises
    ------
    ValueError
        A format, channel count or sample format that cannot be written.
    StorageFull
        When the disk is full; write() and the end of the block raise it too.
    """

    def __init__(
        self,
        path: Path,
        sample_rate: int,
        channels: int,
        *,
        bitrate_kbps: int = 320,
        sample_format: SampleFormat = "s16",
    ) -> None:
        suffix = path.suffix.lower()
        codec, self._pcm = _encoder(suffix, sample_format)
        if channels not in LAYOUTS:
            raise ValueError(f"{channels} channels cannot be written, only 1 or 2")
        self.path, self.sample_rate, self.channels = path, sample_rate, channels
        with _storage_errors(path):
            options = {"rf64": "auto"} if suffix == ".wav" else {}  # plain RIFF cannot count beyond 4 GiB
            self._container = pyav().open(str(path.absolute()), "w", format=suffix[1:], options=options)
        rate = _mp3_rate(sample_rate) if suffix == ".mp3" else sample_rate
        self._size_bytes = 0  # so much of it has been seen on disk
        self._stream = self._container.add_stream(codec, rate=rate, layout=LAYOUTS[channels])
        self._stream.codec_context.format = self._pcm
        if suffix == ".mp3":
            self._stream.bit_rate = bitrate_kbps * 1000

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _storage_errors(self.path), self._container:
            if kind is None:
                self._mux(None)

    def write(self, block: np.ndarray) -> None:
        """Append a block.

        Parameters
        ----------
        block : np.ndarray [shape=(channels, samples)]

        Raises
        ------
        ValueError
            When the block has another number of channels.
        JobFailed
            When a sample is not a finite number, or what was written before is gone.
        StorageFull
            When the disk is full.
        """
        import numpy as np

        if block.ndim != 2 or block.shape[0] != self.channels:
            raise ValueError(f"expected {self.channels} channels, got a block of shape {block.shape}")
        if not np.isfinite(block).all():
            raise JobFailed(f"The model made samples that are not finite numbers; {self.path.name} was not written.")
        if not block.shape[1]:
            return
        frame = _frame(np.asarray(block, dtype=np.float32), self._pcm, self.sample_rate)
        self._mux(frame)

    def _mux(self, frame: AudioFrame | None) -> None:
        """Encode one frame, or what is left; what was written before must still be there, or there would be a hole."""
        if self._size_bytes:
            size_at_least(self.path, self._size_bytes)
        with _storage_errors(self.path):
            self._container.mux(self._stream.encode(frame))
        with suppress(FileNotFoundError):  # not there before the encoder gives its first packet
            self._size_bytes = max(self._size_bytes, self.path.stat().st_size)


def _encoder(suffix: str, sample_format: SampleFormat) -> tuple[str, str]:
    """FFmpeg's encoder and its sample layout for a file suffix."""
    table = {
        (".wav", "s16"): ("pcm_s16le", "s16"),
        (".wav", "s24"): ("pcm_s24le", "s32"),
        (".wav", "f32"): ("pcm_f32le", "flt"),
        (".flac", "s16"): ("flac", "s16"),
        (".flac", "s24"): ("flac", "s32"),
    }
    if suffix == ".mp3":
        return "libmp3lame", "fltp"
    if (suffix, sample_format) not in table:
        raise ValueError(f"cannot write {suffix or 'a file without suffix'} with samples {sample_format}")
    return table[suffix, sample_format]


def _mp3_rate(sample_rate: int) -> int:
    """The highest rate of MP3 that is not above the wanted one, in Hz."""
    return max((rate for rate in MP3_SAMPLE_RATES if rate <= sample_rate), default=MP3_SAMPLE_RATES[0])


def _frame(block: np.ndarray, pcm: str, sample_rate: int) -> AudioFrame:
    """A block as a frame of FFmpeg's sample layout `pcm`."""
    import numpy as np

    if pcm == "fltp":
        data = np.ascontiguousarray(block.clip(-1, 1))
    else:
        data = np.ascontiguousarray(block.T).reshape(1, -1)
        if pcm == "s16":
            data = np.rint(data * 2.0**15).clip(-(2**15), 2**15 - 1).astype(np.int16)
        elif pcm == "s32":  # the upper 24 bits
            data = np.rint(data * 2.0**23).clip(-(2**23), 2**23 - 1).astype(np.int32) << 8
    frame = pyav().AudioFrame.from_ndarray(data, format=pcm, layout=LAYOUTS[len(block)])
    frame.sample_rate = sample_rate
    return frame


@contextmanager
def _storage_errors(path: Path) -> Iterator[None]:
    """A full disk as StorageFull."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise StorageFull(f"No room is left to write {path.name}.") from error
