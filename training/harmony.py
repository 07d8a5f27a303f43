"""Keys, chords and progressions, as numbers: pitch classes 0 (C) to 11 (B), MIDI pitches with middle C at 60."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
MAJOR_CHANCE = 0.6

# Scale degrees from 0, one chord to a bar. In minor, the chord on the fifth degree is major where it leads home.
PROGRESSIONS = {
    "major": ((0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 4, 0), (0, 3, 0, 4), (3, 0, 4, 0), (0, 2, 3, 4), (0, 1, 4, 0)),
    "minor": ((0, 5, 2, 6), (0, 6, 5, 4), (0, 3, 4, 0), (0, 5, 3, 4), (0, 3, 6, 0), (0, 6, 5, 6)),
}
FIFTH = 4  # its degree


@dataclass(frozen=True)
class Chord:
    """A triad: its pitch classes, root first."""

    pitch_classes: tuple[int, int, int]

    @property
    def root(self) -> int:
        """Pitch class of the root."""
        return self.pitch_classes[0]

    def voicing(self, lowest: int) -> tuple[int, ...]:
        """Its three MIDI pitches from `lowest` up, in the inversion that lies within an octave of it."""
        return tuple(sorted(lowest + (pitch_class - lowest) % 12 for pitch_class in self.pitch_classes))

    def bass(self, lowest: int) -> int:
        """MIDI pitch of the root, within an octave above `lowest`."""
        return lowest + (self.root - lowest) % 12


@dataclass(frozen=True)
class Key:
    """A major or a natural minor key; as text "C major", "F# minor"."""

    tonic: int
    mode: Literal["major", "minor"]

    def __str__(self) -> str:
        return f"{NAMES[self.tonic]} {self.mode}"

    def pitches(self, lowest: int, highest: int) -> tuple[int, ...]:
        """The MIDI pitches of its scale from `lowest` to `highest`."""
        classes = {(self.tonic + step) % 12 for step in SCALES[self.mode]}
        return tuple(pitch for pitch in range(lowest, highest + 1) if pitch % 12 in classes)

    def chord(self, degree: int, *, leading: bool = False) -> Chord:
        """The triad on a degree from 0; with `leading`, its third is raised to a major one."""
        scale = SCALES[self.mode]
        root, third, fifth = (self.tonic + scale[(degree + step) % 7] for step in (0, 2, 4))
        return Chord((root % 12, (root + 4 if leading else third) % 12, fifth % 12))


def choose_key(rng: np.random.Generator) -> Key:
    """Draw a key: major with MAJOR_CHANCE, every tonic as likely as any other."""
    return Key(int(rng.integers(12)), "major" if rng.random() < MAJOR_CHANCE else "minor")


def choose_progression(rng: np.random.Generator, key: Key) -> tuple[Chord, ...]:
    """Draw four chords, one to a bar, that are usual in the key's mode.

    Parameters
    ----------
    rng : np.random.Generator
    key : Key

    Returns
    -------
    tuple of Chord
    """
    progressions: Sequence[tuple[int, ...]] = PROGRESSIONS[key.mode]
    degrees = progressions[int(rng.integers(len(progressions)))]
    return tuple(key.chord(degree, leading=degree == FIFTH) for degree in degrees)


def nearest_chord_tone(scale: Sequence[int], place: int, chord: Chord) -> int:
    """Find the note of a chord that is nearest in a scale.

    Parameters
    ----------
    scale : sequence of int
        MIDI pitches, ascending.
    place : int
        Index into it.
    chord : Chord

    Returns
    -------
    int
        Index of a chord tone; `place` itself where the scale has none.
    """
    tones = [n for n, pitch in enumerate(scale) if pitch % 12 in chord.pitch_classes]
    return min(tones, key=lambda n: abs(n - place), default=place)
