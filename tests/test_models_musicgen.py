"""models.musicgen against transformers' own generate on the same checkpoint and seed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pydantic
import pytest
import torch
import transformers

from errors import Cancelled, ModelUnavailable
from models import audio, musicgen
from models.melody import melody
from models.musicgen import Request
from tests import render

RATE = 32000


@pytest.fixture(scope="module")
def folders(weights_dir: Path) -> Path:
    return weights_dir / "musicgen"


@pytest.fixture(scope="module")
def small(folders) -> musicgen.MusicGen:
    return musicgen.load("small", "cpu", folders / "small")


def silent(fraction: float, message: str | None = None) -> None:
    """A report nobody reads."""


def sine(path: Path, hertz: float, seconds: float) -> Path:
    """A stereo file of one tone."""
    tone = 0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * render.RATE)) / render.RATE)
    return render.save(path, np.stack([tone, tone]).astype("f4"))


def generate(model, out: Path, clip: Path | None = None, report=silent, **parameters):
    return musicgen.run(model, Request(**({"prompt": "happy rock", "duration": 1} | parameters)), clip, out, report)


def test_it_sounds_as_transformers_does(small, folders, tmp_path):
    generate(small, tmp_path, seed=11, duration=2, cfg_coeff=4, temperature=0.9, top_k=50)
    own = transformers.MusicgenForConditionalGeneration.from_pretrained(folders / "small", local_files_only=True)
    inputs = transformers.AutoTokenizer.from_pretrained(folders / "small")(["happy rock"], return_tensors="pt")
    torch.manual_seed(11)
    wanted = own.generate(**inputs, do_sample=True, guidance_scale=4.0, temperature=0.9, top_k=50, max_new_tokens=103)
    given, rate = audio.read(tmp_path / "generated_music.wav")
    assert rate == RATE
    assert given.shape == (1, 2 * RATE)
    assert np.abs(wanted[0].clamp(-1, 1).numpy() - given).max() < 1e-3  # 16-bit samples


def test_the_same_seed_gives_the_same_bytes(small, tmp_path):
    sounds = []
    for seed in (5, 5, 6):
        assert generate(small, tmp_path, seed=seed).seed == seed
        sounds.append((tmp_path / "generated_music.wav").read_bytes())
    assert sounds[0] == sounds[1] != sounds[2]


def test_a_seed_is_told_when_none_was_given(small, tmp_path):
    drawn = generate(small, tmp_path).seed
    sound = (tmp_path / "generated_music.wav").read_bytes()
    generate(small, tmp_path, seed=drawn)
    assert (tmp_path / "generated_music.wav").read_bytes() == sound


def test_longer_than_a_window(small, tmp_path, monkeypatch):
    """Windows of 2 s that carry 1 s, in place of 30 and 12: the first is as if it were all."""
    monkeypatch.setattr(musicgen, "WINDOW_SECONDS", 2.0)
    monkeypatch.setattr(musicgen, "CARRIED_SECONDS", 1.0)
    generate(small, tmp_path, seed=1, duration=2)
    first, _ = audio.read(tmp_path / "generated_music.wav")
    result = generate(small, tmp_path, seed=1, duration=4.5)
    whole, _ = audio.read(tmp_path / "generated_music.wav")
    assert result.duration == 4.5
    assert whole.shape == (1, round(4.5 * RATE))
    # The decoder hears a little to both sides of a frame, so the windows' end is left out.
    assert np.abs(whole[:, : RATE] - first[:, : RATE]).max() < 0.05 * max(np.abs(first).max(), 1e-3)


def test_a_clip_is_continued(small, tmp_path):
    clip = sine(tmp_path / "clip.wav", 330, 2)
    result = generate(small, tmp_path, clip, seed=1, duration=1, prompt_seconds=1.5)
    assert result.duration == pytest.approx(2.5, abs=0.05)


def test_the_melody_variant_hears_a_tune(folders, tmp_path):
    model = musicgen.load("melody", "cpu", folders / "melody")
    assert model.hears_melody
    model.model.audio_enc_to_dec_proj.weight.data *= 300  # untrained, a tune changes next to nothing
    sounds = []
    for hertz in (220.0, 311.13):
        clip = sine(tmp_path / "clip.wav", hertz, 1)
        assert generate(model, tmp_path, clip, seed=1).duration == 1
        sounds.append((tmp_path / "generated_music.wav").read_bytes())
    assert sounds[0] != sounds[1]


@pytest.mark.parametrize(("hertz", "pitch_class"), [(440.0, 9), (261.63, 0), (369.99, 6)])
def test_the_strongest_pitch_class(hertz, pitch_class):
    found = melody(np.sin(np.arange(2 * RATE) * 2 * np.pi * hertz / RATE).astype(np.float32), RATE)
    assert found.shape == (1, 16, 12)
    assert set(found.argmax(-1)[0].tolist()) == {pitch_class}


def test_a_second_format(small, tmp_path):
    result = generate(small, tmp_path, output_format="mp3")
    assert result.files == ["generated_music.wav", "generated_music.mp3"]
    assert audio.probe(tmp_path / "generated_music.mp3").codec.startswith("mp3")


def test_progress_for_every_frame(small, tmp_path):
    told: list[float] = []
    generate(small, tmp_path, report=lambda fraction, message=None: told.append(fraction))
    assert told == sorted(told)
    assert len(told) >= 50
    assert told[-1] == 1


def test_cancel(small, tmp_path):
    calls = []

    def report(fraction: float, message: str | None = None) -> None:
        calls.append(fraction)
        if len(calls) == 10:
            raise Cancelled

    with pytest.raises(Cancelled):
        generate(small, tmp_path, duration=60, report=report)
    assert len(calls) == 10
    generate(small, tmp_path)  # the model is as it was


def test_weights_that_do_not_load(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelUnavailable, match="do not load"):
        musicgen.load("small", "cpu", tmp_path)


def test_weights_of_another_size(folders, tmp_path):
    folder = shutil.copytree(folders / "small", tmp_path / "small")
    config = json.loads((folder / "config.json").read_text())
    config["decoder"]["ffn_dim"] += 8
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelUnavailable, match="do not load"):
        musicgen.load("small", "cpu", folder)


@pytest.mark.parametrize("parameters", [
    {"prompt": ""}, {"prompt": "  "}, {"prompt": "x" * 1001}, {"prompt": ["rock"]}, {"duration": 0}, {"duration": 121},
    {"temperature": float("nan")}, {"temperature": 2.1}, {"cfg_coeff": 11}, {"seed": -1}, {"top_p": 1.1}, {"url": "x"},
])  # fmt: skip
def test_parameters_out_of_range(parameters):
    with pytest.raises(pydantic.ValidationError) as caught:
        Request(**({"prompt": "rock"} | parameters))
    assert caught.value.errors()[0]["loc"] == tuple(parameters)
