"""A transcriber that hears nothing certain repeats itself: telling such lines from a chorus."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from itertools import groupby
from typing import Any

MAX_REPEATS = 4  # a line in a row; songs do so often
LONGEST_LINE = 12  # words
MIN_CONFIDENCE = 0.5  # mean of a run, 0..1; lines that are really sung again and again are heard with more


def cut_repetition(segments: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Keep only the first of many equal, hardly heard lines in a row.

    A run is cut when it is longer than MAX_REPEATS lines and its mean confidence is under MIN_CONFIDENCE, so a
    chorus stays: it is either shorter or well heard. Case and punctuation do not count.

    Parameters
    ----------
    segments : sequence of dict
        With text and confidence, in order.

    Returns
    -------
    list of dict
        The same segments, without the cut ones.
    """
    kept: list[dict[str, Any]] = []
    for text, group in groupby(segments, key=lambda segment: letters(segment["text"])):
        run = list(group)
        doubted = sum(segment["confidence"] for segment in run) < MIN_CONFIDENCE * len(run)
        kept += run[:1] if text and doubted and len(run) > MAX_REPEATS else run
    return kept


def is_loop(words: Sequence[tuple[str, float]]) -> bool:
    """Whether the last word begins or goes on with one repetition too many of a hardly heard line.

    The rule of cut_repetition() for words that come one by one, when lines are not known.

    Parameters
    ----------
    words : sequence of (str, float)
        The letters and the probability of each word up to now.
    """
    for length in range(1, min(LONGEST_LINE, (len(words) - 1) // MAX_REPEATS) + 1):
        run = words[-length * MAX_REPEATS - 1 :]
        same = all(a[0] == b[0] for a, b in zip(run, run[length:], strict=False))
        if same and sum(probability for _, probability in run) < MIN_CONFIDENCE * len(run):
            return True
    return False


def letters(text: str) -> str:
    """The letters, marks and digits of a text, case folded."""
    return "".join(c for c in text.casefold() if unicodedata.category(c)[0] in "LMN")
