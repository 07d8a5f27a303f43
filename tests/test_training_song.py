"""Synthesised songs: the same from the same seed, whole, and true to what they say of themselves."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from models import audio, pitch_analysis
from training.demo_song import FOLDER
from training.form import choose_form
from training.harmony import Key
from training.lyrics import LONGEST_LINE_SYLLABLES, syllables, vocabulary, write_lines
from training.score import SAMPLE_RATE
from training.singing import SungNote, sing
from training.song import STEMS, Song, make_song
from training.voice import VOICES, Voice, speak

SECONDS = 16.0
SEEDS = (2, 3, 7, 14)


@cache
def song(seed: int) -> Song:
    """A song of SECONDS, made once."""
    return make_song(seed, SECONDS)


def level(samples: np.ndarray, start_seconds: float, end_seconds: float) -> float:
    """RMS of a passage."""
    return float(
        np.sqrt((samples[:, round(start_seconds * SAMPLE_RATE) : round(end_seconds * SAMPLE_RATE)] ** 2).mean())
    )


def test_seeds_differ() -> None:
    first, second = song(SEEDS[0]), song(SEEDS[1])
    assert first.words != second.words
    assert not any(np.array_equal(first.stems[name], second.stems[name]) for name in STEMS)


@pytest.mark.parametrize("seed", SEEDS)
def test_stems_sum_to_the_mixture(seed: int) -> None:
    made = song(seed)
    assert tuple(made.stems) == STEMS
    for stem in made.stems.values():
        assert stem.shape == (2, SECONDS * SAMPLE_RATE)
        assert stem.dtype == np.float32
        assert np.abs(stem).max() > 0.01
    drums, bass, other, vocals = made.stems.values()
    assert np.array_equal(made.mixture, drums + bass + other + vocals)
    assert np.abs(made.mixture).max() < 0.95
    assert made.mixture[:, -1].tolist() == [0, 0]


@pytest.mark.parametrize("seed", SEEDS)
def test_instruments_leave_each_other_room(seed: int) -> None:
    made = song(seed)
    left, right = made.stems["bass"]
    assert np.array_equal(left, right), "in the centre"
    left, right = made.stems["other"]
    assert np.square(left - right).sum() > 0.1 * np.square(left + right).sum(), "to the sides"
    for name, hertz, least, most in (("bass", 500, 0.98, 1), ("other", 200, 0, 0.05)):
        power = np.abs(np.fft.rfft(made.stems[name].mean(axis=0))) ** 2
        assert least <= power[: round(hertz * SECONDS)].sum() / power.sum() <= most, name


@pytest.mark.parametrize("seed", SEEDS)
def test_voice_is_where_the_words_are(seed: int) -> None:
    made = song(seed)
    vocals = made.stems["vocals"]
    sung = np.mean([level(vocals, word.start_seconds, word.end_seconds) for word in made.words])
    for word in made.words:
        assert level(vocals, word.start_seconds, word.end_seconds) > 0.2 * sung, word
    assert level(vocals, 0, made.words[0].start_seconds) < 1e-6
    for line, following in zip(made.lines[:-1], made.lines[1:], strict=True):
        quiet = line.end_seconds + 0.15  # the room dies away
        if quiet < following.start_seconds:
            assert level(vocals, quiet, following.start_seconds) < 0.1 * sung, line
    assert level(vocals, made.lines[-1].end_seconds + 0.15, SECONDS) < 0.1 * sung


@pytest.mark.parametrize("seed", SEEDS)
def test_words_follow_each_other(seed: int) -> None:
    made = song(seed)
    ends = [0.0, *(word.end_seconds for word in made.words)]
    for word, before in zip(made.words, ends, strict=False):
        assert before - 1e-9 <= word.start_seconds < word.end_seconds - 0.08, word
    assert " ".join(word.text for word in made.words) == " ".join(line.text for line in made.lines)
    assert {word.text for word in made.words} <= set(vocabulary())


def test_key_and_tempo_are_heard(tmp_path: Path) -> None:
    model = pitch_analysis.load("enhanced_chroma", "cpu", None)
    keys, tempi = 0, 0
    for seed in SEEDS:
        with audio.Writer(tmp_path / f"{seed}.wav", SAMPLE_RATE, 2) as writer:
            writer.write(song(seed).mixture)
        request = pitch_analysis.Request(plot=False)
        heard = pitch_analysis.run(model, request, tmp_path / f"{seed}.wav", tmp_path, lambda *_: None)
        keys += heard.detected_key == song(seed).key
        tempi += heard.tempo_bpm == pytest.approx(song(seed).tempo_bpm, rel=0.03)
    assert keys >= len(SEEDS) - 1
    assert tempi >= len(SEEDS) - 1


def test_too_short() -> None:
    with pytest.raises(ValueError, match="not 5"):
        make_song(0, 5)


def test_form_fills_the_bars() -> None:
    rng, kinds = np.random.default_rng(0), set()
    for bars in range(6, 100):
        form = choose_form(rng, bars, sung=bars % 3 > 0)
        assert [section.start for section in form] == [0, *(section.end for section in form[:-1])]
        assert form[-1].end == bars
        assert ("verse" in {section.kind for section in form}) <= (bars % 3 > 0)
        kinds |= {section.kind for section in form}
    assert kinds == {"intro", "verse", "chorus", "instrumental", "break", "outro"}


@pytest.mark.parametrize("voice", VOICES, ids=lambda voice: voice.name)
def test_voices_sing_the_note(voice: Voice) -> None:
    length, pitch = 15000, voice.lowest + 7
    sung = sing(speak(voice, "love"), [SungNote(pitch, length)])
    assert sung.shape == (length,)
    middle = sung[4000:12000] * np.hanning(8000)
    correlation = np.fft.irfft(np.abs(np.fft.rfft(middle, 16000)) ** 2)
    period = SAMPLE_RATE / (440 * 2 ** ((pitch - 69) / 12))
    lags = np.arange(round(period * 0.7), round(period * 1.4))
    assert lags[np.argmax(correlation[lags])] == pytest.approx(period, rel=0.03)


def test_lyrics() -> None:
    lines = write_lines(np.random.default_rng(0), 200)
    assert len(lines) == 200
    assert max(line.syllables for line in lines) <= LONGEST_LINE_SYLLABLES
    assert {word for line in lines for word in line.words} <= set(vocabulary())
    known = {"love": 1, "river": 2, "memories": 3, "goodbye": 2, "telephone": 3, "fire": 1, "little": 2, "loves": 1}
    assert {word: syllables(word) for word in known} == known


def test_harmony() -> None:
    assert str(Key(6, "minor")) == "F# minor"
    assert Key(0, "major").chord(5).pitch_classes == (9, 0, 4)
    assert Key(9, "minor").chord(4, leading=True).pitch_classes == (4, 8, 11)
    assert Key(9, "minor").chord(0).voicing(54) == (57, 60, 64)


def test_same_seed_same_samples_in_another_process(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training.song", str(SEEDS[0]), str(tmp_path / "out"), "--seconds", str(SECONDS)]
    subprocess.run(command, check=True)
    out, made = tmp_path / "out", song(SEEDS[0])
    for name in STEMS:
        samples, rate = audio.read(out / f"{name}.wav")
        assert rate == SAMPLE_RATE
        assert np.array_equal(samples, made.stems[name])
    assert audio.probe(out / "mixture.mp3").duration_seconds == pytest.approx(SECONDS, abs=0.1)
    assert (out / "lyrics.txt").read_text().splitlines() == [line.text for line in made.lines]
    words = json.loads((out / "words.json").read_text())["words"]
    assert [word["text"] for word in words] == [word.text for word in made.words]
    assert [word["start"] for word in words] == pytest.approx([word.start_seconds for word in made.words], abs=0.001)


def test_demo_song() -> None:
    probe = audio.probe(FOLDER / "song.mp3")
    assert 20 <= probe.duration_seconds <= 30
    assert probe.title == probe.artist == "Studio demo"
    assert (FOLDER / "song.mp3").stat().st_size < 600_000
    samples, _ = audio.read(FOLDER / "song.mp3")
    assert np.abs(samples).max() < 1
    words = json.loads((FOLDER / "words.json").read_text())["words"]
    assert [word["text"] for word in words] == (FOLDER / "lyrics.txt").read_text().split()
