"""The form of a song: its sections, bar by bar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

BEATS_PER_BAR = 4
BARS_PER_LINE = 2
SHORT_BARS = 20  # a song of fewer has sections of four bars, a longer one of eight
BREAK_CHANCE = 0.25  # for a bar of silence after a section
ORDERS = (
    ("verse", "chorus", "verse", "chorus", "instrumental", "chorus"),
    ("verse", "verse", "chorus", "instrumental", "verse", "chorus"),
    ("chorus", "verse", "chorus", "instrumental", "verse", "chorus"),
    ("verse", "instrumental", "verse", "chorus", "instrumental", "chorus"),
)

Kind = Literal["intro", "verse", "chorus", "instrumental", "break", "outro"]
SUNG: frozenset[str] = frozenset({"verse", "chorus"})


@dataclass(frozen=True)
class Section:
    """A part of a song: `bars` bars from bar `start`. A break is silence."""

    kind: Kind
    start: int
    bars: int

    @property
    def end(self) -> int:
        """The bar after it."""
        return self.start + self.bars


def choose_form(rng: np.random.Generator, bars: int, *, sung: bool) -> tuple[Section, ...]:
    """Lay out a song: an intro, verses, choruses and instrumental passages in turn, an outro of one bar.

    Parameters
    ----------
    rng : np.random.Generator
    bars : int
        At least 6.
    sung : bool
        Whether there is singing; without, verses and choruses are instrumental.

    Returns
    -------
    tuple of Section
        One after the other, from bar 0 to `bars`.
    """
    usual = 4 if bars < SHORT_BARS else 8
    kinds: list[tuple[Kind, int]] = [("intro", min(int(rng.choice([1, 2, 4])), max(1, (bars - 5) // 2), usual // 2))]
    order: tuple[Kind, ...] = ORDERS[rng.integers(len(ORDERS))]  # type: ignore[assignment]
    left, turn = bars - 1 - kinds[0][1], 0
    while left >= 4:
        kind = order[turn % len(order)]
        length = min(4 if kind == "instrumental" else usual, left // 4 * 4)
        kinds.append((kind if sung or kind not in SUNG else "instrumental", length))
        left, turn = left - length, turn + 1
        if left > 4 and rng.random() < BREAK_CHANCE:
            kinds.append(("break", 1))
            left -= 1
    kinds.append(("outro", left + 1))
    sections, start = [], 0
    for kind, length in kinds:
        sections.append(Section(kind, start, length))
        start += length
    return tuple(sections)
