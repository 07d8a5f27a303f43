"""Live transcription's core: when there is voice, which words are final, what the clock says, what it holds."""

import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import psutil
import pytest

from errors import InvalidInput
from models import live
from models.live import SAMPLE_RATE, SINGING, SPEECH, Final, Gate, Session, Stream, Word
from models.whisper import Whisper

FIRST, STEP = 2.0**-4, 2.0**-27  # sample n of a speech is FIRST + n * STEP, so that an ear knows where it is
LINE = [
    "silver", "river", "carry", "me", "home", "over", "the", "mountain", "under", "the", "moon", "every", "morning",
    "sing", "me", "a", "song",
]  # fmt: skip


@dataclass
class Speech:
    """Words said at known times, and an ear that hears them right, but for a word that is cut off."""

    words: Sequence[tuple[str, float, float]]
    tail_seconds: float = 2.0
    probability: float = 0.9
    shift_seconds: float = 0.0  # by which each hearing places all words later than the one before it, by turns
    heard: list[tuple[float, float]] = field(default_factory=list)  # where each hearing began and ended
    prompts: list[str] = field(default_factory=list)

    @property
    def audio(self) -> np.ndarray:
        """Nothing but the words."""
        samples = np.zeros(round((self.words[-1][2] + self.tail_seconds) * SAMPLE_RATE), np.float32)
        for _, start, end in self.words:
            place = np.arange(round(start * SAMPLE_RATE), round(end * SAMPLE_RATE))
            samples[place] = FIRST + place * STEP
        return samples

    def hear(self, samples: np.ndarray, before: str) -> list[Word]:
        """The words in some samples of the audio."""
        first = int(np.flatnonzero(samples)[0])
        begin = (round((float(samples[first]) - FIRST) / STEP) - first) / SAMPLE_RATE
        length = len(samples) / SAMPLE_RATE
        self.heard.append((begin, begin + length))
        self.prompts.append(before)
        later = self.shift_seconds * (len(self.heard) % 2)
        return [
            Word(f" {text}" if end - begin <= length else f" {text[:1]}—", max(start - begin + later, 0.0),
                 min(end - begin + later, length), self.probability)
            for text, start, end in self.words
            if start - begin < length - 0.05 and end - begin > 0.05
        ]  # fmt: skip


def said(texts: Sequence[str], *, word_seconds: float = 0.4, first_at: float = 1.0) -> list[tuple[str, float, float]]:
    """Words one after the other without a pause."""
    return [(text, first_at + n * word_seconds, first_at + (n + 1) * word_seconds) for n, text in enumerate(texts)]


def listened(
    speech: Speech, *, gate: Gate = SPEECH, piece_seconds: float = 0.1, shown: list[str] | None = None
) -> list[Final]:
    """The finals of a speech that comes in pieces; `shown` gets the text that may change after each."""
    stream, finals, audio = Stream(speech.hear, gate), [], speech.audio
    piece = round(piece_seconds * SAMPLE_RATE)
    for start in range(0, len(audio), piece):
        stream.add(audio[start : start + piece])
        more = True
        while more:
            if (stepped := stream.step()) is not None:
                finals += stepped[0]
                if shown is not None:
                    shown.append(stepped[1])
            more = stream.behind
    assert stream.seconds == pytest.approx(len(audio) / SAMPLE_RATE)
    return finals + stream.finish()


def texts(finals: Sequence[Final]) -> list[str]:
    """All final words in order."""
    return " ".join(final.text for final in finals).split()


def starts(finals: Sequence[Final]) -> list[float]:
    """When each final word begins."""
    return [word.start for final in finals for word in final.words]


def test_what_is_final_is_what_was_said_each_word_once_and_at_its_time() -> None:
    speech = Speech(said(LINE))
    finals = listened(speech)
    assert texts(finals) == LINE
    assert starts(finals) == pytest.approx([start for _, start, _ in speech.words], abs=1e-3)
    assert len(finals) > 2, "words become final while somebody speaks"


def test_a_word_is_final_only_after_two_hearings_in_a_row_agreed_on_it() -> None:
    heard = iter(["sil", "silver rover car", "silver river", "silver river carry", "silver river carry me"])

    def hear(samples: np.ndarray, before: str) -> list[Word]:
        return [Word(f" {text}", 0.5 + n * 0.5, 1.0 + n * 0.5, 0.9) for n, text in enumerate(next(heard).split())]

    stream, steps = Stream(hear), []
    stream.add(np.full(SAMPLE_RATE // 2, FIRST, np.float32))
    stream.step()
    for _ in range(5):
        stream.add(np.full(SAMPLE_RATE, FIRST, np.float32))
        steps.append(stream.step())
    shown = [(texts(step[0]), step[1]) for step in steps if step is not None]
    assert shown == [
        ([], "sil"), ([], "silver rover car"), (["silver"], "river"), (["river"], "carry"), (["carry"], "me")
    ]  # fmt: skip


def test_a_final_was_shown_before_as_text_that_may_change() -> None:
    shown: list[str] = []
    speech = Speech(said(LINE), tail_seconds=0.0)
    stream, before = Stream(speech.hear), ""
    for piece in np.array_split(speech.audio, 80):
        stream.add(piece)
        if (stepped := stream.step()) is not None:
            text = " ".join(texts(stepped[0]))
            assert before.startswith(text)
            before = stepped[1]
            shown.append(before)
    assert any(text.endswith("—") for text in shown), "a word that is cut off was shown, and was not final"


def test_a_pause_makes_all_of_it_final_at_once() -> None:
    first, second = said(LINE[:3]), said(LINE[3:5], first_at=4.0)
    shown: list[str] = []
    speech = Speech([*first, *second])
    finals = listened(speech, shown=shown)
    assert texts(finals) == LINE[:5]
    ends = [end for _, end in speech.heard]
    for passage, others in ((first, [end for end in ends if end < 4.0]), (second, ends)):
        assert max(others) <= passage[-1][2] + live.AFTER_SECONDS + 0.1, "all is heard before the pause is over"
    assert shown[-1] == ""


@pytest.mark.parametrize(("gate", "gap_seconds", "passages"), [(SPEECH, 0.5, 1), (SPEECH, 1.0, 2), (SINGING, 1.0, 1)])
def test_singers_may_breathe_longer_than_speakers(gate: Gate, gap_seconds: float, passages: int) -> None:
    speech = Speech([("one", 1.0, 1.5), ("two", 1.5 + gap_seconds, 2.0 + gap_seconds)], tail_seconds=3.0)
    assert texts(listened(speech, gate=gate)) == ["one", "two"]
    begins = {round(begin, 1) for begin, _ in speech.heard}
    assert len(begins) == passages


def test_what_comes_at_once_is_heard_as_what_comes_in_time() -> None:
    words = [*said(LINE[:4]), *said(LINE[4:], first_at=20.0)]
    slowly, quickly = Speech(words), Speech(words)
    in_time, at_once = listened(slowly), listened(quickly, piece_seconds=40.0)
    assert texts(at_once) == texts(in_time) == LINE
    assert starts(at_once) == pytest.approx(starts(in_time), abs=1e-3)
    assert len(quickly.heard) == 2, "one hearing for each passage"
    assert max(end - begin for begin, end in quickly.heard) < 8.0, "and the pause between them is none of it"


def test_the_clock_holds_when_audio_was_let_go() -> None:
    words = said([f"{LINE[n % len(LINE)]}{n}" for n in range(200)])
    speech = Speech(words, shift_seconds=0.04)
    finals = listened(speech)
    assert texts(finals) == [text for text, _, _ in words]
    assert starts(finals) == pytest.approx([start for _, start, _ in words], abs=0.05)
    spans = [end - begin for begin, end in speech.heard]
    assert 14.0 < max(spans) < 18.0, "what is final is not heard for ever"
    kept = [(begin, prompt) for (begin, _), prompt in zip(speech.heard, speech.prompts, strict=True) if prompt]
    for begin, prompt in kept[::10]:
        ended = " ".join(text for text, _, end in words if end <= begin + 0.1)
        assert ended.endswith(prompt[-30:]), "only what is no longer heard is told as text before it"
        assert len(prompt) <= live.PROMPT_CHARACTERS


def test_finals_never_go_back_in_time() -> None:
    times = [time for final in listened(Speech(said(LINE), shift_seconds=0.15)) for word in final.words
             for time in (word.start, word.end)]  # fmt: skip
    assert times == sorted(times)


def test_words_are_final_in_the_end_though_no_two_hearings_agree() -> None:
    hearings = iter(range(10_000))

    def hear(samples: np.ndarray, before: str) -> list[Word]:
        number = next(hearings)
        seconds = len(samples) / SAMPLE_RATE
        return [Word(f" w{number}x{n}", float(n), n + 1.0, 0.9) for n in range(int(seconds))]

    stream, finals, most = Stream(hear), [], 0.0
    for _ in range(700):
        stream.add(np.full(SAMPLE_RATE // 10, FIRST, np.float32))
        stepped = stream.step()
        finals += stepped[0] if stepped else []
        most = max(most, stream.seconds - stream.released_seconds)
    assert texts(finals)
    assert most <= live.FORCE_SECONDS + 0.2


def test_long_noise_in_which_nothing_is_understood_is_let_go() -> None:
    stream = Stream(lambda samples, before: [])
    for _ in range(200):
        stream.add(np.full(SAMPLE_RATE, FIRST, np.float32))
        assert stream.step() in (None, ([], ""))
        assert stream.seconds - stream.released_seconds <= live.FORCE_SECONDS + 1


class Network:
    """As much of a network as a session asks before it hears."""

    is_multilingual, num_languages = True, 99


def level(decibel: float, seconds: float) -> np.ndarray:
    """Noise of a level."""
    noise = np.random.default_rng(1).choice([-1.0, 1.0], round(seconds * SAMPLE_RATE))
    return (noise * 10 ** (decibel / 20)).astype(np.float32)


@pytest.mark.parametrize(
    "audio",
    [np.zeros(5 * SAMPLE_RATE, np.float32), level(-55, 5.0), level(-46, 5.0),
     np.concatenate([level(-10, 0.06), level(-60, 3.0)] * 3), np.zeros(0, np.float32), level(0, 0.01)],
    ids=["nothing", "a hum", "below the level at which voice begins", "clicks", "no sample", "less than a frame"],
)  # fmt: skip
def test_silence_is_not_even_heard(audio: np.ndarray) -> None:
    def hear(samples: np.ndarray, before: str) -> list[Word]:
        raise AssertionError("there is nothing to hear")

    stream = Stream(hear)
    stream.add(audio)
    assert stream.step() is None or stream.step() is None
    assert stream.finish() == []
    assert stream.seconds - stream.released_seconds < 1.0


@pytest.mark.parametrize(("gate", "decibel", "ends_at"), [(SPEECH, -46, 4.0), (SPEECH, -53, 2.0), (SINGING, -53, 4.0)])
def test_voice_goes_on_at_a_level_at_which_it_would_not_begin(gate: Gate, decibel: float, ends_at: float) -> None:
    ends: list[float] = []

    def hear(samples: np.ndarray, before: str) -> list[Word]:
        ends.append(stream.released_seconds + len(samples) / SAMPLE_RATE)
        return []

    stream = Stream(hear, gate)
    stream.add(np.concatenate([level(-70, 1.0), level(-30, 1.0), level(decibel, 2.0), level(-70, 2.0)]))
    while stream.behind:
        stream.step()
    assert ends[-1] == pytest.approx(ends_at + live.AFTER_SECONDS, abs=0.05)


def test_a_line_that_is_hardly_heard_again_and_again_is_cut() -> None:
    def heard(probability: float) -> list[str]:
        passages = [word for n in range(8) for word in said(["thank", "you"], first_at=1.0 + 3.0 * n)]
        speech = Speech([*passages, *said(["goodbye"], first_at=30.0)], probability=probability)
        return texts(listened(speech))

    assert heard(0.3) == [*["thank", "you"] * 4, "goodbye"]
    assert heard(0.9) == [*["thank", "you"] * 8, "goodbye"]


@pytest.mark.parametrize(("word_seconds", "lines"), [(0.02, 4), (0.2, 8)])
def test_a_line_that_is_repeated_in_no_time_is_cut_however_certain(word_seconds: float, lines: int) -> None:
    """A loop of Whisper is sure of itself, but there is no sound for its words."""

    def hear(samples: np.ndarray, before: str) -> list[Word]:
        loop = said(["thank", "you"] * 8, word_seconds=word_seconds, first_at=0.3)
        return [Word(f" {text}", start, end, 0.95) for text, start, end in loop]

    stream = Stream(hear)
    stream.add(np.full(4 * SAMPLE_RATE, FIRST, np.float32))
    assert texts(stream.finish()) == ["thank", "you"] * lines


def test_a_word_that_is_really_said_twice_stays() -> None:
    speech = Speech(said(["no", "no", "no", "I", "said", "la", "la", "la", "la", "la"]))
    assert texts(listened(speech)) == ["no", "no", "no", "I", "said", "la", "la", "la", "la", "la"]


def test_words_that_were_final_and_are_placed_a_little_later_are_not_said_again() -> None:
    early = [("one", 0.2, 0.5), ("two", 0.5, 0.8)]
    late = [("one", 0.3, 0.6), ("two", 0.7, 1.0), ("three", 1.0, 1.4)]
    hearings = iter([early, early, late, late])

    def hear(samples: np.ndarray, before: str) -> list[Word]:
        return [Word(f" {text}", start, end, 0.9) for text, start, end in next(hearings)]

    stream, finals = Stream(hear), []
    stream.add(np.full(SAMPLE_RATE // 2, FIRST, np.float32))
    stream.step()
    for _ in range(4):
        stream.add(np.full(SAMPLE_RATE, FIRST, np.float32))
        stepped = stream.step()
        finals += stepped[0] if stepped else []
    assert texts(finals) == ["one", "two", "three"]


def test_a_long_session_takes_no_more_memory() -> None:
    """Ten minutes: a minute and a half of speech without a pause, then some silence, again and again."""
    hearings = iter(range(1_000_000))

    def hear(samples: np.ndarray, before: str) -> list[Word]:
        return [Word(f" {n}.{next(hearings)}", float(n), n + 0.9, 0.9) for n in range(len(samples) // SAMPLE_RATE)]

    def minutes(stream: Stream, count: int) -> int:
        for second in range(60 * count):
            stream.add(speech if second % 100 < 90 else silence)
            stream.step()
        return tracemalloc.get_traced_memory()[0]

    speech, silence = np.full(SAMPLE_RATE, FIRST, np.float32), np.zeros(SAMPLE_RATE, np.float32)
    tracemalloc.start()
    try:
        stream = Stream(hear)
        early = minutes(stream, 2)
        late = minutes(stream, 8)
    finally:
        tracemalloc.stop()
    assert stream.seconds == 600
    assert late - early < 100_000


def test_half_an_hour_of_frames_takes_no_more_memory_than_five_minutes() -> None:
    """The whole process, with the library's resampler; half a second of every five is silence."""
    hearings = iter(range(1_000_000))

    def hear(samples: np.ndarray, before: str) -> list[Word]:
        return [Word(f" {n}.{next(hearings)}", float(n), n + 0.9, 0.9) for n in range(len(samples) // SAMPLE_RATE)]

    session = Session(Whisper("tiny", "cpu", Network()), None, singing=False)
    session.stream = Stream(hear)
    voice, silence = (level(-20, 0.2756) * 32767).astype("<i2")[:4410].tobytes(), bytes(2 * 4410)
    resident = []
    for number in range(30 * 600):  # of 100 ms
        session.take(silence if number % 50 < 5 else voice, 44100)
        session.stream.step()
        if number in (5 * 600, 30 * 600 - 1):
            resident.append(psutil.Process().memory_info().rss)
    assert session.stream.seconds > 30 * 60 - 1
    assert resident[1] - resident[0] < 8e6, "a minute of sound has more"


@pytest.mark.parametrize("rate", [4000, 8000, 16000, 44100, 48000, 192_000])
def test_the_clock_is_right_at_every_rate(rate: int) -> None:
    """Bursts at known times, in frames of a length that no rate divides, come out at these times."""
    times = (1.0, 31.7, 59.0)
    sound = np.zeros(60 * rate)
    for time in times:
        place = np.arange(round(time * rate), round((time + 0.5) * rate))
        sound[place] = 0.5 * np.sin(2 * np.pi * 440 * place / rate)
    pcm, frame_bytes = (sound * 32767).astype("<i2").tobytes(), 2 * 997

    def hear(samples: np.ndarray, before: str) -> list[Word]:
        onset = float(np.flatnonzero(np.abs(samples) > 0.1)[0]) / SAMPLE_RATE
        return [Word(" beep", onset, onset + 0.5, 0.9)]

    session = Session(Whisper("tiny", "cpu", Network()), None, singing=False)
    session.stream = Stream(hear)
    finals = []
    for start in range(0, len(pcm), frame_bytes):
        session.take(pcm[start : start + frame_bytes], rate)
        stepped = session.stream.step()
        finals += stepped[0] if stepped else []
    finals += session.finish()
    assert starts(finals) == pytest.approx(times, abs=0.003)
    assert session.stream.seconds == pytest.approx(60.0, abs=1e-3), "nothing is left in the resampler"


def test_the_rate_may_change() -> None:
    session = Session(Whisper("tiny", "cpu", Network()), None, singing=False)
    for rate in (8000, 48000, 16000, 44100):
        session.take(bytes(2 * rate), rate)
    session.finish()
    assert session.stream.seconds == pytest.approx(4.0, abs=1e-3)


def test_a_language_that_came_with_a_later_checkpoint_is_refused() -> None:
    with pytest.raises(InvalidInput, match="does not know 'yue'"):
        Session(Whisper("tiny", "cpu", Network()), "yue", singing=False)


def test_a_final_as_it_is_sent() -> None:
    final = Final((Word(" silver", 1.00049, 1.4, 0.987654), Word(" river.", 1.4, 1.9, 0.5)))
    assert final.payload() == {
        "text": "silver river.", "start": 1.0, "end": 1.9,
        "words": [{"word": "silver", "start": 1.0, "end": 1.4, "probability": 0.9877},
                  {"word": "river.", "start": 1.4, "end": 1.9, "probability": 0.5}],
    }  # fmt: skip
