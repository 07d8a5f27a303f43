"""Weights: found or refused, and the command."""

import hashlib
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from errors import ModelUnavailable
from models import REGISTRY, sources, weights
from tests.hosts import Said, copy_bag, leave_alone, refused

ROOT = Path(__file__).parent.parent
EVERY_VARIANT = [(model, variant) for model, variants in weights.SOURCES.items() for variant in variants]
BUNDLED = [(model, variant) for model, variant in EVERY_VARIANT if weights.SOURCES[model][variant].bundled]


@pytest.fixture(autouse=True)
def no_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty caches, and no host that could be reached."""
    leave_alone(monkeypatch, tmp_path)


@pytest.fixture
def demucs_files(weights_dir: Path, tmp_path: Path) -> Path:
    """The files of the bag mdx alone."""
    return copy_bag(weights_dir / "demucs", "mdx", tmp_path / "demucs_files")


def test_the_table_is_the_libraries_own() -> None:
    from demucs.hf import DEFAULT_NAMESPACE, hf_repo_name
    from whisper import _MODELS

    owners = {wrapper: spec for spec in REGISTRY.values() for wrapper in (spec.name, *map(spec.wrapper, spec.engines))}
    for model, variants in weights.SOURCES.items():
        assert tuple(sorted(variants)) == tuple(sorted(owners[model].variants))
    for variant, source in weights.SOURCES["demucs"].items():
        assert source.bundled or source.repository == f"{DEFAULT_NAMESPACE}/{hf_repo_name(variant)}"
    for variant, source in weights.SOURCES["whisper"].items():
        assert source.bundled or source.filename == _MODELS[variant].rpartition("/")[2]


@pytest.mark.parametrize(
    ("model", "variant"), [pair for pair in EVERY_VARIANT if pair[0] in REGISTRY and pair not in BUNDLED]
)
def test_every_variant_is_found_in_the_models_folder(model: str, variant: str, weights_dir: Path) -> None:
    found = weights.find(model, variant, weights_dir)
    assert found is not None
    assert found.is_relative_to(weights_dir / model)
    assert weights.fetch(model, variant, weights_dir, Said()) == found
    assert weights.describe(model, variant, weights_dir)["cached"] is True
    assert weights.size_bytes(model, variant, found) > 20_000


@pytest.mark.parametrize(("model", "variant"), BUNDLED)
@pytest.mark.parametrize("models_dir", [None, Path("nowhere")])
def test_bundled_weights_are_found_whatever_the_models_folder(
    model: str, variant: str, models_dir: Path | None
) -> None:
    found = weights.find(model, variant, models_dir)
    assert found in (sources.BUNDLED, sources.BUNDLED / "demo.pt")
    assert weights.fetch(model, variant, models_dir, Said()) == found
    told = weights.describe(model, variant, models_dir)
    assert (told["cached"], told["download_size_bytes"]) == (True, 0)
    assert "synthesised songs" in told["note"]


def test_bundled_weights_that_are_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(weights, "BUNDLED", tmp_path)
    with pytest.raises(ModelUnavailable, match="come with this project"):
        weights.fetch("whisper", "demo", None, Said())


def test_bundled_weights_that_are_damaged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(weights, "BUNDLED", tmp_path)
    (tmp_path / "demo.pt").write_bytes((sources.BUNDLED / "demo.pt").read_bytes()[:100_000])
    with pytest.raises(ModelUnavailable, match=r"demo\.pt.*comes with this project; restore it") as refused:
        weights.fetch("whisper", "demo", None, Said())
    assert "fetch it again" not in refused.value.message


def test_bundled_weights_have_the_checksums_that_are_written_down_and_are_small() -> None:
    written = [line.split("  ") for line in (sources.BUNDLED / "SHA256SUMS").read_text().splitlines()]
    files = {path.name: path.read_bytes() for path in sources.BUNDLED.iterdir() if path.name != "SHA256SUMS"}
    assert {name: checksum for checksum, name in written} == {
        name: hashlib.sha256(content).hexdigest() for name, content in files.items()
    }
    assert sum(map(len, files.values())) <= 12e6


@pytest.mark.parametrize("variant", weights.SOURCES["demucs"])
def test_what_is_found_is_what_demucs_loads(variant: str, weights_dir: Path) -> None:
    from demucs.pretrained import get_model

    bag = get_model(variant, repo=weights.find("demucs", variant, weights_dir))
    assert len(bag.sources) == (6 if variant == "htdemucs_6s" else 4)


def test_what_is_found_is_what_whisper_loads(weights_dir: Path) -> None:
    import whisper

    assert whisper.load_model(str(weights.find("whisper", "large", weights_dir)), device="cpu").dims.n_mels == 128


def test_a_model_without_weights_needs_none(tmp_path: Path) -> None:
    assert weights.fetch("karaoke", "full", tmp_path, Said()) is None
    assert weights.describe("karaoke", "full", tmp_path) == {
        "cached": True, "download_size_bytes": None, "license": None, "note": None,
    }  # fmt: skip


def test_describe_says_size_and_licence(tmp_path: Path) -> None:
    assert weights.describe("whisper", "medium", tmp_path) == {
        "cached": False, "download_size_bytes": 1_528_008_539, "license": "MIT", "note": None,
    }  # fmt: skip
    assert weights.describe("musicgen", "large", tmp_path)["license"] == "CC-BY-NC-4.0"


def test_the_models_folder_comes_before_the_librarys_cache(weights_dir: Path, tmp_path: Path) -> None:
    cached = tmp_path / "cache" / "whisper" / "tiny.pt"
    cached.parent.mkdir(parents=True)
    shutil.copy(weights_dir / "whisper" / "tiny.pt", cached)
    assert weights.find("whisper", "tiny", None) == cached
    assert weights.find("whisper", "tiny", tmp_path / "empty") == cached
    assert weights.find("whisper", "tiny", weights_dir) == weights_dir / "whisper" / "tiny.pt"


def test_half_a_bag_is_not_found(demucs_files: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "demucs"
    shutil.copytree(demucs_files, folder)
    assert weights.find("demucs", "mdx", tmp_path / "models") == folder
    next(folder.glob("c511e2ab-*.th")).unlink()
    assert weights.find("demucs", "mdx", tmp_path / "models") is None
    assert f"{folder} lacks c511e2ab" in refused("demucs", "mdx", tmp_path / "models")


@pytest.mark.parametrize(("model", "variant"), [
    ("demucs", "htdemucs_ft"), ("whisper", "large"), ("musicgen", "melody"), ("gemma_3n", "gemma-2-9b-it"),
])  # fmt: skip
def test_absent_weights_are_refused_at_once(
    model: str, variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import demucs.pretrained
    import whisper

    monkeypatch.setitem(whisper._MODELS, "large", "http://127.0.0.1:9/0/large-v3.pt")
    monkeypatch.setattr(demucs.pretrained, "ROOT_URL", "http://127.0.0.1:9/")
    began = time.monotonic()
    message = refused(model, variant, tmp_path)
    assert time.monotonic() - began < 8
    source = weights.SOURCES[model][variant]
    assert source.filename in message
    assert str(tmp_path / model) in message
    assert str(tmp_path / ("cache" if model == "whisper" else "hub_cache")) in message
    assert f"python -m models.weights pull {model} {variant}" in message
    assert ("HF_TOKEN" in message) is source.gated


@pytest.mark.parametrize(("model", "variant", "file"), [
    ("demucs", "htdemucs", "demucs/955717e8-*.th"),
    ("whisper", "base", "whisper/base.pt"),
    ("musicgen", "small", "musicgen/small/model.safetensors"),
])  # fmt: skip
@pytest.mark.parametrize("left", [0.0, 0.5, 0.999])
def test_a_file_that_was_cut_off_is_named(
    model: str, variant: str, file: str, left: float, weights_dir: Path, tmp_path: Path
) -> None:
    shutil.copytree(weights_dir / model, tmp_path / model)
    damaged = next(tmp_path.glob(file))
    content = damaged.read_bytes()
    damaged.write_bytes(content[: int(len(content) * left)])
    message = refused(model, variant, tmp_path)
    assert str(damaged) in message
    assert "Delete that file" in message


def test_one_wrong_byte_is_seen_where_the_name_carries_a_checksum(weights_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(weights_dir / "demucs", tmp_path / "demucs")
    damaged = next(tmp_path.glob("demucs/955717e8-*.th"))
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    assert str(damaged) in refused("demucs", "htdemucs", tmp_path)


@pytest.mark.parametrize(("names", "pairs"), [
    (["demucs"], [("demucs", "htdemucs")]),
    (["demucs", "mdx"], [("demucs", "mdx")]),
    (["htdemucs", "medium"], [("demucs", "htdemucs"), ("whisper", "medium")]),
    (["musicgen", "small", "melody"], [("musicgen", "small"), ("musicgen", "melody")]),
    (["musicgen"], [("musicgen", "large")]),
    (["whisper", "demucs", "htdemucs_ft"], [("whisper", "medium"), ("demucs", "htdemucs_ft")]),
])  # fmt: skip
def test_the_command_takes_models_and_variants(
    names: list[str], pairs: list[tuple[str, str]], weights_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert weights.main(["pull", *names, "--models-dir", str(weights_dir)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{m} {v}: {weights.find(m, v, weights_dir)}" for m, v in pairs]


def test_the_command_lists_what_is_here(weights_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert weights.main(["list", "--models-dir", str(weights_dir / "whisper" / "..")]) == 0
    lines = {tuple(line.split()[:2]): line for line in capsys.readouterr().out.splitlines()}
    assert set(lines) == set(EVERY_VARIANT)
    assert "large-v3.pt" in lines["whisper", "large"]


def test_the_command_fails_with_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert weights.main(["pull", "htdemucs3", "--models-dir", str(tmp_path)]) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "htdemucs3" in said[0]


def test_the_command_says_which_setting_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PORT", "abc")
    assert weights.main(["list"]) == 1
    assert capsys.readouterr().err == "PORT='abc' is not a port value.\n"


def test_finding_imports_nothing_heavy(weights_dir: Path) -> None:
    code = (
        "import sys, pathlib; from models import weights\n"
        f"here = pathlib.Path({str(weights_dir)!r})\n"
        "for model, variants in weights.SOURCES.items():\n"
        "    for variant in variants: weights.describe(model, variant, here), weights.describe(model, variant, None)\n"
        "print(*{'torch', 'numpy', 'httpx', 'requests', 'tqdm', 'transformers', 'whisper', 'demucs', 'pooch'}"
        " & {name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
