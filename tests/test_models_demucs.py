"""models.demucs against demucs.api.Separator on the same checkpoint, and the files it writes."""

import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydantic
import pytest
import torch
from demucs.api import Separator

from errors import Cancelled, InvalidInput, ModelUnavailable
from models import audio, demucs
from models.demucs import Request
from tests import tiny_weights

RATE = 44100
EXACT = {"output_format": "wav", "bit_depth": 32}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    tiny_weights.build_demucs(folder)
    return folder / "demucs"


def noise(path: Path, seconds: float, *, rate: int = RATE, channels: int = 2, level: float = 0.1) -> Path:
    """A file of pink-ish noise with an offset, so that mean and deviation matter."""
    samples = np.random.default_rng(7).standard_normal((channels, round(seconds * rate))) * level + 0.01
    with audio.Writer(path, rate, channels, sample_format="f32") as writer:
        writer.write(samples.astype(np.float32))
    return path


def silent(fraction: float, message: str | None = None) -> None:
    """A report nobody reads."""


def separate(repository: Path, variant: str, source: Path, out: Path, **parameters) -> demucs.Result:
    model = demucs.load(variant, "cpu", repository)
    out.mkdir(exist_ok=True)
    return demucs.run(model, Request(**parameters), source, out, silent)


def error_db(wanted: np.ndarray, given: np.ndarray) -> float:
    """The signal over the error, in dB."""
    assert wanted.shape == given.shape
    return 10 * np.log10((wanted**2).sum() / max(((wanted - given) ** 2).sum(), 1e-30))


@pytest.mark.parametrize(
    ("variant", "seconds", "shifts", "overlap"),
    [
        ("htdemucs", 9.3, 0, 0.25),  # several segments
        ("htdemucs", 4.0, 0, 0.25),  # exactly one
        ("htdemucs", 0.05, 1, 0.25),
        ("htdemucs", 6.1, 2, 0.1),
        ("htdemucs_ft", 5.0, 1, 0.25),  # a bag with a model for each source
        ("htdemucs_6s", 5.0, 0, 0.25),
        ("mdx", 3.0, 1, 0.25),  # models of two classes, weighted
        ("mdx_extra_q", 3.0, 0, 0.25),  # quantised
    ],
)
def test_the_stream_equals_the_library(repository, tmp_path, variant, seconds, shifts, overlap):
    source = noise(tmp_path / "in.wav", seconds)
    result = separate(repository, variant, source, tmp_path / "out", shifts=shifts, overlap=overlap, seed=3, **EXACT)
    samples, _ = audio.read(source)
    random.seed(3)
    separator = Separator(variant, repo=repository, device="cpu", shifts=shifts, overlap=overlap)
    _, stems = separator.separate_tensor(torch.from_numpy(samples), RATE)
    assert set(result.tracks) == set(stems)
    for name, wanted in stems.items():
        given, rate = audio.read(tmp_path / "out" / f"{name}.wav")
        assert rate == RATE
        assert error_db(wanted.numpy(), given) > 60, name


def test_a_bags_own_segment_counts(repository, tmp_path):
    """The real mdx bags take 44 s at a time, whatever their models say."""
    (tmp_path / "mdx.yaml").write_text("models: ['0d19c1c6', '7ecf8ec1']\nsegment: 6\n")
    for path in (*repository.glob("0d19c1c6-*.th"), *repository.glob("7ecf8ec1-*.th")):
        shutil.copy(path, tmp_path)
    source = noise(tmp_path / "in.wav", 11)
    separate(tmp_path, "mdx", source, tmp_path / "out", shifts=0, **EXACT)
    separator = Separator("mdx", repo=tmp_path, device="cpu", shifts=0)
    _, stems = separator.separate_tensor(torch.from_numpy(audio.read(source)[0]), RATE)
    for name, wanted in stems.items():
        assert error_db(wanted.numpy(), audio.read(tmp_path / "out" / f"{name}.wav")[0]) > 60, name


def test_the_instrumental_is_the_sum_of_the_others(repository, tmp_path):
    result = separate(repository, "htdemucs", noise(tmp_path / "in.wav", 2), tmp_path / "out", **EXACT)
    assert result.tracks == ["vocals", "bass", "drums", "other"]
    assert result.files == ["vocals.wav", "bass.wav", "drums.wav", "other.wav", "instrumental.wav"]
    stems = {name: audio.read(tmp_path / "out" / f"{name}.wav")[0] for name in [*result.tracks, "instrumental"]}
    assert error_db(stems["bass"] + stems["drums"] + stems["other"], stems["instrumental"]) > 100


def test_two_stems(repository, tmp_path):
    parameters = {"two_stems": "drums", "shifts": 0, **EXACT}
    result = separate(repository, "htdemucs", noise(tmp_path / "in.wav", 2), tmp_path / "two", **parameters)
    assert result.tracks == ["drums", "no_drums"]
    assert result.files == ["drums.wav", "no_drums.wav"]
    separate(repository, "htdemucs", tmp_path / "in.wav", tmp_path / "four", shifts=0, **EXACT)
    four = {name: audio.read(tmp_path / "four" / f"{name}.wav")[0] for name in ("vocals", "bass", "other", "drums")}
    given = {name: audio.read(tmp_path / "two" / f"{name}.wav")[0] for name in result.tracks}
    assert error_db(four["drums"], given["drums"]) > 100
    assert error_db(four["vocals"] + four["bass"] + four["other"], given["no_drums"]) > 100


def test_a_stem_the_model_has_not(repository, tmp_path):
    with pytest.raises(InvalidInput, match=r"piano.*drums, bass, other, vocals"):
        separate(repository, "htdemucs", noise(tmp_path / "in.wav", 1), tmp_path / "out", two_stems="piano")


@pytest.mark.parametrize(("parameters", "codec"), [
    ({"output_format": "mp3", "mp3_bitrate": 128}, "mp3"),
    ({"output_format": "flac", "bit_depth": 24}, "flac"),
    ({"output_format": "wav"}, "pcm_s16le"),
])  # fmt: skip
def test_formats(repository, tmp_path, parameters, codec):
    source = noise(tmp_path / "in.wav", 2)
    separate(repository, "htdemucs", source, tmp_path / "exact", shifts=0, **EXACT)
    result = separate(repository, "htdemucs", source, tmp_path / "out", shifts=0, **parameters)
    for name in result.files:
        probe = audio.probe(tmp_path / "out" / name)
        assert (probe.codec.removesuffix("float"), probe.sample_rate, probe.channels) == (codec, RATE, 2)
        assert probe.duration_seconds == pytest.approx(2, abs=0.06)
    if codec != "mp3":
        wanted, _ = audio.read(tmp_path / "exact" / "drums.wav")
        given, _ = audio.read(tmp_path / "out" / f"drums.{parameters['output_format']}")
        assert error_db(wanted, given) > 35


def test_rescale_turns_down_what_would_clip(repository, tmp_path):
    source = noise(tmp_path / "in.wav", 2, level=200)
    separate(repository, "htdemucs", source, tmp_path / "exact", shifts=0, **EXACT)
    rescaled = {"shifts": 0, "output_format": "wav", "clip_mode": "rescale"}
    result = separate(repository, "htdemucs", source, tmp_path / "out", **rescaled)
    wanted, _ = audio.read(tmp_path / "exact" / "vocals.wav")
    assert abs(wanted).max() > 1
    given, _ = audio.read(tmp_path / "out" / "vocals.wav")
    assert abs(given).max() == pytest.approx(0.99, abs=1e-3)
    assert error_db(wanted * 0.99 / abs(wanted).max(), given) > 60
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(result.files)


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (96000, 2)])
def test_other_rates_and_channels(repository, tmp_path, rate, channels):
    source = noise(tmp_path / "in.wav", 1.5, rate=rate, channels=channels)
    result = separate(repository, "htdemucs", source, tmp_path / "out")
    assert result.sample_rate == RATE
    assert result.duration_seconds == pytest.approx(1.5, abs=0.01)


def test_silence(repository, tmp_path):
    with audio.Writer(tmp_path / "in.wav", RATE, 2) as writer:
        writer.write(np.zeros((2, RATE), dtype=np.float32))
    separate(repository, "htdemucs", tmp_path / "in.wav", tmp_path / "out", **EXACT)
    assert abs(audio.read(tmp_path / "out" / "vocals.wav")[0]).max() < 1e-4


def test_progress_comes_from_the_segments(repository, tmp_path):
    told: list[float] = []
    model = demucs.load("htdemucs", "cpu", repository)
    source = noise(tmp_path / "in.wav", 13)
    demucs.run(model, Request(shifts=0), source, tmp_path, lambda fraction, message=None: told.append(fraction))
    assert told == sorted(told)
    assert told[-1] == 1
    assert len(set(told)) >= 5  # segments of 4 s, a stride of 3 s


def test_cancel_stops_at_the_next_segment(repository, tmp_path):
    def report(fraction: float, message: str | None = None) -> None:
        if fraction > 0.2:
            raise Cancelled

    model = demucs.load("htdemucs", "cpu", repository)
    with pytest.raises(Cancelled):
        demucs.run(model, Request(shifts=0), noise(tmp_path / "in.wav", 30), tmp_path, report)


def test_weights_that_do_not_load(tmp_path, repository):
    (tmp_path / "htdemucs.yaml").write_text((repository / "htdemucs.yaml").read_text())
    (tmp_path / "955717e8-12345678.th").write_bytes(b"no weights")
    with pytest.raises(ModelUnavailable, match=r"htdemucs.*do not load"):
        demucs.load("htdemucs", "cpu", tmp_path)


@pytest.mark.parametrize("parameters", [
    {"shifts": 21}, {"overlap": 1}, {"overlap": float("nan")}, {"mp3_bitrate": 100}, {"output_format": "ogg"},
    {"bit_depth": 32, "output_format": "mp3"}, {"model": "mdx"},
])  # fmt: skip
def test_parameters_out_of_range(parameters):
    with pytest.raises(pydantic.ValidationError):
        Request(**parameters)


PEAK = """
import sys, resource, torch
torch.set_num_threads(1)
from pathlib import Path
from models import demucs
repository, source, out = map(Path, sys.argv[1:])
model = demucs.load("htdemucs", "cpu", repository)
demucs.run(model, demucs.Request(shifts=0, output_format="wav"), source, out, lambda *_: None)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_length(repository, tmp_path):
    peaks = []
    for seconds in (15, 75):
        source = noise(tmp_path / f"{seconds}.wav", seconds)
        run = subprocess.run([sys.executable, "-c", PEAK, repository, source, tmp_path], capture_output=True, text=True,
                             check=True)  # fmt: skip
        peaks.append(int(run.stdout) / 1024)
    whole_song = 60 * RATE * 2 * 4 * 4 / 2**20  # what a minute more of four stems would take, in MiB
    assert peaks[1] - peaks[0] < whole_song / 3, peaks
