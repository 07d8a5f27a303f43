"""The band: drums, bass, chords and a lead, written for a form and a chord progression in one of several genres."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from training.form import BEATS_PER_BAR, Section
from training.genres import CRASH, EIGHTHS, KICK, SNARE, TOMS, Genre, Groove
from training.harmony import Chord, Key, nearest_chord_tone
from training.score import DRUMS, Note

LOWEST_BASS, LOWEST_CHORD, LOWEST_LEAD, HIGHEST_LEAD = 29, 57, 67, 84  # MIDI pitches
FILL_CHANCE = 0.8  # in the last bar of a section
QUIET_DRUMS_CHANCE = 0.4  # for a first verse with less
LEAD_ANSWER_CHANCE = 0.35  # for a lead between the lines of a chorus
LEAD_RHYTHMS = (  # beat within the bar, beats long
    ((0, 1.5), (1.5, 0.5), (2, 1.8)),
    ((0, 1), (1, 1), (2, 0.5), (2.5, 0.5), (3, 0.9)),
    ((0, 3.5),),
    ((0.5, 0.5), (1, 0.5), (1.5, 0.5), (2, 1.8)),
    ((0, 0.75), (0.75, 0.75), (1.5, 0.5), (2, 1.8)),
)

Strokes = Iterator[tuple[float, float, Sequence[int]]]  # beat within the bar, beats long, MIDI pitches
T = TypeVar("T")


@dataclass(frozen=True)
class Parts:
    """What the band plays: notes for drums, bass, chords and lead, and the drum kit's General MIDI program."""

    drums: tuple[Note, ...]
    bass: tuple[Note, ...]
    chords: tuple[Note, ...]
    lead: tuple[Note, ...]
    drum_kit: int


def _held(pitches: Sequence[int]) -> Strokes:
    """The chord for the whole bar."""
    yield 0, 3.9, pitches


def _pulse(pitches: Sequence[int]) -> Strokes:
    """The chord on every beat."""
    for beat in range(4):
        yield beat, 0.8, pitches


def _strum(pitches: Sequence[int]) -> Strokes:
    """Down, down up, up down up."""
    for beat in (0, 1, 1.5, 2.5, 3, 3.5):
        yield beat, 0.48, pitches if beat % 1 == 0 else pitches[1:]


def _arpeggio(pitches: Sequence[int]) -> Strokes:
    """Up to the octave and back in eighths."""
    low, middle, high = pitches
    for beat, pitch in zip(EIGHTHS, (low, middle, high, low + 12, high, middle, high, middle), strict=True):
        yield beat, 0.7, (pitch,)


def _stab(pitches: Sequence[int]) -> Strokes:
    """Short chords ahead of the beat."""
    for beat in (0, 1.5, 3.5):
        yield beat, 0.3, pitches


def _off_beat(pitches: Sequence[int]) -> Strokes:
    """Short chords between the beats."""
    for beat in (0.5, 1.5, 2.5, 3.5):
        yield beat, 0.25, pitches


CHORD_STYLES: dict[str, Callable[[Sequence[int]], Strokes]] = {
    "held": _held, "pulse": _pulse, "strum": _strum, "arpeggio": _arpeggio, "stab": _stab, "off-beat": _off_beat,
}  # fmt: skip


def arrange(
    rng: np.random.Generator,
    genre: Genre,
    key: Key,
    form: Sequence[Section],
    chords: Sequence[Chord],
    *,
    drums: bool = True,
) -> Parts:
    """Write the band's parts for a whole song.

    Parameters
    ----------
    rng : np.random.Generator
    genre : Genre
    key : Key
    form : sequence of Section
    chords : sequence of Chord
        One for every bar.
    drums : bool
        Whether there is a drummer.

    Returns
    -------
    Parts
        In a break nobody plays.
    """
    kit = _pick(rng, genre.kits)
    return Parts(
        drums=tuple(_play_drums(rng, genre, form)) if drums else (),
        bass=tuple(_play_bass(rng, genre, form, chords)),
        chords=tuple(_play_chords(rng, genre, form, chords)),
        lead=tuple(_play_lead(rng, genre, key, form, chords)),
        drum_kit=int(kit),
    )


def _play_drums(rng: np.random.Generator, genre: Genre, form: Sequence[Section]) -> Iterator[Note]:
    """The groove, fuller in choruses, with a crash at the start of a section and a fill at its end."""
    groove = _pick(rng, genre.grooves)
    quiet_until = 2 if rng.random() < QUIET_DRUMS_CHANCE else 0  # sections
    for number, section in enumerate(form):
        if section.kind == "break":
            continue
        sparse = number < quiet_until
        for bar in range(section.start, section.end):
            last = bar == section.end - 1
            if section.kind == "outro" and last:
                yield _hit(rng, bar, 0, KICK, 105)
                yield _hit(rng, bar, 0, CRASH, 95)
                return
            if bar == section.start and number and not sparse:
                yield _hit(rng, bar, 0, CRASH, 92)
            fill_from = 4.0
            if last and not sparse and rng.random() < FILL_CHANCE:
                fill_from = float(rng.choice([2.0, 3.0, 3.5]))
                yield from _fill(rng, bar, fill_from)
            yield from _groove_bar(rng, genre, groove, bar, fill_from, sparse)


def _groove_bar(
    rng: np.random.Generator, genre: Genre, groove: Groove, bar: int, until: float, sparse: bool
) -> Iterator[Note]:
    """One bar of a groove up to a beat; a sparse one has no snare."""
    for beat in groove.kick:
        if beat < until:
            yield _hit(rng, bar, beat, KICK, 104)
    for beat in () if sparse else groove.snare:
        if beat < until:
            yield _hit(rng, bar, beat, groove.snare_sound, 100)
    for n in range(round(until / groove.hat_step)):
        beat = n * groove.hat_step
        yield _hit(rng, bar, _swung(beat, genre.swing), groove.hat_sound, 78 if beat % 1 == 0 else 58)


def _fill(rng: np.random.Generator, bar: int, start: float) -> Iterator[Note]:
    """Sixteenths or eighths down the toms to the end of a bar."""
    step = float(rng.choice([0.25, 0.5])) if start < 3.5 else 0.25
    hits = round((BEATS_PER_BAR - start) / step)
    sounds = sorted(rng.choice([0, 0, 1, 2, 3, 4], hits))
    for n, sound in enumerate(sounds):
        yield _hit(rng, bar, start + n * step, (SNARE, *TOMS)[sound], 84 + 20 * n // hits)


def _play_bass(
    rng: np.random.Generator, genre: Genre, form: Sequence[Section], chords: Sequence[Chord]
) -> Iterator[Note]:
    """Roots, with now and then a fifth or an octave; a walk up to the next root in the last beat of a section."""
    pattern, program = _pick(rng, genre.basses), int(_pick(rng, genre.bass_programs))
    for section in form:
        for bar in range(section.start, section.end) if section.kind != "break" else ():
            root = chords[bar].bass(LOWEST_BASS)
            if section.kind == "outro" and bar == section.end - 1:
                yield Note(bar * BEATS_PER_BAR, 4, root, 96, program)
                continue
            for beat, beats in pattern:
                step = int(rng.choice([0, 0, 0, 7, 12])) if beat >= 1 else 0
                at = bar * BEATS_PER_BAR + _swung(beat, genre.swing)
                yield Note(at, beats, root + step, int(rng.integers(88, 108)), program)


def _play_chords(
    rng: np.random.Generator, genre: Genre, form: Sequence[Section], chords: Sequence[Chord]
) -> Iterator[Note]:
    """A chord instrument throughout, and a second one, held, that joins in choruses."""
    style = CHORD_STYLES[_pick(rng, genre.chords)]
    program, pad = int(_pick(rng, genre.chord_programs)), int(rng.choice([48, 50, 89, 16]))
    padded = rng.random() < 0.6
    lowest = LOWEST_CHORD + int(rng.integers(-3, 4))
    for section in form:
        for bar in range(section.start, section.end) if section.kind != "break" else ():
            pitches, start = chords[bar].voicing(lowest), bar * BEATS_PER_BAR
            final = section.kind == "outro" and bar == section.end - 1
            for beat, beats, sounding in (_held if final else style)(pitches):
                velocity = int(rng.integers(70, 92))
                for number, pitch in enumerate(sounding):
                    late = 0.015 * number  # a hand is not a machine
                    yield Note(start + _swung(beat, genre.swing) + late, beats, pitch, velocity, program)
            if padded and section.kind == "chorus" and pad != program:
                yield from (Note(start, 3.9, pitch, 58, pad) for pitch in pitches)


def _play_lead(
    rng: np.random.Generator, genre: Genre, key: Key, form: Sequence[Section], chords: Sequence[Chord]
) -> Iterator[Note]:
    """A melody where nobody sings: instrumental passages, often the intro, sometimes answers in a chorus."""
    program = int(_pick(rng, genre.lead_programs))
    intro, answers = rng.random() < 0.5, rng.random() < LEAD_ANSWER_CHANCE
    motif = [LEAD_RHYTHMS[n] for n in rng.integers(len(LEAD_RHYTHMS), size=2)]
    scale = key.pitches(LOWEST_LEAD, HIGHEST_LEAD)
    place = len(scale) // 2
    for section in form:
        whole = section.kind == "instrumental" or (section.kind == "intro" and intro)
        for bar in range(section.start, section.end):
            answer = section.kind == "chorus" and answers and bar % 4 == 3
            if not (whole or answer):
                continue
            for beat, beats in motif[bar % 2] if whole else ((2.5, 0.5), (3, 0.5), (3.5, 0.5)):
                place = int(np.clip(place + rng.integers(-2, 3), 0, len(scale) - 1))
                if beat % 2 == 0:
                    place = nearest_chord_tone(scale, place, chords[bar])
                at = bar * BEATS_PER_BAR + _swung(beat, genre.swing)
                yield Note(at, beats, scale[place], int(rng.integers(78, 100)), program)


def _hit(rng: np.random.Generator, bar: int, beat: float, sound: int, velocity: int) -> Note:
    """A drum stroke, not quite as loud as the last."""
    loud = int(np.clip(velocity + rng.integers(-8, 9), 1, 127))
    return Note(bar * BEATS_PER_BAR + beat, 0.2, sound, loud, DRUMS)


def _swung(beat: float, swing: float) -> float:
    """A beat, later by `swing` when it is an eighth off."""
    return beat + swing if beat % 1 == 0.5 else beat


def _pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    """One of the choices."""
    return choices[int(rng.integers(len(choices)))]
