"""Key, tempo, chords and dominant pitches of a recording.

Three variants differ in how they hear pitch classes and how they choose the key:

basic_chroma
    Short-time Fourier chroma at A = 440 Hz, correlated with the Krumhansl–Kessler profiles. Fast; overtones, drums
    and a mistuned recording mislead it.
enhanced_chroma
    Note chroma: the tuning is estimated, background and drums are taken away, and overtones are explained by the notes
    they belong to (non-negative least squares). The key is the one under whose Albrecht–Shanahan profile the notes and
    the tracked chords are likeliest, weighed with the first and the last chord. The most accurate.
librosa_chroma
    librosa's constant-Q chroma with its own defaults, correlated with the Temperley profiles.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from models import Report, audio, chords, keys, plots, tempo
from models.chroma import BLOCK_FRAMES, EXTRACTORS, FRAME_SECONDS, HOP, SAMPLE_RATE, inner_frames, padded_blocks
from models.keys import KeyEstimate

if TYPE_CHECKING:
    import numpy as np

SHORTEST_SECONDS = 1.0  # less sound than this has a chord at most, not a key
SILENCE = 1e-4  # RMS; 80 dB under full scale
QUIET = 1e-3  # RMS of a frame relative to the loudest; 60 dB under it
DOMINANT_PITCHES = 3


class Request(BaseModel):
    """What may be asked of pitch analysis; nothing has to be."""

    model_config = ConfigDict(extra="forbid")

    plot: bool = Field(True, description="Whether to draw the chromagram and the key strengths as a PNG picture.")


class Result(BaseModel):
    """What pitch analysis found."""

    model: str = Field(description="The variant that ran.")
    detected_key: str = Field(description='Such as "C major" or "F# minor"; "unknown" for silence or less than 1 s.')
    confidence: float = Field(ge=0, le=1, description="Probability that the key is right; 0 where it is unknown.")
    analysis_file: str = Field(description="JSON with chroma, key strengths, tempo, beats and chords.")
    dominant_pitches: list[str] = Field(description="The three strongest pitch classes, strongest first.")
    tempo_bpm: float | None = Field(description="Beats per minute; null where there are no onsets, or nothing repeats.")
    plot_file: str | None = Field(description="PNG picture, if asked for.")
    key_strength: float = Field(ge=0, le=1, description="Correlation of the pitch classes with the key's profile.")
    scale: str = Field(description='"major", "minor" or "unknown".')
    harmonic_complexity: float = Field(ge=0, le=1, description="Entropy of the time per chord; 0 is one chord only.")
    chord_changes_count: int = Field(ge=0, description="How many times a chord gives way to another.")
    files: list[str] = Field(description="Names of the files written.")


@dataclass(frozen=True)
class PitchAnalysis:
    """A loaded model: it has no weights, only a variant."""

    variant: str
    device: str


@dataclass(frozen=True)
class Features:
    """What is measured in a recording, frame by frame, before anything is concluded.

    Attributes
    ----------
    chroma : np.ndarray [shape=(12, frames)]
        One frame every FRAME_SECONDS.
    loudness : np.ndarray [shape=(frames,)]
        RMS.
    onsets : np.ndarray [shape=(onset frames,)]
        One value every tempo.HOP samples.
    tuning_semitones : float
    duration_seconds : float
    """

    chroma: np.ndarray
    loudness: np.ndarray
    onsets: np.ndarray
    tuning_semitones: float
    duration_seconds: float


def load(variant: str, device: str, weights: Path | None) -> PitchAnalysis:
    """Make the model; the work is light, and always done on the CPU.

    Parameters
    ----------
    variant : str
        basic_chroma, enhanced_chroma or librosa_chroma.
    device : str
    weights : None
        There are none.

    Returns
    -------
    PitchAnalysis

    Raises
    ------
    KeyError
        When there is no such variant.
    """
    EXTRACTORS[variant]
    return PitchAnalysis(variant, device)


def run(model: PitchAnalysis, request: Request, audio_path: Path, out_dir: Path, report: Report) -> Result:
    """Analyse a recording of any length; memory grows by some 5 kB for every second of it.

    Parameters
    ----------
    model : PitchAnalysis
    request : Request
    audio_path : Path
    out_dir : Path
    report : Report

    Returns
    -------
    Result

    Raises
    ------
    UnsupportedAudio
        When the file does not decode.
    Cancelled
        When report() says so.
    """
    found = measure(model.variant, audio_path, report)
    report(0.9, "Finding chords and key")
    result, key, details = interpret(model.variant, found)
    out_dir.joinpath(result.analysis_file).write_text(json.dumps(details, indent=1), encoding="utf-8")
    result.files.append(result.analysis_file)
    if request.plot:
        report(0.95, "Drawing")
        result.plot_file = f"pitch_analysis_{model.variant}.png"
        plots.draw(out_dir / result.plot_file, found.chroma, found.duration_seconds, key)
        result.files.append(result.plot_file)
    report(1.0)
    return result


def interpret(variant: str, found: Features) -> tuple[Result, KeyEstimate, dict[str, Any]]:
    """Key, tempo and chords of what was measured.

    Parameters
    ----------
    variant : str
    found : Features
        As measure() gave it.

    Returns
    -------
    result : Result
        Without files.
    key : KeyEstimate
    details : dict
        What the analysis file says: the result, and beats, chords, mean chroma and every key's strength.
    """
    path, key = _harmony(variant, found)
    onsets = found.onsets if _sounding(found).any() else found.onsets[:0]
    bpm, beats = tempo.estimate(onsets, SAMPLE_RATE / tempo.HOP)
    mean = _mean_chroma(found)
    result = Result(
        model=variant,
        detected_key=key.name,
        confidence=key.confidence,
        analysis_file=f"pitch_analysis_{variant}.json",
        dominant_pitches=[keys.PITCH_NAMES[n] for n in mean.argsort()[::-1][:DOMINANT_PITCHES]] if mean.any() else [],
        tempo_bpm=bpm,
        plot_file=None,
        key_strength=key.strength,
        scale=key.scale,
        harmonic_complexity=chords.complexity(path),
        chord_changes_count=chords.changes(path),
        files=[],
    )
    chord_list = chords.chord_list(path, FRAME_SECONDS, found.duration_seconds)
    details = {
        **result.model_dump(exclude={"files", "analysis_file", "plot_file"}),
        "duration_seconds": round(found.duration_seconds, 3),
        "tuning_cents": round(100 * found.tuning_semitones, 1),
        "chroma_mean": {name: round(float(value), 4) for name, value in zip(keys.PITCH_NAMES, mean, strict=True)},
        "key_strengths": key.strengths,
        "beats_seconds": [round(float(beat), 3) for beat in beats],
        "chords": [asdict(chord) for chord in chord_list],
    }
    return result, key, details


def measure(variant: str, audio_path: Path, report: Report) -> Features:
    """Decode a recording and measure it block by block.

    Parameters
    ----------
    variant : str
    audio_path : Path
    report : Report
        Told 0 to 0.9.

    Returns
    -------
    Features

    Raises
    ------
    UnsupportedAudio
        When the file does not decode.
    Cancelled
        When report() says so.
    """
    import numpy as np

    expected = max(audio.probe(audio_path).duration_seconds, FRAME_SECONDS)
    extract, onset_strength = EXTRACTORS[variant](), tempo.Onsets(SAMPLE_RATE)
    chroma, loudness, onsets = [], [], []
    done = 0
    report(0.0, "Listening")
    for padded, length in padded_blocks(_mono_blocks(audio_path)):
        chroma.append(inner_frames(extract(padded), length, HOP).astype(np.float32))
        loudness.append(_loudness(inner_frames(padded, length, 1)))
        onsets.append(inner_frames(onset_strength(padded), length, tempo.HOP).astype(np.float32))
        done += length
        report(0.9 * min(1.0, done / SAMPLE_RATE / expected))
    return Features(
        np.concatenate(chroma, axis=1),
        np.concatenate(loudness),
        np.concatenate(onsets),
        extract.tuning_semitones,
        done / SAMPLE_RATE,
    )


def _mono_blocks(path: Path) -> Iterator[np.ndarray]:
    """Mono samples in blocks of BLOCK_FRAMES × HOP."""
    seconds = BLOCK_FRAMES * FRAME_SECONDS
    for block in audio.decode(path, sample_rate=SAMPLE_RATE, channels=1, block_seconds=seconds):
        yield block[0]


def _loudness(samples: np.ndarray) -> np.ndarray:
    """RMS of each frame of HOP samples."""
    import numpy as np

    frames = np.pad(samples, (0, -len(samples) % HOP)).reshape(-1, HOP)
    return np.sqrt((frames**2).mean(axis=1))


def _sounding(found: Features) -> np.ndarray:
    """Which frames are not silence."""
    return found.loudness > max(SILENCE, QUIET * float(found.loudness.max()))


def _mean_chroma(found: Features) -> np.ndarray:
    """Pitch classes over all that sounds, (12,), the largest 1; zeros for silence."""
    sounding = _sounding(found)
    if not sounding.any():
        return found.chroma[:, :0].sum(axis=1)
    mean = found.chroma[:, sounding].mean(axis=1)
    return mean / max(float(mean.max()), 1e-9)


def _harmony(variant: str, found: Features) -> tuple[np.ndarray, KeyEstimate]:
    """The chord of each frame, and the key."""
    sounding = _sounding(found)
    path = chords.track(chords.fits(found.chroma), sounding)
    if sounding.sum() * FRAME_SECONDS < SHORTEST_SECONDS:
        return path, keys.NO_KEY
    cues = chords.tones(path), *chords.first_and_last(found.chroma, path)
    return path, keys.estimate(variant, _mean_chroma(found), *cues)
