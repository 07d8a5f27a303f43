"""Singing: spoken words moved to the pitches and lengths of notes, by pitch-synchronous overlap-add.

After Moulines and Charpentier (1990), "Pitch-synchronous waveform processing techniques for text-to-speech synthesis
using diphones": a word's periods are cut out one by one and laid down again at the melody's distance, so the vowels
keep their formants. Vowels are held and consonants keep their length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import uniform_filter1d

from training.score import SAMPLE_RATE
from training.voice import UNVOICED_STEP, SpokenWord

VIBRATO_HZ = 5.4
VIBRATO_CENTS = 28.0
VIBRATO_DELAY_SECONDS = 0.28
GLIDE_SECONDS = 0.05
LEAST_STRETCH = 0.35  # of a vowel; what must be shorter still is shortened everywhere
INELASTIC = 0.03  # elasticity that even consonants have
FADE_SECONDS = 0.006


@dataclass(frozen=True)
class SungNote:
    """A syllable's note.

    Attributes
    ----------
    pitch : float
        MIDI pitch.
    length : int
        Samples.
    """

    pitch: float
    length: int


def sing(word: SpokenWord, notes: Sequence[SungNote]) -> np.ndarray:
    """Sing a word.

    Parameters
    ----------
    word : SpokenWord
    notes : sequence of SungNote
        One for each syllable.

    Returns
    -------
    np.ndarray [shape=(samples,)]
        As long as the notes together, to the sample; faded at both ends.
    """
    length = sum(note.length for note in notes)
    source = _source_times(word, notes)
    period = SAMPLE_RATE / _frequencies(notes)
    out, weight = np.zeros(length + 4 * word.period), np.zeros(length + 4 * word.period)
    centre = 0.0
    while centre < length:
        at = int(centre)
        grain, window, voiced = _grain(word, source[at], round(period[at]))
        first = at - len(grain) // 2 + 2 * word.period  # out begins two periods early, for grains that reach back
        out[first : first + len(grain)] += grain
        weight[first : first + len(grain)] += window
        centre += period[at] if voiced else len(grain) / 2
    sung = (out / np.maximum(weight, 1))[2 * word.period : 2 * word.period + length]
    fade = min(round(FADE_SECONDS * SAMPLE_RATE), length // 4)
    sung[:fade] *= np.linspace(0, 1, fade)
    sung[length - fade :] *= np.linspace(1, 0, fade)
    return sung


def _grain(word: SpokenWord, source: float, period: int) -> tuple[np.ndarray, np.ndarray, bool]:
    """A piece of a word around its mark nearest to a point, windowed: samples, window, whether there is voice.

    Of voice it has two periods, of the word or of the melody, whichever is shorter: one pulse rings in it, not two.
    """
    number = int(np.argmin(np.abs(word.marks - source)))
    mark, voiced = int(word.marks[number]), bool(word.voiced[number])
    half = min(word.period, period) if voiced else UNVOICED_STEP
    window = np.hanning(2 * half + 1)[:-1]
    piece = word.samples[max(0, mark - half) : mark + half]
    before = max(0, half - mark)
    return np.pad(piece, (before, 2 * half - before - len(piece))) * window, window, voiced


def _source_times(word: SpokenWord, notes: Sequence[SungNote]) -> np.ndarray:
    """For every sample to sing, which sample of the word sounds there.

    The word is cut into syllables of equal shares of its vowels; each is stretched to its note.
    """
    elasticity = np.maximum(word.elasticity, INELASTIC)
    share = np.cumsum(elasticity) / elasticity.sum()
    cuts = [0, *np.searchsorted(share, np.arange(1, len(notes)) / len(notes)), len(share)]
    pieces = []
    for note, start, end in zip(notes, cuts[:-1], cuts[1:], strict=True):
        clock = np.cumsum(_stretch(elasticity[start:end], note.length))  # where each sample of the word goes
        clock *= note.length / clock[-1]
        pieces.append(np.interp(np.arange(note.length), clock, np.arange(start, end)))
    return np.concatenate(pieces)


def _stretch(elasticity: np.ndarray, length: int) -> np.ndarray:
    """How many samples each sample of a syllable becomes, for `length` in all or a little more."""
    elastic = elasticity.sum()
    return 1 + max((length - len(elasticity)) / elastic, LEAST_STRETCH - 1) * elasticity


def _frequencies(notes: Sequence[SungNote]) -> np.ndarray:
    """The melody in Hz for every sample: glides between notes, vibrato on those that are held."""
    pitch = np.concatenate([np.full(note.length, float(note.pitch)) for note in notes])
    for _ in range(2):  # two moving averages make a soft glide
        pitch = uniform_filter1d(pitch, round(GLIDE_SECONDS / 2 * SAMPLE_RATE), mode="nearest")
    held = np.concatenate([np.arange(note.length) / SAMPLE_RATE for note in notes])
    depth = VIBRATO_CENTS / 100 * np.clip((held - VIBRATO_DELAY_SECONDS) / 0.3, 0, 1)
    return 440 * 2 ** ((pitch + depth * np.sin(2 * np.pi * VIBRATO_HZ * held) - 69) / 12)
