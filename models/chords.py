"""Chords over time from a chromagram: triad templates, smoothed by a Viterbi path.

Chords are numbered as keys are: 0–11 are C to B major, 12–23 are C to B minor; 24 is no chord.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from models.keys import PITCH_NAMES, standardized

if TYPE_CHECKING:
    import numpy as np

CHORD_NAMES = (*PITCH_NAMES, *(f"{name}m" for name in PITCH_NAMES), "N")
NO_CHORD = 24
NO_CHORD_FIT = 0.3  # a frame whose best triad correlates less has no chord
CHANGE_COST = 0.5  # in units of correlation: a new chord must fit better by this much, summed over its frames
SHORTEST_FRAMES = 3  # of a chord that counts as the first or the last


@dataclass(frozen=True)
class Chord:
    """A chord and when it sounds; "C" is major, "Cm" minor, "N" none."""

    start_seconds: float
    end_seconds: float
    name: str


def fits(chroma: np.ndarray) -> np.ndarray:
    """How well each triad fits each frame.

    Parameters
    ----------
    chroma : np.ndarray [shape=(12, frames)]

    Returns
    -------
    np.ndarray [shape=(24, frames)]
        Correlations, −1 to 1.
    """

    return standardized(_triads()) @ standardized(chroma.T).T


def track(fit: np.ndarray, sounding: np.ndarray) -> np.ndarray:
    """The chord of each frame: the path that fits best when every change has its cost (Viterbi).

    Parameters
    ----------
    fit : np.ndarray [shape=(24, frames)]
        As fits() gives.
    sounding : np.ndarray of bool [shape=(frames,)]
        False where there is silence.

    Returns
    -------
    np.ndarray of int [shape=(frames,)]
        0–24.
    """
    import numpy as np

    gain = np.vstack([np.where(sounding, fit, 0), np.where(sounding, NO_CHORD_FIT, 1)])
    total = gain[:, 0].copy()
    came_from = np.empty(gain.shape, dtype=np.int8)
    stay = np.arange(len(gain))
    for frame in range(1, gain.shape[1]):
        best = total.argmax()
        changed = total[best] - CHANGE_COST
        came_from[:, frame] = np.where(total >= changed, stay, best)
        total = np.maximum(total, changed) + gain[:, frame]
    path = np.empty(gain.shape[1], dtype=int)
    path[-1] = total.argmax()
    for frame in range(gain.shape[1] - 1, 0, -1):
        path[frame - 1] = came_from[path[frame], frame]
    return path


def runs(path: np.ndarray) -> list[tuple[int, int, int]]:
    """A path's chords as (chord, first frame, frame after the last)."""
    found, start = [], 0
    for chord, frames in groupby(path.tolist()):
        length = len(list(frames))
        found.append((chord, start, start + length))
        start += length
    return found


def first_and_last(chroma: np.ndarray, path: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How well each triad fits the first and the last chord of a piece: two arrays (24,), zeros where there is none."""
    import numpy as np

    real = [run for run in runs(path) if run[0] != NO_CHORD]
    real = [run for run in real if run[2] - run[1] >= SHORTEST_FRAMES] or real
    if not real:
        return np.zeros(24), np.zeros(24)
    first, last = (fits(chroma[:, run[1] : run[2]].mean(axis=1, keepdims=True))[:, 0] for run in (real[0], real[-1]))
    return first, last


def tones(path: np.ndarray) -> np.ndarray:
    """How many of a path's frames each pitch class belongs to the chord: (12,)."""
    import numpy as np

    return np.bincount(path, minlength=NO_CHORD + 1)[:NO_CHORD] @ _triads()


def chord_list(path: np.ndarray, frame_seconds: float, duration_seconds: float) -> list[Chord]:
    """A path as named chords with times; frames are centred on multiples of `frame_seconds`."""
    chords = []
    for chord, start, end in runs(path):
        begins = max(0.0, (start - 0.5) * frame_seconds)
        ends = duration_seconds if end == len(path) else min((end - 0.5) * frame_seconds, duration_seconds)
        chords.append(Chord(round(begins, 3), round(ends, 3), CHORD_NAMES[chord]))
    return chords


def changes(path: np.ndarray) -> int:
    """How many times a chord gives way to another; pauses between do not count."""
    names = [chord for chord, _, _ in runs(path) if chord != NO_CHORD]
    return sum(one != other for one, other in pairwise(names))


def complexity(path: np.ndarray) -> float:
    """How evenly time is spread over the 24 chords: entropy from 0 (one chord) to 1 (all alike)."""
    counts: dict[int, int] = {}
    for chord, start, end in runs(path):
        if chord != NO_CHORD:
            counts[chord] = counts.get(chord, 0) + end - start
    total = sum(counts.values())
    entropy = -sum(count / total * math.log(count / total) for count in counts.values())
    return round(abs(entropy) / math.log(24), 4)


def _triads() -> np.ndarray:
    """The pitch classes of each triad: (24, 12) of 0 and 1."""
    import numpy as np

    triads = np.zeros((24, 12))
    for root in range(12):
        triads[root, [root, (root + 4) % 12, (root + 7) % 12]] = 1
        triads[12 + root, [root, (root + 3) % 12, (root + 7) % 12]] = 1
    return triads
