"""Small random checkpoints of audiocraft's own classes, saved in its own file format, and the models that they name."""

from pathlib import Path
from typing import Any

import torch
from audiocraft.models import builders
from omegaconf import OmegaConf
from transformers import T5Config, T5EncoderModel

from tests import tiny_weights

TEXT_ENCODER, TEXT_WIDTH = "t5-small", 512  # the smallest that audiocraft takes, and what width it expects of it
COMMIT = "0" * 40
MELODY_SEPARATOR = "955717e8-8726e21a.th"  # htdemucs, as demucs's older address names it

CODEC = {
    "compression_model": "encodec", "device": "cpu",
    "encodec": {"autoencoder": "seanet", "quantizer": "rvq", "sample_rate": 32000, "channels": 1, "causal": False},
    "seanet": {"dimension": 8, "channels": 1, "n_filters": 4, "n_residual_layers": 1, "ratios": [8, 5, 4, 4],
               "encoder": {}, "decoder": {}},
    "rvq": {"n_q": 4, "bins": 2048, "kmeans_init": False},
}  # fmt: skip
DESCRIPTION = {"model": "t5", "t5": {"name": TEXT_ENCODER, "finetune": False, "word_dropout": 0.0}}
CHROMA = {"sample_rate": 32000, "n_chroma": 12, "radix2_exp": 14, "argmax": True}
LANGUAGE_MODEL = {
    "lm_model": "transformer_lm", "device": "cpu", "dtype": "float32",
    "transformer_lm": {
        "n_q": 4, "card": 2048, "dim": 16, "num_heads": 2, "num_layers": 2, "hidden_scale": 2, "norm_first": True,
        "activation": "gelu",
        "bias_ff": False, "bias_attn": False, "bias_proj": False, "causal": True, "memory_efficient": True,
        "positional_embedding": "sin", "weight_init": "gaussian", "depthwise_init": "current", "zero_bias_init": True,
    },
    "codebooks_pattern": {"modeling": "delay", "delay": {"delays": [0, 1, 2, 3]}},
    "attribute_dropout": {}, "classifier_free_guidance": {"training_dropout": 0.3, "inference_coef": 3.0},
    "conditioners": {"args": {}, "description": DESCRIPTION},
    "fuser": {"cross_attention_pos_emb": False, "cross_attention_pos_emb_scale": 1, "sum": [], "prepend": [],
              "cross": ["description"], "input_interpolate": []},
    "dataset": {"segment_duration": 30},
}  # fmt: skip
HEARS_MELODY = {
    "conditioners": {"self_wav": {"model": "chroma_stem", "chroma_stem": CHROMA}},
    "fuser": {"cross": [], "prepend": ["self_wav", "description"]},
}


def build(folder: Path, hub: Path, torch_home: Path) -> None:
    """Write the small and the melody variant below a folder, and into both caches what they name.

    Parameters
    ----------
    folder : Path
        What MODELS_DIR shall be.
    hub : Path
        The Hugging Face hub's cache.
    torch_home : Path
        What TORCH_HOME is.
    """
    _text_encoder(hub)
    _separator(torch_home)
    codec, language_model = OmegaConf.create(CODEC), OmegaConf.create(LANGUAGE_MODEL)
    for variant, config in (("small", language_model), ("melody", OmegaConf.merge(language_model, HEARS_MELODY))):
        target = folder / "musicgen_audiocraft" / variant
        target.mkdir(parents=True)
        torch.manual_seed(tiny_weights.SEED)
        _save(builders.get_lm_model(config), config, target / "state_dict.bin")
        _save(builders.get_compression_model(codec), codec, target / "compression_state_dict.bin")


def _save(model: Any, config: Any, path: Path) -> None:
    """As audiocraft.utils.export writes a checkpoint."""
    torch.save({"best_state": model.state_dict(), "xp.cfg": OmegaConf.to_yaml(config)}, path)


def _text_encoder(hub: Path) -> None:
    """The T5 that the checkpoints name, where the hub's client looks for it."""
    folder = hub / f"models--{TEXT_ENCODER}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    sizes = T5Config(vocab_size=64, d_model=TEXT_WIDTH, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    torch.manual_seed(tiny_weights.SEED)
    T5EncoderModel(sizes).save_pretrained(folder / "snapshots" / COMMIT)
    tiny_weights.letters().save_pretrained(folder / "snapshots" / COMMIT)


def _separator(torch_home: Path) -> None:
    """The Demucs with which the melody variant takes drums and bass out of a tune."""
    made = torch_home / "made"
    tiny_weights.build_demucs(made)
    target = torch_home / "hub" / "checkpoints" / MELODY_SEPARATOR
    target.parent.mkdir(parents=True)
    next((made / "demucs").glob("955717e8-*.th")).replace(target)
