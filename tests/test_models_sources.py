"""The table of weights: every size is told, and those that nobody publishes in bytes are what the libraries count."""

import pytest
import torch
from torch import nn
from transformers import (
    EncodecConfig,
    Gemma3nAudioConfig,
    Gemma3nAudioEncoder,
    Gemma3nForCausalLM,
    Gemma3nTextConfig,
    MusicgenConfig,
    MusicgenDecoderConfig,
    MusicgenForConditionalGeneration,
    MusicgenMelodyConfig,
    MusicgenMelodyDecoderConfig,
    MusicgenMelodyForConditionalGeneration,
    T5Config,
)

from models.sources import SOURCES

MUSICGEN = {"small": (1024, 24, 16), "medium": (1536, 48, 24), "melody": (1536, 48, 24), "large": (2048, 48, 32)}
POSITIONS = 2048  # of the decoder, kept in the published files
T5_BASE = T5Config(d_model=768, d_ff=3072, num_layers=12, num_heads=12)
ENCODEC_32KHZ = EncodecConfig(
    sampling_rate=32000, audio_channels=1, normalize=False, num_filters=64, upsampling_ratios=[8, 5, 4, 4],
    codebook_size=2048, codebook_dim=128, target_bandwidths=[2.2], use_causal_conv=False, use_conv_shortcut=False,
)  # fmt: skip
VISION = (290e6, 340e6)  # Gemma 3n's tower for pictures, which would take timm to build: MobileNetV5 of 300 M


def _musicgen(variant: str) -> nn.Module:
    hidden, layers, heads = MUSICGEN[variant]
    size = {
        "hidden_size": hidden, "ffn_dim": 4 * hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
    }  # fmt: skip
    encoders = {"text_encoder": T5_BASE.to_dict(), "audio_encoder": ENCODEC_32KHZ.to_dict()}
    with torch.device("meta"):
        if variant == "melody":
            melody = MusicgenMelodyConfig(**encoders, decoder=MusicgenMelodyDecoderConfig(**size).to_dict())
            return MusicgenMelodyForConditionalGeneration(melody)
        config = MusicgenConfig(**encoders, decoder=MusicgenDecoderConfig(**size).to_dict())
        return MusicgenForConditionalGeneration(config)


def _weights(model: nn.Module) -> int:
    return sum(weights.numel() for weights in model.parameters())


def _codec(model: nn.Module) -> int:
    """Weights of the audio codec, its codebooks included, which are no parameters."""
    return sum(values.numel() for values in model.audio_encoder.state_dict().values())


def test_every_download_has_a_size() -> None:
    unknown = [
        (model, variant)
        for model, variants in SOURCES.items()
        for variant, source in variants.items()
        if not source.bundled and source.download_size_bytes <= 10_000_000
    ]
    assert unknown == []


@pytest.mark.parametrize("variant", MUSICGEN)
def test_musicgen_for_transformers_is_in_single_precision(variant: str) -> None:
    model = _musicgen(variant)
    count = _weights(model) - _weights(model.audio_encoder) + _codec(model) + POSITIONS * MUSICGEN[variant][0]
    assert SOURCES["musicgen"][variant].download_size_bytes == pytest.approx(4 * count, rel=1e-3)


@pytest.mark.parametrize("variant", MUSICGEN)
def test_musicgen_for_audiocraft_is_in_half_precision_beside_its_codec(variant: str) -> None:
    model = _musicgen(variant)
    language_model = _weights(model) - _weights(model.audio_encoder) - _weights(model.text_encoder)
    count = 2 * language_model + 4 * _codec(model)
    assert SOURCES["musicgen_audiocraft"][variant].download_size_bytes == pytest.approx(count, rel=1e-3)


@pytest.mark.parametrize(
    ("variant", "text"),
    [
        ("gemma-3n-E4B-it", Gemma3nTextConfig()),
        ("gemma-3n-E2B-it", Gemma3nTextConfig(
            num_hidden_layers=30, intermediate_size=8192, num_kv_shared_layers=10,
            activation_sparsity_pattern=[0.95] * 10 + [0.0] * 20,
        )),
    ],
)  # fmt: skip
def test_gemma_3n_is_in_half_precision(variant: str, text: Gemma3nTextConfig) -> None:
    with torch.device("meta"):
        heard = _weights(Gemma3nForCausalLM(text)) + _weights(Gemma3nAudioEncoder(Gemma3nAudioConfig()))
    seen = SOURCES["gemma_3n"][variant].download_size_bytes / 2 - heard
    assert VISION[0] < seen < VISION[1]
