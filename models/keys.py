"""Musical keys from pitch classes: key profiles, and what the chords say.

Keys are numbered as chords are: 0–11 are C major to B major, 12–23 are C minor to B minor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

PITCH_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
KEY_NAMES = tuple(f"{name} {scale}" for scale in ("major", "minor") for name in PITCH_NAMES)
UNKNOWN = "unknown"

# Major and minor, from the tonic up.
KRUMHANSL_KESSLER = (  # listeners' ratings; Krumhansl and Kessler 1982
    (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
    (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
)
TEMPERLEY = (  # counts in the Kostka and Payne corpus; Temperley 2007
    (0.748, 0.060, 0.488, 0.082, 0.670, 0.460, 0.096, 0.715, 0.104, 0.366, 0.057, 0.400),
    (0.712, 0.084, 0.474, 0.618, 0.049, 0.460, 0.105, 0.747, 0.404, 0.067, 0.133, 0.330),
)
ALBRECHT_SHANAHAN = (  # note counts at the beginnings and ends of 982 works; Albrecht and Shanahan 2013
    (0.238, 0.006, 0.111, 0.006, 0.137, 0.094, 0.016, 0.214, 0.009, 0.080, 0.008, 0.081),
    (0.220, 0.006, 0.104, 0.123, 0.019, 0.103, 0.012, 0.214, 0.062, 0.022, 0.061, 0.052),
)
PROFILES = {
    "basic_chroma": KRUMHANSL_KESSLER,
    "librosa_chroma": TEMPERLEY,
    "enhanced_chroma": ALBRECHT_SHANAHAN,
}
PROFILE_FLOOR = 0.03  # added to every share in a profile: sound is never as clean as a score
CHORD_TONE_SHARE = 0.5  # how much the tones of the tracked chords count, beside all that is heard
FIRST_CHORD, LAST_CHORD = 0.15, 0.1  # what their fit to the tonic counts, beside a log-likelihood per note
PICARDY = 0.8  # a minor piece may end in major: what that end is worth to the minor key
# Of the softmax that makes probabilities of scores: fitted on rendered chorales and loops, so that 0.7 is 7 in 10.
SHARPNESS = {"basic_chroma": 4.0, "librosa_chroma": 10.0, "enhanced_chroma": 25.0}


@dataclass(frozen=True)
class KeyEstimate:
    """A key and how sure it is.

    Attributes
    ----------
    name : str
        "C major", or UNKNOWN where nothing says.
    scale : str
        "major", "minor" or UNKNOWN.
    confidence : float
        Probability that it is right, 0 to 1.
    strength : float
        Correlation of the pitch classes with the key's profile, 0 to 1.
    strengths : dict of str to float
        That correlation for all 24 keys, −1 to 1.
    """

    name: str
    scale: str
    confidence: float
    strength: float
    strengths: dict[str, float]


NO_KEY = KeyEstimate(UNKNOWN, UNKNOWN, 0.0, 0.0, dict.fromkeys(KEY_NAMES, 0.0))


def estimate(
    variant: str, mean_chroma: np.ndarray, chord_tones: np.ndarray, first: np.ndarray, last: np.ndarray
) -> KeyEstimate:
    """The key of a piece.

    Parameters
    ----------
    variant : str
        enhanced_chroma takes the likelihood of notes and chord tones under each key's profile, and weighs it with
        the first and last chord; the others correlate the notes with the profile, as Krumhansl and Schmuckler did.
    mean_chroma : np.ndarray [shape=(12,)]
        Over the whole piece.
    chord_tones : np.ndarray [shape=(12,)]
        How long each pitch class belongs to the chord that sounds; zeros where there are no chords.
    first, last : np.ndarray [shape=(24,)]
        How well each major and minor triad fits the first and the last chord, −1 to 1.

    Returns
    -------
    KeyEstimate
    """
    import numpy as np

    if mean_chroma.max() - mean_chroma.min() < 1e-6:
        return NO_KEY
    correlations = standardized(_all_keys(PROFILES[variant])) @ standardized(mean_chroma)
    scores = correlations
    if variant == "enhanced_chroma":
        scores = _likelihood(mean_chroma, chord_tones) + FIRST_CHORD * first + LAST_CHORD * _as_ending(last)
    odds = np.exp(SHARPNESS[variant] * (scores - scores.max()))
    best = int(scores.argmax())
    return KeyEstimate(
        KEY_NAMES[best],
        KEY_NAMES[best].split()[1],
        round(float(odds[best] / odds.sum()), 4),
        round(max(0.0, float(correlations[best])), 4),
        {name: round(float(value), 4) for name, value in zip(KEY_NAMES, correlations, strict=True)},
    )


def standardized(vectors: np.ndarray) -> np.ndarray:
    """Vectors (…, 12) of mean 0 and length 1, so that their products are correlations."""
    import numpy as np

    centred = vectors - vectors.mean(axis=-1, keepdims=True)
    return centred / np.maximum(np.linalg.norm(centred, axis=-1, keepdims=True), 1e-12)


def _likelihood(mean_chroma: np.ndarray, chord_tones: np.ndarray) -> np.ndarray:
    """Mean log-likelihood per note in each key: (24,)."""
    import numpy as np

    profiles = _all_keys(ALBRECHT_SHANAHAN)
    profiles = profiles / profiles.sum(axis=1, keepdims=True) * (1 - 12 * PROFILE_FLOOR) + PROFILE_FLOOR
    notes = mean_chroma / mean_chroma.sum()
    tones = chord_tones / chord_tones.sum() if chord_tones.any() else notes
    return np.log(profiles) @ (notes + CHORD_TONE_SHARE * (tones - notes))


def _as_ending(last: np.ndarray) -> np.ndarray:
    """How well the last chord ends a piece in each key: (24,)."""
    import numpy as np

    return np.concatenate([last[:12], np.maximum(last[12:], PICARDY * last[:12])])


def _all_keys(profile: tuple[tuple[float, ...], tuple[float, ...]]) -> np.ndarray:
    """A major and a minor profile turned to all 24 keys: (24, 12)."""
    import numpy as np

    return np.array([np.roll(shape, tonic) for shape in profile for tonic in range(12)])
