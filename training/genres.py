"""Genres: the tempi, grooves, bass lines, chord styles and instruments that a kind of music draws from."""

from __future__ import annotations

from dataclasses import dataclass

KICK, STICK, SNARE, CLAP, HIHAT, OPEN_HIHAT, CRASH, RIDE, SHAKER = 36, 37, 38, 39, 42, 46, 49, 51, 70
TOMS = (50, 47, 45, 43)  # high to low; General MIDI drum sounds

Pattern = tuple[tuple[float, float], ...]  # beat within the bar, beats long


@dataclass(frozen=True)
class Groove:
    """Where a bar's drums fall, in beats from its start."""

    kick: tuple[float, ...]
    snare: tuple[float, ...]
    hat_step: float
    snare_sound: int = SNARE
    hat_sound: int = HIHAT


@dataclass(frozen=True)
class Genre:
    """What a kind of music draws from.

    Attributes
    ----------
    tempo_bpm : (float, float)
        Slowest and quickest.
    swing : float
        How late the off-beats come, in beats.
    grooves : tuple of Groove
    basses : tuple of Pattern
    chords : tuple of str
        Styles of CHORD_STYLES in band.py.
    kits, bass_programs, chord_programs, lead_programs : tuple of int
        General MIDI, from 0.
    """

    name: str
    tempo_bpm: tuple[float, float]
    swing: float
    grooves: tuple[Groove, ...]
    basses: tuple[Pattern, ...]
    chords: tuple[str, ...]
    kits: tuple[int, ...]
    bass_programs: tuple[int, ...]
    chord_programs: tuple[int, ...]
    lead_programs: tuple[int, ...]


EIGHTHS = tuple(n / 2 for n in range(8))
ROCK_BEATS = (
    Groove((0, 2), (1, 3), 0.5),
    Groove((0, 1.5, 2), (1, 3), 0.5),
    Groove((0, 2, 2.5), (1, 3), 0.5, hat_sound=RIDE),
)
SLOW_BEATS = (Groove((0, 2.5), (2,), 0.5, STICK), Groove((0, 2), (1, 3), 1.0, STICK), Groove((0,), (2,), 0.5))
DANCE_BEATS = (Groove((0, 1, 2, 3), (1, 3), 0.5, CLAP, OPEN_HIHAT), Groove((0, 1, 2, 3), (1, 3), 0.25))
FUNK_BEATS = (Groove((0, 0.75, 2.5), (1, 3), 0.25), Groove((0, 1.75, 2.5), (1, 3), 0.25))
REGGAE_BEATS = (Groove((2,), (2,), 0.5, STICK), Groove((0, 2), (2,), 0.5, STICK, SHAKER))
SWING_BEATS = (Groove((0, 2), (1, 3), 0.5, hat_sound=RIDE),)

WHOLE: Pattern = ((0, 3.8),)
HALVES: Pattern = ((0, 1.9), (2, 1.9))
QUARTERS: Pattern = tuple((float(n), 0.9) for n in range(4))
DRIVING: Pattern = tuple((n, 0.45) for n in EIGHTHS)
PUSHED: Pattern = ((0, 1.4), (1.5, 0.45), (2, 1.4), (3.5, 0.45))
OFF_BEAT: Pattern = ((0.5, 0.4), (1.5, 0.4), (2.5, 0.4), (3.5, 0.4))
FUNKY: Pattern = ((0, 0.6), (0.75, 0.2), (1.5, 0.4), (2.5, 0.4), (3.25, 0.6))
SPARSE: Pattern = ((0, 0.9), (1.5, 0.9), (2.5, 1.3))

GENRES = (
    Genre("pop", (88, 116), 0, ROCK_BEATS + DANCE_BEATS[1:], (DRIVING, PUSHED, HALVES), ("pulse", "arpeggio", "held"),
          (0, 8, 25), (33, 34, 38), (0, 4, 27, 50), (80, 81, 11, 73)),
    Genre("rock", (96, 118), 0, ROCK_BEATS, (DRIVING, QUARTERS), ("pulse", "strum"),
          (0, 16), (33, 34), (27, 25, 28, 16), (29, 30, 18)),
    Genre("ballad", (66, 84), 0, SLOW_BEATS, (WHOLE, HALVES, PUSHED), ("arpeggio", "held"),
          (0, 8, 40), (32, 33, 35), (0, 1, 4, 24, 48), (40, 68, 73, 71)),
    Genre("folk", (84, 112), 0, SLOW_BEATS + ROCK_BEATS[:1], (HALVES, QUARTERS), ("strum", "arpeggio"),
          (0, 40), (32, 33), (24, 25, 105), (22, 73, 40, 110)),
    Genre("dance", (108, 120), 0, DANCE_BEATS, (OFF_BEAT, DRIVING), ("stab", "pulse", "held"),
          (24, 25), (38, 39), (81, 50, 90, 4), (80, 81, 87)),
    Genre("soul", (78, 108), 0.04, FUNK_BEATS, (FUNKY, SPARSE), ("stab", "held"),
          (0, 8), (33, 34, 35), (4, 5, 16, 17), (65, 66, 61, 11)),
    Genre("reggae", (70, 92), 0.05, REGGAE_BEATS, (SPARSE, FUNKY), ("off-beat",),
          (0, 8), (33, 34), (16, 27, 4), (22, 56, 65)),
    Genre("swing", (92, 118), 0.14, SWING_BEATS, (QUARTERS,), ("off-beat", "stab", "held"),
          (32, 40), (32,), (0, 26, 4), (56, 65, 71, 11)),
)  # fmt: skip
