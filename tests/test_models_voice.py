"""The energy gate, on sound whose voiced passages are known."""

from itertools import pairwise

import numpy as np
import pytest

from models import audio, voice
from models.voice import SAMPLE_RATE
from tests import render


def tone(seconds, level_db=-15.0):
    """A note with a slow swell of 6 dB, at that RMS level."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    swell = 10 ** (-3 * (1 + np.sin(2 * np.pi * time / 2)) / 20)
    wave = np.sin(2 * np.pi * 220 * time) * swell
    return wave / np.sqrt((wave**2).mean()) * 10 ** (level_db / 20)


def noise(seconds, level_db):
    return np.random.default_rng(0).standard_normal(round(seconds * SAMPLE_RATE)) * 10 ** (level_db / 20)


def heard(tmp_path, *pieces):
    """The loudness of a file of these pieces one after the other."""
    path = tmp_path / "a.wav"
    with audio.Writer(path, SAMPLE_RATE, 1, sample_format="f32") as writer:
        writer.write(np.concatenate(pieces)[None].astype(np.float32))
    return voice.listen(path, lambda fraction: None)


def test_long_pauses_are_gated_and_short_ones_kept(tmp_path):
    loudness = heard(
        tmp_path,
        noise(6, -75), tone(5), noise(2, -75), tone(3), noise(7, -75), tone(4), noise(2, -75),
    )  # fmt: skip
    first, second = voice.passages(loudness)
    assert first == pytest.approx((6 - voice.PADDING_SECONDS, 16 + voice.PADDING_SECONDS), abs=0.05)
    assert second == pytest.approx((23 - voice.PADDING_SECONDS, 29), abs=0.05)
    assert loudness.duration_seconds == 29


def test_nothing_is_gated_when_no_pause_is_long(tmp_path):
    loudness = heard(tmp_path, noise(2, -90), tone(4), noise(3, -90), tone(2), noise(2.5, -90))
    assert voice.passages(loudness) == [(0.0, loudness.duration_seconds)]


def test_bursts_are_what_is_sung_without_a_pause(tmp_path):
    loudness = heard(tmp_path, noise(1, -80), tone(1), noise(0.2, -80), tone(1), noise(0.5, -80), tone(0.3))
    assert voice.bursts(loudness) == [pytest.approx((1, 3.2), abs=0.03), pytest.approx((3.7, 4.0), abs=0.03)]


@pytest.mark.parametrize("level_db", [-140.0, -60.0, -53.0])
def test_silence_and_faint_noise_have_no_voice(tmp_path, level_db):
    assert voice.passages(heard(tmp_path, noise(8, level_db))) == []


def test_leaking_drums_are_no_voice(tmp_path):
    hits = [piece for _ in range(12) for piece in (noise(0.06, -30), noise(0.44, -80))]
    assert voice.passages(heard(tmp_path, *hits)) == []
    with_voice = voice.passages(heard(tmp_path, *hits, tone(2)))
    assert with_voice == [pytest.approx((6 - voice.PADDING_SECONDS, 8), abs=0.1)]


def test_the_gate_is_relative_to_the_loud_level(tmp_path):
    leak = noise(6, -46)  # of the band, 34 dB under a voice at -12 dB
    kept = 3 + voice.HOLD_SECONDS + voice.PADDING_SECONDS
    assert voice.passages(heard(tmp_path, tone(3, -12), leak)) == [pytest.approx((0, kept), abs=0.1)]
    quiet_voice = tone(6, -40)
    assert len(voice.bursts(heard(tmp_path, tone(3, -15), noise(1, -90), quiet_voice))) == 2


def test_speech_between_silences(tmp_path):
    word = render.say("river")
    length = len(word) / render.RATE
    path = tmp_path / "a.flac"
    gap = np.zeros(5 * render.RATE, np.float32)
    render.save(path, np.stack([np.concatenate([gap, word, gap])] * 2))
    told = []
    (passage,) = voice.passages(voice.listen(path, told.append))
    assert passage == pytest.approx((5 - voice.PADDING_SECONDS, 5 + length + voice.PADDING_SECONDS), abs=0.06)
    assert told == sorted(told)
    assert told[-1] == 1.0


@pytest.mark.parametrize("samples", [1, 100, 800, 16001])
def test_any_length(tmp_path, samples):
    loudness = heard(tmp_path, tone(2)[4020 : 4020 + samples])
    assert loudness.samples == samples
    assert voice.passages(loudness) == [(0.0, samples / SAMPLE_RATE)]


def test_long_files_are_cut_at_the_quietest_moment_near_the_end_of_a_part():
    frames = voice.FRAMES_PER_SECOND
    levels = np.full(1000 * frames, -20, np.float32)
    levels[250 * frames : 260 * frames] = -48  # a pause, in reach of the first cut
    levels[100 * frames : 150 * frames] = -120  # a quieter one, out of reach
    levels[500 * frames : 502 * frames] = -35
    loudness = voice.Loudness(levels, len(levels) * voice.FRAME)
    edges = [start for start, _ in voice.parts(loudness, 300)]
    assert edges[:3] == [0.0, pytest.approx(255, abs=5), pytest.approx(501, abs=1)]
    assert edges[1] == pytest.approx(255, abs=0.1)
    parts = voice.parts(loudness, 300)
    assert parts[-1][1] == loudness.duration_seconds
    assert all(a[1] == b[0] for a, b in pairwise(parts))
    assert all(end - start <= 300 for start, end in parts)
    assert voice.parts(loudness, 1000) == [(0.0, 1000.0)]
