"""Timing lyrics that are known: each word is found in the voice by Whisper's cross-attention.

The pauses between passages with voice are taken out first, so that instrumental parts need no bridging. Then windows
of 30 s go over the voice. For each, the network says how many of the next words it hears: those that are likelier by
this window than by the one after it. They are aligned by the library (dynamic time warping over the attention heads
that follow the words), and the next window begins where the last certain word ends.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from errors import InvalidInput
from models import audio, hearing, voice
from models.hearing import WINDOW_SECONDS
from models.voice import SAMPLE_RATE, Passage

if TYPE_CHECKING:
    import numpy as np

MAX_SECONDS = 3600.0  # of a recording: all of its voice is held in memory
COLLAPSED_PIECES, MIN_PIECE_SECONDS = 3, 0.05  # so many words in a row that are shorter were not found
WORD_SECONDS = 0.3  # of a short word that is sung
EDGE_SECONDS = 3.0  # words that end so near to a window's end may be cut by it: the next window times them
PACE_NATS = 5.0  # what it costs to hear none of the words, or twice as many, as the time that is left lets expect
UNSPACED = {"zh", "ja", "th", "lo", "my", "yue"}  # languages that the library splits into characters
RUNS_PER_WINDOW = 3  # of the decoder
HEADING = re.compile(r"\s*\[[^\]]*\]\s*")  # [Chorus], [Verse 2: both]


@dataclass(frozen=True)
class Word:
    """A word of the lyrics with the space before it, where it was found (seconds), and how probable (0..1)."""

    text: str
    start: float
    end: float
    probability: float

    def heard(self) -> dict[str, Any]:
        """The word as transcriptions have it."""
        return {"word": self.text, "start": self.start, "end": self.end, "probability": self.probability}


@dataclass(frozen=True)
class Line:
    """A line of the lyrics."""

    words: tuple[Word, ...]

    def segment(self, number: int) -> dict[str, Any]:
        """The line as a segment of a transcription."""
        return {
            "id": number, "start": self.words[0].start, "end": self.words[-1].end,
            "text": "".join(word.text for word in self.words),
            "words": [word.heard() for word in self.words],
            "confidence": sum(word.probability for word in self.words) / len(self.words),
        }  # fmt: skip


@dataclass(frozen=True)
class _Piece:
    """What the library times: a word or a part of one."""

    text: str
    tokens: list[int]
    line: int
    begins_word: bool


@dataclass(frozen=True)
class _Ear:
    """The network with all that one alignment asks of it."""

    network: Any
    tokenizer: Any
    fp16: bool


class _Voice:
    """The voice of a file: its passages one after the other, without the pauses."""

    def __init__(self, samples: np.ndarray, loudness: voice.Loudness) -> None:
        import numpy as np

        self._passages = voice.passages(loudness)
        self._edges = [0.0, *accumulate(end - start for start, end in self._passages)]  # in voice time
        self._bursts = voice.bursts(loudness)
        pieces = [samples[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)] for start, end in self._passages]
        self.samples = np.concatenate(pieces)
        self.seconds = self._edges[-1]

    def window(self, start: float) -> np.ndarray:
        """The samples of the window that begins at a voice time."""
        return self.samples[round(start * SAMPLE_RATE) : round((start + WINDOW_SECONDS) * SAMPLE_RATE)]

    def in_file(self, seconds: float) -> float:
        """A voice time as a time of the file."""
        index = min(bisect_right(self._edges, seconds), len(self._passages)) - 1
        start, end = self._passages[index]
        return min(start + seconds - self._edges[index], end)

    def sung(self, start: float, end: float) -> Passage:
        """What of a word's span in the file is sung: the aligner gives the pause between two words to one of them.

        That is the first burst as long as a word, or the longest: what comes before is the end of the word before.
        """
        bursts = [(max(first, start), min(last, end)) for first, last in self._bursts if first <= end and last >= start]
        words = (burst for burst in bursts if burst[1] - burst[0] >= WORD_SECONDS)
        return next(words, max(bursts, key=lambda burst: burst[1] - burst[0], default=(start, end)))


def sung_lines(lyrics: Sequence[str]) -> list[str]:
    """The lines that are sung: neither blank nor a heading in brackets; with single spaces."""
    return [" ".join(line.split()) for line in lyrics if line.strip() and not HEADING.fullmatch(line)]


def align(
    network: Any, path: Path, lyrics: Sequence[str], loudness: voice.Loudness, progress: hearing.Progress,
    language: str | None, *, fp16: bool,
) -> tuple[list[Line], str]:  # fmt: skip
    """Find every word of the lyrics in the voice.

    Parameters
    ----------
    network : whisper.model.Whisper
    path : Path
        The vocal stem.
    lyrics : sequence of str
        Lines; blank ones and headings in brackets are left out.
    loudness : Loudness
        Of that file; with voice.
    progress : Progress
    language : str or None
        A code; detected when None.
    fp16 : bool

    Returns
    -------
    lines : list of Line
        Every line with all its words, in order, inside the passages.
    language : str

    Raises
    ------
    InvalidInput
        When there are no words, far too many for the voice, or the recording is longer than MAX_SECONDS.
    """
    import whisper.tokenizer

    lines = sung_lines(lyrics)
    if not lines:
        raise InvalidInput("lyrics: there are no words in them.")
    if loudness.duration_seconds > MAX_SECONDS:
        raise InvalidInput(f"lyrics: the recording is longer than {MAX_SECONDS / 60:.0f} minutes.")
    samples, _ = audio.read(path, sample_rate=SAMPLE_RATE, channels=1)
    sung = _Voice(samples[0], loudness)
    language = language or hearing.detect_language(network, sung.samples, fp16=fp16)
    tokenizer = whisper.tokenizer.get_tokenizer(
        network.is_multilingual, num_languages=network.num_languages, language=language, task="transcribe"
    )
    ear = _Ear(network, tokenizer, fp16)
    pieces = _pieces(tokenizer, lines)
    timed = _timed_pieces(ear, sung, pieces, progress)
    words = [(piece.line, _word(sung, group)) for piece, group in _by_word(pieces, timed)]
    return [Line(tuple(word for _, word in line)) for _, line in groupby(words, key=lambda word: word[0])], language


def _pieces(tokenizer: Any, lines: Sequence[str]) -> list[_Piece]:
    """The lyrics as the library splits them.

    In languages with spaces a word begins with its space; in others every character is one, with its punctuation.
    """
    spaced = tokenizer.language not in UNSPACED
    pieces: list[_Piece] = []
    for number, line in enumerate(lines):
        word = ""
        tokens = tokenizer.encode(" " + line if spaced else line, disallowed_special=())
        for text, part in zip(*tokenizer.split_to_word_tokens(tokens), strict=True):
            begins = text.startswith(" ") if spaced else _has_letters(word) and _has_letters(text)
            word = text if begins else word + text
            pieces.append(_Piece(text, part, number, begins or word == text))
    return pieces


def _has_letters(text: str) -> bool:
    return any(character.isalnum() for character in text)


def _timed_pieces(ear: _Ear, sung: _Voice, pieces: Sequence[_Piece], progress: hearing.Progress) -> list[Any]:
    """The library's WordTiming of every piece, in voice time."""
    timed: list[Any] = []
    start = 0.0
    while len(timed) < len(pieces):
        progress.window(sung.in_file(start))
        rest = pieces[len(timed) :]
        last = start + WINDOW_SECONDS >= sung.seconds
        found = _find(ear, sung.window(start), rest if last else rest[: _heard(ear, sung, start, rest)])
        certain = found[: _collapse(found)]
        if not last:
            certain = [timing for timing in certain if timing.end <= WINDOW_SECONDS - EDGE_SECONDS]
        elif start + certain[-1].end > sung.seconds - EDGE_SECONDS:
            certain = found  # too little voice is left for another window
        for timing in certain:
            timing.start, timing.end = start + timing.start, start + timing.end
        timed += certain
        start = certain[-1].end if certain else start + WINDOW_SECONDS - 2 * EDGE_SECONDS
    return timed


def _collapse(found: Sequence[Any]) -> int:
    """How many timings there are before the words run together, which is how alignment fails; 1 at least."""
    short = [timing.end - timing.start < MIN_PIECE_SECONDS for timing in found]
    starts = range(1, len(found) - COLLAPSED_PIECES + 1)
    return next((start for start in starts if all(short[start : start + COLLAPSED_PIECES])), len(found))


def _heard(ear: _Ear, sung: _Voice, start: float, pieces: Sequence[_Piece]) -> int:
    """How many pieces are sung in the window that begins at a voice time; some are sung after it.

    Word by word the sum of log p(word | this window) - log p(word | next window) rises as long as words are of this
    window and falls after; its maximum is the boundary. Where the network hears nothing, the pace decides.
    """
    import numpy as np

    room = ear.network.dims.n_text_ctx // 2
    lengths = np.cumsum([len(piece.tokens) for piece in pieces])
    count = int(np.searchsorted(lengths, room, side="right"))
    tokens = [token for piece in pieces[:count] for token in piece.tokens]
    here, after = (_log_probabilities(ear, sung.window(time), tokens) for time in (start, start + WINDOW_SECONDS))
    evidence = np.concatenate([[0.0], np.cumsum(here - after)])[[0, *lengths[:count]]]
    expected = len(pieces) * WINDOW_SECONDS / (sung.seconds - start)
    pace = PACE_NATS * (np.arange(count + 1) / expected - 1) ** 2
    return int(np.argmax(evidence - pace))


def _log_probabilities(ear: _Ear, samples: np.ndarray, tokens: list[int]) -> np.ndarray:
    """log p of each token, given the window and the tokens before it."""
    import torch

    head = [*ear.tokenizer.sot_sequence, ear.tokenizer.no_timestamps]
    mel = hearing.spectrogram(ear.network, samples, fp16=ear.fp16)
    sequence = torch.tensor([[*head, *tokens]], device=ear.network.device)
    with torch.no_grad():
        logits = ear.network(mel[None], sequence)[0, len(head) - 1 : -1, : ear.tokenizer.eot].float()
    wanted = torch.tensor(tokens, dtype=torch.long, device=logits.device)[:, None]
    return logits.log_softmax(dim=-1).gather(1, wanted)[:, 0].cpu().numpy()


def _find(ear: _Ear, samples: np.ndarray, pieces: Sequence[_Piece]) -> list[Any]:
    """The library's WordTiming of each piece, in seconds of the window.

    Raises
    ------
    InvalidInput
        When they are more than a window can hold.
    """
    import whisper.timing

    tokens = [token for piece in pieces for token in piece.tokens]
    if len(tokens) > ear.network.dims.n_text_ctx - len(ear.tokenizer.sot_sequence) - 2:
        raise InvalidInput(f"lyrics: {len(pieces)} words are left for the last {WINDOW_SECONDS:.0f} s of voice.")
    mel = hearing.spectrogram(ear.network, samples, fp16=ear.fp16)
    frames = len(samples) // hearing.SAMPLES_PER_FRAME
    return whisper.timing.find_alignment(ear.network, ear.tokenizer, tokens, mel, frames)


def _by_word(pieces: Sequence[_Piece], timed: Sequence[Any]) -> Iterator[tuple[_Piece, list[Any]]]:
    """The first piece of each word, and the timings of all its pieces."""
    numbers = accumulate(piece.begins_word for piece in pieces)
    for _, group in groupby(zip(numbers, pieces, timed, strict=True), key=itemgetter(0)):
        _, own, timings = zip(*group, strict=True)
        yield own[0], list(timings)


def _word(sung: _Voice, timings: Sequence[Any]) -> Word:
    """The pieces of a word as one, in seconds of the file."""
    start, end = sung.sung(sung.in_file(timings[0].start), sung.in_file(timings[-1].end))
    tokens = sum(len(timing.tokens) for timing in timings)
    probability = sum(timing.probability * len(timing.tokens) for timing in timings) / tokens
    text = "".join(timing.word for timing in timings)
    return Word(text, round(float(start), 2), round(float(end), 2), float(probability))
