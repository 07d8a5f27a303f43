"""The model table: exactly the contract's names, defaults and variants, and the state of their weights."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

import models
from app import create_app
from config import Config
from tests import contract
from tests.library import Library
from tests.serving import Server, wait_until

TABLE = {  # default first
    "demucs": ["htdemucs", "mdx_extra", "mdx", "mdx_q", "mdx_extra_q", "htdemucs_ft", "htdemucs_6s", "demo"],
    "whisper": ["medium", "tiny", "base", "small", "large", "turbo", "demo"],
    "musicgen": ["large", "small", "medium", "melody"],
    "pitch_analysis": ["enhanced_chroma", "basic_chroma", "librosa_chroma"],
    "gemma_3n": ["gemma-2-9b-it", "gemma-2-2b-it", "gemma-2-27b-it", "gemma-3n-E2B-it", "gemma-3n-E4B-it"],
    "karaoke": ["full", "instrumental_only"],
}
FIELDS = {"purpose", "default_model", "available_models", "file_types"}
VARIANT_FIELDS = {"cached", "download_size_bytes", "license", "note", "loaded"}


def test_every_model_and_variant(reader: FlaskClient) -> None:
    answer = reader.get("/models").json
    assert answer.keys() == {"models", "message"}
    assert list(answer["models"]) == list(TABLE)
    for name, (default, *others) in TABLE.items():
        model = answer["models"][name]
        assert model.keys() >= FIELDS
        assert model["purpose"]
        assert model["default_model"] == default
        assert sorted(model["available_models"]) == sorted([default, *others])
        assert model["file_types"] == ["mp3", "wav", "flac", "m4a", "ogg"]
        assert list(model["variants"]) == model["available_models"]
        assert all(variant.keys() == VARIANT_FIELDS for variant in model["variants"].values())


@pytest.mark.parametrize("name", TABLE)
def test_one_model(reader: FlaskClient, name: str) -> None:
    answer = reader.get(f"/models/{name}").json
    assert answer == {"model": name, "config": reader.get("/models").json["models"][name]}
    schema = models.spec(name).module.Request.model_json_schema()
    assert answer["config"]["parameters"] == schema["properties"]


@pytest.mark.parametrize("name", ["nope", "Demucs", "demucs.py", "__init__", "audio", "../config", "%00", "ђ"])
def test_an_unknown_model(reader: FlaskClient, name: str) -> None:
    answer = reader.get(f"/models/{name}")
    message = contract.error(answer, 404, "not_found")["error"]
    if "/" not in name:
        assert all(known in message for known in TABLE)


def test_weights_that_are_here_and_licences(config: Config, weights_dir: Path) -> None:
    found = create_app(replace(config, models_dir=weights_dir)).test_client().get("/models").json["models"]
    for name in ("demucs", "whisper", "musicgen"):
        assert all(variant["cached"] for variant in found[name]["variants"].values()), name
    assert {variant["license"] for variant in found["musicgen"]["variants"].values()} == {"CC-BY-NC-4.0"}
    assert {variant["license"] for variant in found["whisper"]["variants"].values()} == {"MIT"}


def test_weights_that_are_not_here(
    config: Config, tmp_path: Path, weights_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "whisper"
    folder.mkdir()
    (folder / "tiny.pt").write_bytes((weights_dir / "whisper" / "tiny.pt").read_bytes())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = create_app(replace(config, models_dir=tmp_path)).test_client().get("/models/whisper").json["config"]
    assert {name for name, variant in found["variants"].items() if variant["cached"]} == {"demo", "tiny"}


def test_models_in_memory_of_live_workers(client: FlaskClient, library: Library) -> None:
    library.store.beat("a", "gpu", {"loaded": [["whisper", "tiny"], ["demucs", "mdx"]]})
    found = client.get("/models").json["models"]
    loaded = {(name, each) for name in found for each, state in found[name]["variants"].items() if state["loaded"]}
    assert loaded == {("whisper", "tiny"), ("demucs", "mdx")}


def test_a_running_service_keeps_a_model_loaded(server: Server, finished: dict[str, Any]) -> None:
    answer = server.post(f"/process/whisper/{finished['file_id']}", model_variant="base", force=True)
    assert answer.status_code == 200, answer.text

    def loaded() -> bool:
        base: dict[str, bool] = server.get("/models/whisper").json()["config"]["variants"]["base"]
        return base["cached"] and base["loaded"]

    assert wait_until(loaded, 10, lambda: "a heartbeat with the model")
