"""Chromagrams: how strongly each of the 12 pitch classes sounds, over time.

A file is decoded and analysed in blocks of a minute that overlap enough for every frame to see what it would see in the
whole file, so the needed memory does not grow with length. Three extractors differ in how they get from sound to
pitch classes; each is called with one block after the other.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

SAMPLE_RATE = 22050  # Hz
HOP = 4096  # samples from one chroma frame to the next
FRAME_SECONDS = HOP / SAMPLE_RATE
BLOCK_FRAMES = 320
AUDIBLE = 1e-4  # amplitude; a block that is fainter has no tuning
CONTEXT_FRAMES = 8  # on either side of a block: more than any filter reaches, the lowest of the constant-Q apart

NOTE_FFT = 16384  # samples: semitones stay apart down to 90 Hz
LOWEST_NOTE, HIGHEST_NOTE = 28, 96  # MIDI: E1 to C7
BINS_PER_SEMITONE = 3
OVERTONES, OVERTONE_DECAY = 10, 0.7
OVERTONE_WIDTH = 0.35  # semitones
FIT_STEPS = 60
LOUDNESS = 0.75  # exponent
BASS_NOTE, TREBLE_NOTE = 34, 55  # MIDI: below the first nothing counts (kick drums), from the second on everything


def padded_blocks(blocks: Iterator[np.ndarray]) -> Iterator[tuple[np.ndarray, int]]:
    """Mono blocks with the sound around them.

    Parameters
    ----------
    blocks : iterator of np.ndarray [shape=(samples,)]
        All BLOCK_FRAMES × HOP long but the last.

    Yields
    ------
    samples : np.ndarray [shape=(samples + 2 × CONTEXT_FRAMES × HOP,)]
        Zeros before the beginning and after the end.
    length : int
        Samples of the block itself.
    """
    import numpy as np

    context = CONTEXT_FRAMES * HOP
    before = np.zeros(context, dtype=np.float32)
    block = next(blocks, None)
    while block is not None:
        following = next(blocks, None)
        after = np.zeros(0, dtype=np.float32) if following is None else following[:context]
        after = np.pad(after, (0, context - len(after)))
        padded = np.concatenate([before, block, after])
        yield padded, len(block)
        before = padded[len(block) : len(block) + context]
        block = following


def inner_frames(frames: np.ndarray, length: int, hop: int) -> np.ndarray:
    """Of a padded block's frames (…, n), one every `hop` samples, those of the block itself."""
    first = CONTEXT_FRAMES * HOP // hop
    return frames[..., first : first + -(-length // hop)]


class BasicChroma:
    """Short-time Fourier chroma: the power of every FFT bin goes to the pitch class that is nearest at A = 440 Hz."""

    tuning_semitones = 0.0

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Chroma (12, frames) of a padded block."""
        import librosa

        return librosa.feature.chroma_stft(
            y=samples, sr=SAMPLE_RATE, n_fft=8192, hop_length=HOP, tuning=self.tuning_semitones
        )


class Tuned:
    """The tuning of a recording, from that of its blocks so far."""

    def __init__(self) -> None:
        self._tunings: list[float] = []

    @property
    def tuning_semitones(self) -> float:
        """The median of the blocks' tunings, −0.5 to 0.5 from A = 440 Hz; 0 before any is known."""
        return statistics.median(self._tunings) if self._tunings else 0.0


class LibrosaChroma(Tuned):
    """librosa's constant-Q chroma with its own defaults: seven octaves from C1, tuning estimated."""

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Chroma (12, frames) of a padded block."""
        import librosa

        if abs(samples).max() > AUDIBLE:
            self._tunings.append(float(librosa.estimate_tuning(y=samples, sr=SAMPLE_RATE)))
        return librosa.feature.chroma_cqt(y=samples, sr=SAMPLE_RATE, hop_length=HOP, tuning=self.tuning_semitones)


class NoteChroma(Tuned):
    """Note chroma: what notes, each with its overtones, explain the spectrum best, folded to pitch classes.

    A spectrum with three bins to the semitone, tuned to the recording, has its background taken away (which takes
    drums and breath with it) and its colour flattened; non-negative least squares fits a dictionary of 69 notes to it,
    so that the overtones of one note no longer pass for others. After M. Mauch and S. Dixon, "Approximate note
    transcription for the improved identification of difficult chords", ISMIR 2010.
    """

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Chroma (12, frames) of a padded block, each frame's largest 1."""
        import librosa
        import numpy as np

        spectrum = np.abs(librosa.stft(samples, n_fft=NOTE_FFT, hop_length=HOP))
        if spectrum.max() > AUDIBLE * NOTE_FFT:
            below_5_khz = spectrum[: NOTE_FFT // 4]
            self._tunings.append(float(librosa.estimate_tuning(S=below_5_khz, sr=SAMPLE_RATE, n_fft=NOTE_FFT)))
        bins = _log_frequency_bins()
        notes = _fit(_dictionary(bins), _flattened(_filters(bins, self.tuning_semitones) @ spectrum))
        pitches = np.arange(LOWEST_NOTE, HIGHEST_NOTE + 1)
        weight = np.clip((pitches - BASS_NOTE) / (TREBLE_NOTE - BASS_NOTE), 0, 1)
        fold = (pitches % 12 == np.arange(12)[:, None]) * weight
        chroma = fold @ notes**LOUDNESS  # a loud note is one note all the same
        return chroma / np.maximum(chroma.max(axis=0), 1e-9)


EXTRACTORS: dict[str, Callable[[], BasicChroma | LibrosaChroma | NoteChroma]] = {
    "basic_chroma": BasicChroma,
    "enhanced_chroma": NoteChroma,
    "librosa_chroma": LibrosaChroma,
}


def _log_frequency_bins() -> np.ndarray:
    """Centres of the log-frequency bins as MIDI pitches; two octaves above the highest note for its overtones."""
    import numpy as np

    lowest, highest = LOWEST_NOTE * BINS_PER_SEMITONE - 1, (HIGHEST_NOTE + 24) * BINS_PER_SEMITONE + 1
    return np.arange(lowest, highest + 1) / BINS_PER_SEMITONE


def _filters(bins: np.ndarray, tuning: float) -> np.ndarray:
    """Triangles (bins, FFT bins) at least one FFT bin wide, each of sum 1."""
    import numpy as np

    hertz = np.maximum(np.arange(NOTE_FFT // 2 + 1) * SAMPLE_RATE / NOTE_FFT, 1e-3)
    pitches = 69 + 12 * np.log2(hertz / 440) - tuning
    centres = 440 * 2 ** ((bins - 69) / 12)
    widths = np.maximum(1 / BINS_PER_SEMITONE, 12 * np.log2(1 + SAMPLE_RATE / NOTE_FFT / centres))
    triangles = np.maximum(0, 1 - np.abs(pitches - bins[:, None]) / widths[:, None])
    return (triangles / triangles.sum(axis=1, keepdims=True)).astype(np.float32)


def _flattened(spectrum: np.ndarray) -> np.ndarray:
    """A log-frequency spectrum (bins, frames) above its background of an octave, nearly white, of maximum 1."""
    import numpy as np
    from scipy.ndimage import uniform_filter1d

    octave = 12 * BINS_PER_SEMITONE + 1
    background = uniform_filter1d(spectrum, octave, axis=0)
    spread = np.sqrt(np.maximum(uniform_filter1d(spectrum**2, octave, axis=0) - background**2, 0))
    floor = 1e-6 * spectrum.max() + 1e-12
    flat = np.maximum(spectrum - background, 0) * np.maximum(spread, floor) ** -0.7
    return flat / np.maximum(flat.max(axis=0), 1e-12)


def _dictionary(bins: np.ndarray) -> np.ndarray:
    """What each note looks like (bins, notes): overtones that decay, each of length 1."""
    import numpy as np

    pitches = np.arange(LOWEST_NOTE, HIGHEST_NOTE + 1)
    dictionary = np.zeros((len(bins), len(pitches)))
    for overtone in range(1, OVERTONES + 1):
        distance = (bins[:, None] - pitches - 12 * np.log2(overtone)) / OVERTONE_WIDTH
        dictionary += OVERTONE_DECAY ** (overtone - 1) * np.exp(-(distance**2) / 2)
    return dictionary / np.linalg.norm(dictionary, axis=0)


def _fit(dictionary: np.ndarray, spectrum: np.ndarray) -> np.ndarray:
    """Non-negative notes (notes, frames) whose sum is nearest to a spectrum, by multiplicative updates."""
    import numpy as np

    wanted, gram = dictionary.T @ spectrum, dictionary.T @ dictionary
    notes = np.full(wanted.shape, 0.1)
    for _ in range(FIT_STEPS):
        notes *= wanted / (gram @ notes + 1e-9)
    return notes
