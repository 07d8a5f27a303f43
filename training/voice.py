"""Spoken words by espeak-ng, each spoken once on one pitch and taken apart for singing.

espeak-ng speaks without intonation when its pitch range is set to 0, so a word's period is the same throughout and its
voiced passages, and the glottal pulses in them, are found by correlating the word with itself one period later.
"""

from __future__ import annotations

import io
import subprocess
import wave
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.signal import resample_poly

from training.score import SAMPLE_RATE

WORDS_PER_MINUTE = 160
PITCH = 75  # of 99; nearer to singing than the usual 50
LEVEL = 0.1  # RMS of a word's loudest passage
SILENCE = 0.01  # relative to a word's peak
EDGE_SECONDS = 0.004
VOICED = 0.5  # correlation with the next period or the last
QUIET = 0.02  # envelope relative to its peak, under which nothing counts as voiced
UNVOICED_STEP = round(0.005 * SAMPLE_RATE)  # samples
ENVELOPE_SECONDS = 0.025
LOWEST_HZ, HIGHEST_HZ = 60.0, 400.0
OCTAVE = 0.85  # correlation relative to the best, with which half the best period is the true one
REFERENCE = "are"  # one long vowel, by which a voice's period is measured


@dataclass(frozen=True)
class Voice:
    """An espeak-ng voice and where it sings.

    Attributes
    ----------
    name : str
        For espeak-ng's -v.
    lowest : int
        MIDI pitch; it sings an octave from there.
    """

    name: str
    lowest: int


VOICES = (
    Voice("en-us", 45),
    Voice("en-us+m3", 43),
    Voice("en-us+f2", 52),
    Voice("en-us+f3", 53),
)


@dataclass(frozen=True, eq=False)
class SpokenWord:
    """A word as spoken, with what a singer needs to know.

    Attributes
    ----------
    samples : np.ndarray [shape=(samples,)]
        At SAMPLE_RATE, from the first sound to the last; its loudest passage has RMS LEVEL.
    period : int
        Of the voice, in samples.
    marks : np.ndarray [shape=(marks,), dtype=int]
        Samples at glottal pulses where there is voice, elsewhere every UNVOICED_STEP; ascending.
    voiced : np.ndarray [shape=(marks,), dtype=bool]
    elasticity : np.ndarray [shape=(samples,)]
        0 for consonants, which keep their length, to 1 for vowels, which are held.
    """

    samples: np.ndarray
    period: int
    marks: np.ndarray
    voiced: np.ndarray
    elasticity: np.ndarray

    @property
    def vowel_start(self) -> int:
        """The sample where its first vowel begins: what a listener hears as the beat."""
        return int(np.argmax(self.elasticity > 0.5))


@cache
def speak(voice: Voice, text: str) -> SpokenWord:
    """Speak a word and take it apart.

    Parameters
    ----------
    voice : Voice
    text : str

    Returns
    -------
    SpokenWord

    Raises
    ------
    FileNotFoundError
        When espeak-ng is not installed.
    """
    samples = _trimmed(_spoken(voice, text))
    envelope = np.sqrt(_mean(samples**2, round(ENVELOPE_SECONDS * SAMPLE_RATE)))
    samples, envelope = samples * (LEVEL / envelope.max()), envelope / envelope.max()
    period = _period(voice)
    similar = _self_similarity(samples, period)
    voiced = (similar > VOICED) & (envelope > QUIET)
    marks, at_pulse = _marks(samples, voiced, period)
    loud = np.clip((envelope - 0.25) / 0.35, 0, 1)
    return SpokenWord(samples, period, marks, at_pulse, loud * voiced)


def _spoken(voice: Voice, text: str) -> np.ndarray:
    """What espeak-ng says in monotone, (samples,) at SAMPLE_RATE."""
    markup = f'<speak><prosody range="0">{text}</prosody></speak>'
    command = ["espeak-ng", "-v", voice.name, "-s", str(WORDS_PER_MINUTE), "-p", str(PITCH), "-m", "--stdout", markup]
    output = subprocess.run(command, capture_output=True, check=True).stdout
    with wave.open(io.BytesIO(output)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype=np.int16) / 2**15
        return resample_poly(samples, SAMPLE_RATE, file.getframerate())


def _trimmed(samples: np.ndarray) -> np.ndarray:
    """A word without the silence around it, its edges faded."""
    loud = np.flatnonzero(np.abs(samples) > SILENCE * np.abs(samples).max())
    edge = round(EDGE_SECONDS * SAMPLE_RATE)
    out = samples[max(0, loud[0] - edge) : loud[-1] + edge].copy()
    out[:edge] *= np.linspace(0, 1, edge)
    out[-edge:] *= np.linspace(1, 0, edge)
    return out


@cache
def _period(voice: Voice) -> int:
    """A voice's period in samples, from the autocorrelation of a vowel."""
    samples = _trimmed(_spoken(voice, REFERENCE))
    spectrum = np.fft.rfft(samples, 2 * len(samples))
    correlation = np.fft.irfft(np.abs(spectrum) ** 2)
    shortest, longest = round(SAMPLE_RATE / HIGHEST_HZ), round(SAMPLE_RATE / LOWEST_HZ)
    best = shortest + int(np.argmax(correlation[shortest:longest]))
    half = best // 2 - 3 + int(np.argmax(correlation[best // 2 - 3 : best // 2 + 4]))
    return half if half >= shortest and correlation[half] > OCTAVE * correlation[best] else best


def _self_similarity(samples: np.ndarray, period: int) -> np.ndarray:
    """Normalised correlation of the wave at each sample with that one period later or earlier, (samples,)."""
    shifted = np.pad(samples, (0, period))[period:]
    product = uniform_filter1d(samples * shifted, period)
    power = _mean(samples**2, period) * _mean(shifted**2, period)
    later = product / np.sqrt(power + 1e-12)
    return np.maximum(later, np.roll(later, period))


def _mean(power: np.ndarray, width: int) -> np.ndarray:
    """Moving average of what is never negative; rounding makes the filter's silence slightly so."""
    return np.maximum(uniform_filter1d(power, width), 0)


def _marks(samples: np.ndarray, voiced: np.ndarray, period: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the grains of a word lie, and which of them are pulses."""
    marks, at_pulse = [], []
    edges = np.flatnonzero(np.diff(voiced.astype(int), prepend=0, append=0))
    here = 0
    for start, end in edges.reshape(-1, 2):
        if end - start < 2 * period:
            continue
        silent = range(here, start, UNVOICED_STEP)
        pulses = _pulses(samples, int(start), int(end), period)
        marks += [*silent, *pulses]
        at_pulse += [False] * len(silent) + [True] * len(pulses)
        here = pulses[-1] + UNVOICED_STEP
    rest = range(here, len(samples), UNVOICED_STEP)
    return np.array([*marks, *rest]), np.array([*at_pulse, *[False] * len(rest)])


def _pulses(samples: np.ndarray, start: int, end: int, period: int) -> list[int]:
    """One sample for each period of a voiced passage, at the same point of its wave.

    From the passage's highest peak both ways, each pulse where the wave correlates best with the pulse before.
    """
    first = start + int(np.argmax(np.abs(samples[start:end])))
    half, reach = period // 2, period // 12
    padded = np.pad(samples, period + reach)  # indices move by this

    def follow(step: int) -> list[int]:
        found, at = [], first
        while start <= at + step < end:
            centre = at + period + reach
            pattern = padded[centre - half : centre + half]
            near = padded[centre + step - half - reach : centre + step + half + reach]
            if len(near) < len(pattern):
                break
            at += step - reach + int(np.argmax(np.correlate(near, pattern, "valid")))
            found.append(at)
        return found

    return sorted({first, *follow(period), *follow(-period)})
