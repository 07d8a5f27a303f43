"""Live transcription: text that grows while somebody speaks or sings, and parts of it that never change again.

Macháček, Dabre and Bojar, "Turning Whisper into Real-Time Transcription System", 2023: the last seconds are heard again
and again, and what two successive hypotheses agree on is final (LocalAgreement-2). A pause makes all of it final.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.hearing import detect_language
from models.repetition import cut_repetition, letters

if TYPE_CHECKING:
    import numpy as np

    from models.whisper import Whisper

SAMPLE_RATE = 16000  # Hz
FRAME = 320  # samples, 20 ms
STEP_SECONDS = 0.8  # of new audio before it is heard again
TRIM_SECONDS = 15.0  # of audio from which on what is final is no longer heard again
FORCE_SECONDS = 27.0  # of audio from which on all but the newest word is final, agreed on or not
BEFORE_SECONDS = 0.4  # kept before voice begins
AFTER_SECONDS = 0.2  # kept after it has ended
TOLERANCE_SECONDS = 0.1  # by which a word may begin before the last final one ends
LONGEST_OVERLAP = 5  # words of a final that may be heard once more
MEMORY = 8  # finals that a repetition is looked for in
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
class Word:
    """A word and when it sounds, in seconds; on the clock of the audio that was heard, or on the session's."""

    text: str
    start: float
    end: float
    probability: float


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
    """What one session says.

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
        self._gated = 0  # how far it was listened for voice
        self._voice_until: int | None = None  # where voice was last heard in _samples; None: not at all
        self._open = False
        self._heard_until = 0
        self._final_until = 0.0  # seconds of the session
        self._hypothesis: list[Word] = []
        self._finals: list[dict[str, Any]] = []

    @property
    def released_seconds(self) -> float:
        """How much audio it has let go since the session began: what came after is held."""
        return self._start / SAMPLE_RATE

    def add(self, samples: np.ndarray) -> None:
        """Take in audio.

        Parameters
        ----------
        samples : np.ndarray [shape=(n,), dtype=float32]
            At SAMPLE_RATE.
        """
        import numpy as np

        self._samples = np.concatenate([self._samples, samples])
        self._listen()

    def step(self) -> tuple[list[Final], str] | None:
        """Hear once more, when there is reason to.

        Returns
        -------
        tuple of (list of Final, str) or None
            What has become final, and the text after it that may change; None when nothing is new.
        """
        if self._voice_until is None:
            self._drop(self._end - round(BEFORE_SECONDS * SAMPLE_RATE))
            return None
        if self._end - self._voice_until >= self._gate.pause_seconds * SAMPLE_RATE:
            return self._close()
        if self._end - self._heard_until < STEP_SECONDS * SAMPLE_RATE:
            return None
        words = self._words(self._end)
        agreed = _agreed(self._hypothesis, words)
        if self._held_seconds > FORCE_SECONDS:
            agreed = max(agreed, len(words) - 1)
        finals = self._settle(words[:agreed])
        self._hypothesis = words[agreed:]
        if self._held_seconds > TRIM_SECONDS:
            self._drop(round(self._final_until * SAMPLE_RATE))
        if self._held_seconds > FORCE_SECONDS:  # nothing was heard in all of it
            self._drop(self._end - round(TRIM_SECONDS * SAMPLE_RATE))
        return finals, "".join(word.text for word in self._hypothesis).strip()

    def finish(self) -> list[Final]:
        """Hear what is left; all of it is final."""
        return [] if self._voice_until is None else self._close()[0]

    @property
    def _held_seconds(self) -> float:
        """How much audio it holds."""
        return len(self._samples) / SAMPLE_RATE

    @property
    def _end(self) -> int:
        """The end of what it holds, in samples of the session."""
        return self._start + len(self._samples)

    def _listen(self) -> None:
        """Follow the gate through new audio, frame by frame."""
        import numpy as np

        first = self._gated - self._start
        count = (len(self._samples) - first) // FRAME
        frames = self._samples[first : first + count * FRAME].reshape(count, FRAME)
        levels = 10 * np.log10(np.maximum((frames.astype(np.float64) ** 2).mean(axis=1), 1e-12))
        for level in levels:
            self._gated += FRAME
            self._open = level >= (self._gate.close_db if self._open else self._gate.open_db)
            if self._open:
                self._voice_until = self._gated

    def _close(self) -> tuple[list[Final], str]:
        """Voice has ended: all of it is final, and what was heard of it is let go."""
        assert self._voice_until is not None
        until = min(self._voice_until + round(AFTER_SECONDS * SAMPLE_RATE), self._end)
        finals = self._settle(self._words(until))
        self._hypothesis, self._voice_until = [], None
        self._drop(until)
        self._final_until = max(self._final_until, until / SAMPLE_RATE)
        return finals, ""

    def _words(self, until: int) -> list[Word]:
        """What is heard up to a sample, without what is final already, on the session's clock."""
        self._heard_until = until
        samples, offset = self._samples[: until - self._start], self._start / SAMPLE_RATE
        heard = self._hear(samples, " ".join(final["text"] for final in self._finals)[-PROMPT_CHARACTERS:])
        end = until / SAMPLE_RATE
        words = [
            Word(word.text, min(word.start + offset, end), min(word.end + offset, end), word.probability)
            for word in heard
        ]
        words = [word for word in words if word.start >= self._final_until - TOLERANCE_SECONDS]
        return words[self._overlap(words) :]

    def _overlap(self, words: Sequence[Word]) -> int:
        """How many of the first words repeat the end of the last final, which they begin within a second of."""
        if not words or not self._finals or words[0].start > self._final_until + 1.0:
            return 0
        last, new = self._finals[-1]["words"], [letters(word.text) for word in words]
        sizes = range(min(LONGEST_OVERLAP, len(last), len(new)), 0, -1)
        return next((size for size in sizes if last[-size:] == new[:size]), 0)

    def _settle(self, words: Sequence[Word]) -> list[Final]:
        """Words that are final from now on; a line that is hardly heard again and again is cut."""
        if not words:
            return []
        start, settled = self._final_until, []
        for word in words:  # whisper may place a word a little before the one that it follows
            start = max(word.start, start)
            settled.append(Word(word.text, start, max(word.end, start), word.probability))
            start = settled[-1].end
        final = Final(tuple(settled))
        self._final_until = start
        confidence = sum(word.probability for word in words) / len(words)
        record = {"text": final.text, "confidence": confidence, "words": [letters(word.text) for word in words]}
        self._finals = [*self._finals, record][-MEMORY:]
        return [final] if final.text and len(cut_repetition(self._finals)) == len(self._finals) else []

    def _drop(self, until: int) -> None:
        """Let go of audio before a sample of the session."""
        count = min(max(until - self._start, 0), len(self._samples), self._gated - self._start)
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
        A code; that of the first passage with voice when left out.
    singing : bool
        Whether the gate is that of singing.
    """

    def __init__(self, model: Whisper, language: str | None, *, singing: bool) -> None:
        self._model, self._language = model, language
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
            In Hz; when it changes, the few samples that the resampler still holds of the old one are lost.
        """
        import av
        import numpy as np

        if rate != self._rate:
            self._resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
            self._rate = rate
        frame = av.AudioFrame.from_ndarray(np.frombuffer(pcm, "<i2")[None], format="s16", layout="mono")
        frame.sample_rate = rate
        blocks = [block.to_ndarray()[0] for block in self._resampler.resample(frame)]
        if blocks:
            self.stream.add(np.concatenate(blocks))

    def _hear(self, samples: np.ndarray, before: str) -> list[Word]:
        """The words in some seconds of audio."""
        network, fp16 = self._model.network, self._model.device.startswith("cuda")
        if self._language is None:
            self._language = detect_language(network, samples, fp16=fp16)
        heard = network.transcribe(
            samples, language=self._language, initial_prompt=before or None, condition_on_previous_text=False,
            temperature=0.0, word_timestamps=True, fp16=fp16,
        )  # fmt: skip
        return [
            Word(word["word"], float(word["start"]), float(word["end"]), float(word["probability"]))
            for segment in heard["segments"]
            for word in segment["words"]
        ]
