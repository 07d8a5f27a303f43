"""Reading timed words and keeping them in order."""

import json
from itertools import pairwise

import pytest

from errors import InvalidInput
from models.words import MIN_WORD_SECONDS, Word, fit, read, tidy, voiced


def transcription(tmp_path, **fields):
    path = tmp_path / "transcription_tiny.json"
    path.write_text(json.dumps({"text": "", "language": "en", "segments": [], **fields}), encoding="utf-8")
    return path


def segment(*words, **fields):
    rows = [{"word": text, "start": start, "end": end, "probability": 0.9} for text, start, end in words]
    return {"id": 0, "start": rows[0]["start"], "end": rows[-1]["end"], "text": "".join(w[0] for w in words),
            "words": rows, **fields}


def test_without_words_there_is_nothing_to_do():
    assert tidy([]) == fit([], [(0.0, 1.0)]) == voiced([], [(0.0, 1.0)]) == []


def test_tidy_words_never_overlap_and_zero_length_ones_get_a_little():
    raw = [Word(" a", 1.0, 3.0), Word(" b", 2.0, 2.0), Word(" c", 2.0, 2.0), Word(" d", 1.5, 5.0), Word(" e", 9.0, 9.0)]
    words = tidy(raw)
    assert [word.text for word in words] == [word.text for word in raw]
    assert words[0].end == words[1].start == 2.0
    assert all(word.end - word.start >= MIN_WORD_SECONDS - 1e-9 for word in words)
    assert all(a.end <= b.start for a, b in pairwise(words))
    assert tidy(words) == words


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


VOICE = [(1.0, 2.0), (5.0, 8.0)]


def test_words_where_nobody_sings_are_left_out():
    words = [
        Word(" no", 0.2, 0.9), Word(" early", 0.5, 1.5), Word(" no", 2.1, 2.3), Word(" rest", 2.5, 5.5),
        Word(" last", 7.9, 9.0), Word(" no", 9.0, 9.5),
    ]
    assert [word.text for word in voiced(words, VOICE)] == [" early", " rest", " last"]
    assert voiced(words, []) == []


def test_words_are_cut_to_the_voice():
    words = [Word(" early", 0.5, 1.5), Word(" none", 3.0, 4.0), Word(" rest", 4.1, 5.5), Word(" both", 5.5, 9.0)]
    assert fit(words, VOICE) == [
        Word(" early", 1.0, 1.5), Word(" none", 3.0, 4.0), Word(" rest", 5.0, 5.5), Word(" both", 5.5, 8.0)
    ]
    assert fit(words, []) == words


def test_a_word_over_two_passages_goes_where_most_of_it_is():
    assert fit([Word(" a", 1.8, 5.6)], VOICE) == [Word(" a", 5.0, 5.6)]
    assert fit([Word(" a", 1.2, 5.6)], VOICE) == [Word(" a", 1.2, 2.0)]


def test_a_word_over_two_passages_goes_where_the_word_beside_it_is_sung():
    assert fit([Word(" the", 1.2, 5.2), Word(" red", 5.2, 6.0)], VOICE)[0] == Word(" the", 5.0, 5.2)
    assert fit([Word(" the", 1.2, 1.8), Word(" night", 1.8, 6.0)], VOICE)[1] == Word(" night", 1.8, 2.0)
    apart = [Word(" the", 1.2, 5.2), Word(" red", 5.2, 6.0, segment=1)]
    assert fit(apart, VOICE)[0] == Word(" the", 1.2, 2.0), "another line"


def test_a_word_before_a_rest_begins_with_the_next_one_that_was_moved_over_it():
    first, second = fit([Word(" hey", 2.5, 3.0), Word(" baby", 3.0, 6.0)], VOICE)
    assert (first.start, second.end) == (5.0, 6.0)
    assert first.end == second.start == pytest.approx(5.0 + MIN_WORD_SECONDS)
    alone = [Word(" hey", 2.5, 3.0), Word(" baby", 3.5, 6.0)]
    assert fit(alone, VOICE)[0] == alone[0]
