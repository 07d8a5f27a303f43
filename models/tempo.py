"""Tempo and beats from the onsets in a signal.

Onset strength is the growth of loudness over 40 mel bands; the tempo is the period at which it repeats; beats are the
path through it that is both on onsets and regular. After D. Ellis, "Beat tracking by dynamic programming", 2007.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

HOP = 256  # samples from one value of onset strength to the next
FFT = 1024
MEL_BANDS = 40
RANGE = 1e-6  # of power under the loudest so far: 60 dB, below is silence
SHORTEST_SECONDS = 2.0  # less has no tempo
FAINTEST_ONSET = 0.3  # dB; a held tone has fainter ones
WINDOW_SECONDS = 12.0  # of the autocorrelation
SLOWEST_BPM, FASTEST_BPM, USUAL_BPM = 40.0, 240.0, 120.0
COMB = (1.0, 0.5, 0.33, 0.25)  # weights of one, two, three, four periods
HALVING = 0.3  # how much of a rhythm twice as fast speaks against a tempo
TIGHTNESS = 100.0  # how regular beats are against how well they hit onsets
SPAN_BEATS = 32  # the tempo is measured over this many beats, where there are as many


class Onsets:
    """Onset strength of padded blocks, one after the other; it remembers the loudest for its silence."""

    def __init__(self, sample_rate: int) -> None:
        self._sample_rate = sample_rate
        self._peak = 1e-9

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Onset strength (frames,) of a block in dB, one value every HOP samples."""
        import librosa
        import numpy as np

        mel = librosa.feature.melspectrogram(
            y=samples, sr=self._sample_rate, n_fft=FFT, hop_length=HOP, n_mels=MEL_BANDS
        )
        self._peak = max(self._peak, float(mel.max()))
        decibels = 10 * np.log10(np.maximum(mel, RANGE * self._peak) / self._peak)
        return np.maximum(np.diff(decibels, axis=1, prepend=decibels[:, :1]), 0).mean(axis=0)


def estimate(onsets: np.ndarray, rate: float) -> tuple[float | None, np.ndarray]:
    """Tempo and beats.

    Parameters
    ----------
    onsets : np.ndarray [shape=(frames,)]
        Onset strength in dB.
    rate : float
        Frames per second.

    Returns
    -------
    tempo_bpm : float or None
        None where there are no onsets, or nothing repeats.
    beats : np.ndarray [shape=(beats,)]
        Times in seconds.
    """
    import numpy as np

    if len(onsets) < SHORTEST_SECONDS * rate or np.percentile(onsets, 99) < FAINTEST_ONSET:
        return None, np.zeros(0)
    strength = _sharpened(onsets, rate)
    period = _period(strength, rate)
    if period is None:
        return None, np.zeros(0)
    beats = _beats(strength, period) / rate
    if len(beats) < 3:
        return round(60 * rate / period, 2), beats
    span = min(SPAN_BEATS, len(beats) - 1)
    return round(60 * span / float(np.median(beats[span:] - beats[:-span])), 2), beats


def _sharpened(onsets: np.ndarray, rate: float) -> np.ndarray:
    """Onset strength above its mean of a second, of standard deviation 1."""
    import numpy as np
    from scipy.ndimage import uniform_filter1d

    above = np.maximum(onsets - uniform_filter1d(onsets, round(rate), mode="nearest"), 0)
    return above / max(float(above.std()), 1e-9)


def _period(strength: np.ndarray, rate: float) -> float | None:
    """The beat's period in frames, of tempi one per cent apart; None where the sound does not repeat itself."""
    import numpy as np

    correlation = _autocorrelation(strength, round(WINDOW_SECONDS * rate))
    tempi = np.exp(np.arange(np.log(SLOWEST_BPM), np.log(FASTEST_BPM), 0.01))
    lags = 60 * rate / tempi
    axis = np.arange(len(correlation))

    def at(lag: np.ndarray) -> np.ndarray:
        return np.interp(lag, axis, correlation, right=0)

    score = sum(weight * at(lags * (n + 1)) for n, weight in enumerate(COMB)) / sum(COMB)
    score = score - HALVING * np.maximum(at(lags / 2), 0)
    score = score * np.exp(-(np.log2(tempi / USUAL_BPM) ** 2) / 2)
    return float(lags[score.argmax()]) if score.max() > 0 else None


def _autocorrelation(strength: np.ndarray, window: int) -> np.ndarray:
    """Mean over half-overlapping windows, 1 at lag 0, free of the taper that a finite window has."""
    import numpy as np

    window = min(window, len(strength))
    total = np.zeros(window)
    for start in range(0, max(1, len(strength) - window + 1), max(1, window // 2)):
        piece = strength[start : start + window] - strength[start : start + window].mean()
        spectrum = np.fft.rfft(piece, 2 * window)
        total += np.fft.irfft(np.abs(spectrum) ** 2)[:window]
    total = np.convolve(total, np.hanning(7)[1:-1] / 3, mode="same")  # onsets are never on the frame
    total /= np.maximum(1 - np.arange(window) / window, 0.25)
    return total / max(float(total[0]), 1e-9)


def _beats(strength: np.ndarray, period: float) -> np.ndarray:
    """Frames of the beats."""
    import numpy as np

    steps = np.arange(-round(2 * period), -round(period / 2) + 1)
    cost = TIGHTNESS * np.log(-steps / period) ** 2
    best = strength.copy()
    came_from = np.full(len(strength), -1)
    for frame in range(-steps[-1], len(strength)):
        first = max(0, -(frame + steps[0]))  # of the steps, how many reach before the beginning
        earlier = best[frame + steps[first] : frame + steps[-1] + 1] - cost[first:]
        choice = int(earlier.argmax())
        if earlier[choice] > 0:
            best[frame] += earlier[choice]
            came_from[frame] = frame + steps[first + choice]
    frame = len(best) - round(2 * period) + int(best[-round(2 * period) :].argmax())
    path = []
    while frame >= 0:
        path.append(frame)
        frame = came_from[frame]
    found = np.array(path[::-1])
    loud = np.flatnonzero(strength[found] > 0.5 * np.sqrt(np.mean(strength[found] ** 2)))
    return found[loud[0] : loud[-1] + 1] if len(loud) else found
