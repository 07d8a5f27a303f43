"""Test music with known truth: notes played by fluidsynth, words spoken by espeak-ng."""

import io
import subprocess
import wave
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from models import audio
from training import score

RATE = score.SAMPLE_RATE
TEMPO_BPM = 120.0  # of the score; notes are given in seconds
PIANO, ORGAN, GUITAR, BASS, STRINGS, DRUMS = 0, 19, 25, 33, 48, score.DRUMS
KICK, SNARE, HIHAT, CLICK = 36, 38, 42, 37
NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
TRIADS = {"major": (0, 4, 7), "minor": (0, 3, 7), "diminished": (0, 3, 6)}
PROGRESSION_SECONDS = 8.0
LYRICS = "silver river carry me home over the mountain under the moon every morning sing me a song"

Chord = tuple[int, str]  # root 0–11 above C, key of TRIADS


@dataclass(frozen=True)
class Note:
    """A note for one General MIDI program; DRUMS is the drum kit, where the pitch names the drum."""

    start_seconds: float
    duration_seconds: float
    pitch: int
    program: int
    velocity: int = 90


@dataclass(frozen=True)
class Word:
    """A word and when its sound begins."""

    text: str
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True)
class Song:
    """A rendered song and the truth about it; voice and band are its two parts alone, of equal length."""

    path: Path
    voice_path: Path
    band_path: Path
    words: tuple[Word, ...]
    passages: tuple[tuple[float, float], ...]  # where there is voice: start and end in seconds
    key: str
    tempo_bpm: float
    duration_seconds: float


def progression(path: Path, tonic: int, mode: str) -> Path:
    """I–IV–V–I or i–iv–V–i for piano over strings, 8 s.

    Parameters
    ----------
    path : Path
        Suffix .wav, .mp3 or .flac.
    tonic : int
        0 (C) to 11 (B).
    mode : "major" or "minor"
    """
    return save(path, play(cadence(tonic, mode), PROGRESSION_SECONDS))


def all_progressions(folder: Path) -> dict[str, Path]:
    """progression() in every key at twice the tempo, 4 s, by the key's name ("C major", …); played in one go."""
    keys = [(tonic, mode) for mode in ("major", "minor") for tonic in range(12)]
    seconds = PROGRESSION_SECONDS / 2
    apart = seconds + 1  # for the last chord to die away
    music = play([note for n, key in enumerate(keys) for note in cadence(*key, n * apart, seconds)], apart * len(keys))
    paths = {}
    for n, (tonic, mode) in enumerate(keys):
        start = round(n * apart * RATE)
        part = music[:, start : start + round(seconds * RATE)]
        paths[f"{NAMES[tonic]} {mode}"] = save(folder / f"{tonic}_{mode}.flac", part)
    return paths


def loop(path: Path, chords: Sequence[Chord], tempo_bpm: float = 100, times: int = 4) -> Path:
    """A pop band that plays chords, one to a bar, over and over: drums, bass, guitar."""
    beat = 60 / tempo_bpm
    notes = band(list(chords) * times, beat)
    return save(path, play(notes, len(chords) * times * 4 * beat))


def clicks(path: Path, tempo_bpm: float, seconds: float = 20) -> Path:
    """A side stick on every beat."""
    beat = 60 / tempo_bpm
    return save(path, play([Note(n * beat, 0.1, CLICK, DRUMS, 110) for n in range(int(seconds / beat))], seconds))


def song(path: Path, seconds: float = 24) -> Song:
    """A band in A minor at 120 bpm with a voice: one bar alone, a verse, an instrumental third, a verse.

    Parameters
    ----------
    path : Path
        Suffix .wav, .mp3 or .flac; the parts alone go beside it.
    seconds : float
        A multiple of 2 (a bar), 12 at least.
    """
    bar, count = 2.0, int(seconds / 2)
    chords: list[Chord] = [(9, "minor"), (5, "major"), (0, "major"), (4, "major")]  # i VI III V
    music = play(band([chords[n % 4] for n in range(count - 1)] + [chords[0]], bar / 4), seconds)
    third = count // 3
    verses = [(bar, bar * third), (seconds - bar * third, seconds - bar / 2)]
    times = [start + n * 0.5 for start, end in verses for n in range(int((end - start) / 0.5))]
    voice, words = sing(LYRICS.split(), times, music.shape[1])
    parts = {
        path: music * 0.5 + voice,
        path.with_stem(path.stem + "_voice"): voice,
        path.with_stem(path.stem + "_band"): music * 0.5,
    }
    for part, samples in parts.items():
        save(part, samples)
    sung = [[word for word in words if start <= word.start_seconds < end] for start, end in verses]
    passages = tuple((verse[0].start_seconds, verse[-1].end_seconds) for verse in sung)
    return Song(*parts, words, passages, "A minor", 120.0, seconds)


def sing(lyrics: Sequence[str], times: Iterable[float], length: int) -> tuple[np.ndarray, tuple[Word, ...]]:
    """Words one by one at the given seconds, cut where the next begins: (2, length) samples and what was sung."""
    out, words = np.zeros((2, length), dtype=np.float32), []
    starts = list(times)
    for n, start in enumerate(starts):
        word = lyrics[n % len(lyrics)]
        until = starts[n + 1] if n + 1 < len(starts) else start + 1
        sound = say(word)[: round(min(until - start, 0.95) * RATE)]
        at = round(start * RATE)
        sound = sound[: length - at]
        out[:, at : at + len(sound)] += sound
        words.append(Word(word, start, start + len(sound) / RATE))
    return out, tuple(words)


@cache
def say(text: str) -> np.ndarray:
    """Spoken text (samples,) at RATE, from its first sound to its last."""
    command = ["espeak-ng", "-v", "en-us", "-s", "170", "--stdout", text]
    with wave.open(io.BytesIO(subprocess.run(command, capture_output=True, check=True).stdout)) as file:
        spoken = np.frombuffer(file.readframes(file.getnframes()), dtype=np.int16) / 2**15
        rate = file.getframerate()
    loud = np.flatnonzero(np.abs(spoken) > 0.01)
    spoken = spoken[loud[0] : loud[-1] + 1]
    time = np.arange(int(len(spoken) * RATE / rate)) / RATE
    return np.interp(time, np.arange(len(spoken)) / rate, spoken).astype(np.float32)


def band(chords: Sequence[Chord], beat: float) -> list[Note]:
    """Drums, bass and strummed guitar, a bar of four beats for every chord; `beat` in seconds."""
    notes: list[Note] = []
    for bar, (root, quality) in enumerate(chords):
        at = bar * 4 * beat
        pitches = voicing(root, quality)
        for n in range(4):
            notes.append(Note(at + n * beat, 0.1, (KICK, SNARE)[n % 2], DRUMS, 100))
            notes += [Note(at + n * beat + half, 0.1, HIHAT, DRUMS, 60) for half in (0, beat / 2)]
            notes.append(Note(at + n * beat, beat * 0.9, 36 + root % 12, BASS, 95))
            notes += [Note(at + n * beat, beat * 0.9, pitch, GUITAR, 75) for pitch in pitches]
    return notes


def cadence(tonic: int, mode: str, start_seconds: float = 0.0, seconds: float = PROGRESSION_SECONDS) -> list[Note]:
    """The notes of progression(), in so many seconds."""
    chords: list[Chord] = [(tonic, mode), (tonic + 5, mode), (tonic + 7, "major"), (tonic, mode)]
    notes: list[Note] = []
    beat_seconds = seconds / 16
    for bar, (root, quality) in enumerate(chords):
        at, pitches = start_seconds + bar * beat_seconds * 4, voicing(root, quality)
        notes += [Note(at, beat_seconds * 3.9, pitch, STRINGS, 60) for pitch in [pitches[0] - 12, *pitches]]
        notes += [
            Note(at + beat * beat_seconds, beat_seconds * 0.9, pitch, PIANO) for beat in range(4) for pitch in pitches
        ]
    return notes


def voicing(root: int, quality: str) -> list[int]:
    """A triad near middle C, in the inversion that lies there: MIDI pitches."""
    return sorted(54 + (root + step - 54) % 12 for step in TRIADS[quality])


def play(notes: Sequence[Note], seconds: float) -> np.ndarray:
    """Notes as fluidsynth plays them: (2, seconds × RATE), peak at 0.7."""
    beat = 60 / TEMPO_BPM
    in_beats = [
        score.Note(note.start_seconds / beat, note.duration_seconds / beat, note.pitch, note.velocity, note.program)
        for note in notes
    ]
    samples = score.play(in_beats, TEMPO_BPM, round(seconds * RATE))
    return samples * (0.7 / max(1e-6, np.abs(samples).max()))


def save(path: Path, samples: np.ndarray) -> Path:
    """Samples (2, n) to a file."""
    with audio.Writer(path, RATE, 2) as writer:
        writer.write(samples)
    return path


def silence(path: Path, seconds: float) -> Path:
    """A file without a sound."""
    return save(path, np.zeros((2, round(seconds * RATE)), dtype=np.float32))
