"""Small random checkpoints of every model, built with the libraries' own classes and saved in their own file formats.

`python tests/tiny_weights.py DIR` fills DIR, so that `MODELS_DIR=DIR python app.py` runs everything. The weights are
seeded and know nothing of music: Demucs's stems are noise made of the mixture, and Whisper "hears" the same few words
in any passage (see _few_words). They show that the real loading and running code works, and nothing more.
"""

import hashlib
import io
import sys
from pathlib import Path
from typing import Any

SEED = 20261121
STEMS = ["drums", "bass", "other", "vocals"]
SIX_STEMS = [*STEMS, "guitar", "piano"]
DEMUCS_VARIANTS = ("htdemucs", "htdemucs_ft", "htdemucs_6s", "mdx", "mdx_extra", "mdx_q", "mdx_extra_q")
# Whisper's file names, mel bands and vocabulary sizes; large is large-v3, turbo is large-v3-turbo.
WHISPER_FILES = {
    "tiny.pt": (80, 51865), "base.pt": (80, 51865), "small.pt": (80, 51865), "medium.pt": (80, 51865),
    "large-v3.pt": (128, 51866), "large-v3-turbo.pt": (128, 51866),
}  # fmt: skip
WORDS = (" love", " you", " more", " tonight")
SEGMENT_END_SECONDS = 4.0


def build(folder: Path) -> None:
    """Write every model's checkpoints below a folder; what is there already is kept.

    Parameters
    ----------
    folder : Path
        What MODELS_DIR shall be.
    """
    build_demucs(folder)
    build_whisper(folder)


def build_demucs(folder: Path) -> None:
    """Write a demucs repository: each variant's own bag file and a small model for each signature in it."""
    import torch
    import yaml
    from demucs.pretrained import REMOTE_ROOT

    target = folder / "demucs"
    target.mkdir(parents=True, exist_ok=True)
    for variant in DEMUCS_VARIANTS:
        bag = (REMOTE_ROOT / f"{variant}.yaml").read_text()
        (target / f"{variant}.yaml").write_text(bag)
        for index, signature in enumerate(yaml.safe_load(bag)["models"]):
            if not list(target.glob(f"{signature}-*.th")):
                torch.manual_seed(SEED + int(signature[:4], 16))
                _save_demucs(_demucs_model(variant, index), target, signature, quantised=variant.endswith("_q"))


def build_whisper(folder: Path) -> None:
    """Write Whisper checkpoints, named as the library names its downloads."""
    import torch
    from whisper.model import ModelDimensions, Whisper

    target = folder / "whisper"
    target.mkdir(parents=True, exist_ok=True)
    for name, (mels, vocabulary) in WHISPER_FILES.items():
        if (target / name).exists():
            continue
        torch.manual_seed(SEED)
        sizes = ModelDimensions(
            n_mels=mels, n_audio_ctx=1500, n_audio_state=16, n_audio_head=2, n_audio_layer=1, n_vocab=vocabulary,
            n_text_ctx=448, n_text_state=16, n_text_head=2, n_text_layer=2,
        )  # fmt: skip
        model = Whisper(sizes)
        _few_words(model)
        state = {key: value.half() for key, value in model.state_dict().items()}
        _write(target / name, {"dims": vars(sizes), "model_state_dict": state})


def _demucs_model(variant: str, index: int) -> Any:
    """A model of the class that the variant's real bag has at that place."""
    from demucs.demucs import Demucs
    from demucs.hdemucs import HDemucs
    from demucs.htdemucs import HTDemucs

    if variant.startswith("htdemucs"):
        sources = SIX_STEMS if variant == "htdemucs_6s" else STEMS
        return HTDemucs(sources, channels=4, growth=1, t_layers=1, t_heads=2, t_hidden_scale=1, dconv_mode=0, segment=4)
    if index % 2:
        return Demucs(STEMS, channels=4, depth=3, lstm_layers=0, dconv_depth=1, resample=False, segment=4)
    return HDemucs(STEMS, channels=4, growth=1, dconv_mode=0, norm_starts=9, segment=4)


def _save_demucs(model: Any, target: Path, signature: str, *, quantised: bool) -> None:
    """Save a model as demucs does, <signature>-<checksum>.th."""
    from demucs.states import get_state, save_with_checksum
    from diffq import DiffQuantizer

    quantizer = DiffQuantizer(model, min_size=0.01, group_size=4) if quantised else None
    args, kwargs = model._init_args_kwargs
    package = {
        "klass": type(model), "args": args, "kwargs": kwargs,
        "state": get_state(model, quantizer, half=True), "training_args": {},
    }  # fmt: skip
    save_with_checksum(package, target / f"{signature}.th")


def _few_words(model: Any) -> None:
    """Let a Whisper with random weights end its sentences, as a trained one does.

    What comes next is made to depend on the position alone: the positional embedding points at one token after the
    other, WORDS, then a time stamp, then the end of the text, and again. So decoding takes a handful of steps instead
    of 224 at six temperatures, whatever it hears.
    """
    import torch
    from whisper.tokenizer import get_tokenizer

    tokenizer = get_tokenizer(multilingual=True, num_languages=model.num_languages)
    stamp = tokenizer.timestamp_begin + round(SEGMENT_END_SECONDS / 0.02)
    cycle = [*(tokenizer.encode(word)[0] for word in WORDS), stamp, tokenizer.eot]
    with torch.no_grad():
        embedding, position = model.decoder.token_embedding.weight, model.decoder.positional_embedding
        embedding.mul_(0.01)
        position.zero_()
        for axis, token in enumerate(cycle):
            embedding[token].zero_()
            embedding[token, axis] = 8.0
        for place in range(position.shape[0]):
            # Three tokens (start, language, task) and a time stamp come before the first word.
            position[place, (place - 3) % len(cycle)] = 40.0


def _write(path: Path, content: Any) -> None:
    """torch.save under a temporary name, so that a half file is never taken for a whole one."""
    import torch

    buffer = io.BytesIO()
    torch.save(content, buffer)
    temporary = path.with_suffix(f".{hashlib.sha256(str(path).encode()).hexdigest()[:8]}")
    temporary.write_bytes(buffer.getvalue())
    temporary.replace(path)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python tests/tiny_weights.py DIR")
    build(Path(sys.argv[1]))
    print(f"{sys.argv[1]} holds small random checkpoints; run: MODELS_DIR={sys.argv[1]} python app.py")
