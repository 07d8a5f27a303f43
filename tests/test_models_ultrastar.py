"""UltraStar songs, parsed back by the rules of the format's own specification."""

import re
from itertools import pairwise

import pytest

from models import ultrastar
from models.lines import Line
from models.words import Word

LINES = [
    Line((Word(" Hello", 12.3456, 12.8), Word(" you", 12.8, 12.81), Word(" two", 12.84, 14.0))),
    Line((Word(" 夜", 7300.0, 7300.5), Word("に", 7300.5, 7301.0))),
]
PITCHES = {12.3456: -5, 12.8: 0, 12.84: None, 7300.0: 24, 7300.5: 1}


def song(lines=LINES, **fields):
    known = {"title": "T", "artist": "A", "audio_file": "karaoke.mp3"} | fields
    return ultrastar.song(lines, semitones=lambda start, end: PITCHES[start], **known)


def parse(text):
    """(header, lines of (kind, start seconds, end seconds, pitch, text))"""
    header, phrases = {}, [[]]
    rows = text.splitlines()
    assert rows.pop() == "E"
    for row in rows:
        if found := re.fullmatch(r"#([A-Z0-9]+):(.*)", row):
            header[found[1]] = found[2]
        elif found := re.fullmatch(r"- (\d+)", row):
            assert phrases[-1]
            phrases.append([])
        else:
            kind, start, length, pitch, word = re.fullmatch(r"([:F]) (\d+) (\d+) (-?\d+) (.+)", row).groups()
            beat = 60 / (4 * float(header["BPM"].replace(",", ".")))
            begin = float(header["GAP"]) / 1000 + int(start) * beat
            phrases[-1].append((kind, begin, begin + int(length) * beat, int(pitch), word))
    return header, phrases


def test_notes_stand_where_the_words_are_sung():
    header, phrases = parse(song(title="Đorđe: песма", artist="#1"))
    assert header["TITLE"] == "Đorđe: песма"
    assert (header["ARTIST"], header["MP3"], header["VERSION"]) == ("#1", "karaoke.mp3", "1.0.0")
    assert phrases[0][0][1] == pytest.approx(12.346)
    for line, phrase in zip(LINES, phrases, strict=True):
        assert "".join(note[4] for note in phrase) == line.text
        for word, (_, start, _, _, _) in zip(line.words, phrase, strict=True):
            assert start == pytest.approx(word.start, abs=0.02)


def test_pitch_is_relative_to_c4_and_a_word_without_one_is_freestyle():
    _, phrases = parse(song())
    assert [note[0] for note in phrases[0]] == [":", ":", "F"]
    assert [note[3] for phrase in phrases for note in phrase] == [-5, 0, 0, 24, 1]


def test_notes_never_overlap_and_last_at_least_a_beat():
    crowd = [Line(tuple(Word(f" {i}", 12.8, 12.8) for i in range(20)))]
    for lines in (LINES, crowd):
        notes = [note for phrase in parse(song(lines))[1] for note in phrase]
        assert all(note[2] > note[1] for note in notes)
        assert all(a[2] <= b[1] + 1e-9 for a, b in pairwise(notes))


def test_the_format_wants_a_title_and_an_artist():
    header, _ = parse(song(title="", artist=""))
    assert (header["TITLE"], header["ARTIST"]) == ("Unknown", "Unknown")
