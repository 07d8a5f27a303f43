"""What a transcriber puts where nobody sings.

The first word after a long pause often begins with the pause, and where a window ends with half a line, a whole one can
be heard that is nowhere in the sound: the aligner then gives its words no time at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from models.repetition import MIN_CONFIDENCE
from models.voice import Passage
from models.words import Word, fit, tidy

MOST_INSTANT = 0.5  # of a segment's words, as in stable-ts (`max_instant_words`)
FEWEST_WORDS = 3  # of a segment that is judged; a short word alone is sometimes given no time


def cut_instant(segments: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out segments that were hardly heard and most of whose words take no time: nobody sang them.

    Parameters
    ----------
    segments : sequence of dict
        As in the result of `whisper.transcribe`, with confidence. One without word times stays.

    Returns
    -------
    list of dict
        The same segments, without the cut ones.
    """
    return [segment for segment in segments if not _is_instant(segment)]


def _is_instant(segment: dict[str, Any]) -> bool:
    """Whether a segment was hardly heard, and most of its words take no time."""
    words = segment.get("words", ())
    instant = sum(word["end"] <= word["start"] for word in words)
    doubted = segment["confidence"] < MIN_CONFIDENCE
    return doubted and len(words) >= FEWEST_WORDS and instant > MOST_INSTANT * len(words)


def fit_words(segments: Sequence[dict[str, Any]], sounding: Sequence[Passage]) -> list[dict[str, Any]]:
    """Cut words, and the segments they make, to where the voice sounds, by the rules of models.words.fit().

    A word that is nowhere near the voice stays where it is; none ends later than the last one did.

    Parameters
    ----------
    segments : sequence of dict
        As in the result of `whisper.transcribe`. One without word times stays as it is.
    sounding : sequence of (float, float)
        As models.singing.sounding() finds it.

    Returns
    -------
    list of dict
        The same segments with other times.
    """
    heard = [
        Word(word["word"], word["start"], word["end"], segment=number)
        for number, segment in enumerate(segments)
        for word in segment.get("words", ())
    ]
    last = max((word.end for word in heard), default=0.0)
    fitted = iter(fit(tidy(heard), sounding))
    return [_with_times(segment, fitted, last) for segment in segments]


def _with_times(segment: dict[str, Any], fitted: Iterator[Word], last: float) -> dict[str, Any]:
    """The segment with the times of as many of the words as it has, none of them after the last."""
    words = segment.get("words", ())
    placed = list(islice(fitted, len(words)))
    if not placed:
        return segment
    times = [{"start": round(min(place.start, last), 2), "end": round(min(place.end, last), 2)} for place in placed]
    timed = [word | time for word, time in zip(words, times, strict=True)]
    return segment | {"start": times[0]["start"], "end": times[-1]["end"], "words": timed}
