"""Files as nobody should send them, and bodies that carry them as they are."""

import functools
import io
import struct
import zipfile

import av
import numpy as np

RATE = 44100
BOUNDARY = "b-o-u-n-d-a-r-y"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"
ENCODERS = {  # by the ending of the name: format, codec, rate
    "mp3": ("mp3", "libmp3lame", RATE), "wav": ("wav", "pcm_s16le", RATE), "flac": ("flac", "flac", RATE),
    "m4a": ("mp4", "aac", RATE), "ogg": ("ogg", "libopus", 48000),
}  # fmt: skip


def multipart(*parts: tuple[str, str | None, bytes]) -> bytes:
    """A multipart body of (field, file name or None, content); names are neither checked nor quoted."""
    body = b""
    for field, filename, content in parts:
        attributes = f'name="{field}"' + (f'; filename="{filename}"' if filename is not None else "")
        body += f"--{BOUNDARY}\r\nContent-Disposition: form-data; {attributes}\r\n\r\n".encode() + content + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode()


def wav(samples: np.ndarray) -> bytes:
    """Mono samples (n,) as a WAV file of 32-bit floats, which may hold anything."""
    data = samples.astype("<f4").tobytes()
    return _wav_head(len(data)) + data


def wav_of_size(size_bytes: int) -> bytes:
    """A silent WAV file of exactly that size."""
    return _wav_head((size_bytes - 44) // 4 * 4) + bytes(size_bytes - 44)


def _wav_head(data_bytes: int) -> bytes:
    """The 44 bytes before samples that take so many."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, 1, RATE, RATE * 4, 4, 32)
    riff = struct.pack("<4sI4s", b"RIFF", 4 + len(form) + 8 + data_bytes, b"WAVE")
    return riff + form + struct.pack("<4sI", b"data", data_bytes)


def sine(seconds: float) -> np.ndarray:
    """440 Hz (n,)."""
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * RATE)) / RATE)


def turning_nan(at_seconds: float) -> bytes:
    """Three seconds of WAV that are no numbers from some point on."""
    samples = sine(3)
    samples[round(at_seconds * RATE) :] = np.nan
    return wav(samples)


@functools.cache
def sound(ending: str, seconds: float = 2) -> bytes:
    """Some seconds of 440 Hz, with a title."""
    kind, codec, rate = ENCODERS[ending]
    written = io.BytesIO()
    with av.open(io.BytesIO(wav(sine(seconds)))) as source, av.open(written, "w", format=kind) as target:
        target.metadata["title"] = "River"
        stream = target.add_stream(codec, rate=rate)
        resampler = av.AudioResampler(stream.format, stream.layout, stream.rate)
        for frame in [*source.decode(audio=0), None]:
            for resampled in resampler.resample(frame):
                target.mux(stream.encode(resampled))
        target.mux(stream.encode(None))
    return written.getvalue()


def half(ending: str) -> bytes:
    """The first half of such a file."""
    whole = sound(ending)
    return whole[: len(whole) // 2]


def zipped() -> bytes:
    """A ZIP archive with a song in it."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("song.wav", wav(sine(0.5)))
    return written.getvalue()
