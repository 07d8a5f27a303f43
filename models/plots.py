"""The picture of a pitch analysis: chromagram above, key strengths below."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from models.keys import KEY_NAMES, PITCH_NAMES, KeyEstimate

if TYPE_CHECKING:
    import numpy as np

WIDEST = 2000  # columns of the chromagram that are drawn; more than there are pixels


def draw(path: Path, chroma: np.ndarray, duration_seconds: float, key: KeyEstimate) -> None:
    """Draw a chromagram and the strengths of all keys.

    Parameters
    ----------
    path : Path
        A PNG file.
    chroma : np.ndarray [shape=(12, frames)]
    duration_seconds : float
    key : KeyEstimate

    Raises
    ------
    OSError
        When the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained")  # no pyplot: its figures are global and never freed
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1)
    above.imshow(
        _narrowed(chroma), origin="lower", aspect="auto", extent=(0, duration_seconds, -0.5, 11.5), cmap="Purples"
    )
    above.set_yticks(range(12), PITCH_NAMES)
    above.set_xlabel("time (s)")
    above.set_title(f"{key.name}, confidence {key.confidence:.0%}" if key.confidence else "no key found")
    strengths = [key.strengths[name] for name in KEY_NAMES]
    colours = ["tab:orange" if name == key.name else "tab:blue" for name in KEY_NAMES]
    below.bar(range(24), strengths, color=colours)
    below.set_xticks(range(24), [name.replace(" major", "").replace(" minor", "m") for name in KEY_NAMES])
    below.set_ylabel("correlation with the key's profile")
    figure.savefig(path, dpi=100)


def _narrowed(chroma: np.ndarray) -> np.ndarray:
    """A chromagram of at most WIDEST columns, each the mean of what it stands for."""
    import numpy as np

    step = -(-chroma.shape[1] // WIDEST)
    whole = np.pad(chroma, ((0, 0), (0, -chroma.shape[1] % step)), mode="edge")
    return whole.reshape(12, -1, step).mean(axis=2)
