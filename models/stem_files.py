"""The files of stems, encoded in a thread of their own while the next segment is separated."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from pathlib import Path
from queue import Queue
from types import TracebackType
from typing import TYPE_CHECKING, Any

from models import audio

if TYPE_CHECKING:
    import numpy as np

WAITING = 2  # blocks of all stems that may wait for the encoder
FULL_SCALE = 0.99  # a rescaled stem's peak, as in demucs.audio.prevent_clip
DEPTHS = {16: "s16", 24: "s24", 32: "f32"}


class StemFiles:
    """Files that are written block by block, all stems at once; a context manager.

    Parameters
    ----------
    folder : Path
    stems : list of str
    sample_rate : int
        Hz
    channels : int
    request : demucs.Request
        For format, bitrate, bit depth and clip mode.
    """

    def __init__(self, folder: Path, stems: list[str], sample_rate: int, channels: int, request: Any) -> None:
        self._folder, self._stems, self._rate, self._channels = folder, stems, sample_rate, channels
        self._request = request
        self.names = [f"{stem}.{request.output_format}" for stem in stems]
        self._peaks = dict.fromkeys(stems, 0.0)
        self._queue: Queue[dict[str, np.ndarray] | None] = Queue(WAITING)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._encode, name="encoder", daemon=True)

    def __enter__(self) -> StemFiles:
        self._thread.start()
        return self

    def write(self, block: dict[str, np.ndarray]) -> None:
        """Append a block to each stem's file, each (channels, samples) float32.

        Raises
        ------
        OSError
            What went wrong with an earlier block, such as a full disk.
        """
        self._raise_error()
        self._queue.put(block)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        self._queue.put(None)
        self._thread.join()
        if kind is None:
            self._raise_error()
            if self._request.clip_mode == "rescale":
                self._rescale()

    def _raise_error(self) -> None:
        """Let an error of the thread surface where the work is waited for."""
        if self._error is not None:
            raise self._error

    def _encode(self) -> None:
        """Take blocks until told that there are no more; after an error only take them."""
        try:
            with ExitStack() as stack:
                writers = {stem: stack.enter_context(self._writer(stem)) for stem in self._stems}
                while (block := self._queue.get()) is not None:
                    for stem, samples in block.items():
                        self._peaks[stem] = max(self._peaks[stem], float(abs(samples).max(initial=0.0)))
                        writers[stem].write(samples)
        except Exception as error:
            self._error = error
            while self._queue.get() is not None:
                pass

    def _writer(self, stem: str) -> audio.Writer:
        """A stem's file; where the peak decides on its level, a float file first."""
        if self._request.clip_mode == "rescale":
            return audio.Writer(self._float_file(stem), self._rate, self._channels, sample_format="f32")
        return self._final(stem)

    def _final(self, stem: str) -> audio.Writer:
        """A stem's file as it was asked for."""
        path = self._folder / f"{stem}.{self._request.output_format}"
        return audio.Writer(
            path, self._rate, self._channels, bitrate_kbps=self._request.mp3_bitrate,
            sample_format=DEPTHS[self._request.bit_depth],  # type: ignore[arg-type]
        )  # fmt: skip

    def _float_file(self, stem: str) -> Path:
        """Where a stem waits for its level."""
        return self._folder / f".{stem}.wav"

    def _rescale(self) -> None:
        """Write the stems turned down where they would clip."""
        for stem in self._stems:
            gain = 1 / max(self._peaks[stem] / FULL_SCALE, 1)
            with self._final(stem) as writer:
                for block in audio.decode(self._float_file(stem)):
                    writer.write(block * gain)
            self._float_file(stem).unlink()
