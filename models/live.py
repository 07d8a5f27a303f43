"""Live transcription: text that grows while somebody speaks or sings, and parts of it that never change again.

Macháček, Dabre and Bojar, "Turning Whisper into Real-Time Transcription System", 2023: the last seconds are heard again
and again, and what two successive hypotheses agree on is final (LocalAgreement-2). A pause makes all of it final.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.alignment import Word
from models.hearing import detect_language, encoded_once
from models.repetition import is_loop, letters
from models.whisper import check_language

if TYPE_CHECKING:
    import numpy as np

    from models.whisper import Whisper

SAMPLE_RATE = 16000  # Hz
FRAME = 320  # samples, 20 ms
STEP_SECONDS = 0.8  # of new audio before it is heard again
TRIM_SECONDS = 15.0  # of audio from which on what is final is no longer heard again
FORCE_SECONDS = 27.0  # of audio, the most that is heard at once; then all words but the newest are final
BEFORE_SECONDS = 0.4  # kept before voice begins
AFTER_SECONDS = 0.2  # kept after it has ended
LEAST_FRAMES = 5  # above the gate; fewer are a click and not a voice
LANGUAGE_SECONDS = 4.0  # of audio from which the language of a session is told for good
LANGUAGE_HEARINGS = 3  # in a row that told the same one; this, too, is for good
TOUCH_SECONDS = 0.02  # a word that begins so near to the end of the one before does not overlap it
SHORTEST_SECONDS = 0.06  # of a word that was said; those that a loop makes up are placed on top of one another
LONGEST_OVERLAP = 5  # words of a final that may be heard once more
MEMORY_WORDS = 100  # words that are remembered
PROMPT_CHARACTERS = 200


@dataclass(frozen=True)
class Gate:
    """When there is voice: it begins at one level, goes on down to another, and has ended after a pause.

    Attributes
    ----------
    open_db, close_db : float
        RMS of a frame, below full scale.
    pause_seconds : float
    """

    open_db: float
    close_db: float
    pause_seconds: float


SPEECH = Gate(open_db=-42.0, close_db=-50.0, pause_seconds=0.7)
SINGING = Gate(open_db=-48.0, close_db=-56.0, pause_seconds=1.5)  # held notes fade, and breaths are longer


@dataclass(frozen=True)
class Final:
    """Words that never change again, on the session's clock."""

    words: tuple[Word, ...]

    @property
    def text(self) -> str:
        """What is said, without spaces at its ends."""
        return "".join(word.text for word in self.words).strip()

    def payload(self) -> dict[str, Any]:
        """As the event `final` has it: text, start, end, words, times in seconds."""
        words = [
            {"word": word.text.strip(), "start": round(word.start, 3), "end": round(word.end, 3),
             "probability": round(word.probability, 4)}
            for word in self.words
        ]  # fmt: skip
        return {"text": self.text, "start": words[0]["start"], "end": words[-1]["end"], "words": words}


class Stream:
    """What one session says; the same however the audio is cut into pieces, as long as it comes in time.

    Parameters
    ----------
    hear : callable
        Takes samples (n,) at SAMPLE_RATE, float32, and the text before them; returns their words.
    gate : Gate
    """

    def __init__(self, hear: Callable[[np.ndarray, str], Sequence[Word]], gate: Gate = SPEECH) -> None:
        import numpy as np

        self._hear, self._gate = hear, gate
        self._samples = np.zeros(0, np.float32)
        self._start = 0  # of _samples, in samples of the session
        self._gated = 0  # how far it was listened for voice; what comes after waits
        self._voice_until: int | None = None  # where voice was last heard in this passage; None: there is none
        self._voiced_frames = 0  # of this passage
        self._open = False
        self._heard_until = 0
        self._final_until = 0.0  # seconds of the session
        self._hypothesis: list[Word] = []
        self._said: list[Word] = []  # the last final words
        self._loop: list[tuple[str, float]] = []  # letters and probability of the last words, those cut too

    @property
    def released_seconds(self) -> float:
        """How much audio it has let go since the session began: what came after is held."""
        return self._start / SAMPLE_RATE

    @property
    def seconds(self) -> float:
        """How much audio it was given: the session's clock."""
        return self._end / SAMPLE_RATE

    @property
    def behind(self) -> bool:
        """Whether audio waits that the next step() will go on with."""
        return self._end - self._gated >= FRAME

    def add(self, samples: np.ndarray) -> None:
        """Take in audio.

        Parameters
        ----------
        samples : np.ndarray [shape=(n,), dtype=float32]
            At SAMPLE_RATE.
        """
        import numpy as np

        self._samples = np.concatenate([self._samples, samples])

    def step(self) -> tuple[list[Final], str] | None:
        """Go on to the next pause or to the end of what came, and hear once more when there is reason to.

        Returns
        -------
        tuple of (list of Final, str) or None
            What has become final, and the text after it that may change; None when nothing is new.
        """
        paused = self._listen()
        if self._voice_until is None:
            self._drop(self._gated - round(BEFORE_SECONDS * SAMPLE_RATE))
            return None
        if paused:
            return self._close()
        if self._voiced_frames < LEAST_FRAMES or not self._due:
            return None
        words = self._words(self._gated)
        agreed = _agreed(self._hypothesis, words)
        if self._full:
            agreed = max(agreed, len(words) - 1)
        finals = self._settle(words[:agreed])
        self._hypothesis = words[agreed:]
        if self._gated - self._start > TRIM_SECONDS * SAMPLE_RATE:
            self._drop(round(self._final_until * SAMPLE_RATE))
        if self._full:  # nothing was heard in all of it
            self._drop(self._gated - round(TRIM_SECONDS * SAMPLE_RATE))
        return finals, "".join(word.text for word in self._hypothesis).strip()

    def finish(self) -> list[Final]:
        """Hear what is left; all of it is final."""
        finals: list[Final] = []
        while self.behind:
            stepped = self.step()
            finals += stepped[0] if stepped else []
        closed = None if self._voice_until is None else self._close()
        return finals + closed[0] if closed else finals

    @property
    def _end(self) -> int:
        """The end of what it holds, in samples of the session."""
        return self._start + len(self._samples)

    @property
    def _full(self) -> bool:
        """Whether it has listened to as much as can be heard at once."""
        return self._gated - self._start >= FORCE_SECONDS * SAMPLE_RATE

    @property
    def _due(self) -> bool:
        """Whether it is time to hear once more: much is new, or it is quiet and this may be the end of the passage."""
        assert self._voice_until is not None
        quiet = self._gated - self._voice_until >= AFTER_SECONDS * SAMPLE_RATE and self._heard_until < self._voice_until
        return quiet or self._full or self._gated - self._heard_until >= STEP_SECONDS * SAMPLE_RATE

    def _listen(self) -> bool:
        """Follow the gate frame by frame, no further than to a pause or until it is full; whether there was a pause."""
        import numpy as np

        first = self._gated - self._start
        count = (len(self._samples) - first) // FRAME
        frames = self._samples[first : first + count * FRAME].reshape(count, FRAME)
        pause = self._gate.pause_seconds * SAMPLE_RATE
        levels = 10 * np.log10(np.maximum((frames.astype(np.float64) ** 2).mean(axis=1), 1e-12))
        for level in levels:
            if self._voice_until is not None and self._full:
                return False
            self._gated += FRAME
            self._open = level >= (self._gate.close_db if self._open else self._gate.open_db)
            if self._open:
                if self._voice_until is None:
                    self._drop(self._gated - FRAME - round(BEFORE_SECONDS * SAMPLE_RATE))
                    self._heard_until, self._voiced_frames = self._gated, 0
                self._voice_until = self._gated
                self._voiced_frames += 1
            elif self._voice_until is not None and self._gated - self._voice_until >= pause:
                return True
        return False

    def _close(self) -> tuple[list[Final], str] | None:
        """Voice has ended: all of it is final, and what was heard of it is let go. Nothing is new after a click."""
        assert self._voice_until is not None
        until = min(self._voice_until + round(AFTER_SECONDS * SAMPLE_RATE), self._end)
        was_voice = self._voiced_frames >= LEAST_FRAMES
        words = self._hypothesis if self._heard_until >= until or not was_voice else self._words(until)
        finals = self._settle(words)
        self._hypothesis, self._voice_until, self._open = [], None, False
        self._drop(until)
        self._final_until = max(self._final_until, until / SAMPLE_RATE)
        return (finals, "") if was_voice else None

    def _words(self, until: int) -> list[Word]:
        """What is heard up to a sample, without what is final already, on the session's clock."""
        self._heard_until = until
        samples, offset = self._samples[: until - self._start], self._start / SAMPLE_RATE
        end = until / SAMPLE_RATE
        words = [
            Word(word.text, min(word.start + offset, end), min(word.end + offset, end), word.probability)
            for word in self._hear(samples, self._prompt())
        ]
        words = [word for word in words if (word.start + word.end) / 2 >= self._final_until]
        return words[self._overlap(words) :]

    def _prompt(self) -> str:
        """The end of what was said before the audio that is held."""
        before = (word.text for word in self._said if word.end <= self._start / SAMPLE_RATE)
        return "".join(before)[-PROMPT_CHARACTERS:].strip()

    def _overlap(self, words: Sequence[Word]) -> int:
        """How many of the first words are the last final ones once more, placed a little later."""
        if not words or words[0].start > self._final_until - TOUCH_SECONDS:
            return 0
        last, new = ([letters(word.text) for word in some] for some in (self._said[-LONGEST_OVERLAP:], words))
        sizes = range(min(len(last), len(new)), 0, -1)
        return next((size for size in sizes if last[-size:] == new[:size]), 0)

    def _settle(self, words: Sequence[Word]) -> list[Final]:
        """Words that are final from now on, without a line that is hardly heard, or in no time, again and again."""
        settled = []
        for word in words:  # whisper may place a word a little before the one that it follows
            start = max(word.start, self._final_until)
            self._final_until = max(word.end, start)
            certain = word.probability if word.end - word.start >= SHORTEST_SECONDS else 0.0
            self._loop = [*self._loop, (letters(word.text), certain)][-MEMORY_WORDS:]
            if not is_loop(self._loop):
                settled.append(Word(word.text, start, self._final_until, word.probability))
        self._said = [*self._said, *settled][-MEMORY_WORDS:]
        final = Final(tuple(settled))
        return [final] if final.text else []

    def _drop(self, until: int) -> None:
        """Let go of audio before a sample of the session that the gate has been led past."""
        count = min(max(until, self._start), self._gated) - self._start
        self._samples = self._samples[count:].copy()
        self._start += count


def _agreed(before: Sequence[Word], now: Sequence[Word]) -> int:
    """With how many words both hypotheses begin."""
    pairs = zip(before, now, strict=False)
    differing = (place for place, (a, b) in enumerate(pairs) if letters(a.text) != letters(b.text))
    return next(differing, min(len(before), len(now)))


class Session:
    """One session's ears: PCM in, words out.

    Parameters
    ----------
    model : models.whisper.Whisper
    language : str, optional
        A code; when left out, it is told from what is heard, anew at each hearing until it is certain.
    singing : bool
        Whether the gate is that of singing.

    Raises
    ------
    InvalidInput
        When the model does not know the language.
    """

    def __init__(self, model: Whisper, language: str | None, *, singing: bool) -> None:
        check_language(model, language)
        self._model, self._language = model, language
        self._told: list[str] = []  # languages of the first hearings
        self._resampler: Any = None
        self._rate = 0
        self.stream = Stream(self._hear, SINGING if singing else SPEECH)

    def take(self, pcm: bytes, rate: int) -> None:
        """Take in audio.

        Parameters
        ----------
        pcm : bytes
            16-bit little-endian samples, mono.
        rate : int
            In Hz; it may change.
        """
        import av
        import numpy as np

        if rate != self._rate:
            self._flush()
            self._resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
            self._rate = rate
        frame = av.AudioFrame.from_ndarray(np.frombuffer(pcm, "<i2")[None], format="s16", layout="mono")
        frame.sample_rate = rate
        self._resample(frame)

    def finish(self) -> list[Final]:
        """Hear what is left; all of it is final."""
        self._flush()
        return self.stream.finish()

    def _flush(self) -> None:
        """Get out of the resampler what it holds back."""
        if self._resampler is not None:
            self._resample(None)
        self._resampler, self._rate = None, 0

    def _resample(self, frame: Any) -> None:
        """Audio of any rate to the stream."""
        for block in self._resampler.resample(frame):
            self.stream.add(block.to_ndarray()[0])

    def _hear(self, samples: np.ndarray, before: str) -> list[Word]:
        """The words in some seconds of audio."""
        network, fp16 = self._model.network, self._model.device.startswith("cuda")
        language = self._language or self._tell_language(samples)
        with encoded_once(network):
            heard = network.transcribe(
                samples, language=language, initial_prompt=before or None, condition_on_previous_text=False,
                temperature=0.0, word_timestamps=True, fp16=fp16,
            )  # fmt: skip
        return [
            Word(word["word"], float(word["start"]), float(word["end"]), _share(word["probability"]))
            for segment in heard["segments"]
            for word in segment["words"]
        ]

    def _tell_language(self, samples: np.ndarray) -> str:
        """The language of some seconds of audio; the session's, once that is certain."""
        language = detect_language(self._model.network, samples, fp16=self._model.device.startswith("cuda"))
        self._told = [*self._told, language][-LANGUAGE_HEARINGS:]
        if len(samples) >= LANGUAGE_SECONDS * SAMPLE_RATE or self._told == [language] * LANGUAGE_HEARINGS:
            self._language = language
        return language


def _share(probability: float) -> float:
    """A probability as JSON can hold it: what is not a number, which half precision can make, is none at all."""
    return float(probability) if 0.0 <= probability <= 1.0 else 0.0
