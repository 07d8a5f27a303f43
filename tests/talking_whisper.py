"""Small Whispers that say the same line wherever they hear anything, whatever text came before.

Each variant has a line of its own, so that a word tells which session it belongs to. Those of tiny_weights.py go by the
position alone, and live transcription's prompts move that.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.tiny_weights import SEED, _write

LINES = {
    "tiny": (" love", " you", " more", " tonight"),
    "base": (" silver", " river", " come", " home"),
    "medium": (" every", " morning", " sing", " again"),
    "turbo": (" under", " the", " old", " moon"),
}
FILES = {"tiny": "tiny.pt", "base": "base.pt", "medium": "medium.pt", "turbo": "large-v3-turbo.pt"}
SEGMENT_END_SECONDS = 4.0


def build(folder: Path) -> None:
    """Write a checkpoint for each variant of LINES below a folder, as MODELS_DIR has them."""
    import torch
    from whisper.model import ModelDimensions, Whisper

    (folder / "whisper").mkdir(parents=True, exist_ok=True)
    for variant, line in LINES.items():
        torch.manual_seed(SEED)
        mels, vocabulary = (128, 51866) if variant == "turbo" else (80, 51865)
        sizes = ModelDimensions(
            n_mels=mels, n_audio_ctx=1500, n_audio_state=16, n_audio_head=2, n_audio_layer=1, n_vocab=vocabulary,
            n_text_ctx=448, n_text_state=16, n_text_head=2, n_text_layer=2,
        )  # fmt: skip
        model = Whisper(sizes)
        say(model, line)
        state = {key: value.half() for key, value in model.state_dict().items()}
        _write(folder / "whisper" / FILES[variant], {"dims": vars(sizes), "model_state_dict": state})


def say(model: Any, line: Sequence[str]) -> None:
    """Let each token be followed by the next one of a line, by one layer that turns each axis into the next.

    Parameters
    ----------
    model : whisper.model.Whisper
    line : sequence of str
        Words that are one token each.
    """
    import torch
    from whisper.tokenizer import get_tokenizer

    tokenizer = get_tokenizer(multilingual=True, num_languages=model.num_languages)
    words = [tokenizer.encode(word) for word in line]
    assert all(len(word) == 1 for word in words), line
    stamp = tokenizer.timestamp_begin + round(SEGMENT_END_SECONDS / 0.02)
    starts = [tokenizer.no_timestamps, *range(tokenizer.timestamp_begin, tokenizer.timestamp_begin + 51)]
    cycle = [starts, *words, [stamp], [tokenizer.eot]]
    decoder, width = model.decoder, model.dims.n_text_state
    normed = (width - 1) ** 0.5  # what a token of the cycle has on its axis after the norm; others less everywhere
    with torch.no_grad():
        decoder.positional_embedding.zero_()
        decoder.token_embedding.weight.mul_(0.01)
        for axis, tokens in enumerate(cycle):
            decoder.token_embedding.weight[tokens] = 8.0 * torch.eye(width)[axis]
        for block in decoder.blocks:
            for layer in (block.attn.out, block.cross_attn.out, block.mlp[2]):
                layer.weight.zero_()
                layer.bias.zero_()
        turn = decoder.blocks[0].mlp
        turn[0].weight.zero_()
        turn[0].bias.fill_(-8.8 * normed)
        for axis in range(len(cycle) - 1):
            turn[0].weight[axis, axis] = 10.0
            turn[2].weight[axis + 1, axis] = 20.0
