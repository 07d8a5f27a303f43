"""Where there is voice: an energy gate on the vocal stem.

Transcribers invent text over music without words, so they are shown only passages that have energy. On a stem without
the band that is the voice; on a full mix the gate closes at silence alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from models import audio

if TYPE_CHECKING:
    import numpy as np

SAMPLE_RATE = 16000  # Hz
FRAME = 320  # samples, 20 ms
FRAMES_PER_SECOND = SAMPLE_RATE // FRAME
SILENCE_DB = -120.0  # stands for no energy at all

FLOOR_DB = -50.0  # full scale; nothing below it is voice
OPEN_DB, CLOSE_DB = -30.0, -40.0  # against the loud level: where voice begins, and down to where it goes on
HOLD_SECONDS = 1.0  # how long a note may fade below the opening level
LOUD_SECONDS = 1.0  # the loud level is the one that is exceeded for so long in all
MIN_VOICE_SECONDS = 0.1  # shorter bursts are clicks and the leak of drums
PADDING_SECONDS = 0.5  # kept before and after, for breath and consonants
SHORT_PAUSE_SECONDS = 0.3  # shorter pauses stay inside a burst: consonants are silent, too
LONG_PAUSE_SECONDS = 3.0  # shorter pauses stay inside a passage: cutting there costs context
CUT_SEARCH_SECONDS = 120.0  # how far before a part's end its cut may lie
CUT_SECONDS = 1.0  # of quiet around a cut

Passage = tuple[float, float]  # start and end in seconds


@dataclass(frozen=True)
class Loudness:
    """The level of a file over time.

    Attributes
    ----------
    levels : np.ndarray [shape=(n,), dtype=float32]
        RMS of each FRAME samples in dB below full scale; the last frame may be shorter.
    samples : int
        Length of the file at SAMPLE_RATE.
    """

    levels: np.ndarray
    samples: int

    @property
    def duration_seconds(self) -> float:
        """Length of the file."""
        return self.samples / SAMPLE_RATE


def listen(path: Path, report: Callable[[float], None]) -> Loudness:
    """Measure a file's level, block by block.

    Parameters
    ----------
    path : Path
    report : callable
        Told the fraction done, after every block.

    Returns
    -------
    Loudness

    Raises
    ------
    UnsupportedAudio, NotFound
        As audio.decode().
    """
    import numpy as np

    expected = max(audio.probe(path).duration_seconds, 1.0)
    levels, samples = [np.zeros(0, np.float32)], 0
    for block in audio.decode(path, sample_rate=SAMPLE_RATE, channels=1):  # blocks hold a whole number of frames
        levels.append(_levels(block[0]))
        samples += block.shape[1]
        report(min(samples / SAMPLE_RATE / expected, 1.0))
    return Loudness(np.concatenate(levels), samples)


def passages(loudness: Loudness) -> list[Passage]:
    """Find the passages with voice: its bursts, padded, and joined over pauses that are not long.

    Parameters
    ----------
    loudness : Loudness

    Returns
    -------
    list of (float, float)
        In order, apart by at least LONG_PAUSE_SECONDS, inside the file; [(0, duration)] when nothing is gated.
    """
    duration = loudness.duration_seconds
    padded = [(start - PADDING_SECONDS, end + PADDING_SECONDS) for start, end in bursts(loudness)]
    if not padded:
        return []
    # What lies before and after the file counts as voice, so that short pauses at its ends stay in, too.
    whole = joined([(-math.inf, 0.0), *padded, (duration, math.inf)], LONG_PAUSE_SECONDS)
    inside = [(max(start, 0.0), min(end, duration)) for start, end in whole]
    return [(start, end) for start, end in inside if end > start]


def bursts(loudness: Loudness) -> list[Passage]:
    """Find every burst of voice: words that are sung without a pause.

    A frame at OPEN_DB against the loud level opens the gate. It stays open down to CLOSE_DB, for HOLD_SECONDS at most,
    so that a note can fade but the leak of the band cannot follow it (neither level is ever below FLOOR_DB). What is
    open for less than MIN_VOICE_SECONDS is no voice.

    Parameters
    ----------
    loudness : Loudness

    Returns
    -------
    list of (float, float)
        In order, apart by at least SHORT_PAUSE_SECONDS, inside the file.
    """
    import numpy as np

    levels = loudness.levels
    if not len(levels):
        return []
    rank = min(round(LOUD_SECONDS * FRAMES_PER_SECOND), len(levels) // 2)
    loud = float(np.sort(levels)[len(levels) - 1 - rank])
    opening = levels >= max(FLOOR_DB, loud + OPEN_DB)
    hold = round(HOLD_SECONDS * FRAMES_PER_SECOND)
    held = np.convolve(opening, np.ones(2 * hold + 1))[hold : hold + len(levels)] > 0.5
    shortest = min(MIN_VOICE_SECONDS * FRAMES_PER_SECOND, len(levels))
    open_runs = [
        (first / FRAMES_PER_SECOND, min(stop / FRAMES_PER_SECOND, loudness.duration_seconds))
        for first, stop in runs(held & (levels >= max(FLOOR_DB, loud + CLOSE_DB)))
        if stop - first >= shortest and opening[first:stop].any()
    ]
    return joined(open_runs, SHORT_PAUSE_SECONDS)


def parts(loudness: Loudness, longest_seconds: float) -> list[Passage]:
    """Cut a long file at quiet moments.

    Parameters
    ----------
    loudness : Loudness
    longest_seconds : float
        Of a part; more than CUT_SEARCH_SECONDS.

    Returns
    -------
    list of (float, float)
        Without gaps, from 0 to the file's end.
    """
    import numpy as np

    quiet = np.ones(round(CUT_SECONDS * FRAMES_PER_SECOND)) / (CUT_SECONDS * FRAMES_PER_SECOND)
    edges = [0.0]
    while loudness.duration_seconds - edges[-1] > longest_seconds:
        last = round((edges[-1] + longest_seconds) * FRAMES_PER_SECOND)
        first = last - round(CUT_SEARCH_SECONDS * FRAMES_PER_SECOND)
        smooth = np.convolve(np.maximum(loudness.levels[first:last], FLOOR_DB), quiet, mode="valid")
        # Of equally quiet moments the middle one: there the cut is far from voice on both sides.
        quietest = np.flatnonzero(smooth <= smooth.min() + 1e-6)
        edges.append((first + quietest[len(quietest) // 2] + len(quiet) // 2) / FRAMES_PER_SECOND)
    return list(pairwise([*edges, loudness.duration_seconds]))


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """Find every run of true values.

    Parameters
    ----------
    mask : np.ndarray of bool [shape=(n,)]

    Returns
    -------
    list of (int, int)
        First and one past the last index, in order.
    """
    import numpy as np

    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def joined(spans: Sequence[Passage], pause_seconds: float) -> list[Passage]:
    """Join spans that are nearer to each other than a pause.

    Parameters
    ----------
    spans : sequence of (float, float)
        In order.
    pause_seconds : float

    Returns
    -------
    list of (float, float)
    """
    merged: list[Passage] = []
    for start, end in spans:
        if merged and start - merged[-1][1] < pause_seconds:
            start, end = merged[-1][0], max(end, merged.pop()[1])
        merged.append((start, end))
    return merged


def _levels(samples: np.ndarray) -> np.ndarray:
    """RMS of each frame in dB; samples (n,)."""
    import numpy as np

    starts = np.arange(0, len(samples), FRAME)
    power = np.add.reduceat(np.square(samples, dtype=np.float64), starts)
    power /= np.diff(np.append(starts, len(samples)))
    return (10 * np.log10(np.maximum(power, 10 ** (SILENCE_DB / 10)))).astype(np.float32)
