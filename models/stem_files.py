"""The files of stems, each encoded in a thread of its own while the next segment is separated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from models import audio

if TYPE_CHECKING:
    import numpy as np

Block = dict[str, "np.ndarray"]  # by stem, each (channels, samples) float32

# As demucs.audio.prevent_clip: what is beyond is cut, or the stem is turned down until its peak is so far below 1.
LIMIT = 0.99
HEADROOM = 1.01


class StemFiles:
    """How stems become files.

    Parameters
    ----------
    folder : Path
    stems : list of str
    sample_rate : int
        Hz
    channels : int
    suffix : str
        ".mp3", ".wav" or ".flac".
    bitrate_kbps : int
        Of mp3.
    sample_format : "s16", "s24" or "f32"
        Of wav and flac.
    """

    def __init__(self, folder: Path, stems: list[str], sample_rate: int, channels: int, *, suffix: str,
                 bitrate_kbps: int = 320, sample_format: audio.SampleFormat = "s16") -> None:  # fmt: skip
        self._folder, self._stems, self._suffix = folder, stems, suffix
        self._rate, self._channels = sample_rate, channels
        self._bitrate, self._sample_format = bitrate_kbps, sample_format

    @property
    def names(self) -> list[str]:
        """The files' names."""
        return [f"{stem}{self._suffix}" for stem in self._stems]

    def write(self, blocks: Iterable[Block]) -> None:
        """Write all blocks; the next is made while one is encoded, and no more than these two are held.

        Parameters
        ----------
        blocks : iterable of dict
            The next samples of every stem.

        Raises
        ------
        StorageFull
            When the disk is full.
        JobFailed
            When a sample is not a finite number.
        """
        with ExitStack() as stack:
            writers = {stem: stack.enter_context(self._writer(stem)) for stem in self._stems}
            pool = stack.enter_context(ThreadPoolExecutor(len(writers), "encoder"))  # ends before the writers do
            encoding: list[Future[None]] = []
            for block in blocks:
                _wait(encoding)
                encoding = [pool.submit(writers[stem].write, samples) for stem, samples in block.items()]
            _wait(encoding)

    def write_clamped(self, blocks: Iterable[Block]) -> None:
        """As write(), with samples beyond full scale cut; float files hold them and are left alone."""
        if self._suffix == ".wav" and self._sample_format == "f32":
            self.write(blocks)
        else:
            self.write({stem: samples.clip(-LIMIT, LIMIT) for stem, samples in block.items()} for block in blocks)

    def write_rescaled(self, blocks: Iterable[Block], length: int, report: Callable[[float], None]) -> None:
        """As write(), with each stem that would clip turned down as a whole.

        Its peak is known at its end, so that the stems wait as float files, 0.35 MB a second each in stereo.

        Parameters
        ----------
        blocks : iterable of dict
        length : int
            Of the stems, in samples.
        report : callable
            Gets the fraction of the second pass; may raise.
        """
        peaks = dict.fromkeys(self._stems, 0.0)
        with TemporaryDirectory(prefix=".", dir=self._folder, ignore_cleanup_errors=True) as name:
            waiting = Path(name)
            floats = StemFiles(waiting, self._stems, self._rate, self._channels, suffix=".wav", sample_format="f32")
            floats.write(_measured(blocks, peaks))
            gains = {stem: 1 / max(HEADROOM * peak, 1) for stem, peak in peaks.items()}
            self.write(_turned_down(waiting, gains, length, report))

    def _writer(self, stem: str) -> audio.Writer:
        """A stem's open file."""
        path = self._folder / f"{stem}{self._suffix}"
        return audio.Writer(
            path, self._rate, self._channels, bitrate_kbps=self._bitrate, sample_format=self._sample_format
        )


def _wait(encoding: list[Future[None]]) -> None:
    """Wait until a block is in the files; what went wrong there is raised here."""
    for future in encoding:
        future.result()


def _measured(blocks: Iterable[Block], peaks: dict[str, float]) -> Iterator[Block]:
    """The blocks, with each stem's peak kept."""
    for block in blocks:
        for stem, samples in block.items():
            peaks[stem] = max(peaks[stem], float(abs(samples).max(initial=0.0)))
        yield block


def _turned_down(folder: Path, gains: dict[str, float], length: int,
                 report: Callable[[float], None]) -> Iterator[Block]:  # fmt: skip
    """The float files' blocks, each stem times its gain."""
    done = 0
    files = [audio.decode(folder / f"{stem}.wav") for stem in gains]
    for samples in zip(*files, strict=True):
        yield {stem: part * gain for part, (stem, gain) in zip(samples, gains.items(), strict=True)}
        done += samples[0].shape[1]
        report(done / length)
