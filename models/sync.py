"""The sync file: a JSON document with all that a player needs to show the words in time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from models.lines import Line
from models.words import Word


def document(lines: Sequence[Line], title: str, artist: str, language: str | None, duration_seconds: float) -> str:
    """The text of a sync file.

    Parameters
    ----------
    lines : sequence of Line
    title, artist : str
    language : str or None
        ISO 639-1.
    duration_seconds : float
        Of the track.

    Returns
    -------
    str
        `{title, artist, duration, language, lines: [{start, end, text, confidence, words: [{start, end, word,
        probability}]}]}`, times in seconds; confidence and probability are left out where they are not known.
    """
    body = {
        "title": title,
        "artist": artist,
        "duration": round(duration_seconds, 3),
        "language": language,
        "lines": [_line(line) for line in lines],
    }
    return json.dumps(body, ensure_ascii=False, indent=1)


def _line(line: Line) -> dict[str, Any]:
    """A line with its words."""
    words = [{**_times(word), "word": word.text.strip(), **_known("probability", word.probability)}
             for word in line.words]  # fmt: skip
    return {**_times(line), "text": line.text, **_known("confidence", line.confidence), "words": words}


def _times(part: Line | Word) -> dict[str, float]:
    """Start and end to the millisecond."""
    return {"start": round(part.start, 3), "end": round(part.end, 3)}


def _known(name: str, value: float | None) -> dict[str, float]:
    """The value under its name, or nothing."""
    return {} if value is None else {name: round(value, 4)}
