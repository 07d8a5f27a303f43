"""Timing given lyrics: with random weights its structure, since nothing is really heard."""

import json
from itertools import pairwise

import numpy as np
import pytest

from errors import Cancelled, InvalidInput
from models import audio, voice, whisper, words
from models.alignment import sung_lines
from models.progress import share
from tests import render

RATE = 16000
LYRICS = """
[Verse 1: both]
Silver river, carry me (home)
over the mountain — don't  stop

under the rock-n-roll moon
"""
LINES = ["Silver river, carry me (home)", "over the mountain — don't stop", "under the rock-n-roll moon"]


@pytest.fixture(scope="module")
def model(weights_dir):
    return whisper.load("tiny", "cpu", weights_dir / "whisper" / "tiny.pt")


@pytest.fixture(scope="module")
def speech():
    """Four seconds of speech, as samples (n,) at RATE."""
    spoken = render.say("silver river carry me home over the mountain under the moon")
    time = np.arange(int(len(spoken) * RATE / render.RATE)) / RATE
    return np.tile(np.interp(time, np.arange(len(spoken)) / render.RATE, spoken).astype(np.float32), 2)[: 4 * RATE]


def recording(path, *pieces):
    with audio.Writer(path, RATE, 1) as writer:
        writer.write(np.concatenate(pieces)[None])
    return path


def silence(seconds):
    return np.zeros(round(seconds * RATE), np.float32)


def told(fractions):
    return lambda fraction, message=None: fractions.append(fraction)


def align(model, path, lyrics, report, language=None):
    """Lyrics as run() times them."""
    loudness = voice.listen(path, share(report, 0.0, whisper.LISTENED))
    return whisper._align(model, path, lyrics, loudness, report, language)[0]


def assert_in_order(lines, passages):
    """Times are monotone and every word lies in one passage."""
    timed = [word for line in lines for word in line.words]
    assert all(word.start <= word.end for word in timed)
    assert all(a.end <= b.start + 0.01 for a, b in pairwise(timed))
    assert all(any(a - 0.01 <= word.start and word.end <= b + 0.01 for a, b in passages) for word in timed)
    assert all(0 <= word.probability <= 1 for word in timed)


def test_every_word_once_in_order_inside_the_voice(model, speech, tmp_path):
    path = recording(tmp_path / "a.wav", silence(5), speech, silence(8), speech, silence(4))
    fractions = []
    lines = align(model, path, LYRICS.splitlines(), told(fractions))
    assert ["".join(word.text for word in line.words) for line in lines] == [f" {line}" for line in LINES]
    assert [[word.text.strip() for word in line.words] for line in lines] == [line.split() for line in LINES]
    assert_in_order(lines, [(4.5, 9.5), (16.5, 21.5)])
    assert fractions == sorted(fractions)


def test_words_spread_over_a_long_voice_that_is_not_understood(model, speech, tmp_path):
    path = recording(tmp_path / "a.wav", *[speech] * 25)
    lines = align(model, path, ["one two three four five six"] * 10, lambda fraction, message=None: None, "en")
    assert len(lines) == 10
    assert_in_order(lines, [(0, 100)])
    starts = [line.words[0].start for line in lines]
    assert {int(start // 25) for start in starts} == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("language", "line", "expected"),
    [
        ("ja", "「夜に、駆」る。", ["「夜", "に、", "駆」", "る。"]),
        ("sr", "Ђорђе – песма", ["Ђорђе", "–", "песма"]),
        ("en", "<|endoftext|> don't", ["<|endoftext|>", "don't"]),
        ("th", "ไทย", ["ไ", "ท", "ย"]),
    ],
)
def test_words_of_any_script(model, speech, tmp_path, language, line, expected):
    path = recording(tmp_path / "a.wav", speech)
    (timed,) = align(model, path, [line], lambda fraction, message=None: None, language)
    assert [word.text.strip() for word in timed.words] == expected


def test_run_with_lyrics_writes_them_with_their_times(model, speech, tmp_path):
    path = recording(tmp_path / "a.wav", silence(5), speech)
    lyrics = "Ђорђе – песма\n\n夜に駆ける\n"
    fractions = []
    result = whisper.run(model, whisper.Request(lyrics=lyrics, language="sr"), path, tmp_path, told(fractions))
    heard = json.loads((tmp_path / result.transcription_file).read_text("utf-8"))
    assert heard["aligned"] is True
    assert heard["language"] == result.language == "sr"
    assert [segment["text"] for segment in heard["segments"]] == [" Ђорђе – песма", " 夜に駆ける"]
    for segment in heard["segments"]:
        assert segment["start"] == segment["words"][0]["start"]
        assert segment["end"] == segment["words"][-1]["end"]
        assert 0 <= segment["confidence"] <= 1
    transcript = words.read(tmp_path / result.transcription_file)
    assert [word.text for word in transcript.words] == [" Ђорђе", " –", " песма", " 夜に駆ける"]
    assert (tmp_path / result.text_file).read_text("utf-8") == "Ђорђе – песма\n夜に駆ける\n"
    assert "]Ђорђе – песма\n" in (tmp_path / "transcription_tiny.lrc").read_text("utf-8")
    assert fractions[-1] == 1.0


def test_without_voice_nothing_is_timed(model, tmp_path):
    path = recording(tmp_path / "a.wav", silence(6))
    result = whisper.run(model, whisper.Request(lyrics=LYRICS), path, tmp_path, lambda fraction, message=None: None)
    assert (result.segment_count, result.message) == (0, "No voice found in this recording.")


def test_lyrics_that_cannot_be_sung_so_fast_are_refused(model, speech, tmp_path):
    path = recording(tmp_path / "a.wav", speech)
    with pytest.raises(InvalidInput, match="700 words"):
        align(model, path, ["la " * 700], lambda fraction, message=None: None, "en")
    with pytest.raises(InvalidInput, match="no words"):
        align(model, path, ["", "[Chorus]"], lambda fraction, message=None: None)


def test_cancelling_leaves_the_model_whole(model, speech, tmp_path):
    path = recording(tmp_path / "a.wav", speech)
    fractions = []
    expected = align(model, path, LINES, told(fractions))
    for stop in (1, len(fractions) - 3, len(fractions) - 1):
        countdown = iter(range(stop))

        def report(fraction, message=None, countdown=countdown):
            if next(countdown, None) is None:
                raise Cancelled

        with pytest.raises(Cancelled):
            align(model, path, LINES, report)
    assert align(model, path, LINES, told([])) == expected


def test_headings_and_blank_lines_are_not_sung():
    assert sung_lines(LYRICS.splitlines()) == LINES
    assert sung_lines(["[Outro]", "  ", "[oh] yeah"]) == ["[oh] yeah"]
