"""models.demucs against demucs.api.Separator on the same checkpoint, and the files it writes."""

import json
import os
import random
import shutil
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path
from unittest.mock import patch

import mutagen
import numpy as np
import psutil
import pydantic
import pytest
import torch
import yaml
from demucs.api import Separator, save_audio
from demucs.demucs import Demucs
from demucs.states import load_model
from safetensors.torch import save_file

from errors import Cancelled, InvalidInput, JobFailed, ModelUnavailable, StorageFull, UnsupportedAudio
from models import audio, demucs
from models.demucs import Request
from models.stem_files import StemFiles
from tests import tiny_weights

RATE = 44100
EXACT = {"output_format": "wav", "bit_depth": 32}
FULL_DISK = Path("/dev/full")


@pytest.fixture(scope="module")
def repository(weights_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same checkpoints; the bags that say nothing of segments, whose models take 4 s at a time, say 1 s."""
    folder = shutil.copytree(weights_dir / "demucs", tmp_path_factory.mktemp("weights") / "demucs")
    for path in folder.glob("*.yaml"):
        if "segment" not in (bag := yaml.safe_load(path.read_text())):
            path.write_text(yaml.safe_dump(bag | {"segment": 1}))
    return folder


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository for what is the same whatever the network is: the one in it hardly does anything."""
    return light_repository(tmp_path_factory.mktemp("light"), 4)


def light_repository(folder: Path, segment_seconds: int) -> Path:
    """A bag of one small network, "light"."""
    (folder / "light.yaml").write_text("models: ['0d19c1c6']\n")
    model = Demucs(
        tiny_weights.STEMS, channels=1, depth=1, lstm_layers=0, dconv_mode=0, resample=False, segment=segment_seconds
    )
    args, kwargs = model._init_args_kwargs
    package = {"klass": Demucs, "args": args, "kwargs": kwargs, "state": model.state_dict()}
    torch.save(package, folder / "0d19c1c6.th")
    return folder


@cache
def loaded(repository: Path, variant: str) -> demucs.Demucs:
    return demucs.load(variant, "cpu", repository)


def noise(path: Path, seconds: float, *, rate: int = RATE, channels: int = 2, level: float = 0.1) -> Path:
    """A file of noise whose level rises, with an offset, so that mean and deviation matter."""
    samples = np.random.default_rng(7).standard_normal((channels, round(seconds * rate)))
    samples *= np.linspace(level / 2, level, samples.shape[1])
    with audio.Writer(path, rate, channels, sample_format="f32") as writer:
        writer.write((samples + 0.01).astype(np.float32))
    return path


def silent(fraction: float, message: str | None = None) -> None:
    """A report nobody reads."""


def separate(repository: Path, variant: str, source: Path, out: Path, **parameters) -> demucs.Result:
    out.mkdir(exist_ok=True)
    return demucs.run(loaded(repository, variant), Request(**parameters), source, out, silent)


def librarys(repository: Path, variant: str, source: Path, seed: int = 0, **options) -> dict[str, torch.Tensor]:
    """The stems as demucs.api.Separator gives them, with draws that other threads do not change."""
    samples, _ = audio.read(source)
    separator = Separator(variant, repo=repository, device="cpu", **options)
    own = random.Random(seed)
    with patch("demucs.apply.random", own), patch("demucs.transformer.random", own):
        return separator.separate_tensor(torch.from_numpy(samples), RATE)[1]


def error_db(wanted: np.ndarray, given: np.ndarray) -> float:
    """The signal over the error, in dB."""
    assert wanted.shape == given.shape
    return 10 * np.log10((wanted**2).sum() / max(((wanted - given) ** 2).sum(), 1e-30))


@pytest.mark.parametrize(
    ("variant", "seconds", "shifts", "overlap"),
    [  # htdemucs's segments are of 1 s here
        ("htdemucs", 0.05, 1, 0.25),
        ("htdemucs", 0.75, 0, 0.25),  # exactly one stride
        ("htdemucs", 1.0, 0, 0.25),  # exactly one segment
        ("htdemucs", 1.62, 0, 0.25),
        ("htdemucs", 1.13, 2, 0.1),
        ("htdemucs", 1.25, 0, 0.7),  # more than two segments meet
        ("htdemucs_ft", 0.5, 1, 0.25),  # a bag with a model for each source
        ("htdemucs_6s", 0.8, 0, 0.25),
        ("mdx", 0.5, 2, 0.25),  # models of two classes, weighted
        ("mdx_extra_q", 0.5, 0, 0.25),  # quantised
    ],
)
def test_the_stream_equals_the_library(repository, tmp_path, variant, seconds, shifts, overlap):
    assert_equal(repository, variant, noise(tmp_path / "in.wav", seconds), shifts=shifts, overlap=overlap)


def test_the_blocks_of_the_decoder_leave_no_seam(light, tmp_path):
    assert_equal(light, "light", noise(tmp_path / "in.wav", 23.0), shifts=1, overlap=0.25)  # decoded 10 s at a time


def assert_equal(repository: Path, variant: str, source: Path, **options) -> None:
    """Check that a song is separated as the library does it."""
    out = source.with_name("out")
    result = separate(repository, variant, source, out, seed=3, **options, **EXACT)
    stems = librarys(repository, variant, source, seed=3, **options)
    assert set(result.tracks) == set(stems)
    for name, wanted in stems.items():
        given, rate = audio.read(out / f"{name}.wav")
        assert rate == RATE
        assert result.duration_seconds == given.shape[1] / rate
        assert error_db(wanted.numpy(), given) > 90, name


def test_a_models_own_segment_counts(weights_dir, tmp_path):
    source = noise(tmp_path / "in.wav", 3.5)  # 4 s at a time, 3 s apart
    separate(weights_dir / "demucs", "htdemucs", source, tmp_path / "out", shifts=0, **EXACT)
    for name, wanted in librarys(weights_dir / "demucs", "htdemucs", source, shifts=0).items():
        assert error_db(wanted.numpy(), audio.read(tmp_path / "out" / f"{name}.wav")[0]) > 90, name


def test_a_bags_own_segment_counts(repository, tmp_path):
    """The real mdx bags take 44 s at a time, whatever their models say; here 1 s, so that there are several."""
    (tmp_path / "mdx.yaml").write_text("models: ['0d19c1c6', '7ecf8ec1']\nsegment: 1\n")
    for path in (*repository.glob("0d19c1c6-*.th"), *repository.glob("7ecf8ec1-*.th")):
        shutil.copy(path, tmp_path)
    source = noise(tmp_path / "in.wav", 2.5)
    separate(tmp_path, "mdx", source, tmp_path / "out", shifts=1, seed=5, **EXACT)
    for name, wanted in librarys(tmp_path, "mdx", source, seed=5, shifts=1).items():
        assert error_db(wanted.numpy(), audio.read(tmp_path / "out" / f"{name}.wav")[0]) > 90, name


def test_the_seed_decides_the_shifts(repository, tmp_path):
    source = noise(tmp_path / "in.wav", 0.5)
    for name, seed in (("one", 1), ("again", 1), ("two", 2), ("any", None), ("other", None)):
        separate(repository, "htdemucs", source, tmp_path / name, seed=seed, output_format="flac")
    one, again, two, any_, other = (
        (tmp_path / name / "drums.flac").read_bytes() for name in ("one", "again", "two", "any", "other")
    )
    assert one == again
    assert len({one, two, any_, other}) == 4


def test_the_instrumental_is_the_sum_of_the_others(repository, tmp_path):
    result = separate(repository, "htdemucs_6s", noise(tmp_path / "in.wav", 1), tmp_path / "out", **EXACT)
    assert result.tracks == ["vocals", "bass", "drums", "other", "guitar", "piano"]
    assert result.files == [f"{name}.wav" for name in (*result.tracks, "instrumental")]
    stems = {name: audio.read(tmp_path / "out" / f"{name}.wav")[0] for name in [*result.tracks, "instrumental"]}
    assert error_db(sum(stems[name] for name in result.tracks if name != "vocals"), stems["instrumental"]) > 100


def test_without_instrumental(repository, tmp_path):
    separate(repository, "htdemucs", noise(tmp_path / "in.wav", 0.5), tmp_path / "out", instrumental=False)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["bass.mp3", "drums.mp3", "other.mp3", "vocals.mp3"]


def test_two_stems(repository, tmp_path):
    source = noise(tmp_path / "in.wav", 2)
    result = separate(repository, "htdemucs", source, tmp_path / "out", two_stems="drums", shifts=0, **EXACT)
    assert result.tracks == ["drums", "no_drums"]
    assert result.files == ["drums.wav", "no_drums.wav"]
    four = {name: stem.numpy() for name, stem in librarys(repository, "htdemucs", source, shifts=0).items()}
    given = {name: audio.read(tmp_path / "out" / f"{name}.wav")[0] for name in result.tracks}
    assert error_db(four["drums"], given["drums"]) > 90
    assert error_db(four["vocals"] + four["bass"] + four["other"], given["no_drums"]) > 90


def test_a_stem_the_model_has_not(repository, tmp_path):
    with pytest.raises(InvalidInput, match=r"piano.*drums, bass, other, vocals"):
        separate(repository, "htdemucs", noise(tmp_path / "in.wav", 1), tmp_path / "out", two_stems="piano")


@pytest.mark.parametrize(
    ("parameters", "codec", "bits"),
    [
        ({"output_format": "mp3", "mp3_bitrate": 112}, "mp3", None),
        ({"output_format": "flac", "bit_depth": 24}, "flac", 24),
        ({"output_format": "wav"}, "pcm_s16le", 16),
        ({"output_format": "wav", "bit_depth": 24}, "pcm_s24le", 24),
    ],
)
def test_formats(repository, tmp_path, parameters, codec, bits):
    source = noise(tmp_path / "in.wav", 2, level=0.05)  # of which no stem clips
    result = separate(repository, "htdemucs", source, tmp_path / "out", shifts=0, **parameters)
    wanted = librarys(repository, "htdemucs", source, shifts=0)["drums"].numpy()
    for name in result.files:
        probe = audio.probe(tmp_path / "out" / name)
        assert (probe.codec.removesuffix("float"), probe.sample_rate, probe.channels) == (codec, RATE, 2)
        assert probe.duration_seconds == pytest.approx(2, abs=0.001)
    path = tmp_path / "out" / f"drums.{parameters['output_format']}"
    if bits is None:
        assert mutagen.File(path).info.bitrate == pytest.approx(112_000, rel=1e-3)
        assert np.corrcoef(wanted[0], audio.read(path)[0][0])[0, 1] > 0.7  # 112 kbit/s know little of noise
    else:
        assert mutagen.File(path).info.bits_per_sample == bits
        assert error_db(wanted, audio.read(path)[0]) > (90 if bits == 24 else 50)


@pytest.mark.parametrize("mode", ["clamp", "rescale"])
@pytest.mark.parametrize("form", ["wav", "flac"])
def test_clipping_is_the_librarys(repository, tmp_path, mode, form):
    source = noise(tmp_path / "in.wav", 1.5, level=200)
    asked = {"shifts": 0, "output_format": form, "bit_depth": 24, "clip_mode": mode}
    result = separate(repository, "htdemucs", source, tmp_path / "out", **asked)
    stem = librarys(repository, "htdemucs", source, shifts=0)["vocals"]
    assert abs(stem).max() > 1
    save_audio(stem, tmp_path / "library.wav", RATE, clip=mode, bits_per_sample=24)
    wanted, given = audio.read(tmp_path / "library.wav")[0], audio.read(tmp_path / "out" / f"vocals.{form}")[0]
    assert abs(given).max() == pytest.approx(0.99, abs=1e-3)
    assert error_db(wanted, given) > 90
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(result.files)


def test_rescale_leaves_quiet_stems_alone(repository, tmp_path):
    source = noise(tmp_path / "in.wav", 0.5)
    separate(repository, "htdemucs", source, tmp_path / "out", shifts=0, clip_mode="rescale", **EXACT)
    wanted = librarys(repository, "htdemucs", source, shifts=0)["vocals"].numpy()
    assert error_db(wanted, audio.read(tmp_path / "out" / "vocals.wav")[0]) > 90


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (96000, 2)])
def test_other_rates_and_channels(repository, tmp_path, rate, channels):
    source = noise(tmp_path / "in.wav", 1.5, rate=rate, channels=channels)
    result = separate(repository, "htdemucs", source, tmp_path / "out", output_format="flac")
    assert result.sample_rate == RATE
    assert result.duration_seconds == pytest.approx(1.5, abs=0.01)
    stem, stem_rate = audio.read(tmp_path / "out" / "vocals.flac")
    assert (stem_rate, stem.shape) == (RATE, (2, round(result.duration_seconds * RATE)))


def test_silence(repository, tmp_path):
    with audio.Writer(tmp_path / "in.wav", RATE, 2) as writer:
        writer.write(np.zeros((2, RATE), dtype=np.float32))
    separate(repository, "htdemucs", tmp_path / "in.wav", tmp_path / "out", **EXACT)
    assert abs(audio.read(tmp_path / "out" / "vocals.wav")[0]).max() < 1e-4


def test_no_samples_at_the_models_rate(repository, tmp_path):
    """One sample at 192 kHz is a quarter of one at 44.1 kHz."""
    with audio.Writer(tmp_path / "in.wav", 192_000, 1) as writer:
        writer.write(np.zeros((1, 1), dtype=np.float32))
    with pytest.raises(UnsupportedAudio, match="too short"):
        separate(repository, "htdemucs", tmp_path / "in.wav", tmp_path / "out")


@pytest.mark.parametrize("mode", ["clamp", "rescale"])
def test_progress_comes_from_the_segments(light, tmp_path, mode):
    told: list[float] = []
    source = noise(tmp_path / "in.wav", 13)
    model, request = loaded(light, "light"), Request(shifts=0, clip_mode=mode, output_format="wav")
    demucs.run(model, request, source, tmp_path, lambda fraction, message=None: told.append(fraction))
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1)
    separated = 1.0 if mode == "clamp" else 1 - demucs.RESCALED
    segments = np.linspace(demucs.MEASURED, separated, 6)[1:]  # 13 s are five strides of 3 s
    assert set(segments.round(6)) <= set(np.round(told, 6))


@pytest.mark.parametrize(("mode", "at"), [("clamp", 0.01), ("clamp", 0.5), ("rescale", 0.5), ("rescale", 0.95)])
def test_cancel(repository, tmp_path, mode, at):
    told: list[float] = []

    def report(fraction: float, message: str | None = None) -> None:
        told.append(fraction)
        if fraction > at:
            raise Cancelled

    source = noise(tmp_path / "in.wav", 2)
    (tmp_path / "out").mkdir()
    model = loaded(repository, "htdemucs")
    with pytest.raises(Cancelled) as stopped:  # kept, and with it the frames where it was raised
        demucs.run(model, Request(shifts=0, clip_mode=mode), source, tmp_path / "out", report)
    assert stopped.value.__traceback__ is not None
    assert sum(fraction > at for fraction in told) == 1
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("encoder")]
    assert not [file.path for file in psutil.Process().open_files() if Path(file.path).is_relative_to(tmp_path)]
    assert not [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


@pytest.mark.skipif(not FULL_DISK.exists(), reason="Linux has a disk that is always full")
@pytest.mark.parametrize(("seconds", "form"), [(0.05, "mp3"), (0.05, "wav"), (11, "wav")])
def test_a_full_disk_surfaces(light, tmp_path, seconds, form):
    """Of a short file nothing is written before it is closed."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / f"bass.{form}").symlink_to(FULL_DISK)
    with pytest.raises(StorageFull, match=f"bass.{form}"):
        separate(light, "light", noise(tmp_path / "in.wav", seconds), tmp_path / "out", output_format=form, shifts=0)


@pytest.mark.parametrize("bad", [0, 2])
def test_an_error_of_any_block_surfaces(tmp_path, bad):
    blocks = [{"vocals": np.zeros((2, RATE), np.float32), "bass": np.zeros((2, RATE), np.float32)} for _ in range(3)]
    blocks[bad]["bass"][1, -1] = np.nan
    files = StemFiles(tmp_path, ["vocals", "bass"], RATE, 2, suffix=".wav")
    with pytest.raises(JobFailed, match=r"not finite.*bass\.wav"):
        files.write(blocks)


def test_the_hubs_folder(repository, tmp_path):
    """A snapshot of the hub has a safetensors file for each model, whose header says how to build it."""
    shutil.copy(repository / "mdx.yaml", tmp_path)
    for signature in yaml.safe_load((tmp_path / "mdx.yaml").read_text())["models"]:
        model = load_model(next(repository.glob(f"{signature}-*.th")))
        args, kwargs = model._init_args_kwargs
        kind = f"{type(model).__module__}.{type(model).__name__}"
        header = {"klass": kind, "args": json.dumps(args), "kwargs": json.dumps(kwargs)}
        save_file(model.state_dict(), tmp_path / f"{signature}.safetensors", header)
    here, there = loaded(tmp_path, "mdx").bag, loaded(repository, "mdx").bag
    assert (here.weights, [model.segment for model in here.models]) == (there.weights, [44] * 4)
    assert not here.training
    assert here.state_dict().keys() == there.state_dict().keys()
    assert all(torch.equal(value, there.state_dict()[key]) for key, value in here.state_dict().items())


@pytest.mark.parametrize("variant", tiny_weights.DEMUCS_VARIANTS)
def test_every_variant_is_the_librarys_bag(weights_dir, variant):
    repository = weights_dir / "demucs"
    model, library = loaded(repository, variant), Separator(variant, repo=repository, device="cpu").model
    assert model.sources == library.sources
    assert model.bag.weights == library.weights
    assert [(type(m), m.segment) for m in model.bag.models] == [(type(m), m.segment) for m in library.models]
    assert all(torch.equal(a, b) for a, b in zip(model.bag.parameters(), library.parameters(), strict=True))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("955717e8-12345678.th", b"no weights", r"955717e8-12345678\.th is damaged"),
        ("955717e8.th", b"no weights", r"955717e8\.th does not load"),
        ("955717e8.safetensors", b"no weights", r"955717e8\.safetensors is damaged"),
        ("other.th", b"no weights", r"neither 955717e8-<checksum>\.th nor 955717e8\.safetensors"),
        ("htdemucs.yaml", b"- no bag", r"htdemucs\.yaml does not load"),
        ("htdemucs.yaml", b"models: [", r"htdemucs\.yaml does not load"),
    ],
)
def test_weights_that_do_not_load(tmp_path, repository, name, content, message):
    shutil.copy(repository / "htdemucs.yaml", tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelUnavailable, match=message):
        demucs.load("htdemucs", "cpu", tmp_path)


def test_weights_that_are_not_there(tmp_path):
    with pytest.raises(ModelUnavailable, match=r"htdemucs\.yaml"):
        demucs.load("htdemucs", "cpu", tmp_path)
    with pytest.raises(ModelUnavailable, match="htdemucs"):
        demucs.load("htdemucs", "cpu", None)


@pytest.mark.parametrize(
    "parameters",
    [
        {"shifts": 21}, {"shifts": -1}, {"overlap": 1}, {"overlap": -0.1}, {"overlap": float("nan")},
        {"mp3_bitrate": 100}, {"output_format": "ogg"}, {"bit_depth": 32, "output_format": "mp3"}, {"bit_depth": 8},
        {"clip_mode": "tanh"}, {"seed": -1}, {"two_stems": 3}, {"model": "mdx"},
    ],
)  # fmt: skip
def test_parameters_out_of_range(parameters):
    with pytest.raises(pydantic.ValidationError):
        Request(**parameters)


PEAKS = """
import re, sys, torch
torch.set_num_threads(1)
from pathlib import Path
from models import demucs
repository, out, *sources = map(Path, sys.argv[1:])
model = demucs.load("light", "cpu", repository)
for source in sources:
    demucs.run(model, demucs.Request(shifts=1, output_format="wav"), source, out, lambda *_: None)
    print(int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells the peak of this process alone")
def test_memory_does_not_grow_with_the_length(tmp_path):
    repository = light_repository(tmp_path, 8)
    ten_seconds = np.random.default_rng(7).uniform(-0.1, 0.1, (2, 10 * RATE)).astype(np.float32)
    sources = [tmp_path / "short.wav", tmp_path / "long.wav"]
    for path, tens in zip(sources, (4, 15), strict=True):
        with audio.Writer(path, RATE, 2) as writer:
            for _ in range(tens):
                writer.write(ten_seconds)
    command = [sys.executable, "-c", PEAKS, repository, tmp_path, *sources]
    exact = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}  # what is free is given back, and does not count
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=exact).stdout
    short_mib, long_mib = map(float, said.split())
    assert long_mib - short_mib < 30, said  # 110 s of the mixture alone are 37 MiB
