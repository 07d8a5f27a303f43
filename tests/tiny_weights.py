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
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,:;!?'()-"
# Gemma 3n's vocabulary is text, then tokens for pictures, then those for sound; the last of these pads short sound.
PICTURE_TOKENS = {"eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
SOUND_TOKENS = {"eoa_token": "<end_of_audio>", "audio_token": "<audio_soft_token>", "no_audio_token": "<no_audio>"}
TURN_TOKENS = {"sot_token": "<start_of_turn>", "eot_token": "<end_of_turn>"}
BEGIN_TOKENS = {"boi_token": "<start_of_image>", "boa_token": "<start_of_audio>"}
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{% if m.content is string %}{{ m.content }}{% else %}{% for c in m.content %}"
    "{% if c.type == 'audio' %}<audio_soft_token>{% else %}{{ c.text }}{% endif %}{% endfor %}{% endif %}"
    "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


def build(folder: Path) -> None:
    """Write every model's checkpoints below a folder; what is there already is kept.

    Parameters
    ----------
    folder : Path
        What MODELS_DIR shall be.
    """
    build_demucs(folder)
    build_whisper(folder)
    build_musicgen(folder)
    build_gemma(folder)


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
                model = _audible(_demucs_model(variant, index))
                _save_demucs(model, target, signature, quantised=variant.endswith("_q"))


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


def build_musicgen(folder: Path) -> None:
    """Write MusicGen folders: a text encoder, a decoder over four code books and an audio decoder, each tiny."""
    import torch
    from transformers import (
        EncodecConfig,
        MusicgenConfig,
        MusicgenForConditionalGeneration,
        MusicgenMelodyConfig,
        MusicgenMelodyForConditionalGeneration,
        T5Config,
    )

    text = T5Config(vocab_size=64, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    sound = EncodecConfig(
        sampling_rate=32000, audio_channels=1, num_filters=4, upsampling_ratios=[8, 5, 4, 4], codebook_size=2048,
        codebook_dim=8, hidden_size=8, num_lstm_layers=1, target_bandwidths=[2.2], use_causal_conv=False,
    )  # fmt: skip
    decoder = {"num_hidden_layers": 1, "ffn_dim": 32, "num_attention_heads": 2, "hidden_size": 16, "num_codebooks": 4}
    parts = {"text_encoder": text.to_dict(), "audio_encoder": sound.to_dict(), "decoder": decoder}
    for variant in ("small", "medium", "large", "melody"):
        target = folder / "musicgen" / variant
        if (target / "model.safetensors").exists():
            continue
        torch.manual_seed(SEED)
        melody = variant == "melody"
        model: Any = (
            MusicgenMelodyForConditionalGeneration(MusicgenMelodyConfig(**parts)) if melody
            else MusicgenForConditionalGeneration(MusicgenConfig(**parts))
        )  # fmt: skip
        _tell_codes_apart(model.audio_encoder)
        start = model.config.decoder.vocab_size  # one beyond the code book: no code yet
        model.generation_config.update(
            decoder_start_token_id=start, pad_token_id=start, bos_token_id=start, do_sample=True, guidance_scale=3.0,
            max_length=1503,
        )  # fmt: skip
        letters().save_pretrained(target)
        model.save_pretrained(target)


def _tell_codes_apart(encodec: Any) -> None:
    """Let each code of a random Encodec have a sound of its own, and each sound a code.

    The library leaves the code books empty, and in a random network the biases drown what little passes through.
    """
    import torch

    with torch.no_grad():
        for name, parameter in encodec.named_parameters():
            if "bias" in name:
                parameter.zero_()
            elif name.endswith("original0"):  # the length of weight-normalised weights; 2 keeps signals near 1
                parameter.mul_(2)
        spread = encodec.encoder(torch.randn(1, 1, 32000) * 0.1).std()
        for layer in encodec.quantizer.layers:
            layer.codebook.embed.normal_().mul_(spread)
        codes = torch.randint(encodec.config.codebook_size, (1, 1, len(encodec.quantizer.layers), 100))
        loudness = encodec.decode(codes, [None]).audio_values.std()
        encodec.decoder.layers[-1].conv.parametrizations.weight.original0.mul_(0.1 / loudness)


def build_gemma(folder: Path) -> None:
    """Write Gemma folders: Gemma 2 for the variants that read, Gemma 3n for those that also hear."""
    import torch
    from transformers import Gemma2Config, Gemma2ForCausalLM

    for variant in ("gemma-2-2b-it", "gemma-2-9b-it", "gemma-2-27b-it"):
        target = folder / "gemma_3n" / variant
        if (target / "model.safetensors").exists():
            continue
        torch.manual_seed(SEED)
        tokenizer = _chat_tokenizer({})
        config = Gemma2Config(
            vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, head_dim=8, max_position_embeddings=8192, sliding_window=4096,
            pad_token_id=0, eos_token_id=1, bos_token_id=2,
        )  # fmt: skip
        tokenizer.save_pretrained(target)
        _save_chat_model(Gemma2ForCausalLM(config), tokenizer, target)
    for variant in ("gemma-3n-E2B-it", "gemma-3n-E4B-it"):
        target = folder / "gemma_3n" / variant
        if not (target / "model.safetensors").exists():
            torch.manual_seed(SEED)
            _save_hearing_gemma(target)


def _save_hearing_gemma(target: Path) -> None:
    """A Gemma 3n with its ears, without its eyes, as the product loads it."""
    from transformers import (
        Gemma3nAudioFeatureExtractor,
        Gemma3nConfig,
        Gemma3nForConditionalGeneration,
        Gemma3nProcessor,
        SiglipImageProcessorPil,
    )

    from models.gemma_3n import leave_out_vision

    leave_out_vision()
    special = BEGIN_TOKENS | PICTURE_TOKENS | SOUND_TOKENS
    tokenizer = _chat_tokenizer(special)
    pictures_at = len(tokenizer) - len(SOUND_TOKENS) - len(PICTURE_TOKENS)
    sound_at = pictures_at + len(PICTURE_TOKENS)
    config = Gemma3nConfig(
        text_config={
            "vocab_size": len(tokenizer), "vocab_size_per_layer_input": pictures_at, "hidden_size": 16,
            "hidden_size_per_layer_input": 8, "intermediate_size": 32, "num_hidden_layers": 4,
            "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "laurel_rank": 4, "altup_num_inputs": 2,
            "num_kv_shared_layers": 2, "layer_types": ["sliding_attention", "full_attention"] * 2,
        },
        audio_config={
            "vocab_size": len(SOUND_TOKENS), "vocab_offset": sound_at, "hidden_size": 16,
            "conf_num_attention_heads": 2, "conf_num_hidden_layers": 1, "sscp_conv_channel_size": [8, 4],
        },
        vision_config={
            "vocab_size": len(PICTURE_TOKENS), "vocab_offset": pictures_at, "hidden_size": 16,
            "label_names": ["LABEL_0", "LABEL_1"],
        },
        **{f"{name}_id": tokenizer.convert_tokens_to_ids(token) for name, token in special.items()},
    )  # fmt: skip
    Gemma3nProcessor(
        Gemma3nAudioFeatureExtractor(), SiglipImageProcessorPil(), tokenizer, chat_template=CHAT_TEMPLATE,
    ).save_pretrained(target)  # fmt: skip
    _save_chat_model(Gemma3nForConditionalGeneration(config), tokenizer, target)


def _save_chat_model(model: Any, tokenizer: Any, target: Path) -> None:
    """Save a model that stops where its turn ends."""
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, tokenizer.eot_token_id]
    model.save_pretrained(target)


def letters() -> Any:
    """A T5 tokenizer that knows letters."""
    from transformers import T5Tokenizer

    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    return T5Tokenizer(vocab=special + [(letter, -3.0) for letter in LETTERS], extra_ids=0)


def _chat_tokenizer(special: dict[str, str]) -> Any:
    """A tokenizer that knows letters, with Gemma's turns as its chat template, and special tokens of its own."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    begin = [token for name, token in special.items() if name in BEGIN_TOKENS]
    end = [token for name, token in special.items() if name not in BEGIN_TOKENS]
    text = ["<pad>", "<eos>", "<bos>", "<unk>", *TURN_TOKENS.values(), *begin, *LETTERS, *LETTERS.upper(), "\n", " "]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys([*text, *end]))}
    letters = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    letters.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    letters.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=letters, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>", unk_token="<unk>",
        extra_special_tokens=TURN_TOKENS | special, chat_template=CHAT_TEMPLATE,
    )  # fmt: skip


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


def _audible(model: Any) -> Any:
    """Scale a model's last layers so that its stems are as loud as the mixture; else nobody would hear a voice."""
    import torch
    from demucs.demucs import Demucs

    last = [model.decoder[-1][-1]] if isinstance(model, Demucs) else [model.decoder[-1].conv_tr,
                                                                     model.tdecoder[-1].conv_tr]  # fmt: skip
    mixture = 0.1 * torch.randn(1, 2, int(model.segment * model.samplerate))
    with torch.no_grad():
        for layer in last:
            layer.bias.zero_()
        gain = mixture.std() / model.eval()(mixture).std()
        for layer in last:
            layer.weight.mul_(gain)
    return model


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
    sys.path.insert(0, str(Path(__file__).parent.parent))  # for models.gemma_3n
    build(Path(sys.argv[1]))
    print(f"{sys.argv[1]} holds small random checkpoints; run: MODELS_DIR={sys.argv[1]} python app.py")
