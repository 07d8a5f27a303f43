"""How right separated stems and heard words are, beside the truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SILENT = 1e-4  # RMS of a stem for which no SDR is said


def sdr(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Signal-to-distortion ratio over a whole song, as the Music Demixing Challenge 2021 defines it.

    Parameters
    ----------
    reference, estimate : np.ndarray [shape=(2, samples)]

    Returns
    -------
    float
        In dB; NaN where the reference is silent.
    """
    power = float((reference.astype(np.float64) ** 2).mean())
    error = float(((reference.astype(np.float64) - estimate) ** 2).mean())
    return 10 * float(np.log10(power / max(error, 1e-12))) if power > SILENT**2 else float("nan")


def matched(truth: Sequence[str], heard: Sequence[str]) -> tuple[int, list[tuple[int, int]]]:
    """Lay two rows of words side by side with the fewest changes (Levenshtein's distance).

    Parameters
    ----------
    truth, heard : sequence of str

    Returns
    -------
    errors : int
        Words to replace, leave out or put in; over the number of true words it is the word error rate.
    pairs : list of (int, int)
        Where the words are the same: their places in `truth` and `heard`.
    """
    costs = np.zeros((len(truth) + 1, len(heard) + 1), int)
    costs[:, 0], costs[0] = np.arange(len(truth) + 1), np.arange(len(heard) + 1)
    for i, true in enumerate(truth, 1):
        for j, said in enumerate(heard, 1):
            costs[i, j] = min(costs[i - 1, j] + 1, costs[i, j - 1] + 1, costs[i - 1, j - 1] + (true != said))
    pairs, i, j = [], len(truth), len(heard)
    while i and j:
        if truth[i - 1] == heard[j - 1] and costs[i, j] == costs[i - 1, j - 1]:
            pairs.append((i - 1, j - 1))
            i, j = i - 1, j - 1
        elif costs[i, j] == costs[i - 1, j - 1] + 1:
            i, j = i - 1, j - 1
        elif costs[i, j] == costs[i - 1, j] + 1:
            i -= 1
        else:
            j -= 1
    return int(costs[-1, -1]), pairs[::-1]


def nearest(times: Sequence[float], truth: Sequence[float]) -> np.ndarray:
    """How far each time is from the nearest true one.

    Parameters
    ----------
    times, truth : sequence of float
        In seconds; `truth` is not empty.

    Returns
    -------
    np.ndarray [shape=(len(times),)]
        Not negative.
    """
    return np.abs(np.subtract.outer(np.asarray(times, float), np.asarray(truth, float))).min(axis=1)
