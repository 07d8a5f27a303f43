"""Timed words, as a transcriber heard them or an aligner placed them."""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from errors import InvalidInput
from models.voice import Passage

MIN_WORD_SECONDS = 0.04  # shorter ones cannot be seen or scored; a transcriber's zero-length words get this much
LINE_BREAKS = "\t\n\v\f\r\x85\u2028\u2029"


@dataclass(frozen=True)
class Word:
    """One sung word.

    Attributes
    ----------
    text : str
        With the space before it where it has one, as transcribers write words: joined they make the line.
    start, end : float
        In seconds.
    probability : float or None
        0..1, how sure the transcriber was.
    segment : int
        Which segment of the transcription it came from.
    """

    text: str
    start: float
    end: float
    probability: float | None = None
    segment: int = 0


@dataclass(frozen=True)
class Transcript:
    """What was heard.

    Attributes
    ----------
    words : list of Word
        In order of time, without overlap, each at least MIN_WORD_SECONDS long.
    language : str or None
        As the transcriber names it, "en".
    aligned : bool
        Whether the words were given by the user and only timed: then each segment is one of their lines.
    """

    words: list[Word]
    language: str | None
    aligned: bool


Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Heard(BaseModel):
    word: str
    start: Seconds
    end: Seconds
    probability: float | None = None


class _Segment(BaseModel):
    start: Seconds
    end: Seconds
    text: str
    words: list[_Heard] = []


class _Transcription(BaseModel):
    segments: list[_Segment]
    language: str | None = None
    aligned: bool = False


def read(path: Path) -> Transcript:
    """The words of a transcription file, in the JSON of `whisper`.

    A segment without word times stays whole, as one long word: its words are not guessed at.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Transcript

    Raises
    ------
    InvalidInput
        When the file is not a transcription.
    """
    try:
        heard = _Transcription.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise InvalidInput(f"{path.name} is not a transcription.", details=str(error)) from error
    words = [
        Word(clean(word.word), word.start, word.end, word.probability, number)
        for number, segment in enumerate(heard.segments)
        for word in segment.words or [_Heard(word=segment.text, start=segment.start, end=segment.end)]
    ]
    return Transcript(tidy(word for word in words if word.text.strip()), heard.language, heard.aligned)


def clean(text: str) -> str:
    """The text on one line, without control characters (NUL would end an ID3 text); joiners stay."""
    spaced = "".join(" " if c in LINE_BREAKS else c for c in text)
    return "".join(c for c in spaced if unicodedata.category(c) != "Cc")


def tidy(words: Iterable[Word]) -> list[Word]:
    """The words in order of time, none overlapping the next, none shorter than MIN_WORD_SECONDS.

    Parameters
    ----------
    words : iterable of Word
        In the order they are sung.

    Returns
    -------
    list of Word
    """
    placed: list[Word] = []
    for word in words:
        start = max(word.start, placed[-1].start + MIN_WORD_SECONDS) if placed else word.start
        placed.append(replace(word, start=start, end=max(word.end, start + MIN_WORD_SECONDS)))
    return [replace(word, end=min(word.end, after.start)) for word, after in pairwise(placed)] + placed[-1:]


def voiced(words: Iterable[Word], passages: Sequence[Passage]) -> list[Word]:
    """Leave out words that lie wholly where there is no voice: nobody sang them.

    Parameters
    ----------
    words : iterable of Word
    passages : sequence of (float, float)
        Start and end of passages with voice, in seconds, ascending, apart.

    Returns
    -------
    list of Word
    """
    ends = [end for _, end in passages]
    return [word for word in words if (n := bisect_left(ends, word.start)) < len(ends) and passages[n][0] <= word.end]


def fit(words: Sequence[Word], passages: Sequence[Passage]) -> list[Word]:
    """Cut words to where there is voice.

    A word that reaches over a rest belongs to the passage that goes on into the word beside it, else to the one it
    overlaps most: transcribers often begin the first word after a rest with the rest. One that overlaps none begins
    with the next word, where that was moved away from it; else it stays as it is.

    Parameters
    ----------
    words : sequence of Word
        Tidy.
    passages : sequence of (float, float)
        As voiced().

    Returns
    -------
    list of Word
        Tidy.
    """
    fitted: list[Word] = []
    neighbours = zip([None, *words][:-1], words, [*words, None][1:], strict=True)
    for before, word, after in reversed([*neighbours]):
        cut = _cut(before, word, after, passages)
        if cut is None and after and _touch(word, after) and fitted[-1].start > after.start:
            cut = (fitted[-1].start, fitted[-1].start)
        start, end = cut or (word.start, word.end)
        fitted.append(replace(word, start=start, end=end))
    return tidy(reversed(fitted))


def _cut(before: Word | None, word: Word, after: Word | None, passages: Sequence[Passage]) -> Passage | None:
    """The part of a word that lies in the passage it belongs to."""
    best, cut = (0, 0.0), None
    for passage in passages[bisect_left(passages, word.start, key=itemgetter(1)) :]:
        start, end = max(word.start, passage[0]), min(word.end, passage[1])
        if passage[0] >= word.end:
            break
        from_before = before is not None and _touch(before, word) and passage[0] <= word.start
        into_after = after is not None and _touch(word, after) and passage[1] >= word.end
        goes_on = from_before + into_after
        if end > start and (goes_on, end - start) > best:
            best, cut = (goes_on, end - start), (start, end)
    return cut


def _touch(word: Word, after: Word) -> bool:
    """Whether two words are sung without a pause between, in one segment."""
    return word.segment == after.segment and after.start - word.end < MIN_WORD_SECONDS
