"""What a long run has finished, kept on disk, so that another process can go on from there.

Encoders cannot go on in the middle of a file. So the finished sound is kept as the floats that they got, block by
block: to encode them again is quick, and gives the same bytes. Beside them a state says where to go on. Every file is
written under another name and then renamed, so that a process killed in the middle of it leaves the state before.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

MEBIBYTE = 1024 * 1024
SAVE_SECONDS = 10.0  # a killed process loses no more than that
SAVE_BYTES = 32 * MEBIBYTE  # nor does more wait in memory
STATE = "state"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """Where to go on.

    Attributes
    ----------
    facts : dict
        Numbers and lists of them, as JSON holds them.
    samples : np.ndarray, float32
        What was begun and is not finished.
    """

    facts: dict[str, Any]
    samples: np.ndarray


class Spool:
    """A folder of finished blocks and the place after them.

    It is of use and never needed: where it cannot be written, or would take room that is to stay free, it is given up
    with a line in the log, and the work goes on without.

    Parameters
    ----------
    folder : Path
        Made when there is something to keep. Who renames it takes it over: its old owner then no longer writes to it.
    reserve_bytes : int
        Room that is to stay free on its disk.

    Attributes
    ----------
    earlier_seconds : float
        How long earlier processes worked on what was found here.
    """

    _parts: list[dict[str, Any]]
    _pending: list[np.ndarray]

    def __init__(self, folder: Path, reserve_bytes: int = 0) -> None:
        self._folder, self._reserve_bytes = folder, reserve_bytes
        self._begin({})

    def open(self, of: dict[str, Any], report: Callable[[float], None]) -> Place | None:
        """Find what was kept; what is damaged, or of something else, is removed.

        Parameters
        ----------
        of : dict
            What makes the result, as JSON holds it: only what was kept of the same is of use.
        report : callable
            Gets the fraction that was done, again and again while files are checked; may raise.

        Returns
        -------
        Place or None
            Where to go on after blocks(); None when there is nothing, and all begins anew.
        """
        self._begin(of)
        if not self._folder.exists():
            return None
        try:
            head, samples = self._read_state()
            if head["of"] != self._of:
                raise ValueError("it is of other parameters, weights or sound")
            for index, part in enumerate(head["parts"]):
                self._check(index, part, lambda: report(head["fraction"]))
        except (OSError, ValueError, KeyError) as error:
            log.warning("what was finished in %s cannot be gone on from, all begins anew: %s", self._folder.name, error)
            self.discard()
            return None
        self._parts, self.earlier_seconds = head["parts"], head["seconds"]
        return Place(head["facts"], samples)

    def reserve(self, size_bytes: int) -> None:
        """Give up at once when there is no room for all that is to come."""
        self._make_sure(size_bytes)

    def blocks(self) -> Iterator[np.ndarray]:
        """The finished blocks as they were added, float32 in their own shapes."""
        import numpy as np

        for index, part in enumerate(self._parts):
            with self._part(index).open("rb") as file:
                for shape in part["shapes"]:
                    yield np.fromfile(file, np.float32, int(np.prod(shape))).reshape(shape)

    def add(self, block: np.ndarray) -> None:
        """Keep one more finished block, at the next save()."""
        import numpy as np

        if not self._given_up:
            self._pending.append(np.ascontiguousarray(block, np.float32))
            self._pending_bytes += block.nbytes

    @property
    def is_due(self) -> bool:
        """Whether it is time to save."""
        late = time.monotonic() - self._saved_at >= SAVE_SECONDS
        return not self._given_up and (late or self._pending_bytes >= SAVE_BYTES)

    def save(self, place: Place, fraction: float) -> None:
        """Write the blocks that were added, and where to go on after them.

        Parameters
        ----------
        place : Place
        fraction : float
            Of the work that is done.
        """
        if self._given_up:
            return
        try:
            if self._make_sure(self._pending_bytes + place.samples.nbytes):
                self._write(place, fraction)
        except OSError as error:  # a full disk, or the folder was taken over or removed
            self._give_up(str(error))

    def discard(self) -> None:
        """Remove all of it."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._begin(self._of)

    def _begin(self, of: dict[str, Any]) -> None:
        """As if nothing had been kept."""
        self._of = json.loads(json.dumps(of))
        self._parts, self._pending = [], []
        self._pending_bytes, self.earlier_seconds, self._given_up = 0, 0.0, False
        self._opened_at = self._saved_at = time.monotonic()

    def _write(self, place: Place, fraction: float) -> None:
        """Write a file of blocks, then the state that knows of it."""
        if not self._parts:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir(parents=True)
        parts = [*self._parts]
        if self._pending:
            parts.append(self._write_part(len(parts)))
        head = {
            "of": self._of, "parts": parts, "facts": place.facts, "shape": place.samples.shape, "fraction": fraction,
            "seconds": self.earlier_seconds + time.monotonic() - self._opened_at,
        }  # fmt: skip
        content = json.dumps(head).encode() + b"\n" + place.samples.tobytes()
        self._replace(self._folder / STATE, [b"%08x" % zlib.crc32(content), content])
        self._parts, self._pending, self._pending_bytes = parts, [], 0
        self._saved_at = time.monotonic()

    def _write_part(self, index: int) -> dict[str, Any]:
        """Write the blocks that wait; what the state says of them."""
        checksum = 0
        for block in self._pending:
            checksum = zlib.crc32(block.data, checksum)
        self._replace(self._part(index), [block.data for block in self._pending])
        return {"shapes": [block.shape for block in self._pending], "crc32": checksum}

    def _replace(self, path: Path, pieces: list[Any]) -> None:
        """Write a file that is there as a whole or not at all."""
        unfinished = path.with_suffix(".new")
        with unfinished.open("wb") as file:
            for piece in pieces:
                file.write(piece)
        unfinished.replace(path)

    def _read_state(self) -> tuple[dict[str, Any], np.ndarray]:
        """What the state file says; ValueError when it is torn."""
        import numpy as np

        data = (self._folder / STATE).read_bytes()
        content = memoryview(data)[8:]
        if data[:8] != b"%08x" % zlib.crc32(content):
            raise ValueError("its state is damaged")
        text, _, rest = bytes(content).partition(b"\n")
        head = json.loads(text)
        return head, np.frombuffer(rest, np.float32).reshape(head["shape"]).copy()

    def _check(self, index: int, part: dict[str, Any], report: Callable[[], None]) -> None:
        """Raise ValueError when a file of blocks is not what was written."""
        checksum = 0
        with self._part(index).open("rb") as file:
            while piece := file.read(SAVE_BYTES):
                checksum = zlib.crc32(piece, checksum)
                report()
        if checksum != part["crc32"]:
            raise ValueError(f"its file {self._part(index).name} is damaged")

    def _part(self, index: int) -> Path:
        """A file of blocks."""
        return self._folder / f"{index:06d}.f32"

    def _make_sure(self, more_bytes: int) -> bool:
        """Whether there is room for so much more; gives up when there is not."""
        there = next(path for path in (self._folder, *self._folder.parents) if path.exists())
        free = shutil.disk_usage(there).free
        if free - more_bytes < self._reserve_bytes:
            kept = self._reserve_bytes // MEBIBYTE
            self._give_up(f"it takes {more_bytes // MEBIBYTE} MiB; {free // MEBIBYTE} are free, {kept} of them kept so")
        return not self._given_up

    def _give_up(self, why: str) -> None:
        """Go on without."""
        log.warning("%s: what is finished is not kept; after a pause all begins anew: %s", self._folder.name, why)
        earlier_seconds = self.earlier_seconds  # what was gone on from is in the result all the same
        self.discard()
        self.earlier_seconds, self._given_up = earlier_seconds, True
