"""Performance: a melody sung by a voice against a clock, and when each word sounded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.lyrics import Line
from training.melody import MelodyWord
from training.score import SAMPLE_RATE
from training.singing import SungNote, sing
from training.voice import Voice, speak

LEAD_SECONDS = 0.09  # at most, that a word's consonants come before the beat
TIMING_SECONDS = 0.012  # a singer's freedom
BREATH_SECONDS = 0.02  # between words
SHORTEST_WORD_SECONDS = 0.09


@dataclass(frozen=True)
class TimedText:
    """A word or a line and when its sound begins and ends, in seconds from the song's start."""

    text: str
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True)
class Clock:
    """Beats as samples: where beat 0 falls, and how many samples a beat has."""

    start: int
    beat: float

    def sample(self, beat: float) -> int:
        """The sample where a beat falls."""
        return self.start + round(beat * self.beat)


def perform(
    rng: np.random.Generator,
    voice: Voice,
    melody: Sequence[MelodyWord],
    texts: Sequence[Line],
    clock: Clock,
    length: int,
) -> tuple[np.ndarray, tuple[TimedText, ...], tuple[TimedText, ...]]:
    """Sing a melody.

    Parameters
    ----------
    rng : np.random.Generator
    voice : Voice
    melody : sequence of MelodyWord
    texts : sequence of Line
        The lines that the melody's words belong to.
    clock : Clock
    length : int
        Of the song, in samples.

    Returns
    -------
    vocals : np.ndarray [shape=(length,)]
        Dry: silent but for the words.
    words, lines : tuple of TimedText
        In the order they are sung.
    """
    vocals = np.zeros(length)
    spans = _spans(rng, voice, melody, clock)
    for word, (start, end) in zip(melody, spans, strict=True):
        onsets = [start, *(clock.sample(note.beat) for note in word.syllables[1:]), end]
        notes = [
            SungNote(note.pitch, until - at)
            for note, at, until in zip(word.syllables, onsets[:-1], onsets[1:], strict=True)
        ]
        vocals[start:end] += sing(speak(voice, word.text), notes) * rng.uniform(0.85, 1.15)
    words = tuple(
        TimedText(word.text, start / SAMPLE_RATE, end / SAMPLE_RATE)
        for word, (start, end) in zip(melody, spans, strict=True)
    )
    lines = []
    for number, text in enumerate(texts):
        sung = [timed for timed, word in zip(words, melody, strict=True) if word.line == number]
        lines.append(TimedText(str(text), sung[0].start_seconds, sung[-1].end_seconds))
    return vocals, words, tuple(lines)


def _spans(rng: np.random.Generator, voice: Voice, melody: Sequence[MelodyWord], clock: Clock) -> list[tuple[int, int]]:
    """First and last sample of every word: its vowel on the beat, its end before the next begins."""
    starts = []
    for word in melody:
        lead = min(speak(voice, word.text).vowel_start, round(LEAD_SECONDS * SAMPLE_RATE))
        freedom = round(float(rng.uniform(-TIMING_SECONDS, TIMING_SECONDS)) * SAMPLE_RATE)
        starts.append(clock.sample(word.syllables[0].beat) - lead + freedom)
    breath = round(BREATH_SECONDS * SAMPLE_RATE)
    shortest = round(SHORTEST_WORD_SECONDS * SAMPLE_RATE)
    spans = []
    for number, (word, start) in enumerate(zip(melody, starts, strict=True)):
        last = word.syllables[-1]
        end = clock.sample(last.beat + last.beats) - breath
        following = starts[number + 1] if number + 1 < len(starts) else end
        earliest = clock.sample(last.beat) + shortest // 2 if len(word.syllables) > 1 else start + shortest
        spans.append((start, max(min(end, following), earliest)))
    return spans
