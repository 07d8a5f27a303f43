"""ID3 tags of the karaoke track: title, artist, and the lyrics plain and timed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from models.languages import iso639_2
from models.lines import Line

UTF16 = 1  # ID3v2.3 knows Latin-1 and UTF-16 only
MILLISECONDS = 2  # SYLT's unit of time stamps
LYRICS = 1  # SYLT's content type


def write(
    path: Path, *, title: str, artist: str, language: str | None = None, lines: Sequence[Line] = (),
    text: str | None = None,
) -> None:
    """Replace the ID3 tags of an MP3 file.

    Version 2.3, which every player and Windows read. Frames: TIT2, TPE1, TLAN; USLT with the whole lyrics, lines
    ended by line feeds; SYLT with one entry per word in milliseconds, the first word of each further line preceded by
    a line feed and every other one by its space, as section 4.10 of the ID3v2.3.0 standard shows.

    Parameters
    ----------
    path : Path
    title, artist : str
        Empty ones are left out.
    language : str, optional
        ISO 639-1.
    lines : sequence of Line
        None give no lyric frames.
    text : str, optional
        For USLT when it is not just the lines, such as one with verses apart.
    """
    from mutagen.id3 import ID3, SYLT, TIT2, TLAN, TPE1, USLT

    tags, code = ID3(), iso639_2(language)
    for frame, value in ((TIT2, title), (TPE1, artist), (TLAN, code if lines else "")):
        if value:
            tags.add(frame(encoding=UTF16, text=[value]))
    if lines:
        plain = text or "\n".join(line.text for line in lines)
        tags.add(USLT(encoding=UTF16, lang=code, desc="", text=plain))
        tags.add(SYLT(encoding=UTF16, lang=code, format=MILLISECONDS, type=LYRICS, desc="", text=_timed(lines)))
    tags.save(path, v1=0, v2_version=3)


def _timed(lines: Sequence[Line]) -> list[tuple[str, int]]:
    """(text, milliseconds) for every word."""
    entries: list[tuple[str, int]] = []
    for line in lines:
        for word in line.words:
            first = word is line.words[0]
            text = ("\n" if entries else "") + word.text.lstrip() if first else word.text
            entries.append((text, round(word.start * 1000)))
    return entries
