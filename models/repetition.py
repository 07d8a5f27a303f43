"""A transcriber that hears nothing certain repeats itself: telling such lines from a chorus."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from itertools import groupby
from typing import Any

MAX_REPEATS = 4  # a line in a row; songs do so often
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


def letters(text: str) -> str:
    """The letters, marks and digits of a text, case folded."""
    return "".join(c for c in text.casefold() if unicodedata.category(c)[0] in "LMN")
