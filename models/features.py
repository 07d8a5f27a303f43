"""What is measured of a song before anyone describes it: loudness, brightness, harmony, sections."""

from __future__ import annotations

from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models import Report, audio, keys, pitch_analysis
from models.audio.opening import frames_of, opened

if TYPE_CHECKING:
    import numpy as np
    from av import AudioFrame

SAMPLE_RATE = 22050  # Hz
FRAME = 2048  # samples
SECTION_SECONDS = 8.0  # shortest section
MAX_SECTIONS = 16
VARIANT = "enhanced_chroma"


def measure(path: Path, report: Report) -> dict[str, Any]:
    """Measure a song of any length in three passes over the file.

    Parameters
    ----------
    path : Path
    report : Report
        Told 0 to 1.

    Returns
    -------
    dict
        duration_seconds, loudness_lufs and dynamic_range_lu (EBU R128), spectral_centroid_hz, zero_crossing_rate
        (crossings per sample), key, key_confidence, tempo_bpm, dominant_pitches, chroma (pitch class to share),
        section_boundaries_seconds.

    Raises
    ------
    UnsupportedAudio
        When the file does not decode.
    """
    loudness = integrated_loudness(path)
    report(0.2, "Measuring")
    centroid, crossings = _brightness(path)
    report(0.4, "Measuring")
    found = pitch_analysis.measure(VARIANT, path, lambda fraction, _=None: report(0.4 + 0.6 * fraction, "Measuring"))
    pitch, *_ = pitch_analysis.interpret(VARIANT, found)
    total = found.chroma.sum(axis=1)
    shares = total / max(float(total.sum()), 1e-9)
    return {
        "duration_seconds": round(found.duration_seconds, 2), **loudness, "spectral_centroid_hz": round(centroid, 1),
        "zero_crossing_rate": round(crossings, 4), "key": pitch.detected_key,
        "key_confidence": round(pitch.confidence, 3), "tempo_bpm": pitch.tempo_bpm,
        "dominant_pitches": pitch.dominant_pitches,
        "chroma": {name: round(float(share), 3) for name, share in zip(keys.PITCH_NAMES, shares, strict=True)},
        "section_boundaries_seconds": sections(found.chroma, found.duration_seconds),
    }  # fmt: skip


def integrated_loudness(path: Path) -> dict[str, float | None]:
    """Integrated loudness and loudness range after EBU R128, by FFmpeg's own filter.

    Returns
    -------
    dict
        loudness_lufs and dynamic_range_lu; None for silence and for clips under 0.4 s.
    """
    import av

    with opened(path) as (container, stream):
        frames = frames_of(container, stream)
        first = next(frames)
        graph = av.filter.Graph()
        source = graph.add_abuffer(**_kind(first), time_base=Fraction(1, first.sample_rate))
        meter, sink = graph.add("ebur128", "metadata=1"), graph.add("abuffersink")
        source.link_to(meter)
        meter.link_to(sink)
        graph.configure()
        last: dict[str, str] = {}
        for frame in chain([first], frames):
            if _kind(frame) == _kind(first):  # where files were chained, the others are not measured
                graph.push(frame)
                last = _drain(graph) or last
    lufs = float(last.get("lavfi.r128.I", "-inf"))
    silent = lufs < -69  # the gate of R128 is at -70
    return {
        "loudness_lufs": None if silent else round(lufs, 1),
        "dynamic_range_lu": None if silent else round(float(last["lavfi.r128.LRA"]), 1),
    }


def sections(chroma: np.ndarray, duration_seconds: float) -> list[float]:
    """Where the harmony changes for good: agglomerative segmentation of the chroma, as librosa does it.

    Parameters
    ----------
    chroma : np.ndarray, shape (12, frames)
    duration_seconds : float

    Returns
    -------
    list of float
        Inner boundaries in seconds.
    """
    import librosa
    import numpy as np

    count = int(min(duration_seconds // SECTION_SECONDS, MAX_SECTIONS))
    if count < 2 or not chroma.any():
        return []
    width = max(round(chroma.shape[1] / duration_seconds), 1)  # one column a second
    seconds = np.stack([part.mean(axis=1) for part in np.array_split(chroma, chroma.shape[1] // width, axis=1)], axis=1)
    starts = librosa.segment.agglomerative(seconds, min(count, seconds.shape[1]))
    return [round(float(start) * duration_seconds / seconds.shape[1], 1) for start in starts if start > 0]


def _kind(frame: AudioFrame) -> dict[str, Any]:
    """What a filter must know of the frames that it gets."""
    return {"sample_rate": frame.sample_rate, "format": frame.format.name, "layout": frame.layout.name}


def _drain(graph: Any) -> dict[str, str]:
    """The metadata of the last frame that the filter has ready."""
    import av

    found: dict[str, str] = {}
    while True:
        try:
            found = dict(graph.pull().metadata)
        except (av.error.BlockingIOError, av.error.EOFError):
            return found


def _brightness(path: Path) -> tuple[float, float]:
    """Mean spectral centroid in Hz, weighted by energy, and zero crossings per sample."""
    import numpy as np

    frequencies = np.fft.rfftfreq(FRAME, 1 / SAMPLE_RATE)
    weighted = energy = crossings = samples = 0.0
    for block in audio.decode(path, sample_rate=SAMPLE_RATE, channels=1):
        mono = block[0]
        crossings += int(np.count_nonzero(np.signbit(mono[1:]) != np.signbit(mono[:-1])))
        samples += len(mono)
        frames = mono[: len(mono) // FRAME * FRAME].reshape(-1, FRAME) * np.hanning(FRAME)
        spectrum = np.abs(np.fft.rfft(frames)).sum(axis=0)
        weighted += float((spectrum * frequencies).sum())
        energy += float(spectrum.sum())
    return weighted / energy if energy else 0.0, crossings / max(samples, 1)
