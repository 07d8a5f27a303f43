"""Subtitle files, read back by a parser of each format."""

import re
from dataclasses import dataclass, field

import av
import pytest

from models import subtitles


@dataclass
class Timed:
    text: str
    start: float
    end: float
    words: list["Timed"] = field(default_factory=list)


LINES = [
    Timed(" Ђорђе – песма", 0.0, 1.9994),
    Timed(" one\n\ntwo\0 -->three & <b>four</b>", 2.0, 3.5),
    Timed("  ", 3.5, 3.6),
    Timed(" 夜に駆ける", 59.9996, 61.0),
    Timed(" [late] line", 3 * 3600 + 59 * 60 + 59.5, 4 * 3600),
]


def decoded(path):
    """The cues of a subtitle file as FFmpeg reads them: (start, duration, text), times in seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.subtitles[0]
        return [
            (float(packet.pts * stream.time_base), float(packet.duration * stream.time_base), bytes(packet).decode())
            for packet in container.demux(stream)
            if packet.size
        ]


def test_txt_has_one_line_for_each_line_with_text():
    assert subtitles.txt(LINES).splitlines() == [
        "Ђорђе – песма", "one two -->three & <b>four</b>", "夜に駆ける", "[late] line"
    ]


@pytest.mark.parametrize("format_name", ["srt", "vtt"])
def test_ffmpeg_reads_the_times_and_texts_back(tmp_path, format_name):
    path = tmp_path / f"a.{format_name}"
    path.write_text(getattr(subtitles, format_name)(LINES), encoding="utf-8", newline="\n")
    cues = decoded(path)
    times = [(start, start + length) for start, length, _ in cues]
    assert times == [
        pytest.approx((0.0, 1.999), abs=1e-6),
        pytest.approx((2.0, 3.5)),
        pytest.approx((60.0, 61.0)),
        pytest.approx((14399.5, 14400.0)),
    ]
    expected = {
        "srt": ["Ђорђе – песма", "one two ->three & <b>four</b>", "夜に駆ける", "[late] line"],
        "vtt": ["Ђорђе – песма", "one two --&gt;three &amp; &lt;b&gt;four&lt;/b&gt;", "夜に駆ける", "[late] line"],
    }
    assert [text for *_, text in cues] == expected[format_name]


def test_srt_counts_its_cues_and_vtt_begins_with_its_name():
    assert re.findall(r"^(\d+)\n\d\d:\d\d:\d\d,\d{3} --> ", subtitles.srt(LINES), re.MULTILINE) == ["1", "2", "3", "4"]
    assert subtitles.vtt([]) == "WEBVTT\n\n"
    assert subtitles.srt([]) == subtitles.txt([]) == subtitles.lrc([]) == ""


def test_lrc_times_tags_and_brackets():
    text = subtitles.lrc(LINES, {"ti": "Песма [live]", "ar": " ", "length": "04:00"})
    assert text.splitlines() == [
        "[ti:Песма (live)]",
        "[length:04:00]",
        "[00:00.00]Ђорђе – песма",
        "[00:02.00]one two --›three & ‹b›four‹/b›",
        "[01:00.00]夜に駆ける",
        "[239:59.50](late) line",
    ]


def test_enhanced_lrc_times_every_word_and_the_end():
    words = [Timed(" don't", 1.0, 1.504), Timed(" <stop>", 1.504, 2.0), Timed("!", 2.0, 2.25)]
    text = subtitles.enhanced_lrc([Timed(" don't <stop>!", 1.0, 2.25, words), Timed("", 3, 4)], {"ti": "A"})
    assert text == "[ti:A]\n[00:01.00]<00:01.00>don't <00:01.50>‹stop›<00:02.00>!<00:02.25>\n"
    bare = re.sub(r"<\d+:\d\d\.\d\d>", "", text.splitlines()[1])
    assert bare == "[00:01.00]don't ‹stop›!"
