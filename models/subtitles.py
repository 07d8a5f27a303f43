"""Timed text as plain text, SubRip, WebVTT and LRC.

Every function takes lines in order of time and gives a file's text, to be written as UTF-8. Lines without text are
left out; a line that holds line breaks becomes one line.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

# Brackets are syntax in LRC: a line that began with [Music] would be read as a tag.
LRC_BRACKETS = str.maketrans("[]<>", "()‹›")


class Cue(Protocol):
    """A line of text and when it is sung, in seconds."""

    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float: ...
    @property
    def text(self) -> str: ...


class Line(Cue, Protocol):
    """A cue whose words have their own times; a word's text carries the space before it."""

    @property
    def words(self) -> Sequence[Cue]: ...


AnyCue = TypeVar("AnyCue", bound=Cue)


def txt(cues: Iterable[Cue]) -> str:
    """Plain text, one line for each cue.

    Parameters
    ----------
    cues : iterable of Cue

    Returns
    -------
    str
    """
    return "".join(f"{_one_line(cue.text)}\n" for cue in _with_text(cues))


def srt(cues: Iterable[Cue]) -> str:
    """SubRip subtitles.

    Parameters
    ----------
    cues : iterable of Cue

    Returns
    -------
    str
    """
    return "".join(
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{_one_line(cue.text).replace('-->', '->')}\n\n"
        for number, cue in enumerate(_with_text(cues), start=1)
    )


def vtt(cues: Iterable[Cue]) -> str:
    """WebVTT subtitles, following https://www.w3.org/TR/webvtt1/.

    Parameters
    ----------
    cues : iterable of Cue

    Returns
    -------
    str
    """
    return "WEBVTT\n\n" + "".join(
        f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{html.escape(_one_line(cue.text), quote=False)}\n\n"
        for cue in _with_text(cues)
    )


def lrc(cues: Iterable[Cue], tags: Mapping[str, str] | None = None) -> str:
    """LRC lyrics, each line with the time when it starts.

    Parameters
    ----------
    cues : iterable of Cue
    tags : mapping of str to str, optional
        Such as ti (title), ar (artist), length; empty ones are left out.

    Returns
    -------
    str
    """
    return _lrc_head(tags) + "".join(f"[{_lrc_time(cue.start)}]{_lrc_text(cue.text)}\n" for cue in _with_text(cues))


def enhanced_lrc(lines: Iterable[Line], tags: Mapping[str, str] | None = None) -> str:
    """LRC lyrics with a time before every word, `<mm:ss.xx>`, and one for the end of the line.

    Parameters
    ----------
    lines : iterable of Line
    tags : mapping of str to str, optional
        As lrc().

    Returns
    -------
    str
    """
    return _lrc_head(tags) + "".join(f"[{_lrc_time(line.start)}]{_lrc_words(line)}\n" for line in _with_text(lines))


def _with_text(cues: Iterable[AnyCue]) -> Iterable[AnyCue]:
    """The cues that say something."""
    return (cue for cue in cues if cue.text.strip())


def _one_line(text: str) -> str:
    """The text without line breaks (an empty line would end a subtitle) and without NUL, which ends it for players."""
    return " ".join(text.replace("\0", "").split())


def _clock(seconds: float, point: str) -> str:
    """hh:mm:ss.mmm with that decimal point."""
    minutes, milliseconds = divmod(round(seconds * 1000), 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{milliseconds // 1000:02}{point}{milliseconds % 1000:03}"


def _lrc_head(tags: Mapping[str, str] | None) -> str:
    """The tags, one to a line."""
    return "".join(f"[{name}:{_lrc_text(value)}]\n" for name, value in (tags or {}).items() if value.strip())


def _lrc_time(seconds: float) -> str:
    """mm:ss.xx; from 100 minutes on mmm:ss.xx."""
    minutes, hundredths = divmod(round(seconds * 100), 6000)
    return f"{minutes:02}:{hundredths // 100:02}.{hundredths % 100:02}"


def _lrc_text(text: str) -> str:
    """The text on one line, without LRC's brackets."""
    return _one_line(text).translate(LRC_BRACKETS)


def _lrc_words(line: Line) -> str:
    """The words of a line, each after its time, and when the last one ends."""
    words = [f"{_space(word.text)}<{_lrc_time(word.start)}>{_lrc_text(word.text)}" for word in line.words]
    return f"{''.join(words).strip()}<{_lrc_time(line.end)}>"


def _space(text: str) -> str:
    """The space before a word, where it has one."""
    return " " if text[:1].isspace() else ""
