r"""Advanced SubStation Alpha subtitles whose words fill with colour as they are sung (\kf)."""

from collections.abc import Sequence

from models.lines import Line

LEAD_IN_SECONDS = 1.0  # a line shows this long before it is sung, unless the one before is still on
WORD_JOINER = "\u2060"  # takes no room

HEADER = """\
[Script Info]
Title: {title}
ScriptType: v4.00+
PlayResX: 1280
PlayResY: 720
WrapStyle: 0
ScaledBorderAndShadow: yes

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, \
StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Karaoke,Arial,56,&H0000D7FF,&H00FFFFFF,&H00000000,&H80000000,-1,0,0,0,100,100,0,0,1,3,1,2,60,60,60,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


def script(lines: Sequence[Line], title: str) -> str:
    r"""The text of a subtitle file.

    Each line is one event that begins up to LEAD_IN_SECONDS before it is sung: a first, empty `\k` waits that long.
    The lengths of all its `\k` and `\kf` add up exactly, so no word drifts.

    Parameters
    ----------
    lines : sequence of Line
    title : str
        On one line.

    Returns
    -------
    str
    """
    events, free = [], 0
    for line in lines:
        first = _centiseconds(line.start)
        start = max(free, first - round(LEAD_IN_SECONDS * 100))
        free = _centiseconds(line.end)
        events.append(f"Dialogue: 0,{_clock(start)},{_clock(free)},Karaoke,,0,0,0,,{_filled(line, start)}\n")
    return HEADER.format(title=title) + "".join(events)


def _filled(line: Line, now: int) -> str:
    """The words with their lengths, from the time `now` in hundredths of a second."""
    parts = []
    for word in line.words:
        start, end = _centiseconds(word.start), _centiseconds(word.end)
        text = escape(word.text.lstrip() if word is line.words[0] else word.text)
        wait = f"{{\\k{start - now}}}" if start > now else ""
        parts.append(f"{wait}{{\\kf{end - start}}}{text}")
        now = end
    return "".join(parts)


def escape(text: str) -> str:
    r"""Text that no renderer takes for a tag: braces escaped as libass reads them, `\` kept from its next letter."""
    return text.replace("\\", "\\" + WORD_JOINER).replace("{", "\\{").replace("}", "\\}")


def _centiseconds(seconds: float) -> int:
    return round(seconds * 100)


def _clock(centiseconds: int) -> str:
    """h:mm:ss.cc"""
    minutes, rest = divmod(centiseconds, 6000)
    return f"{minutes // 60}:{minutes % 60:02}:{rest // 100:02}.{rest % 100:02}"
