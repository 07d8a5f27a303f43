"""Onsets and pitch of a sung voice whose notes are known."""

from itertools import pairwise

import numpy as np
import pytest

from errors import Cancelled
from models import audio, voice
from models.onsets import REACH_SECONDS, peaks, snap
from models.singing import COMPRESSION, SAMPLE_RATE, listen, sounding
from models.words import MIN_WORD_SECONDS, Word

RATE = 22050  # Hz


def sing(midi, seconds):
    """A note with harmonics, vibrato and soft edges."""
    time = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * 440 * 2 ** ((midi - 69) / 12) * time + 0.3 * np.sin(2 * np.pi * 5.5 * time)
    tone = sum(np.sin(k * phase) / k for k in range(1, 12))
    return 0.2 * tone * np.minimum(1, time / 0.02) * np.minimum(1, (seconds - time) / 0.04)


def level(path):
    return voice.listen(path, lambda fraction: None)


@pytest.fixture(scope="module")
def song(tmp_path_factory):
    """(path, [(start, end, midi)]) of 60 notes with rests between some, over a little noise, crossing blocks."""
    rng = np.random.default_rng(7)
    notes, now = [], 0.5
    for _ in range(60):
        seconds = rng.uniform(0.2, 0.6)
        notes.append((now, now + seconds * 0.9, int(rng.integers(45, 77))))
        now += seconds + (rng.uniform(0.3, 1.0) if rng.random() < 0.2 else 0.0)
    sound = rng.normal(0, 2e-4, round((now + 0.5) * RATE))
    for start, end, midi in notes:
        note = sing(midi, end - start)
        sound[round(start * RATE) :][: len(note)] += note * rng.uniform(0.3, 1.0)
    path = tmp_path_factory.mktemp("voice") / "vocals.wav"
    with audio.Writer(path, RATE, 1) as writer:
        writer.write(sound[None].astype(np.float32))
    return path, notes


@pytest.fixture(scope="module")
def singing(song):
    path, notes = song
    return listen(path, level(path), [Word(" la", start, end) for start, end, _ in notes], lambda fraction: None)


def test_words_with_jittered_times_come_back_to_where_they_are_sung(song, singing):
    starts = np.array([start for start, _, _ in song[1]])
    jittered = np.sort(starts + np.random.default_rng(1).uniform(-0.1, 0.1, len(starts)))
    words = snap([Word(" la", start, start + 0.1) for start in jittered], *peaks(singing.onset))
    before, after = np.abs(jittered - starts), np.abs([word.start for word in words] - starts)
    assert np.median(before) > 0.04
    assert np.median(after) < 0.01
    assert np.quantile(after, 0.9) < 0.02


def test_snapping_keeps_order_and_reach(song, singing):
    rng = np.random.default_rng(2)
    starts = np.cumsum(rng.uniform(MIN_WORD_SECONDS, 0.3, 100))
    words = [Word(f" {i}", start, start + MIN_WORD_SECONDS) for i, start in enumerate(starts)]
    moved = snap(words, *peaks(singing.onset))
    assert [word.text for word in moved] == [word.text for word in words]
    assert all(a.end <= b.start and a.start + MIN_WORD_SECONDS <= b.start + 1e-9 for a, b in pairwise(moved))
    shifts = [abs(a.start - b.start) for a, b in zip(words, moved, strict=True)]
    assert 0.01 < max(shifts) <= REACH_SECONDS + 1e-9


def test_without_onsets_near_words_stay(singing):
    words = [Word(" a", 1.0, 1.2), Word(" b", 1.5, 1.9)]
    assert snap(words, [0.5, 3.0], [1.0, 1.0]) == words
    assert snap([], *peaks(singing.onset)) == []
    assert peaks(np.zeros(50, np.float32)) == ([], [])


def test_two_words_do_not_share_an_onset():
    moved = snap([Word(" a", 1.0, 1.05), Word(" b", 1.05, 1.3)], [1.06], [1.0])
    assert [round(word.start, 3) for word in moved] == [1.0, 1.06]


def test_the_sung_note_of_every_word(song, singing):
    found = [singing.semitones(start, end) for start, end, _ in song[1]]
    wrong = [(midi - 60, note) for (_, _, midi), note in zip(song[1], found, strict=True) if note != midi - 60]
    assert len(wrong) <= 1, wrong


def test_silence_and_noise_have_no_note_and_blocks_without_words_are_not_measured(tmp_path, song, singing):
    assert singing.semitones(0.0, 0.4) is None
    assert np.isnan(listen(song[0], level(song[0]), [], lambda fraction: None).pitch).all()
    assert singing.semitones(1e6, 1e6 + 1) is None


def test_frames_do_not_depend_on_how_the_file_is_cut(song, singing):
    import librosa

    whole = audio.read(song[0], sample_rate=SAMPLE_RATE, channels=1)[0][0]
    loud = 10 ** (np.sort(level(song[0]).levels)[-50] / 20)
    mel = librosa.feature.melspectrogram(
        y=whole, sr=SAMPLE_RATE, n_fft=1024, win_length=512, hop_length=160, n_mels=40, power=1.0, pad_mode="constant"
    )
    expected = librosa.onset.onset_strength(
        S=np.log1p(COMPRESSION / loud * mel), sr=SAMPLE_RATE, hop_length=160, lag=2, max_size=3, center=False
    )
    length = min(len(expected), len(singing.onset)) - 4  # the ends are padded otherwise
    np.testing.assert_allclose(singing.onset[2:length], expected[2:length], atol=1e-4)


def test_progress_rises_to_one_and_cancelling_stops_at_once(song):
    seen = []
    listen(song[0], level(song[0]), [], seen.append)
    assert seen == sorted(seen)
    assert len(seen) >= 3
    assert seen[-1] == pytest.approx(1.0, abs=0.01)

    def cancel(fraction):
        seen.append(fraction)
        raise Cancelled

    seen.clear()
    with pytest.raises(Cancelled):
        listen(song[0], level(song[0]), [], cancel)
    assert len(seen) == 1


def test_sounding_finds_where_notes_begin_and_end_between_rests(song):
    notes, rests = song[1], [b[0] - a[1] for a, b in pairwise(song[1])]
    found = sounding(level(song[0]))
    breaks = [n for n, rest in enumerate(rests) if rest > 0.34]
    assert len(breaks) > 5
    begins = [notes[0][0], *(notes[n + 1][0] for n in breaks)]
    finishes = [*(notes[n][1] for n in breaks), notes[-1][1]]
    assert np.array(found) == pytest.approx(np.array([begins, finishes]).T, abs=0.04)
    assert sounding(voice.Loudness(np.full(500, voice.SILENCE_DB), 160000)) == []
    assert sounding(voice.Loudness(np.zeros(0), 0)) == []


def test_what_leaks_into_a_voice_does_not_sound():
    levels = np.full(500, -55.0, np.float32)
    levels[100:200] = -38.0  # a pad, 25 dB under the voice
    levels[220:310:40] = -25.0  # a snare, for a frame
    levels[320:420] = -13.0
    found = sounding(voice.Loudness(levels, 160000))
    assert found == [(320 / voice.FRAMES_PER_SECOND, 420 / voice.FRAMES_PER_SECOND)]
