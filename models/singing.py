"""What the vocal stem tells about the words: where it sounds, when something begins, at which pitch it is sung.

The stem is read once, block by block; of an hour 3 MB are kept.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from models import audio, voice
from models.voice import Loudness, Passage
from models.words import Word

if TYPE_CHECKING:
    import numpy as np

SAMPLE_RATE = 16000  # Hz
HOP = 160  # samples, 10 ms
PITCH_HOP = 2 * HOP
FRAME = 1024  # samples; two periods of the lowest note must fit
WINDOW = 512  # samples of the frame that the onset spectrum sees
MEL_BANDS = 40
LAG = 2  # hops between the spectra that are compared
COMPRESSION = 1000.0  # spectra are compared as log(1 + COMPRESSION x magnitude / loud level): soft consonants count
LOWEST_HZ, HIGHEST_HZ = 65.4, 1046.5  # C2 to C6
PITCH_STEP = 0.25  # semitones
LEAP_OCTAVES_PER_SECOND = 100.0  # lets a singer leap two octaves in one hop; librosa's 36 make leaps octave errors
MIN_VOICED_FRAMES, MIN_VOICED_SHARE = 3, 0.25  # of a word, or it has no pitch
C4_HZ = 261.6256
MIN_REST_SECONDS = 0.3  # a shorter silence may be a consonant within a word
SUNG_DB = -20.0  # against the loud level: what never comes so far is the leak of other instruments
DIP_SECONDS = 0.06  # of a level between two pulses or consonants


@dataclass(frozen=True)
class Singing:
    """The measured voice.

    Attributes
    ----------
    onset : np.ndarray [shape=(n,), dtype=float32]
        How strongly something begins, at frames of HOP samples.
    pitch : np.ndarray [shape=(m,), dtype=float32]
        Fundamental frequency in Hz at frames of PITCH_HOP samples, NaN where nothing is sung.
    """

    onset: np.ndarray
    pitch: np.ndarray

    def semitones(self, start: float, end: float) -> int | None:
        """The note sung between two times: median pitch in semitones above C4, None where there is none."""
        import numpy as np

        first, last = (round(time * SAMPLE_RATE / PITCH_HOP) for time in (start, end))
        frames = self.pitch[first : last + 1]
        sung = frames[~np.isnan(frames)]
        if len(sung) < max(MIN_VOICED_FRAMES, MIN_VOICED_SHARE * len(frames)):
            return None
        return round(float(12 * np.log2(np.median(sung) / C4_HZ)))


def listen(vocals: Path, loudness: Loudness, words: Sequence[Word], report: Callable[[float], None]) -> Singing:
    """Measure onsets over the whole stem and pitch around the words.

    Onsets are the spectral flux of a log mel spectrogram against the neighbourhood of its past (Böck and Widmer,
    "Maximum filter vibrato suppression for onset detection", DAFx 2013). Pitch is pYIN (Mauch and Dixon, ICASSP 2014).

    Parameters
    ----------
    vocals : Path
        The vocal stem.
    loudness : Loudness
        Of that stem.
    words : sequence of Word
        Tidy; pitch is measured only in blocks that have one.
    report : callable
        Told the fraction done, after every block.

    Returns
    -------
    Singing

    Raises
    ------
    UnsupportedAudio, NotFound
        As audio.decode().
    """
    import numpy as np

    total, gain = max(loudness.duration_seconds, 1.0), COMPRESSION / 10 ** (_loud_db(loudness) / 20)
    onset, pitch = [np.zeros(0, np.float32)], [np.zeros(0, np.float32)]
    past = np.zeros((MEL_BANDS, LAG), np.float32)
    starts, ends, done = [word.start for word in words], [word.end for word in words], 0.0
    for block in _overlapping(audio.decode(vocals, sample_rate=SAMPLE_RATE, channels=1)):
        strength, past = _flux(block, past, gain)
        seconds = len(strength) * HOP / SAMPLE_RATE
        has_words = bisect_left(starts, done + seconds) > bisect_right(ends, done)
        onset.append(strength)
        pitch.append(_pitch(block) if has_words else np.full(len(strength) // 2, np.nan, np.float32))
        done += seconds
        report(min(done / total, 1.0))
    return Singing(np.concatenate(onset), np.concatenate(pitch))


def sounding(loudness: Loudness) -> list[Passage]:
    """Find where the voice sounds, to the frame, unlike the padded passages that a transcriber is shown.

    What leaks from other instruments into a separated voice is left out: it is short or never loud.

    Parameters
    ----------
    loudness : Loudness
        Of the vocal stem.

    Returns
    -------
    list of (float, float)
        Start and end in seconds, ascending, at least MIN_REST_SECONDS apart.
    """
    loud, rate = _loud_db(loudness), voice.FRAMES_PER_SECOND
    runs = voice.runs(loudness.levels >= max(voice.FLOOR_DB, loud + voice.OPEN_DB))
    sounds = voice.joined([(first / rate, stop / rate) for first, stop in runs], DIP_SECONDS)
    sung = [
        (start, end) for start, end in sounds
        if end - start >= voice.MIN_VOICE_SECONDS
        and loudness.levels[round(start * rate) : round(end * rate)].max() >= loud + SUNG_DB
    ]  # fmt: skip
    return voice.joined(sung, MIN_REST_SECONDS)


def _loud_db(loudness: Loudness) -> float:
    """The level that is exceeded for LOUD_SECONDS in all."""
    import numpy as np

    rank = min(round(voice.LOUD_SECONDS * voice.FRAMES_PER_SECOND), len(loudness.levels))
    return float(np.partition(loudness.levels, -rank)[-rank]) if rank else voice.SILENCE_DB


def _overlapping(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Blocks cut so that frame k of all of them together is centred on sample k x HOP; each has an even number."""
    import numpy as np

    margin = np.zeros(FRAME // 2, np.float32)
    kept = margin
    for block in chain((block[0] for block in blocks), [margin]):
        kept = np.concatenate([kept, block])
        pairs = (len(kept) - FRAME - HOP) // PITCH_HOP + 1
        if pairs > 0:
            yield kept[: (2 * pairs - 1) * HOP + FRAME]
            kept = kept[pairs * PITCH_HOP :]


def _flux(block: np.ndarray, past: np.ndarray, gain: float) -> tuple[np.ndarray, np.ndarray]:
    """How much each frame's spectrum rose over the one LAG before, and the last LAG spectra for the next block."""
    import numpy as np
    from librosa.feature import melspectrogram
    from scipy.ndimage import maximum_filter1d

    power = melspectrogram(
        y=block, sr=SAMPLE_RATE, n_fft=FRAME, win_length=WINDOW, hop_length=HOP, center=False, n_mels=MEL_BANDS,
        power=1.0,
    )
    spectra = np.concatenate([past, np.log1p(gain * power)], axis=1)
    # A vibrato moves a partial to the next band and back; compared with its neighbourhood it is no onset.
    before = maximum_filter1d(spectra[:, :-LAG], 3, axis=0)
    rise = np.maximum(spectra[:, LAG:] - before, 0.0).mean(axis=0)
    return rise.astype(np.float32), spectra[:, -LAG:]


def _pitch(block: np.ndarray) -> np.ndarray:
    """Fundamental frequency at every second frame, NaN where none."""
    import numpy as np
    from librosa import pyin

    paired = block[: len(block) - HOP]
    found, _, _ = pyin(
        paired, sr=SAMPLE_RATE, fmin=LOWEST_HZ, fmax=HIGHEST_HZ, frame_length=FRAME, hop_length=PITCH_HOP,
        resolution=PITCH_STEP, max_transition_rate=LEAP_OCTAVES_PER_SECOND, center=False,
    )
    return found.astype(np.float32)
