"""Weights fetched from the hub and from other hosts."""

import errno
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from errors import Cancelled, StorageFull
from models import Report, weights
from models.checkpoints import AUDIOCRAFT_PARTS
from tests.hosts import REVISION, Host, Said, copy_bag, leave_alone, refused, use_hub


@pytest.fixture(autouse=True)
def no_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty caches, and no host that could be reached."""
    leave_alone(monkeypatch, tmp_path)


@pytest.fixture
def demucs_files(weights_dir: Path, tmp_path: Path) -> Path:
    """The files of the bag mdx alone."""
    return copy_bag(weights_dir / "demucs", "mdx", tmp_path / "demucs_files")


@pytest.fixture
def hub_files(weights_dir: Path, tmp_path: Path) -> Path:
    """A repository of MusicGen as the hub has it, with audiocraft's files beside."""
    folder = tmp_path / "hub_files"
    shutil.copytree(weights_dir / "musicgen" / "small", folder)
    for name in AUDIOCRAFT_PARTS:
        (folder / name).write_bytes(f"audiocraft's {name}".encode())
    return folder


@pytest.fixture
def hub(hub_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A hub with MusicGen small."""
    host = Host(hub_files, "facebook/musicgen-small")
    use_hub(monkeypatch, host.url, tmp_path / "hub_cache")
    yield host
    host.close()


def stopping(error: Exception) -> Report:
    """A report that raises an error as soon as something has come."""

    def report(fraction: float, message: str | None = None) -> None:
        if fraction > 0:
            raise error

    return report


def test_a_repository_of_the_hub_is_fetched_into_the_models_folder(hub: Host, hub_files: Path, tmp_path: Path) -> None:
    said = Said()
    found = weights.fetch("musicgen", "small", tmp_path / "models", said)
    assert found == tmp_path / "models" / "musicgen" / "small"
    assert (found / "model.safetensors").read_bytes() == (hub_files / "model.safetensors").read_bytes()
    assert not (found / "state_dict.bin").exists()
    assert said[0] == 0.0
    assert len(said) > 1
    assert said[-1] == 1.0
    hub.asked.clear()
    assert weights.fetch("musicgen", "small", tmp_path / "models", said) == found
    assert hub.asked == []


def test_without_a_models_folder_it_goes_to_the_hubs_cache(hub: Host, tmp_path: Path) -> None:
    found = weights.fetch("musicgen", "small", None, Said())
    assert found == tmp_path / "hub_cache" / "models--facebook--musicgen-small" / "snapshots" / REVISION
    assert weights.find("musicgen", "small", None) == found


def test_an_old_repository_without_safetensors_is_fetched_too(hub: Host, hub_files: Path, tmp_path: Path) -> None:
    (hub_files / "model.safetensors").rename(hub_files / "pytorch_model.bin")
    found = weights.fetch("musicgen", "small", tmp_path / "models", Said())
    assert found is not None
    assert (found / "pytorch_model.bin").exists()
    assert not (found / "state_dict.bin").exists()


def test_audiocraft_gets_its_own_files(hub: Host, tmp_path: Path) -> None:
    found = weights.fetch("musicgen_audiocraft", "small", tmp_path, Said())
    assert found == tmp_path / "musicgen_audiocraft" / "small"
    assert sorted(path.name for path in found.iterdir() if path.is_file()) == sorted(AUDIOCRAFT_PARTS)
    (found / AUDIOCRAFT_PARTS[1]).unlink()
    assert weights.find("musicgen_audiocraft", "small", tmp_path) is None


def test_a_cancelled_download_leaves_nothing_that_counts(hub: Host, tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        weights.fetch("musicgen", "small", tmp_path / "models", stopping(Cancelled()))
    assert weights.find("musicgen", "small", tmp_path / "models") is None
    assert weights.fetch("musicgen", "small", tmp_path / "models", Said()) is not None


def test_a_cancelled_download_of_demucs_does_not_go_on_elsewhere(
    demucs_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import demucs.pretrained

    hub, older = Host(demucs_files, "adefossez/Demucs-mdx"), Host(demucs_files)
    use_hub(monkeypatch, hub.url, tmp_path / "hub_cache")
    monkeypatch.setattr(demucs.pretrained, "ROOT_URL", f"{older.url}/")
    with pytest.raises(Cancelled):
        weights.fetch("demucs", "mdx", tmp_path / "models", stopping(Cancelled()))
    assert older.asked == []
    hub.close()
    older.close()


def test_a_gated_repository_says_how_to_get_in(
    hub_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(hub_files, "google/gemma-2-2b-it", gated=True)
    use_hub(monkeypatch, host.url, tmp_path / "hub_cache")
    message = refused("gemma_3n", "gemma-2-2b-it", tmp_path)
    host.close()
    assert "accept the licence at https://huggingface.co/google/gemma-2-2b-it" in message
    assert "HF_TOKEN" in message


def test_whispers_checkpoint_is_fetched_and_checked(
    weights_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import whisper

    original = weights_dir / "whisper" / "tiny.pt"
    host = Host(original.parent)
    digest = hashlib.sha256(original.read_bytes()).hexdigest()
    monkeypatch.setitem(whisper._MODELS, "tiny", f"{host.url}/{digest}/tiny.pt")
    monkeypatch.setitem(whisper._MODELS, "base", f"{host.url}/{digest[::-1]}/base.pt")
    said = Said()
    found = weights.fetch("whisper", "tiny", tmp_path, said)
    assert found == tmp_path / "whisper" / "tiny.pt"
    assert found.read_bytes() == original.read_bytes()
    assert said == sorted(said)
    assert said[-1] == 1.0
    assert "base.pt" in refused("whisper", "base", tmp_path)
    assert [file.name for file in (tmp_path / "whisper").iterdir()] == ["tiny.pt"]
    host.close()


@pytest.mark.parametrize("own_folder", [True, False])
def test_demucs_falls_back_to_its_older_address(
    own_folder: bool, demucs_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import demucs.pretrained

    host = Host(demucs_files)
    names = sorted(file.name for file in demucs_files.glob("*.th"))
    (demucs_files / "files.txt").write_text("root: mdx_final/\n" + "\n".join(names))
    monkeypatch.setattr(demucs.pretrained, "ROOT_URL", f"{host.url}/demucs/")
    monkeypatch.setattr(demucs.pretrained, "REMOTE_ROOT", demucs_files)
    said = Said()
    found = weights.fetch("demucs", "mdx", tmp_path / "models" if own_folder else None, said)
    older_cache = tmp_path / "cache" / "torch" / "hub" / "checkpoints"
    assert found == (tmp_path / "models" / "demucs" if own_folder else older_cache)
    assert said == sorted(said)
    assert sorted(file.name for file in found.iterdir()) == [*names, "mdx.yaml"]
    assert f"/demucs/mdx_final/{names[0]}" in host.asked
    demucs.pretrained.get_model("mdx", repo=found)
    host.close()


def test_a_wrong_file_at_the_older_address_is_refused(
    demucs_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import demucs.pretrained

    names = sorted(file.name for file in demucs_files.glob("*.th"))
    (demucs_files / "files.txt").write_text("root: mdx_final/\n" + "\n".join(names))
    (demucs_files / names[0]).write_bytes(b"an error page of some proxy")
    host = Host(demucs_files)
    monkeypatch.setattr(demucs.pretrained, "ROOT_URL", f"{host.url}/demucs/")
    monkeypatch.setattr(demucs.pretrained, "REMOTE_ROOT", demucs_files)
    refused("demucs", "mdx", tmp_path / "models")
    host.close()
    assert names[0] not in [file.name for file in (tmp_path / "models" / "demucs").iterdir()]


@pytest.mark.parametrize(("model", "variant"), [("whisper", "tiny"), ("musicgen", "small"), ("demucs", "mdx")])
def test_a_full_disk_is_said(
    model: str, variant: str, weights_dir: Path, hub_files: Path, demucs_files: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    import demucs.pretrained
    import whisper

    folder = {"whisper": weights_dir / "whisper", "musicgen": hub_files, "demucs": demucs_files}[model]
    host, older = Host(folder, weights.SOURCES[model][variant].repository or ""), Host(demucs_files)
    use_hub(monkeypatch, host.url, tmp_path / "hub_cache")
    monkeypatch.setattr(demucs.pretrained, "ROOT_URL", f"{older.url}/")
    digest = hashlib.sha256((weights_dir / "whisper" / "tiny.pt").read_bytes()).hexdigest()
    monkeypatch.setitem(whisper._MODELS, "tiny", f"{host.url}/{digest}/tiny.pt")
    with pytest.raises(StorageFull, match=f"{model} {variant}") as caught:
        weights.fetch(model, variant, tmp_path / "models", stopping(OSError(errno.ENOSPC, "No space left on device")))
    assert str(tmp_path / "models" / model) in caught.value.message
    assert older.asked == []
    host.close()
    older.close()
