"""Pitch analysis on music rendered here, whose key, chords and tempo are known."""

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from errors import Cancelled, UnsupportedAudio
from models import audio, chords, chroma, keys, pitch_analysis, tempo
from tests import render

VARIANTS = ("basic_chroma", "enhanced_chroma", "librosa_chroma")


def ignore(fraction: float, message: str | None = None) -> None:
    """A report that nobody reads."""


def analyse(path: Path, variant: str = "enhanced_chroma", **request: object) -> pitch_analysis.Result:
    model = pitch_analysis.load(variant, "cpu", None)
    return pitch_analysis.run(model, pitch_analysis.Request(**request), path, path.parent, ignore)


def save(path: Path, samples: np.ndarray, rate: int = render.RATE) -> Path:
    with audio.Writer(path, rate, len(samples)) as writer:
        writer.write(samples)
    return path


def chord_sound(pitches: list[int], seconds: float, rate: int = 22050, tuning: float = 0.0) -> np.ndarray:
    """Notes of ten overtones each, (1, samples)."""
    time = np.arange(round(seconds * rate)) / rate
    hertz = [440 * 2 ** ((pitch + tuning - 69) / 12) for pitch in pitches]
    waves = [np.sin(2 * np.pi * f * h * time) * 0.6**h for f in hertz for h in range(1, 11) if f * h < rate / 2]
    return (0.5 * np.sum(waves, axis=0, keepdims=True) / len(pitches)).astype(np.float32)


@pytest.fixture(scope="module")
def progressions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Cadences in all 24 keys."""
    return render.all_progressions(tmp_path_factory.mktemp("progressions"))


def test_the_key_of_cadences_in_all_keys(progressions: dict[str, Path]) -> None:
    found = {key: analyse(path, plot=False) for key, path in progressions.items()}
    right = [key for key, result in found.items() if result.detected_key == key]
    assert len(right) >= 23, {key: result.detected_key for key, result in found.items() if key not in right}
    assert np.mean([result.confidence for result in found.values()]) > 0.5
    assert all(result.scale in result.detected_key for result in found.values())


@pytest.mark.parametrize("variant", ["basic_chroma", "librosa_chroma"])
def test_the_other_variants_hear_clear_keys_too(progressions: dict[str, Path], variant: str) -> None:
    wanted = ["C major", "F# minor", "A# major", "E minor"]
    found = [analyse(progressions[key], variant, plot=False).detected_key for key in wanted]
    assert sum(one == other for one, other in zip(found, wanted, strict=True)) >= 3


@pytest.mark.parametrize(
    ("key", "loop"),
    [
        ("G major", [(7, "major"), (2, "major"), (4, "minor"), (0, "major")]),
        ("D# major", [(3, "major"), (0, "minor"), (8, "major"), (10, "major")]),
        ("B minor", [(11, "minor"), (4, "minor"), (11, "minor"), (6, "major")]),
        ("F minor", [(5, "minor"), (3, "major"), (1, "major"), (0, "major")]),
    ],
)
def test_the_key_of_pop_loops_with_drums(tmp_path: Path, key: str, loop: list[render.Chord]) -> None:
    assert analyse(render.loop(tmp_path / "a.flac", loop, times=2), plot=False).detected_key == key


def test_the_chords_of_a_loop_and_their_times(tmp_path: Path) -> None:
    loop: list[render.Chord] = [(9, "minor"), (5, "major"), (0, "major"), (7, "major")]
    path = render.loop(tmp_path / "a.flac", loop, tempo_bpm=120, times=3)
    result = analyse(path, plot=False)
    details = json.loads((tmp_path / result.analysis_file).read_text())
    named = [chord for chord in details["chords"] if chord["name"] != "N"]
    assert [chord["name"] for chord in named] == ["Am", "F", "C", "G"] * 3
    for bar, chord in enumerate(named):
        assert chord["start_seconds"] == pytest.approx(bar * 2, abs=0.35)
    assert result.chord_changes_count == 11
    assert result.harmonic_complexity == pytest.approx(np.log(4) / np.log(24), abs=0.03)


@pytest.mark.parametrize("bpm", [60, 77, 90, 120, 133, 150, 180])
def test_the_tempo_of_clicks(tmp_path: Path, bpm: float) -> None:
    path = render.clicks(tmp_path / "a.flac", bpm)
    found = pitch_analysis.measure("basic_chroma", path, ignore)
    heard, beats = tempo.estimate(found.onsets, chroma.SAMPLE_RATE / tempo.HOP)
    assert heard == pytest.approx(bpm, rel=0.01)
    assert len(beats) == pytest.approx(20 * bpm / 60, abs=2)
    off = np.abs(beats * bpm / 60 - np.round(beats * bpm / 60)) * 60 / bpm
    assert off.max() < 0.04


def test_a_song_with_a_voice(tmp_path: Path) -> None:
    song = render.song(tmp_path / "song.flac")
    result = analyse(song.path)
    assert result.detected_key == song.key
    assert result.tempo_bpm == pytest.approx(song.tempo_bpm, rel=0.01)
    assert result.files == ["pitch_analysis_enhanced_chroma.json", "pitch_analysis_enhanced_chroma.png"]
    assert all((tmp_path / name).stat().st_size > 1000 for name in result.files)


def test_the_picture(tmp_path: Path) -> None:
    from matplotlib import pyplot
    from matplotlib.image import imread

    result = analyse(save(tmp_path / "a.wav", chord_sound([60, 64, 67], 3), 22050))
    assert result.plot_file
    picture = imread(tmp_path / result.plot_file)
    assert picture.shape[:2] == (900, 1200)
    upper = picture[:450, :].reshape(-1, 4)
    assert len(np.unique(upper.round(2), axis=0)) > 20, "a chromagram has many shades"
    assert picture[0, 0, 3] == 0, "on the ground of the page, light or dark"
    assert not pyplot.get_fignums()


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_json_says_all(tmp_path: Path, variant: str) -> None:
    result = analyse(save(tmp_path / "a.wav", chord_sound([60, 64, 67, 72], 4), 22050), variant, plot=False)
    assert (result.model, result.analysis_file) == (variant, f"pitch_analysis_{variant}.json")
    assert set(result.dominant_pitches) == {"C", "E", "G"}
    assert result.files == [result.analysis_file]
    assert result.plot_file is None
    details = json.loads((tmp_path / result.analysis_file).read_text())
    assert details["detected_key"] == result.detected_key == "C major"
    assert set(details["key_strengths"]) == set(keys.KEY_NAMES)
    assert details["key_strengths"]["C major"] == pytest.approx(result.key_strength)
    assert details["duration_seconds"] == pytest.approx(4, abs=0.01)
    assert [chord["name"] for chord in details["chords"] if chord["name"] != "N"] == ["C"]
    assert result.chord_changes_count == 0
    assert result.harmonic_complexity == 0
    assert max(details["chroma_mean"].values()) == 1


@pytest.mark.parametrize("cents", [-30, 0, 40])
def test_a_recording_out_of_tune(tmp_path: Path, cents: int) -> None:
    chord = [chord_sound(p, 2, tuning=cents / 100) for p in ([57, 60, 64], [62, 65, 69], [64, 68, 71], [57, 60, 64])]
    path = save(tmp_path / "a.wav", np.concatenate(chord, axis=1), 22050)
    result = analyse(path, plot=False)
    assert result.detected_key == "A minor"
    assert json.loads((tmp_path / result.analysis_file).read_text())["tuning_cents"] == pytest.approx(cents, abs=5)


@pytest.mark.parametrize("cents", [-45, 45])
def test_notes_between_the_keys_of_a_piano_stay_single(cents: int) -> None:
    sound = np.pad(chord_sound([60, 64, 67], 4, tuning=cents / 100)[0], chroma.CONTEXT_FRAMES * chroma.HOP)
    mean = chroma.inner_frames(chroma.NoteChroma()(sound), 4 * 22050, chroma.HOP).mean(axis=1)
    tones, others = mean[[0, 4, 7]], np.delete(mean, [0, 4, 7])
    assert others.max() < 0.2 * tones.min()


def test_overtones_are_not_notes() -> None:
    """The fifth overtone of C is an E: note chroma knows better, plain chroma does not."""
    sound = np.pad(chord_sound([48, 55], 4)[0], chroma.CONTEXT_FRAMES * chroma.HOP)
    share = {}
    for variant in ("basic_chroma", "enhanced_chroma"):
        mean = chroma.inner_frames(chroma.EXTRACTORS[variant]()(sound), 4 * 22050, chroma.HOP).mean(axis=1)
        share[variant] = mean[4] / mean[0]
    assert share["enhanced_chroma"] < 0.5 * share["basic_chroma"]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    ("seconds", "level"), [(3.0, 0.0), (0.05, 0.5), (3.0, 0.00005)], ids=["silence", "short", "faint"]
)
def test_no_key_where_there_is_none(tmp_path: Path, variant: str, seconds: float, level: float) -> None:
    path = save(tmp_path / "a.wav", level * chord_sound([60, 64, 67], seconds), 22050)
    result = analyse(path, variant)
    assert (result.detected_key, result.scale, result.confidence) == ("unknown", "unknown", 0.0)
    assert result.tempo_bpm is None
    assert result.chord_changes_count == 0
    assert len(result.files) == 2


@pytest.mark.parametrize("variant", VARIANTS)
def test_blocks_make_no_seams(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variant: str) -> None:
    path = render.progression(tmp_path / "a.flac", 2, "major")
    whole = pitch_analysis.measure(variant, path, ignore)
    for module in (chroma, pitch_analysis):
        monkeypatch.setattr(module, "BLOCK_FRAMES", 16)
    pieces = pitch_analysis.measure(variant, path, ignore)
    assert pieces.chroma.shape == whole.chroma.shape
    assert pieces.onsets.shape == whole.onsets.shape
    assert pieces.duration_seconds == whole.duration_seconds
    assert np.abs(pieces.loudness - whole.loudness).max() < 1e-6
    alike = [np.corrcoef(one, other)[0, 1] for one, other in zip(pieces.chroma.T, whole.chroma.T, strict=True)]
    assert min(alike) > 0.9
    assert np.corrcoef(pieces.onsets, whole.onsets)[0, 1] > 0.98


def test_progress_is_real_and_cancel_unwinds(tmp_path: Path) -> None:
    path = save(tmp_path / "a.flac", np.tile(chord_sound([60, 64, 67], 10), 24), 22050)
    seen: list[float] = []

    def cancel_at_half(fraction: float, message: str | None = None) -> None:
        seen.append(fraction)
        if fraction > 0.4:
            raise Cancelled

    model = pitch_analysis.load("basic_chroma", "cpu", None)
    with pytest.raises(Cancelled):
        pitch_analysis.run(model, pitch_analysis.Request(), path, tmp_path, cancel_at_half)
    assert seen == sorted(seen)
    assert seen[-1] < 0.6
    assert not list(tmp_path.glob("pitch_analysis*"))
    seen.clear()
    request = pitch_analysis.Request(plot=False)
    pitch_analysis.run(model, request, path, tmp_path, lambda fraction, message=None: seen.append(fraction))
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (0.0, 1.0)
    assert len(seen) >= 6


def test_what_is_not_audio(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    path.write_text("la la la\n" * 100)
    with pytest.raises(UnsupportedAudio):
        analyse(path)


def test_unknown_fields_and_variants() -> None:
    with pytest.raises(ValidationError, match="model"):
        pitch_analysis.Request(model="basic_chroma")
    with pytest.raises(KeyError):
        pitch_analysis.load("loud_chroma", "cpu", None)


def test_viterbi_takes_the_best_path() -> None:
    """Against every path of five frames over three chords, by force."""
    rng = np.random.default_rng(3)
    fit = np.full((24, 5), -1.0)
    fit[:3] = rng.uniform(0.3, 1, (3, 5))

    def worth(path: tuple[int, ...]) -> float:
        changes = sum(one != other for one, other in pairwise(path))
        return sum(fit[chord, frame] for frame, chord in enumerate(path)) - chords.CHANGE_COST * changes

    best = max(np.ndindex(*(3,) * 5), key=worth)
    assert chords.track(fit, np.ones(5, dtype=bool)).tolist() == list(best)


def test_importing_is_cheap() -> None:
    script = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})
import models.pitch_analysis
print([name for name in ("numpy", "librosa", "scipy", "matplotlib", "av") if name in sys.modules])
"""
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"
