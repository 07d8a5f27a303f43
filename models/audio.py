"""Audio files in and out, through PyAV: probe, streamed decode, streamed encode.

Samples are float32 arrays of shape (channels, samples) with full scale at ±1. Everything streams: a file of any length
needs the memory of one block. Decoding releases the GIL, so it can run beside a model in a thread.
"""

from __future__ import annotations

import errno
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from errors import JobFailed, NotFound, StorageFull, UnsupportedAudio

if TYPE_CHECKING:
    import numpy as np
    from av import AudioFrame, AudioResampler, AudioStream
    from av.container import InputContainer

SampleFormat = Literal["s16", "s24", "f32"]

ACCEPTED = "mp3, wav, flac, m4a or ogg"
DEMUXERS = "mp3,wav,flac,mov,ogg"  # FFmpeg's names; a playlist or an image never reaches its demuxer
MAX_STREAMS = 32
MAX_FAILURES = 20  # packets that do not decode, before as many did
PROBE_SECONDS = 1.0
HEADER_TOLERANCE_SECONDS = 0.1  # a header that is further off than a few frames is not believed
MP3_SAMPLE_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
LAYOUTS = {1: "mono", 2: "stereo"}
CENTRE_GAIN = math.sqrt(0.5)  # ITU-R BS.775: centre and surround channels enter a stereo mix 3 dB down

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
    with _open(path) as (container, stream):
        decoded = 0.0
        for frame in _frames(container, stream):
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
    with _open(path) as (container, stream):
        yield from _blocks(_frames(container, stream), sample_rate, channels, block_seconds)


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
            self._container = _av().open(str(path.absolute()), "w", format=suffix[1:], options=options)
        rate = _mp3_rate(sample_rate) if suffix == ".mp3" else sample_rate
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
                self._container.mux(self._stream.encode(None))

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
            When a sample is not a finite number.
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
        with _storage_errors(self.path):
            self._container.mux(self._stream.encode(frame))


def _av():  # type: ignore[no-untyped-def]
    """PyAV with FFmpeg's log off: what matters comes as exceptions."""
    import av

    av.logging.set_level(None)
    return av


@contextmanager
def _open(path: Path) -> Iterator[tuple[InputContainer, AudioStream]]:
    """The file's container and its first audio stream; UnsupportedAudio when there is none."""
    av = _av()
    if not path.is_file():
        raise NotFound(f"There is no file {path.name}.")
    _refuse_foreign(path)
    options = {"format_whitelist": DEMUXERS, "protocol_whitelist": "file"}
    try:
        container = av.open(str(path.absolute()), options=options, metadata_errors="replace")
    except av.FFmpegError as error:
        reason = f"The file is not {ACCEPTED}, or too damaged to open: {_found(path)}."
        raise UnsupportedAudio(reason, details=str(error.strerror)) from error
    with container:
        if (count := len(container.streams)) > MAX_STREAMS:
            raise UnsupportedAudio(f"The file has {count} streams; at most {MAX_STREAMS} are accepted.")
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


def _frames(container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
    """Every frame that decodes; UnsupportedAudio when none does, or hardly any as in noise that chance shaped."""
    av = _av()
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
    return {key.lower(): value.strip() for key, value in tags.items() if value.strip()}


def _duration(path: Path) -> float:
    """Length in seconds by the packets that are there; the header's exact one where it agrees."""
    with _open(path) as (container, stream):
        total = 0
        try:
            for packet in container.demux(stream):
                total += 0 if packet.is_discard else packet.duration or 0
        except _av().FFmpegError:
            pass  # truncated: what was counted stands
        clock = float(stream.time_base or 0)
        measured, header = total * clock, (stream.duration or 0) * clock
    return header if abs(header - measured) < HEADER_TOLERANCE_SECONDS else measured


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
            resampler = _av().AudioResampler(format="flt", rate=sample_rate)
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
    frame = _av().AudioFrame.from_ndarray(data, format=pcm, layout=LAYOUTS[len(block)])
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
