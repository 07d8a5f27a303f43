"""Songs made from a seed, with their truth: stems, words with times, key and tempo.

python -m training.song SEED OUT_DIR [--seconds SECONDS]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models import audio
from training.band import arrange
from training.form import BEATS_PER_BAR, Section, choose_form
from training.genres import GENRES, Genre
from training.harmony import Chord, Key, choose_key, choose_progression
from training.melody import write_melody
from training.mixing import filtered, in_room, levelled, limiter_gain, panned
from training.performance import Clock, TimedText, perform
from training.score import SAMPLE_RATE, play
from training.voice import VOICES

STEMS = ("drums", "bass", "other", "vocals")
LEVELS_DB = {"drums": -19.5, "bass": -20.5, "other": -20.5, "vocals": -17.0}  # before the limiter
LEVEL_SPREAD_DB = 1.5
BASS_BELOW_HZ, OTHER_ABOVE_HZ = 500.0, 200.0
CHORDS_PAN, LEAD_PAN = 0.75, -0.6  # or the other way round
CEILING = 0.89  # of the mixture; mp3 needs a little room
TURNED_DOWN_DB = 6.0  # at most, of the whole song
SHORTEST_SECONDS, LONGEST_SECONDS = 20.0, 180.0  # of a song whose length is not asked for
LEAST_SECONDS = 15.0
LEAST_BARS = 6
SUNG_CHANCE, DRUMMED_CHANCE, LATE_START_CHANCE = 0.94, 0.93, 0.25
RING_SECONDS = 2.0  # after the last bar
FADE_SECONDS = 0.8


@dataclass(frozen=True, eq=False)
class Song:
    """A song and the truth about it.

    Attributes
    ----------
    stems : dict of str to np.ndarray [shape=(2, samples), dtype=float32]
        By the names in STEMS, at SAMPLE_RATE.
    words, lines : tuple of TimedText
        In the order they are sung; both empty in a song without voice.
    key : str
        Such as "C major" or "F# minor".
    tempo_bpm : float
    genre : str
    """

    stems: dict[str, np.ndarray]
    words: tuple[TimedText, ...]
    lines: tuple[TimedText, ...]
    key: str
    tempo_bpm: float
    genre: str

    @property
    def mixture(self) -> np.ndarray:
        """The sum of the stems in the order of STEMS: (2, samples), float32."""
        return sum((self.stems[name] for name in STEMS[1:]), start=self.stems[STEMS[0]])

    @property
    def duration_seconds(self) -> float:
        """Its length."""
        return self.stems[STEMS[0]].shape[1] / SAMPLE_RATE


def make_song(seed: int, seconds: float | None = None, *, band: bool = True) -> Song:
    """Make a song.

    Parameters
    ----------
    seed : int
        The same seed and length give the same samples.
    seconds : float, optional
        Its exact length, LEAST_SECONDS at least; None draws one from SHORTEST_SECONDS to LONGEST_SECONDS, short ones
        more often.
    band : bool
        False leaves the voice alone, which takes a fraction of the time.

    Returns
    -------
    Song

    Raises
    ------
    ValueError
        When it would be shorter than LEAST_SECONDS.
    FileNotFoundError
        When fluidsynth, its sound font or espeak-ng is not installed.
    """
    rng = np.random.default_rng(seed)
    drawn = SHORTEST_SECONDS * (LONGEST_SECONDS / SHORTEST_SECONDS) ** rng.random()
    seconds = float(drawn) if seconds is None else seconds
    if seconds < LEAST_SECONDS:
        raise ValueError(f"a song has {LEAST_SECONDS:g} s at least, not {seconds:g}")
    length = round(seconds * SAMPLE_RATE)
    genre, key = GENRES[rng.integers(len(GENRES))], choose_key(rng)
    late = rng.uniform(0.5, 2.5) if rng.random() < LATE_START_CHANCE else rng.uniform(0.05, 0.2)
    music_seconds = seconds - late - RING_SECONDS
    tempo_bpm = _choose_tempo(rng, genre, music_seconds)
    bars = int(music_seconds * tempo_bpm / 60 / BEATS_PER_BAR)
    clock = Clock(round(late * SAMPLE_RATE), 60 / tempo_bpm * SAMPLE_RATE)

    sung, drummed = rng.random() < SUNG_CHANCE, rng.random() < DRUMMED_CHANCE
    form = choose_form(rng, bars, sung=sung)
    progressions = {kind: choose_progression(rng, key) for kind in ("verse", "chorus")}
    chords = _chords_of_bars(key, form, progressions)
    voice = VOICES[rng.integers(len(VOICES))]
    melody, texts = write_melody(rng, key, voice.lowest, form, chords)
    vocals, words, lines = perform(rng, voice, melody, texts, clock, length)

    played = {name: np.zeros((2, length)) for name in STEMS[:3]}
    if band:
        parts = arrange(rng, genre, key, form, chords, drums=drummed)
        late_silence = ((0, 0), (clock.start, 0))
        drums, bass, chord, lead = (
            np.pad(play(notes, tempo_bpm, length - clock.start, drum_kit=parts.drum_kit), late_silence)
            for notes in (parts.drums, parts.bass, parts.chords, parts.lead)
        )
        side = float(rng.choice([-1, 1]))
        played = {
            "drums": drums,
            "bass": panned(filtered(bass.mean(axis=0), BASS_BELOW_HZ, "lowpass"), 0),
            "other": _on_side(chord, side * CHORDS_PAN) + _on_side(lead, side * LEAD_PAN),
        }
    return Song(_mix(rng, played, vocals), words, lines, str(key), tempo_bpm, genre.name)


def _on_side(samples: np.ndarray, pan: float) -> np.ndarray:
    """An instrument as one point between left and right, out of the bass's way."""
    return panned(filtered(samples.mean(axis=0), OTHER_ABOVE_HZ, "highpass"), pan)


def _choose_tempo(rng: np.random.Generator, genre: Genre, seconds: float) -> float:
    """A tempo of the genre in bpm, or the slowest that gives LEAST_BARS bars."""
    return max(round(float(rng.uniform(*genre.tempo_bpm)), 1), LEAST_BARS * BEATS_PER_BAR * 60 / seconds + 0.1)


def _chords_of_bars(key: Key, form: Sequence[Section], progressions: dict[str, tuple[Chord, ...]]) -> list[Chord]:
    """A chord for every bar of a form; the song ends on the tonic."""
    chords = []
    for section in form:
        progression = progressions["chorus" if section.kind == "chorus" else "verse"]
        chords += [progression[bar % len(progression)] for bar in range(section.bars)]
    return [*chords[:-1], key.chord(0)]


def _mix(rng: np.random.Generator, band: dict[str, np.ndarray], vocals: np.ndarray) -> dict[str, np.ndarray]:
    """The stems at their levels in the mixture, which stays under CEILING, faded at the end."""
    voice = panned(vocals, float(rng.uniform(-0.05, 0.05)))
    voice = in_room(rng, voice, wet_db=float(rng.uniform(-22, -14)), decay_seconds=float(rng.uniform(0.25, 0.6)))
    hall = {"wet_db": float(rng.uniform(-22, -14)), "decay_seconds": float(rng.uniform(0.3, 0.8))}
    other = in_room(rng, band["other"], **hall) if band["other"].any() else band["other"]
    stems = band | {"other": other, "vocals": voice}
    spread = dict(zip(STEMS, rng.uniform(-LEVEL_SPREAD_DB, LEVEL_SPREAD_DB, len(STEMS)), strict=True))
    stems = {name: levelled(stems[name], LEVELS_DB[name] + spread[name]) for name in STEMS}
    gain = limiter_gain(np.sum(list(stems.values()), axis=0), CEILING) * 10 ** (-rng.uniform(0, TURNED_DOWN_DB) / 20)
    fade = round(FADE_SECONDS * SAMPLE_RATE)
    gain[-fade:] *= np.linspace(1, 0, fade)
    return {name: (samples * gain).astype(np.float32) for name, samples in stems.items()}


def truth(song: Song) -> str:
    """What is known of a song, as JSON: words and lines with times in seconds, key, tempo, length.

    Parameters
    ----------
    song : Song

    Returns
    -------
    str
    """
    timed = {
        name: [
            {"text": part.text, "start": round(part.start_seconds, 3), "end": round(part.end_seconds, 3)}
            for part in parts
        ]
        for name, parts in (("words", song.words), ("lines", song.lines))
    }
    facts = {"key": song.key, "tempo_bpm": song.tempo_bpm, "duration_seconds": song.duration_seconds}
    return json.dumps({**facts, "genre": song.genre, **timed}, indent=1) + "\n"


def write_song(song: Song, folder: Path) -> None:
    """Write a song: a 32-bit float wav for each stem, mixture.mp3, lyrics.txt, words.json.

    Parameters
    ----------
    song : Song
    folder : Path
        Made if it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in STEMS:
        with audio.Writer(folder / f"{name}.wav", SAMPLE_RATE, 2, sample_format="f32") as writer:
            writer.write(song.stems[name])
    with audio.Writer(folder / "mixture.mp3", SAMPLE_RATE, 2, bitrate_kbps=192) as writer:
        writer.write(song.mixture)
    write_texts(song, folder)


def write_texts(song: Song, folder: Path) -> None:
    """Write what is sung, one line each, and what is known: lyrics.txt, words.json.

    Parameters
    ----------
    song : Song
    folder : Path
        It must be there.
    """
    lyrics = "".join(f"{line.text}\n" for line in song.lines)
    (folder / "lyrics.txt").write_text(lyrics, encoding="utf-8")
    (folder / "words.json").write_text(truth(song), encoding="utf-8")


def main() -> None:
    """Make the song that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m training.song", description="Make a song from a seed.")
    parser.add_argument("seed", type=int)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--seconds", type=float, help="its length; drawn from the seed if not given")
    arguments = parser.parse_args()
    write_song(make_song(arguments.seed, arguments.seconds), arguments.out_dir)


if __name__ == "__main__":
    main()
