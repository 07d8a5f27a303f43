"""Words before the voice begins, and lines whose words take no time."""

import pytest

from models.unsung import cut_instant, fit_words


def segment(*words, **fields):
    rows = [{"word": text, "start": start, "end": end, "probability": 0.9} for text, start, end in words]
    text = "".join(word[0] for word in words)
    return {"id": 0, "start": rows[0]["start"], "end": rows[-1]["end"], "text": text, "words": rows, **fields}


def times(segments):
    return [(s["start"], s["end"], [(w["start"], w["end"]) for w in s["words"]]) for s in segments]


def test_a_line_that_is_hardly_heard_and_takes_no_time_is_left_out():
    unsung = [(" he", 20.4, 20.4), (" will", 20.4, 20.4), (" go", 20.4, 20.4), (" baby", 20.4, 28.4)]
    sung = [(" oh", 14.2, 14.2), (" my", 14.2, 14.2), (" silver", 14.2, 15.0), (" river", 15.0, 16.0)]
    kept = [
        segment(*sung, confidence=0.4), segment(*unsung, confidence=0.5), segment(*unsung[:2], confidence=0.4),
        {"start": 31.0, "end": 33.0, "text": " come home", "confidence": 0.4},
    ]  # fmt: skip
    assert cut_instant([*kept[:2], segment(*unsung, confidence=0.49), *kept[2:]]) == kept
    assert cut_instant([]) == []


def test_words_begin_and_end_with_the_voice():
    first = segment((" no", 2.0, 3.4), (" more", 3.4, 4.0), id=7, seek=0)
    second = segment((" turn", 8.0, 9.0), (" around", 9.0, 12.0), id=8, seek=0)
    fitted = fit_words([first, second], [(3.1, 4.2), (8.0, 10.5)])
    assert times(fitted) == [(3.1, 4.0, [(3.1, 3.4), (3.4, 4.0)]), (8.0, 10.5, [(8.0, 9.0), (9.0, 10.5)])]
    assert first["start"] == first["words"][0]["start"] == 2.0, "what was given is left as it was"
    for given, made in zip([first, second], fitted, strict=True):
        assert {key for key in given if made[key] != given[key]} <= {"start", "end", "words"}
        assert [word["word"] for word in made["words"]] == [word["word"] for word in given["words"]]


@pytest.mark.parametrize("words", [{}, {"words": []}])
def test_a_segment_without_word_times_stays_as_it_is(words):
    untimed = {"id": 0, "start": 1.0, "end": 4.0, "text": " come home", **words}
    assert fit_words([untimed], [(2.0, 3.0)]) == [untimed]
    sung = segment((" oh", 5.0, 6.5))
    assert fit_words([untimed, sung], [(5.5, 6.5)])[0] == untimed
    assert times(fit_words([untimed, sung], [(5.5, 6.5)])[1:]) == [(5.5, 6.5, [(5.5, 6.5)])]


def test_no_word_is_moved_behind_the_end():
    crowded = segment((" oh", 29.9, 30.0), (" my", 30.0, 30.0), (" love", 30.0, 30.0))
    (fitted,) = fit_words([crowded], [(20.0, 30.0)])
    assert (fitted["end"], max(word["end"] for word in fitted["words"])) == (30.0, 30.0)
