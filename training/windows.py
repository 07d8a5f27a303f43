"""Windows of singing for Whisper: what it hears, what it shall write, and where in the sound each token is sung.

Windows are cut from a song's spectrogram and its tokens written as whisper.transcribe and whisper.timing do it: from a
line's beginning or anywhere, with time stamps or without, with earlier text before them or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import whisper
from whisper.tokenizer import Tokenizer, get_tokenizer

from training.corpus import FULL_SCALE, VOICE_RATE, CorpusSong
from training.lyrics import vocabulary

MEL_BANDS = 80
WINDOW_SECONDS = 30.0
FRAMES_PER_SECOND = 50  # of the encoder's output
MEL_PER_FRAME = 2
STAMPS_PER_SECOND = 50
STAMP_GRID_SECONDS = 0.2  # finer stamps would spread their probability, and the library's thresholds reject the text
STAMPS = 1501
FIRST_STAMP_SECONDS = 1.0  # the library allows no later one at a window's beginning
STAMP_FRAMES = 2  # to either side of a stamp's time
SPEED = (0.94, 1.06)
SPEED_CHANCE = 0.5
LEVEL_DB = (-12.0, 6.0)
BAND_CHANCE = 0.5  # for a clean voice
BAND_DB = (-34.0, -8.0)  # against the voice
LINE_START_CHANCE = 0.75
BEFORE_LINE_SECONDS = 0.7
SHORT_CHANCE = 0.2  # for a window of 30 s that ends sooner
SHORTEST_SECONDS = 4.0
SILENT_CHANCE = 0.03
PLAIN_CHANCE = 0.35  # for text without time stamps, which is what words are timed by
PROMPT_CHANCE = 0.7  # where something was sung before
MOST_PROMPT_TOKENS = 223  # as many as the library keeps
WRONG_WORD_CHANCE = 0.06  # of a word that the decoder is told before
NONE = -100  # a target that does not count


@dataclass(frozen=True)
class Window:
    """One example.

    Attributes
    ----------
    mel : torch.Tensor [shape=(MEL_BANDS, MEL_PER_FRAME * frames)]
    first_frame : int
        Its place among the encoder's positions.
    tokens, targets : list of int
        By their index in Tokens.used; targets are NONE where nothing is to be learnt.
    target_spans, token_spans : list of (int, int) or None
        Frames, from and to, where a target or a token is sung.
    sung : np.ndarray [shape=(frames,), dtype=int64]
        The index of the word sung in each frame, twice, one more in its second half; 2 * words for none.
    """

    mel: torch.Tensor
    first_frame: int
    tokens: list[int]
    targets: list[int]
    target_spans: list[tuple[int, int] | None]
    token_spans: list[tuple[int, int] | None]
    sung: np.ndarray


@dataclass(frozen=True)
class _Word:
    """A word of a window: its index in the vocabulary, its line, start and end in seconds of the window."""

    index: int
    line: int
    start: float
    end: float


class Tokens:
    """The few of Whisper's tokens that our songs need, and their places in a smaller table."""

    def __init__(self) -> None:
        self.tokenizer: Tokenizer = get_tokenizer(multilingual=True, language="en", task="transcribe")
        self.words = vocabulary()
        self.of_words = [self.tokenizer.encode(f" {word}") for word in self.words]
        special = [*self.tokenizer.sot_sequence, self.tokenizer.no_timestamps, self.tokenizer.no_speech]
        special += [self.tokenizer.sot_prev, self.tokenizer.eot]
        stamps = range(self.tokenizer.timestamp_begin, self.tokenizer.timestamp_begin + STAMPS)
        self.used = sorted({token for tokens in self.of_words for token in tokens} | {*special, *stamps})
        self.place = {token: place for place, token in enumerate(self.used)}
        self.index = {word: index for index, word in enumerate(self.words)}
        self.word_places = sorted({self.place[token] for tokens in self.of_words for token in tokens})

    def stamp(self, seconds: float) -> int:
        """The time stamp nearest to a time on the grid."""
        steps = round(seconds / STAMP_GRID_SECONDS) * round(STAMP_GRID_SECONDS * STAMPS_PER_SECOND)
        return self.tokenizer.timestamp_begin + min(max(steps, 0), STAMPS - 1)


class Windows:
    """Endless random windows.

    Parameters
    ----------
    voices : sequence of CorpusSong
        Voices alone, clean or separated.
    bands : sequence of np.ndarray [shape=(samples,), dtype=int16]
        Music without voice at VOICE_RATE, to be heard softly under clean voices.
    clean : int
        How many of the voices, from the first, are clean.
    seed : int
    """

    def __init__(
        self, voices: Sequence[CorpusSong], bands: Sequence[np.ndarray], clean: int, seed: int, tokens: Tokens
    ) -> None:
        self._voices, self._bands, self._clean, self._tokens = voices, bands, clean, tokens
        self._rng = np.random.default_rng(seed)

    def draw(self, seconds: float) -> Window:
        """Draw a window of so many seconds, at any position; one of WINDOW_SECONDS has its beginning at position 0."""
        rng = self._rng
        number = int(rng.integers(len(self._voices)))
        samples, words = self._sing(self._voices[number])
        silent = rng.random() < SILENT_CHANCE
        if silent:
            samples, words = samples * 0, []
        if (number < self._clean or silent) and self._bands and rng.random() < BAND_CHANCE:
            samples = samples + self._band(samples)
        start = self._start(words, len(samples) / VOICE_RATE, seconds)
        whole = seconds >= WINDOW_SECONDS
        short = whole and rng.random() < SHORT_CHANCE
        length = float(rng.uniform(SHORTEST_SECONDS, seconds)) if short else seconds
        length = min(length, len(samples) / VOICE_RATE - start)
        mel = _spectrogram(samples, start, length, seconds)
        heard = [
            _Word(word.index, word.line, word.start - start, word.end - start)
            for word in words
            if word.start >= start and word.start < start + length - 0.05
        ]
        last_frame = round((WINDOW_SECONDS - seconds) * FRAMES_PER_SECOND)
        first_frame = 0 if whole else int(rng.integers(last_frame + 1))
        earlier = [word for word in words if word.end <= start]
        return self._written(mel, heard, earlier, length, first_frame, round(seconds * FRAMES_PER_SECOND))

    def _sing(self, song: CorpusSong) -> tuple[np.ndarray, list[_Word]]:
        """A voice at some level, often a little faster or slower, and its words."""
        rng = self._rng
        level = 10 ** (rng.uniform(*LEVEL_DB) / 20) / FULL_SCALE
        samples = song.samples.astype(np.float32) * np.float32(level)
        speed = float(rng.uniform(*SPEED)) if rng.random() < SPEED_CHANCE else 1.0
        if speed != 1:
            positions = np.arange(0, len(samples) - 1, speed)
            samples = np.interp(positions, np.arange(len(samples)), samples).astype(np.float32)
        lines = song.truth["lines"]
        words, line = [], 0
        for word in song.truth["words"]:
            while line + 1 < len(lines) and word["start"] >= lines[line + 1]["start"] - 1e-3:
                line += 1
            words.append(_Word(self._tokens.index[word["text"]], line, word["start"] / speed, word["end"] / speed))
        return samples, words

    def _band(self, samples: np.ndarray) -> np.ndarray:
        """Music as long as a voice and softer than it."""
        rng = self._rng
        band = self._bands[rng.integers(len(self._bands))]
        band = np.resize(band[rng.integers(len(band) // 2) :], len(samples)).astype(np.float32) / FULL_SCALE
        power = float((samples**2).mean()) or 10 ** (rng.uniform(-50, -20) / 10)
        gain = np.sqrt(power / max(float((band**2).mean()), 1e-9)) * 10 ** (rng.uniform(*BAND_DB) / 20)
        return band * np.float32(gain)

    def _start(self, words: Sequence[_Word], length: float, seconds: float) -> float:
        """Where a window begins: mostly just before a line, else anywhere."""
        rng = self._rng
        firsts = [number for number, word in enumerate(words) if not number or word.line != words[number - 1].line]
        if firsts and rng.random() < LINE_START_CHANCE:
            number = int(rng.choice(firsts))
            earliest = words[number - 1].end if number else 0.0
            return max(0.0, min(max(earliest, words[number].start - BEFORE_LINE_SECONDS * rng.random()), length - 1))
        return float(rng.uniform(0, max(length - seconds, length / 2)))

    def _written(
        self, mel: torch.Tensor, words: list[_Word], earlier: list[_Word], length: float, first_frame: int, frames: int
    ) -> Window:
        """A window with its tokens: with time stamps or without, mostly after what was sung before it."""
        rng, tokens = self._rng, self._tokens
        plain = rng.random() < PLAIN_CHANCE
        end_of_text = tokens.tokenizer.eot
        head = [*tokens.tokenizer.sot_sequence, *([tokens.tokenizer.no_timestamps] if plain else [])]
        complete = [word for word in words if word.end <= length]
        spans = _spans(words, length)
        text: list[tuple[int, tuple[int, int] | None]] = []
        if plain:
            text = [piece for word in complete for piece in self._pieces(word, spans)]
            if len(complete) == len(words):
                text.append((end_of_text, _frames(complete[-1].end if complete else 0, length)))
        else:
            text = self._stamped(words, length, first_frame, spans)
        prompt = self._prompt(earlier) if not plain and rng.random() < PROMPT_CHANCE else []
        sequence = [*prompt, *head, *(token for token, _ in text)]
        targets = [NONE] * len(prompt) + [tokens.place[token] for token in sequence[len(prompt) + 1 :]]
        if not words:
            targets[len(prompt)] = tokens.place[tokens.tokenizer.no_speech]
        before_text = len(prompt) + len(head)
        spans_of_text = [span for _, span in text]
        target_spans = [None] * (before_text - 1) + spans_of_text
        token_spans = [None] * before_text + spans_of_text[:-1]
        inputs = [self._sometimes_wrong(tokens.place[token]) for token in sequence[:-1]]
        return Window(mel, first_frame, inputs, targets, target_spans, token_spans, self._sung(words, frames))

    def _stamped(
        self, words: list[_Word], length: float, first_frame: int, spans: dict[_Word, tuple[int, int]]
    ) -> list[tuple[int, tuple[int, int] | None]]:
        """Lines between time stamps; of a line that does not end in the window, its start alone."""
        tokens, offset = self._tokens, first_frame / FRAMES_PER_SECOND
        text: list[tuple[int, tuple[int, int] | None]] = []
        for number in sorted({word.line for word in words}):
            line = [word for word in words if word.line == number]
            start, end = line[0].start, line[-1].end
            late = not text and start + offset > FIRST_STAMP_SECONDS
            text.append((tokens.stamp(0.0 if late else start + offset), None if late else _around(start, length)))
            if end > length:
                break
            text += [piece for word in line for piece in self._pieces(word, spans)]
            text.append((tokens.stamp(end + offset), _around(end, length)))
        if not text:
            text.append((tokens.stamp(0.0), None))
        ended = words and words[-1].end < length
        text.append((tokens.tokenizer.eot, _frames(words[-1].end, length) if ended else None))
        return text

    def _pieces(self, word: _Word, spans: dict[_Word, tuple[int, int]]) -> list[tuple[int, tuple[int, int] | None]]:
        """A word's tokens, each with its share of the word's frames."""
        tokens, (start, end) = self._tokens.of_words[word.index], spans[word]
        edges = np.linspace(start, end, len(tokens) + 1).round().astype(int).tolist()
        return [(token, (a, max(b, a + 1))) for token, a, b in zip(tokens, edges, edges[1:], strict=False)]

    def _prompt(self, words: list[_Word]) -> list[int]:
        """Earlier text as the library gives it: lines with their own windows' time stamps, the oldest cut away."""
        tokens, prompt = self._tokens, []
        window = float(self._rng.uniform(0, WINDOW_SECONDS / 2))  # where one of the earlier windows began
        for number in sorted({word.line for word in words}):
            line = [word for word in words if word.line == number]
            start, end = line[0].start - window, line[-1].end - window
            if start < 0 or end > WINDOW_SECONDS:
                window += start
                start, end = 0.0, end - start
            text = [token for word in line for token in tokens.of_words[word.index]]
            prompt += [tokens.stamp(start), *text, tokens.stamp(end)]
        return [tokens.tokenizer.sot_prev, *prompt[-MOST_PROMPT_TOKENS:]] if prompt else []

    def _sometimes_wrong(self, place: int) -> int:
        """A token, or now and then another word's, so that the model trusts its ears more than its memory."""
        words = self._tokens.word_places
        if place in words and self._rng.random() < WRONG_WORD_CHANCE:
            return words[self._rng.integers(len(words))]
        return place

    def _sung(self, words: list[_Word], frames: int) -> np.ndarray:
        """Which word is sung in each frame."""
        sung = np.full(frames, 2 * len(self._tokens.words), np.int64)
        for word in words:
            start, end = round(word.start * FRAMES_PER_SECOND), round(word.end * FRAMES_PER_SECOND)
            half = (start + end + 1) // 2
            sung[start:half], sung[half:end] = 2 * word.index, 2 * word.index + 1
        return sung


def _spectrogram(samples: np.ndarray, start: float, length: float, seconds: float) -> torch.Tensor:
    """A window's spectrogram, cut from the whole song's and padded with zeros, as the library does it."""
    mel = whisper.log_mel_spectrogram(torch.from_numpy(samples), MEL_BANDS)
    rate = MEL_PER_FRAME * FRAMES_PER_SECOND
    first = round(start * rate)
    window = mel[:, first : first + round(length * rate)]
    return torch.nn.functional.pad(window, (0, round(seconds * rate) - window.shape[1]))


def _spans(words: Sequence[_Word], length: float) -> dict[_Word, tuple[int, int]]:
    """Every word's frames up to the next word's beginning, silence between them included: so words are timed."""
    nexts = [*(word.start for word in words[1:]), length] if words else []
    return {word: _frames(word.start, max(until, word.end)) for word, until in zip(words, nexts, strict=True)}


def _frames(start: float, end: float) -> tuple[int, int]:
    """The frames between two times, one at least."""
    first = round(start * FRAMES_PER_SECOND)
    return first, max(first + 1, round(end * FRAMES_PER_SECOND))


def _around(seconds: float, length: float) -> tuple[int, int]:
    """The frames at a time stamp."""
    frame = round(min(seconds, length) * FRAMES_PER_SECOND)
    return max(0, frame - STAMP_FRAMES), frame + STAMP_FRAMES + 1
