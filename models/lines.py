"""Lyric lines: where to break timed words.

A line starts when its first word is sung and ends when its last one does; nothing here spreads words over time.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

from models.words import Word

PAUSE_SECONDS = 0.6  # a breath: as good a place to break as the end of a segment with its full stop
SEGMENT_WISH = 2.0  # a transcriber ends segments where lines end
BREAK_COST = 1.5  # of a line break where nothing asks for one, in units of a line that is empty
TOO_LONG_COST = 100.0  # of each column over the limit
STOPS, COMMAS = ".!?…。！？", ",;:—、，；："


@dataclass(frozen=True)
class Line:
    """Words that are shown together; never empty."""

    words: tuple[Word, ...]

    @property
    def start(self) -> float:
        """When the first word is sung, in seconds."""
        return self.words[0].start

    @property
    def end(self) -> float:
        """When the last word ends, in seconds."""
        return self.words[-1].end

    @cached_property
    def text(self) -> str:
        """The words as one line of text."""
        return "".join(word.text for word in self.words).strip()

    @property
    def confidence(self) -> float | None:
        """Mean probability of the words, 0..1; None when the transcriber gave none."""
        known = [word.probability for word in self.words if word.probability is not None]
        return sum(known) / len(known) if known else None


def by_segment(words: Iterable[Word]) -> list[Line]:
    """One line for each segment, as the user broke the lines of given lyrics."""
    return [Line(tuple(group)) for _, group in groupby(words, key=lambda word: word.segment)]


def split(words: Sequence[Word], max_characters: int) -> list[Line]:
    """Break words into lines where singers do.

    Of all ways to break them the cheapest, found by dynamic programming: pauses, segment ends and punctuation make a
    break cheaper, very short lines and lines over the limit cost. A pause of a second outweighs everything.

    Parameters
    ----------
    words : sequence of Word
        Tidy.
    max_characters : int
        Of a line; wide characters (Chinese, Japanese, Korean) count as two. Only a single longer word exceeds it.

    Returns
    -------
    list of Line
    """
    cost, begin = [0.0], [0]  # of the best lines up to word n, and where the last of them begins
    for stop in range(1, len(words) + 1):
        best, best_first, after = float("inf"), stop - 1, 0
        for first in range(stop - 1, -1, -1):
            width = after + _width(words[first].text.lstrip())
            total = cost[first] + _line_cost(width, max_characters)
            total += _break_cost(words[first - 1], words[first]) if first else 0.0
            if total < best:
                best, best_first = total, first
            if width > max_characters:
                break
            after += _width(words[first].text)
        cost.append(best)
        begin.append(best_first)
    lines, stop = [], len(words)
    while stop:
        lines.append(Line(tuple(words[begin[stop] : stop])))
        stop = begin[stop]
    return lines[::-1]


def _line_cost(width: int, max_characters: int) -> float:
    """What a line of that width costs: 0 at two thirds of the limit, 1 when empty."""
    wanted = max_characters * 2 / 3
    return ((width - wanted) / wanted) ** 2 + TOO_LONG_COST * max(0, width - max_characters)


def _break_cost(before: Word, after: Word) -> float:
    """What a break between two words costs; negative where it is wanted."""
    wish = 2 * (after.start - before.end) / PAUSE_SECONDS
    wish += SEGMENT_WISH * (before.segment != after.segment)
    last = before.text.rstrip("\"'”’»)]")[-1:]
    wish += 1.0 if last in STOPS else 0.5 if last in COMMAS else 0.0
    return BREAK_COST - wish


def _width(text: str) -> int:
    """Columns a text takes: wide characters two, combining marks none."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )
