"""The picture of a pitch analysis: chromagram above, key strengths below."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.keys import KEY_NAMES, PITCH_NAMES, KeyEstimate

if TYPE_CHECKING:
    import numpy as np

SIZE_INCHES, DOTS_PER_INCH = (6, 4.5), 200  # pages show it small, so its text is large
INK, BAR, FOUND = "#3b3f5c", "#b9aef2", "#5b35dd"  # the page's text and violet
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
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    inked = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    ink: dict[Any, Any] = {"font.size": 11, "axes.titlesize": 12} | dict.fromkeys(inked, INK)
    shades = LinearSegmentedColormap.from_list("shades", [FOUND + "00", FOUND])  # on the ground of whoever shows it
    with rc_context(ink):
        figure = Figure(figsize=SIZE_INCHES, layout="constrained")  # no pyplot: its figures are global and never freed
        FigureCanvasAgg(figure)
        above, below = figure.subplots(2, 1)
        above.imshow(
            _narrowed(chroma), origin="lower", aspect="auto", extent=(0, duration_seconds, -0.5, 11.5), cmap=shades
        )
        above.set_yticks(range(0, 12, 2), PITCH_NAMES[::2])  # every other: all of them would be too small to read
        above.set_xlabel("time (s)")
        above.set_title(f"{key.name}, confidence {key.confidence:.0%}" if key.confidence else "no key found")
        colours = [FOUND if name == key.name else BAR for name in KEY_NAMES]
        below.bar(range(24), [key.strengths[name] for name in KEY_NAMES], color=colours)
        names = [name.replace(" major", "").replace(" minor", "m") for name in KEY_NAMES]
        below.set_xticks(range(24), names, rotation=90)
        below.set_ylabel("key strength")
        figure.savefig(path, dpi=DOTS_PER_INCH, transparent=True)


def _narrowed(chroma: np.ndarray) -> np.ndarray:
    """A chromagram of at most WIDEST columns, each the mean of what it stands for."""
    import numpy as np

    step = -(-chroma.shape[1] // WIDEST)
    whole = np.pad(chroma, ((0, 0), (0, -chroma.shape[1] % step)), mode="edge")
    return whole.reshape(12, -1, step).mean(axis=2)
