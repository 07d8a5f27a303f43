"""Mixing: how loud each stem is, the room around it, where it stands between left and right."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.ndimage import minimum_filter1d, uniform_filter1d
from scipy.signal import butter, oaconvolve, sosfilt

from training.score import SAMPLE_RATE

FRAME = SAMPLE_RATE // 20  # samples, for measuring loudness
ACTIVE = 0.03  # a frame's RMS relative to the loudest frame, above which it counts as sounding
PRE_DELAY_SECONDS = 0.012
ROOM_BAND_HZ = (250.0, 6000.0)
DECAY_60_DB = 6.9  # nepers
LIMITER_SAMPLES = SAMPLE_RATE // 100  # it looks ahead and recovers within as many


def loudness(samples: np.ndarray) -> float:
    """Measure the RMS of what sounds, leaving out the pauses.

    Parameters
    ----------
    samples : np.ndarray [shape=(2, samples)]

    Returns
    -------
    float
        0 for silence.
    """
    whole = samples[:, : samples.shape[1] // FRAME * FRAME]
    power = (whole.astype(np.float64) ** 2).mean(axis=0).reshape(-1, FRAME).mean(axis=1)
    loudest = power.max(initial=0.0)
    return float(np.sqrt(power[power > ACTIVE**2 * loudest].mean())) if loudest > 0 else 0.0


def levelled(samples: np.ndarray, level_db: float) -> np.ndarray:
    """Bring a stem to a loudness.

    Parameters
    ----------
    samples : np.ndarray [shape=(2, samples)]
    level_db : float
        Of loudness(), under full scale.

    Returns
    -------
    np.ndarray [shape=(2, samples)]
        Silence stays silence.
    """
    measured = loudness(samples)
    return samples * (10 ** (level_db / 20) / measured) if measured else samples


def panned(samples: np.ndarray, pan: float) -> np.ndarray:
    """Place a mono signal between left and right at constant power.

    Parameters
    ----------
    samples : np.ndarray [shape=(samples,)]
    pan : float
        -1 (left) to 1 (right).

    Returns
    -------
    np.ndarray [shape=(2, samples)]
    """
    angle = (pan + 1) * np.pi / 4
    return np.stack([samples * np.cos(angle), samples * np.sin(angle)]) * np.sqrt(2)


def filtered(samples: np.ndarray, cutoff_hz: float, kind: Literal["lowpass", "highpass"]) -> np.ndarray:
    """Take away what lies beyond a frequency, 12 dB per octave, so that instruments leave each other room.

    Parameters
    ----------
    samples : np.ndarray [shape=(..., samples)]
    cutoff_hz : float
    kind : "lowpass" or "highpass"

    Returns
    -------
    np.ndarray [shape=(..., samples)]
    """
    return sosfilt(butter(2, cutoff_hz, kind, fs=SAMPLE_RATE, output="sos"), samples)


def in_room(rng: np.random.Generator, samples: np.ndarray, wet_db: float, decay_seconds: float) -> np.ndarray:
    """Add the sound of a room: noise that decays, without bass or brilliance, different left and right.

    Parameters
    ----------
    rng : np.random.Generator
    samples : np.ndarray [shape=(2, samples)]
    wet_db : float
        Energy of the room's response relative to the direct sound.
    decay_seconds : float
        Until it has fallen by 60 dB.

    Returns
    -------
    np.ndarray [shape=(2, samples)]
    """
    length = round(decay_seconds * SAMPLE_RATE)
    noise = rng.standard_normal((2, length)) * np.exp(-DECAY_60_DB * np.arange(length) / length)
    response = sosfilt(butter(1, ROOM_BAND_HZ, "bandpass", fs=SAMPLE_RATE, output="sos"), noise)
    response *= 10 ** (wet_db / 20) / np.sqrt((response**2).sum(axis=1, keepdims=True))
    response = np.pad(response, ((0, 0), (round(PRE_DELAY_SECONDS * SAMPLE_RATE), 0)))
    return samples + oaconvolve(samples, response, axes=1)[:, : samples.shape[1]]


def limiter_gain(mixture: np.ndarray, ceiling: float) -> np.ndarray:
    """Find the gain that keeps a mixture under a ceiling; applied to every stem, it leaves their sum whole.

    Parameters
    ----------
    mixture : np.ndarray [shape=(2, samples)]
    ceiling : float
        Highest absolute value, full scale being 1.

    Returns
    -------
    np.ndarray [shape=(samples,)]
        At most 1, without steps.
    """
    needed = np.minimum(1, ceiling / np.maximum(np.abs(mixture).max(axis=0), 1e-9))
    lowest = minimum_filter1d(needed, 2 * LIMITER_SAMPLES + 1)
    return uniform_filter1d(lowest, LIMITER_SAMPLES, mode="nearest")
