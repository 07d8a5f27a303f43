"""Karaoke subtitles, parsed back, and read by FFmpeg."""

import re

import av
import pytest

from models import ass
from models.lines import Line
from models.words import Word

LINES = [
    Line((Word(" Hello", 0.4, 0.9), Word(" you", 1.1, 1.504))),
    Line((Word(r" {\k9}", 1.6, 2.0), Word(r" back\Nslash", 2.0, 2.5))),
    Line((Word(" late", 7325.678, 7326.0),)),
]


def seconds(clock):
    hours, minutes, rest = clock.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


def parse(script):
    """(event start, event end, [(word start, word end, text)]) of every event."""
    events = []
    for row in script.splitlines():
        if row.startswith("Dialogue: "):
            fields = row.removeprefix("Dialogue: ").split(",", 9)
            now, words = seconds(fields[1]), []
            for kind, length, text in re.findall(r"\{\\(kf?)(\d+)\}((?:\\\{|\\\}|[^{}])*)", fields[9]):
                if kind == "kf":
                    words.append((now, now + int(length) / 100, text))
                now += int(length) / 100
            events.append((seconds(fields[1]), seconds(fields[2]), words))
    return events


def test_words_fill_when_they_are_sung():
    events = parse(ass.script(LINES, "T"))
    for line, (start, end, words) in zip(LINES, events, strict=True):
        assert end == pytest.approx(line.end, abs=0.006)
        assert line.start - 1.01 <= start <= line.start
        for word, (begin, stop, _) in zip(line.words, words, strict=True):
            assert begin == pytest.approx(word.start, abs=0.006)
            assert stop == pytest.approx(word.end, abs=0.006)


def test_a_line_shows_a_second_early_but_not_over_the_one_before():
    starts = [event[0] for event in parse(ass.script(LINES, "T"))]
    assert starts == pytest.approx([0.0, 1.50, 7324.68])


def test_braces_and_backslashes_stay_text():
    script = ass.script(LINES, "{T}")
    words = [text for _, _, words in parse(script) for _, _, text in words]
    assert words[2:4] == ["\\{\\\u2060k9\\}", " back\\\u2060Nslash"]
    assert "Title: {T}\n" in script


def test_ffmpeg_reads_the_script(tmp_path):
    path = tmp_path / "karaoke.ass"
    path.write_text(ass.script(LINES, "T"), encoding="utf-8")
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux() if packet.size]
        assert container.format.name == "ass"
        times = [float(packet.pts * packet.time_base) for packet in packets]
    assert times == pytest.approx([0.0, 1.50, 7324.68])
