"""Lines that a transcriber repeats because it hears nothing, and choruses."""

import pytest

from models.repetition import MAX_REPEATS, cut_repetition, is_loop


def lines(*texts, confidence):
    return [{"text": text, "confidence": confidence} for text in texts]


def test_a_run_of_doubtful_lines_is_cut_to_its_first():
    before, after = lines(" Hello.", confidence=0.9), lines(" Bye.", confidence=0.2)
    loop = lines(*[" Thank you.", " thank you", " Thank you!"] * 3, confidence=0.3)
    assert cut_repetition(before + loop + after) == before + loop[:1] + after


def test_a_chorus_stays():
    sung = lines(*[" La la la"] * 12, confidence=0.8)
    assert cut_repetition(sung) == sung
    mumbled = lines(*[" Oh yeah"] * MAX_REPEATS, confidence=0.1)
    assert cut_repetition(mumbled + lines(" no", confidence=0.1) + mumbled) == [
        *mumbled, *lines(" no", confidence=0.1), *mumbled
    ]
    verses = lines(*[" Come back", " to me"] * 8, confidence=0.1)
    assert cut_repetition(verses) == verses


def test_some_lines_that_are_well_heard_save_a_run():
    run = lines(*[" Hey Jude"] * 4, confidence=0.9) + lines(*[" hey, Jude"] * 4, confidence=0.3)
    assert cut_repetition(run) == run


def test_segments_without_text_are_left_alone():
    empty = lines(*["", " ", "..."] * 4, confidence=0.0)
    assert cut_repetition(empty) == empty
    assert cut_repetition([]) == []


def test_letters_of_every_script_count():
    loop = lines(*[" नमस्ते", " ありがとう"] * 6, confidence=0.1)
    assert cut_repetition(loop) == loop
    assert len(cut_repetition(lines(*[" ありがとう。"] * 6, confidence=0.1))) == 1


@pytest.mark.parametrize("line", [["you"], ["thank", "you"], ["for", "watching", "this", "video"]])
def test_words_one_by_one_are_a_loop_from_the_fifth_time_on(line):
    heard = [("hello", 0.2), *[(word, 0.3) for word in line * 7]]
    looping = [is_loop(heard[:count]) for count in range(len(heard) + 1)]
    begins = looping.index(True) - 1 - 1  # after how many words of the lines
    assert (begins, set(looping[begins + 2 :])) == (MAX_REPEATS * len(line), {True})
    assert not is_loop([*heard, ("goodbye", 0.2)])


def test_a_chorus_word_by_word_is_no_loop():
    assert not is_loop([("la", 0.6)] * 30)
    assert not is_loop([(word, 0.1) for word in ["oh", "yeah"] * MAX_REPEATS])
    assert not is_loop([])
