"""Whether a file that was written is still what was written."""

from __future__ import annotations

from pathlib import Path

from errors import JobFailed
from models.audio.opening import pyav

SUFFIXES = (".wav", ".mp3", ".flac")
MISSING_SECONDS = 0.1  # of the length that the header tells; frames are shorter


def whole_size(path: Path) -> int:
    """The size of a result's file, in which everything is there that its own header tells of.

    Nothing is decoded, so that this takes a moment even where the file is long.

    Parameters
    ----------
    path : Path
        Just written; of sound, or of anything.

    Returns
    -------
    int
        Bytes.

    Raises
    ------
    JobFailed
        When it is gone, or a part of it: someone has cut it, or the disk lost it.
    """
    size = size_at_least(path, 0)
    if path.suffix in SUFFIXES and (_missing_bytes(path) > 0 or _missing_seconds(path) > MISSING_SECONDS):
        raise _cut(path)
    return size


def size_at_least(path: Path, least_bytes: int) -> int:
    """The size of a file that is being written, which never shrinks by itself; raises as whole_size()."""
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise JobFailed(f"{path.name} was removed while it was written, not by this service; try again.") from error
    if size < least_bytes:
        raise _cut(path)
    return size


def _cut(path: Path) -> JobFailed:
    return JobFailed(f"{path.name} was cut short while it was written, not by this service; try again.")


def _missing_bytes(path: Path) -> int:
    """How much of a wav file is not there: FFmpeg takes what is there for the whole."""
    if path.suffix != ".wav":
        return 0
    with path.open("rb") as file:
        head = file.read(28)
    told = head[20:28] if head.startswith(b"RF64") else head[4:8]  # RF64, for what RIFF cannot count, EBU Tech 3306
    return int.from_bytes(told, "little") + 8 - path.stat().st_size


def _missing_seconds(path: Path) -> float:
    """How much of a file of sound is not there; all of it where not even its header is."""
    av = pyav()
    try:
        with av.open(str(path.absolute()), format=path.suffix[1:]) as container:
            (stream,) = container.streams.audio
            told = stream.duration or 0
            there = sum(packet.duration or 0 for packet in container.demux(stream))
            return float((told - there) * stream.time_base) if told else float("inf")
    except av.FFmpegError:
        return float("inf")
