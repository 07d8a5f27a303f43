"""Breaking timed words into lines."""

from models.lines import by_segment, split
from models.words import Word


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


def test_punctuation_and_segment_ends_choose_where_to_break():
    letters = "aaaa bbbb cccc dddd eeee ffff gggg"
    assert texts(split(sung(letters), 24))[0] == "aaaa bbbb cccc dddd"
    for mark in ".,":
        assert texts(split(sung(letters.replace("cccc", "ccc" + mark)), 24))[0].endswith("ccc" + mark)
    words = sung("aaaa bbbb cccc") + sung("dddd eeee ffff gggg", start=1.2, segment=1)
    assert texts(split(words, 24)) == ["aaaa bbbb cccc", "dddd eeee ffff gggg"]


def test_a_segment_that_is_too_long_for_a_line_gives_none_of_its_words_to_the_next():
    words = sung("she will turn above the forest hold me tight")
    words += sung("we begin behind the heaven tonight", start=words[-1].end, segment=1)
    assert texts(split(words, 42))[-1] == "we begin behind the heaven tonight"


def test_a_full_stop_counts_more_than_a_comma():
    assert texts(split(sung("aaaa bbb. cccc ddd, eeee ffff"), 24)) == ["aaaa bbb.", "cccc ddd, eeee ffff"]
    assert texts(split(sung("aaaa bbb, cccc ddd. eeee ffff"), 24)) == ["aaaa bbb, cccc ddd.", "eeee ffff"]


def test_wide_characters_count_twice_and_a_too_long_word_stays_whole():
    words = [Word(c, i * 0.3, i * 0.3 + 0.3) for i, c in enumerate("夜に駆ける君の声が聞こえる")]
    assert all(len(line.text) <= 8 for line in split(words, 16))
    assert "".join(texts(split(words, 16))) == "夜に駆ける君の声が聞こえる"
    assert texts(split(sung("a " + "o" * 50 + " b"), 20)) == ["a", "o" * 50, "b"]


def test_confidence_is_the_mean_of_what_is_known():
    line = by_segment([Word("a", 0, 1, 0.5), Word("b", 1, 2, 1.0), Word("c", 2, 3)])[0]
    assert line.confidence == 0.75
    assert by_segment([Word("a", 0, 1)])[0].confidence is None


def test_given_lines_are_kept_one_for_each_segment():
    words = sung("a b", segment=0) + sung("c", start=0.8, segment=2) + sung("d e", start=9, segment=3)
    assert texts(by_segment(words)) == ["a b", "c", "d e"]
