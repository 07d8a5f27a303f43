"""Reading timed words and breaking them into lines."""

import json
from itertools import pairwise

import pytest

from errors import InvalidInput
from models.lines import MIN_WORD_SECONDS, Word, by_segment, read, split, tidy


def sung(text, *, start=0.0, each=0.4, segment=0):
    """The words of a text sung evenly, without gaps; "|" is a pause of 0.7 s."""
    words, now = [], start
    for piece in text.split(" "):
        if piece == "|":
            now += 0.7
            continue
        words.append(Word(" " + piece, now, now + each, 0.5, segment))
        now += each
    return words


def texts(lines):
    return [line.text for line in lines]


def transcription(tmp_path, **fields):
    path = tmp_path / "transcription_tiny.json"
    path.write_text(json.dumps({"text": "", "language": "en", "segments": [], **fields}), encoding="utf-8")
    return path


def segment(*words, **fields):
    rows = [{"word": text, "start": start, "end": end, "probability": 0.9} for text, start, end in words]
    return {"id": 0, "start": rows[0]["start"], "end": rows[-1]["end"], "text": "".join(w[0] for w in words),
            "words": rows, **fields}


def test_lines_break_at_pauses_and_start_with_their_first_word():
    words = sung("and so it goes | until the morning comes | again")
    lines = split(words, 40)
    assert texts(lines) == ["and so it goes", "until the morning comes", "again"]
    assert [line.start for line in lines] == [words[0].start, words[4].start, words[8].start]
    assert [line.end for line in lines] == [words[3].end, words[7].end, words[8].end]


def test_a_long_run_breaks_by_length_with_no_line_left_nearly_empty():
    words = sung("one two three four five six seven eight nine ten eleven twelve thirteen fourteen")
    lines = split(words, 30)
    assert " ".join(texts(lines)) == "".join(word.text for word in words).strip()
    assert all(10 <= len(line.text) <= 30 for line in lines)


def test_punctuation_and_segment_ends_choose_between_equal_places():
    assert texts(split(sung("I saw her standing there, she smiled at me and left"), 30))[0].endswith("there,")
    words = sung("I saw her standing there") + sung("she smiled at me and left", start=2.0, segment=1)
    assert texts(split(words, 30)) == ["I saw her standing there", "she smiled at me and left"]


def test_wide_characters_count_twice_and_a_too_long_word_stays_whole():
    words = [Word(c, i * 0.3, i * 0.3 + 0.3) for i, c in enumerate("夜に駆ける君の声が聞こえる")]
    assert all(len(line.text) <= 8 for line in split(words, 16))
    assert "".join(texts(split(words, 16))) == "夜に駆ける君の声が聞こえる"
    assert texts(split(sung("a " + "o" * 50 + " b"), 20)) == ["a", "o" * 50, "b"]


def test_tidy_words_never_overlap_and_zero_length_ones_get_a_little():
    raw = [Word(" a", 1.0, 3.0), Word(" b", 2.0, 2.0), Word(" c", 2.0, 2.0), Word(" d", 1.5, 5.0), Word(" e", 9.0, 9.0)]
    words = tidy(raw)
    assert [word.text for word in words] == [word.text for word in raw]
    assert words[0].end == words[1].start == 2.0
    assert all(word.end - word.start >= MIN_WORD_SECONDS - 1e-9 for word in words)
    assert all(a.end <= b.start for a, b in pairwise(words))
    assert tidy(words) == words


def test_confidence_is_the_mean_of_what_is_known():
    line = by_segment([Word("a", 0, 1, 0.5), Word("b", 1, 2, 1.0), Word("c", 2, 3)])[0]
    assert line.confidence == 0.75
    assert by_segment([Word("a", 0, 1)])[0].confidence is None


def test_read_takes_words_language_and_segments(tmp_path):
    path = transcription(
        tmp_path, aligned=True, language="de",
        segments=[segment((" Guten", 1, 1.5), (" Tag", 1.5, 2)), segment((" \n", 3, 3), ("\0Du\u200d", 4, 5))],
    )
    heard = read(path)
    assert (heard.language, heard.aligned) == ("de", True)
    assert heard.words == [
        Word(" Guten", 1, 1.5, 0.9, 0), Word(" Tag", 1.5, 2, 0.9, 0), Word("Du\u200d", 4, 5, 0.9, 1)
    ]
    assert texts(by_segment(heard.words)) == ["Guten Tag", "Du\u200d"]


def test_a_segment_without_word_times_stays_whole(tmp_path):
    path = transcription(tmp_path, segments=[{"start": 2.0, "end": 6.0, "text": " la la la"}])
    assert read(path).words == [Word(" la la la", 2.0, 6.0)]


@pytest.mark.parametrize("body", ["", "[]", '{"segments": [{"start": -1, "end": 2, "text": "a"}]}', "\xff",
                                  '{"segments": [{"start": NaN, "end": 2, "text": "a"}]}'])
def test_what_is_no_transcription_is_refused_by_name(tmp_path, body):
    path = tmp_path / "transcription_tiny.json"
    path.write_text(body, encoding="latin-1")
    with pytest.raises(InvalidInput, match=r"transcription_tiny\.json"):
        read(path)
