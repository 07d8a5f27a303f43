"""The sung melody: which syllable falls on which beat, and on which note."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.form import BARS_PER_LINE, BEATS_PER_BAR, SUNG, Section
from training.harmony import Chord, Key, nearest_chord_tone
from training.lyrics import Line, syllables, write_lines

RANGE_SEMITONES = 12
CHORUS_LIFT = 3  # steps of the scale
HIGHEST_STEP = 3  # of the scale, from one syllable to the next
STEP = 0.5  # beats; the melody's grid
LONGEST_BEATS = 2.0  # of a syllable inside a line
LAST_BEATS = 2.5  # of the last syllable
LINE_BEATS = BARS_PER_LINE * BEATS_PER_BAR - 1.0  # what a line may fill: a beat is left for breath


@dataclass(frozen=True)
class Syllable:
    """A syllable's note: when it begins and how long it lasts, in beats, and its MIDI pitch."""

    beat: float
    beats: float
    pitch: int


@dataclass(frozen=True)
class MelodyWord:
    """A word with a note for each of its syllables, and the number of its line in the song."""

    text: str
    line: int
    syllables: tuple[Syllable, ...]


def write_melody(
    rng: np.random.Generator, key: Key, lowest: int, form: Sequence[Section], chords: Sequence[Chord]
) -> tuple[tuple[MelodyWord, ...], tuple[Line, ...]]:
    """Write words and melody for a form: new words in each verse, the same in every chorus.

    Parameters
    ----------
    rng : np.random.Generator
    key : Key
    lowest : int
        The singer's lowest MIDI pitch.
    form : sequence of Section
    chords : sequence of Chord
        One for every bar.

    Returns
    -------
    words : tuple of MelodyWord
    lines : tuple of Line
        In the order they are sung.
    """
    scale = key.pitches(lowest, lowest + RANGE_SEMITONES)
    chorus = write_lines(rng, max((section.bars // BARS_PER_LINE for section in form), default=0))
    words: list[MelodyWord] = []
    lines: list[Line] = []
    contours = {kind: rng.integers(-HIGHEST_STEP, HIGHEST_STEP + 1, (2, 32)) for kind in sorted(SUNG)}
    for section in form:
        if section.kind not in SUNG:
            continue
        count = section.bars // BARS_PER_LINE
        texts = chorus[:count] if section.kind == "chorus" else write_lines(rng, count)
        for number, line in enumerate(texts):
            start = (section.start + number * BARS_PER_LINE) * BEATS_PER_BAR
            contour = contours[section.kind][number % 2]
            middle = len(scale) // 3 + (CHORUS_LIFT if section.kind == "chorus" else 0)
            notes = _line_notes(rng, line, start, scale, contour, middle, chords)
            words += _with_notes(line, len(lines), notes)
            lines.append(line)
    return tuple(words), tuple(lines)


def _line_notes(
    rng: np.random.Generator,
    line: Line,
    start: float,
    scale: Sequence[int],
    contour: np.ndarray,
    middle: int,
    chords: Sequence[Chord],
) -> list[Syllable]:
    """A note for every syllable of a line that begins near beat `start`: along the contour, chord tones on the beat."""
    notes, place, beat = [], middle, start + float(rng.choice([0, 0, 0.5]))
    lengths = _lengths(rng, line)
    for number, beats in enumerate(lengths):
        last = number == len(lengths) - 1
        place = int(np.clip(place + contour[number], 0, len(scale) - 1))
        if last or beat % 1 == 0:
            place = nearest_chord_tone(scale, place, chords[int(beat) // BEATS_PER_BAR])
        if abs(place - middle) > 4:  # do not stray to an edge of the voice
            place += int(np.sign(middle - place))
        notes.append(Syllable(beat, beats, scale[place]))
        beat += beats
    return notes


def _lengths(rng: np.random.Generator, line: Line) -> list[float]:
    """How many beats each syllable of a line gets: a step each, the spare ones to last syllables of long words."""
    weights = np.array([0.15 + max(0, len(word) - 3) * last for word, last in _each_syllable(line)])
    lengths = np.full(len(weights), STEP)
    lengths[-1] = min(LAST_BEATS, LINE_BEATS - STEP * len(lengths))
    spare = min(LINE_BEATS - lengths.sum(), 0.25 * len(lengths) + float(rng.integers(3)) / 2)
    for _ in range(int(spare / STEP)):
        able = weights * (lengths < LONGEST_BEATS)
        able[-1] = 0
        lengths[rng.choice(len(lengths), p=able / able.sum())] += STEP
    return [float(length) for length in lengths]


def _each_syllable(line: Line) -> list[tuple[str, bool]]:
    """For every syllable of a line, its word and whether it is the word's last."""
    return [(word, n == syllables(word) - 1) for word in line.words for n in range(syllables(word))]


def _with_notes(line: Line, number: int, notes: Sequence[Syllable]) -> list[MelodyWord]:
    """The words of a line, each with its own notes."""
    words, left = [], list(notes)
    for text in line.words:
        count = syllables(text)
        words.append(MelodyWord(text, number, tuple(left[:count])))
        left = left[count:]
    return words
