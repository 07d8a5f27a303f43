"""Weights: found, refused, fetched. The hub and the other hosts are small servers here; their clients are real."""

import errno
import hashlib
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from errors import Cancelled, ModelUnavailable, StorageFull
from models import REGISTRY, weights
from models.checkpoints import AUDIOCRAFT_PARTS

ROOT = Path(__file__).parent.parent
REVISION = "0" * 40
EVERY_VARIANT = [(model, variant) for model, variants in weights.SOURCES.items() for variant in variants]


class Host:
    """A file server that also answers as the Hugging Face hub does for one repository.

    Parameters
    ----------
    folder : Path
        Its files.
    repository : str
        The hub's only repository, "owner/name".
    gated : bool
        Whether its licence was not accepted.
    """

    def __init__(self, folder: Path, repository: str = "", gated: bool = False) -> None:
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self._answer()

            def do_GET(self) -> None:
                self.wfile.write(self._answer())

            def _answer(self) -> bytes:
                """Send the headers; the body."""
                host.asked.append(self.path)
                path, status, headers, body = self.path.partition("?")[0], 200, {}, b""
                files = [file.name for file in folder.iterdir() if file.is_file()]
                if gated and path.startswith(f"/{repository}/resolve/"):
                    status, headers = 403, {"X-Error-Code": "GatedRepo"}
                elif path.startswith(f"/api/models/{repository}/tree/"):
                    body = json.dumps([_entry(folder / name) for name in files]).encode()
                elif repository and path.startswith(f"/api/models/{repository}"):
                    info = {"id": repository, "sha": REVISION, "siblings": [{"rfilename": name} for name in files]}
                    body = json.dumps(info).encode()
                elif (name := path.rpartition("/")[2]) in files:
                    body = (folder / name).read_bytes()
                    headers = {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Repo-Commit": REVISION}
                else:
                    status = 404
                self.send_response(status)
                for key, value in ({"Content-Length": str(len(body))} | headers).items():
                    self.send_header(key, value)
                self.end_headers()
                return body

            def log_message(self, *_arguments: Any) -> None:
                """Say nothing."""

        self.asked: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()


def _entry(file: Path) -> dict[str, Any]:
    """A file as the hub's tree lists it."""
    return {
        "type": "file",
        "path": file.name,
        "size": file.stat().st_size,
        "oid": hashlib.sha1(file.read_bytes()).hexdigest(),
    }


@pytest.fixture(autouse=True)
def no_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty caches, and no host that could be reached."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("TORCH_HOME", raising=False)
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path / "hub_cache")


def use_hub(monkeypatch: pytest.MonkeyPatch, url: str, cache: Path) -> None:
    """Point the hub's client to a server and a cache."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))


@pytest.fixture
def demucs_files(weights_dir: Path, tmp_path: Path) -> Path:
    """The files of the bag mdx alone."""
    import yaml

    folder = tmp_path / "demucs_files"
    folder.mkdir()
    shutil.copy(weights_dir / "demucs" / "mdx.yaml", folder)
    for signature in yaml.safe_load((folder / "mdx.yaml").read_text())["models"]:
        for file in (weights_dir / "demucs").glob(f"{signature}-*.th"):
            shutil.copy(file, folder)
    return folder


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


class Said(list[float]):
    """A report that keeps the fractions."""

    def __call__(self, fraction: float, message: str | None = None) -> None:
        self.append(fraction)


def refused(model: str, variant: str, models_dir: Path | None) -> str:
    """What fetch() says when it cannot."""
    with pytest.raises(ModelUnavailable) as caught:
        weights.fetch(model, variant, models_dir, Said())
    return caught.value.message


def test_the_table_is_the_libraries_own() -> None:
    from demucs.hf import DEFAULT_NAMESPACE, hf_repo_name
    from whisper import _MODELS

    owners = {wrapper: spec for spec in REGISTRY.values() for wrapper in (spec.name, *map(spec.wrapper, spec.engines))}
    for model, variants in weights.SOURCES.items():
        assert tuple(sorted(variants)) == tuple(sorted(owners[model].variants))
    for variant, source in weights.SOURCES["demucs"].items():
        assert source.repository == f"{DEFAULT_NAMESPACE}/{hf_repo_name(variant)}"
    for variant, source in weights.SOURCES["whisper"].items():
        assert source.filename == _MODELS[variant].rpartition("/")[2]


@pytest.mark.parametrize(("model", "variant"), [pair for pair in EVERY_VARIANT if pair[0] in REGISTRY])
def test_every_variant_is_found_in_the_models_folder(model: str, variant: str, weights_dir: Path) -> None:
    found = weights.find(model, variant, weights_dir)
    assert found is not None
    assert found.is_relative_to(weights_dir / model)
    assert weights.fetch(model, variant, weights_dir, Said()) == found
    assert weights.describe(model, variant, weights_dir)["cached"] is True
    assert weights.size_bytes(model, variant, found) > 20_000


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
        "cached": True, "download_size_bytes": None, "license": None,
    }  # fmt: skip


def test_describe_says_size_and_licence(tmp_path: Path) -> None:
    assert weights.describe("whisper", "medium", tmp_path) == {
        "cached": False, "download_size_bytes": 1_528_008_539, "license": "MIT",
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
    def cancel_when_it_moves(fraction: float, message: str | None = None) -> None:
        if fraction > 0:
            raise Cancelled

    with pytest.raises(Cancelled):
        weights.fetch("musicgen", "small", tmp_path / "models", cancel_when_it_moves)
    assert weights.find("musicgen", "small", tmp_path / "models") is None
    assert weights.fetch("musicgen", "small", tmp_path / "models", Said()) is not None


def test_a_cancelled_download_of_demucs_does_not_go_on_elsewhere(
    demucs_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import demucs.pretrained

    def cancel_when_it_moves(fraction: float, message: str | None = None) -> None:
        if fraction > 0:
            raise Cancelled

    hub, older = Host(demucs_files, "adefossez/Demucs-mdx"), Host(demucs_files)
    use_hub(monkeypatch, hub.url, tmp_path / "hub_cache")
    monkeypatch.setattr(demucs.pretrained, "ROOT_URL", f"{older.url}/")
    with pytest.raises(Cancelled):
        weights.fetch("demucs", "mdx", tmp_path / "models", cancel_when_it_moves)
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

    def fill_the_disk_when_it_moves(fraction: float, message: str | None = None) -> None:
        if fraction > 0:
            raise OSError(errno.ENOSPC, "No space left on device")

    folder = {"whisper": weights_dir / "whisper", "musicgen": hub_files, "demucs": demucs_files}[model]
    host, older = Host(folder, weights.SOURCES[model][variant].repository or ""), Host(demucs_files)
    use_hub(monkeypatch, host.url, tmp_path / "hub_cache")
    monkeypatch.setattr(demucs.pretrained, "ROOT_URL", f"{older.url}/")
    digest = hashlib.sha256((weights_dir / "whisper" / "tiny.pt").read_bytes()).hexdigest()
    monkeypatch.setitem(whisper._MODELS, "tiny", f"{host.url}/{digest}/tiny.pt")
    with pytest.raises(StorageFull, match=f"{model} {variant}") as caught:
        weights.fetch(model, variant, tmp_path / "models", fill_the_disk_when_it_moves)
    assert str(tmp_path / "models" / model) in caught.value.message
    assert older.asked == []
    host.close()
    older.close()


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
