"""Move word times to where the voice begins something."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from models.singing import HOP, LAG, SAMPLE_RATE
from models.words import MIN_WORD_SECONDS, Word, tidy

if TYPE_CHECKING:
    import numpy as np

REACH_SECONDS = 0.12  # how far a word may be moved; about a transcriber's error, well under a syllable
NEIGHBOURHOOD_SECONDS = 2.0  # an onset's strength counts against the strongest one around it
WEAKEST = 0.1  # of that strongest one
WEAKNESS_COST = STAY_COST = 2.0  # of an onset without strength, of none; in units of the cost of REACH_SECONDS


def peaks(onset: np.ndarray) -> tuple[list[float], list[float]]:
    """Pick the onsets from their strength over time.

    Parameters
    ----------
    onset : np.ndarray [shape=(n,)]
        As `models.singing.Singing.onset`.

    Returns
    -------
    times : list of float
        In seconds, ascending.
    strengths : list of float
        0..1, against the strongest onset within a second.
    """
    import numpy as np
    from scipy.ndimage import maximum_filter1d
    from scipy.signal import find_peaks

    around = maximum_filter1d(onset, round(NEIGHBOURHOOD_SECONDS * SAMPLE_RATE / HOP))
    relative = onset / np.maximum(around, np.finfo(np.float32).tiny)
    found, _ = find_peaks(relative, height=WEAKEST, distance=round(MIN_WORD_SECONDS * SAMPLE_RATE / HOP))
    times = (found - LAG / 2) * HOP / SAMPLE_RATE  # a rise is greatest between the two spectra compared
    return times.clip(0.0).tolist(), relative[found].tolist()


def snap(words: Sequence[Word], times: Sequence[float], strengths: Sequence[float]) -> list[Word]:
    """Start each word at an onset of the voice near it, or leave it where it is.

    Over all words the cheapest choice that keeps their order: an onset costs the square of its distance (1 at
    REACH_SECONDS) and WEAKNESS_COST times what it lacks of full strength, staying costs STAY_COST. No two words share
    an onset. Ends stay, unless the next word now begins before.

    Parameters
    ----------
    words : sequence of Word
        Tidy.
    times, strengths : sequence of float
        As peaks() gives them.

    Returns
    -------
    list of Word
        Tidy.
    """
    # One state per word and candidate start: (start, cost of the best way there, index of the candidate before).
    table: list[list[tuple[float, float, int]]] = []
    for word in words:
        row = []
        for start, cost in _candidates(word, times, strengths):
            way, before = _best_way(table[-1], start) if table else (0.0, 0)
            row.append((start, way + cost, before))
        table.append(row)
    chosen: list[float] = []
    index = min(range(len(table[-1])), key=lambda i: table[-1][i][1]) if table else 0
    for row in reversed(table):
        start, _, index = row[index]
        chosen.append(start)
    return tidy(replace(word, start=start) for word, start in zip(words, reversed(chosen), strict=True))


def _candidates(word: Word, times: Sequence[float], strengths: Sequence[float]) -> list[tuple[float, float]]:
    """(start, cost) of staying and of every onset in reach."""
    found = [(word.start, STAY_COST)]
    for i in range(bisect_left(times, word.start - REACH_SECONDS), bisect_right(times, word.start + REACH_SECONDS)):
        shift = (times[i] - word.start) / REACH_SECONDS
        found.append((times[i], shift**2 + WEAKNESS_COST * (1 - strengths[i])))
    return found


def _best_way(row: list[tuple[float, float, int]], start: float) -> tuple[float, int]:
    """Cost and index of the cheapest candidate of the word before that leaves it room; staying always does."""
    allowed = [(cost, i) for i, (before, cost, _) in enumerate(row) if before + MIN_WORD_SECONDS <= start]
    return min(allowed, default=(float("inf"), 0))
