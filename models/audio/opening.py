"""Opening files that may be anything: what is plainly no song is refused, damage is stepped over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from errors import NotFound, UnsupportedAudio

if TYPE_CHECKING:
    from av import AudioFrame, AudioStream
    from av.container import InputContainer

ACCEPTED = "mp3, wav, flac, m4a or ogg"
DEMUXERS = "mp3,wav,flac,mov,ogg"  # FFmpeg's names; a playlist or an image never reaches its demuxer
MAX_STREAMS = 32
MAX_FAILURES = 20  # packets that do not decode, before as many did

FOREIGN = (  # (offset, bytes, what people call it): for the message only
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"7z\xbc\xaf", "a 7-Zip archive"),
    (0, b"%PDF", "a PDF document"),
    (0, b"\x89PNG", "a PNG picture"),
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"GIF8", "a GIF picture"),
    (0, b"MThd", "a MIDI file"),
    (0, b"MZ", "a Windows program"),
    (0, b"\x7fELF", "a program"),
    (0, b"\x1aE\xdf\xa3", "a Matroska or WebM file"),
    (0, b"\x30\x26\xb2\x75", "a Windows Media file"),
    (0, b"FORM", "an AIFF file"),
    (8, b"AVI ", "an AVI video"),
    (8, b"WEBP", "a WebP picture"),
)


def pyav():  # type: ignore[no-untyped-def]
    """PyAV with FFmpeg's log off: what matters comes as exceptions."""
    import av

    av.logging.set_level(None)
    return av


@contextmanager
def opened(path: Path) -> Iterator[tuple[InputContainer, AudioStream]]:
    """Open a file for a while.

    Parameters
    ----------
    path : Path

    Yields
    ------
    container : av.container.InputContainer
    stream : av.AudioStream
        The first one with audio.

    Raises
    ------
    UnsupportedAudio
        When it is not one of the accepted kinds, or holds no audio stream.
    NotFound
        When there is no such file.
    """
    av = pyav()
    if not path.is_file():
        raise NotFound(f"There is no file {path.name}.")
    _refuse_foreign(path)
    options = {"format_whitelist": DEMUXERS, "protocol_whitelist": "file", "max_streams": str(MAX_STREAMS)}
    try:
        container = av.open(str(path.absolute()), options=options, metadata_errors="replace")
    except MemoryError as error:  # said of a stream too many as well
        raise UnsupportedAudio(
            f"The file has more than {MAX_STREAMS} streams, or tags or tables larger than a song's."
        ) from error
    except av.FFmpegError as error:
        reason = f"The file is not {ACCEPTED}, or too damaged to open: {_found(path)}."
        raise UnsupportedAudio(reason, details=str(error.strerror)) from error
    with container:
        if not container.streams.audio:
            raise UnsupportedAudio(f"The file is {container.format.name} but holds no audio stream.")
        if container.streams.audio[0].codec_context is None:
            raise UnsupportedAudio("The file's audio is in a codec that cannot be decoded.")
        yield container, container.streams.audio[0]


def _refuse_foreign(path: Path) -> None:
    """UnsupportedAudio for what is plainly something else; FFmpeg alone would find an mp3 frame in any large file."""
    with path.open("rb") as file:
        head = file.read(1024)
    if not head:
        raise UnsupportedAudio(f"The file is empty; send {ACCEPTED}.")
    for offset, magic, name in FOREIGN:
        if head.startswith(magic, offset):
            raise UnsupportedAudio(f"The file is {name}; send {ACCEPTED}.")
    text = head.decode("utf-8", errors="ignore")  # ignore: the cut may fall inside a character
    if len(text.encode()) > len(head) - 4 and all(c.isprintable() or c.isspace() for c in text):
        raise UnsupportedAudio(f"The file is text; send {ACCEPTED}.")


def _found(path: Path) -> str:
    """What an unknown file begins with, for a message."""
    with path.open("rb") as file:
        head = file.read(8)
    return f"{path.stat().st_size} bytes beginning with {head.hex(' ')}"


def frames_of(container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
    """Decode a stream, stepping over what does not decode.

    Parameters
    ----------
    container : av.container.InputContainer
    stream : av.AudioStream
        As opened() gives them.

    Yields
    ------
    av.AudioFrame
        None of them empty.

    Raises
    ------
    UnsupportedAudio
        When nothing decodes, or hardly anything, as in noise that chance shaped.
    """
    av = pyav()
    decoded = failed = 0
    failure: Exception | None = None
    packets = container.demux(stream)
    ended = False
    while not ended and failed <= max(decoded, MAX_FAILURES):
        try:
            packet = next(packets, None)
            ended = packet is None
            frames = stream.codec_context.decode(packet)  # None flushes the decoder
        except av.FFmpegError as error:
            failed, failure = failed + 1, error
            continue
        for frame in frames:
            if frame.samples:
                decoded += 1
                yield frame
    if not decoded or decoded < min(failed, MAX_FAILURES):
        name = stream.codec_context.codec.canonical_name
        raise UnsupportedAudio(f"The file looks like {name} audio, but does not decode.") from failure
