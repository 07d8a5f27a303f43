"""The UltraStar song format, version 1.0.0 (https://usdx.eu/format/): words as notes that games score."""

from collections.abc import Callable, Sequence

from models.lines import Line

BPM = 600  # not the song's tempo: it only sets the finest step
BEAT_SECONDS = 60 / (4 * BPM)  # the format counts four beats for each of BPM, so 25 ms
NOTE, FREESTYLE = ":", "F"  # a freestyle note has no pitch and is not scored


def song(
    lines: Sequence[Line], *, title: str, artist: str, audio_file: str,
    semitones: Callable[[float, float], int | None],
) -> str:
    """The text of a song file, one note for each word.

    Parameters
    ----------
    lines : sequence of Line
        At least one: a song without notes is not valid.
    title, artist : str
        On one line each; the format wants both, so an empty one becomes "Unknown".
    audio_file : str
        Name of the track beside the file.
    semitones : callable
        Gives the note sung between two times in semitones above C4, None where there is none.

    Returns
    -------
    str
    """
    gap_seconds = round(lines[0].start, 3)
    header = {
        "VERSION": "1.0.0",
        "TITLE": title or "Unknown",
        "ARTIST": artist or "Unknown",
        "MP3": audio_file,
        "BPM": BPM,
        "GAP": round(gap_seconds * 1000),
    }
    rows = [f"#{key}:{value}" for key, value in header.items()]
    end = 0  # in beats, of the last note
    for line in lines:
        if line is not lines[0]:
            rows.append(f"- {end}")
        for word in line.words:
            start = max(end, round((word.start - gap_seconds) / BEAT_SECONDS))
            end = max(start + 1, round((word.end - gap_seconds) / BEAT_SECONDS))
            pitch = semitones(word.start, word.end)
            kind = FREESTYLE if pitch is None else NOTE
            text = word.text.lstrip() if word is line.words[0] else word.text
            rows.append(f"{kind} {start} {end - start} {pitch or 0} {text}")
    return "\n".join([*rows, "E", ""])
