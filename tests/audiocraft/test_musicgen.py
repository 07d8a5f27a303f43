"""MusicGen through audiocraft: over HTTP against the library itself, and against transformers on the same weights."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from audiocraft.models import MusicGen
from transformers import EncodecConfig, MusicgenConfig, MusicgenForConditionalGeneration

from errors import Cancelled, ModelUnavailable
from models import audio, musicgen, musicgen_audiocraft
from models.musicgen import Request
from tests import render
from tests.audiocraft import checkpoints
from tests.audiocraft.conftest import CACHES
from tests.serving import Server

RATE, FRAME_RATE = 32000, 50  # Hz
WISH = {"prompt": "happy rock", "duration": 2, "seed": 11, "temperature": 0.9, "cfg_coeff": 4.0, "top_k": 50}
STEP = 2**-15  # of 16-bit samples


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    checkpoints.build(folder, CACHES / "hf" / "hub", CACHES / "torch")
    return folder


@pytest.fixture(scope="module")
def folder(models_dir: Path) -> Path:
    """The small variant's checkpoints."""
    return models_dir / "musicgen_audiocraft" / "small"


@pytest.fixture(scope="module")
def small(folder: Path) -> musicgen_audiocraft.MusicGen:
    return musicgen_audiocraft.load("small", "cpu", folder)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("server"), models_dir, MUSICGEN_ENGINE="audiocraft").start()
    yield running
    assert running.stop() == 0


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Two seconds of a tone."""
    tone = 0.3 * np.sin(2 * np.pi * 330 * np.arange(2 * render.RATE) / render.RATE)
    return render.save(tmp_path / "clip.wav", np.stack([tone, tone]).astype("f4"))


def library(folder: Path, wish: dict[str, Any], duration: float) -> MusicGen:
    """audiocraft's own model, seeded and with its own parameters."""
    own = MusicGen.get_pretrained(str(folder), device="cpu")
    own.set_generation_params(
        duration=duration, temperature=wish["temperature"], cfg_coef=wish["cfg_coeff"], top_k=wish["top_k"],
    )  # fmt: skip
    torch.manual_seed(wish["seed"])
    return own


def test_over_http_it_is_the_librarys_own(server: Server, folder: Path) -> None:
    answer = server.post("/generate/text-to-music", model_variant="small", **WISH)
    assert answer.status_code == 200, answer.text
    (file,) = [file for file in answer.json()["files"] if file["filename"] == "generated_music.wav"]
    given, rate = audio.read(_downloaded(server, file["download_url"], folder))
    wanted = library(folder, WISH, duration=2).generate([WISH["prompt"]])[0].clamp(-1, 1).numpy()
    assert (rate, given.shape) == (RATE, (1, 2 * RATE))
    assert np.abs(wanted).max() > 10 * STEP, "silence would equal anything"
    assert np.abs(wanted - given).max() <= STEP


def test_the_service_shows_where_the_weights_are(server: Server) -> None:
    shown = server.get("/models/musicgen").json()["config"]["variants"]
    assert {variant: (state["cached"], state["license"]) for variant, state in shown.items()} == {
        "small": (True, "CC-BY-NC-4.0"), "medium": (False, "CC-BY-NC-4.0"),
        "large": (False, "CC-BY-NC-4.0"), "melody": (True, "CC-BY-NC-4.0"),
    }  # fmt: skip


def test_absent_weights_are_an_honest_503(server: Server) -> None:
    answer = server.post("/generate/text-to-music", model_variant="medium", prompt="happy rock", duration=1)
    assert (answer.status_code, answer.json()["code"]) == (503, "model_unavailable")
    assert "pull musicgen_audiocraft medium" in answer.json()["error"]


def test_a_clip_is_continued(small: Any, folder: Path, clip: Path, tmp_path: Path) -> None:
    result = musicgen_audiocraft.run(small, Request(**WISH, prompt_seconds=1), clip, tmp_path, silent)
    assert result.duration == pytest.approx(3, abs=0.05)
    end = torch.from_numpy(audio.read(clip, sample_rate=RATE, channels=1)[0][:, -RATE:].copy())
    wanted = library(folder, WISH, duration=3).generate_continuation(end, RATE, [WISH["prompt"]])[0].clamp(-1, 1)
    given, _ = audio.read(tmp_path / "generated_music.wav")
    assert np.abs(wanted.numpy() - given).max() <= STEP


def test_the_melody_variant_hears_a_tune(models_dir: Path, clip: Path, tmp_path: Path) -> None:
    folder = models_dir / "musicgen_audiocraft" / "melody"
    model = musicgen_audiocraft.load("melody", "cpu", folder)
    assert model.hears_melody
    musicgen_audiocraft.run(model, Request(**WISH), clip, tmp_path, silent)
    tune = torch.from_numpy(audio.read(clip, sample_rate=RATE, channels=1)[0].copy())
    own = library(folder, WISH, duration=2)
    torch.manual_seed(WISH["seed"])
    wanted = own.generate_with_chroma([WISH["prompt"]], tune[None], RATE)[0].clamp(-1, 1).numpy()
    given, _ = audio.read(tmp_path / "generated_music.wav")
    assert np.abs(wanted - given).max() <= STEP


def test_longer_than_a_window(small: Any, tmp_path: Path) -> None:
    told: list[float] = []
    request = Request(prompt="happy rock", duration=33, seed=1)
    result = musicgen_audiocraft.run(small, request, None, tmp_path, lambda fraction, _=None: told.append(fraction))
    assert result.duration == pytest.approx(33, abs=0.1)
    assert told == sorted(told)
    assert len(told) > 33 * FRAME_RATE
    assert told[-1] == 1


def test_cancel(small: Any, tmp_path: Path) -> None:
    calls: list[float] = []

    def report(fraction: float, message: str | None = None) -> None:
        calls.append(fraction)
        if len(calls) == 10:
            raise Cancelled

    with pytest.raises(Cancelled):
        musicgen_audiocraft.run(small, Request(prompt="happy rock", duration=30), None, tmp_path, report)
    assert len(calls) == 10


def test_weights_that_do_not_load(tmp_path: Path) -> None:
    for name in ("state_dict.bin", "compression_state_dict.bin"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ModelUnavailable, match="do not load"):
        musicgen_audiocraft.load("small", "cpu", tmp_path)


def test_both_engines_give_the_same_logits(small: Any, tmp_path: Path) -> None:
    theirs = _for_transformers(small.model, tmp_path)
    ours = small.model.lm
    codes = torch.randint(2048, (1, 4, 40), generator=torch.Generator().manual_seed(1))
    attributes, _ = small.model._prepare_tokens_and_attributes(["happy rock"], None)
    with torch.inference_mode():
        conditions = ours.condition_provider(ours.condition_provider.tokenize(attributes))
        wanted = ours(codes, [], conditions)[0]
        inputs = theirs.tokenizer(["happy rock"], return_tensors="pt")
        logits = theirs.model(**inputs, decoder_input_ids=codes[0]).logits
    assert wanted.shape == logits.shape == (4, 40, 2048)
    assert wanted.std() > 0.01, "constant logits would equal each other"
    assert (wanted - logits).abs().max() < 1e-3


def silent(fraction: float, message: str | None = None) -> None:
    """A report nobody reads."""


def _downloaded(server: Server, url: str, folder: Path) -> Path:
    """A file of the service."""
    path = folder / "downloaded.wav"
    path.write_bytes(server.get(url).content)
    return path


def _for_transformers(own: MusicGen, folder: Path) -> musicgen.MusicGen:
    """The same weights as our other engine loads them.

    Names as transformers' convert_musicgen_transformers.py maps them.
    """
    conditioner = own.lm.condition_provider.conditioners["description"]
    sizes = checkpoints.LANGUAGE_MODEL["transformer_lm"]
    width = sizes["dim"]
    decoder = {
        "hidden_size": width, "num_hidden_layers": sizes["num_layers"], "num_attention_heads": sizes["num_heads"],
        "ffn_dim": sizes["hidden_scale"] * width, "num_codebooks": sizes["n_q"],
    }  # fmt: skip
    codec = EncodecConfig(sampling_rate=RATE, audio_channels=1, num_filters=4, upsampling_ratios=[8, 5, 4, 4],
                          codebook_size=2048, codebook_dim=8, hidden_size=8, target_bandwidths=[2.2])  # fmt: skip
    parts = {"text_encoder": conditioner.t5.config.to_dict(), "audio_encoder": codec.to_dict(), "decoder": decoder}
    model = MusicgenForConditionalGeneration(MusicgenConfig(**parts))
    model.text_encoder.load_state_dict(conditioner.t5.state_dict())
    loaded = model.load_state_dict(dict(_renamed(own.lm.state_dict(), width)), strict=False)
    assert not loaded.unexpected_keys
    assert not [name for name in loaded.missing_keys if not name.startswith(("text_encoder.", "audio_encoder."))
                and "embed_positions" not in name]  # fmt: skip
    model.save_pretrained(folder)
    conditioner.t5_tokenizer.save_pretrained(folder)
    return musicgen.load("small", "cpu", folder)


NAMES = {
    "condition_provider.conditioners.description.output_proj": "enc_to_dec_proj", "emb.": "model.decoder.embed_tokens.",
    "transformer.layers": "model.decoder.layers", "cross_attention": "encoder_attn", "linear1": "fc1", "linear2": "fc2",
    "norm1": "self_attn_layer_norm", "norm_cross": "encoder_attn_layer_norm", "norm2": "final_layer_norm",
    "out_norm": "model.decoder.layer_norm", "linears": "lm_heads",
}  # fmt: skip


def _renamed(state: dict[str, torch.Tensor], width: int) -> Iterator[tuple[str, torch.Tensor]]:
    """audiocraft's weights under transformers' names."""
    for name, value in state.items():
        for theirs, ours in NAMES.items():
            name = name.replace(theirs, ours)
        name = name if name.startswith("enc_to_dec_proj") else f"decoder.{name}"
        if "in_proj_weight" in name:
            for part, rows in zip("qkv", value.split(width), strict=True):
                yield name.replace("in_proj_weight", f"{part}_proj.weight"), rows
        else:
            yield name, value
