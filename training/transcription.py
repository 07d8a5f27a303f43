"""Training of the small model of words: a Whisper, the library's own class, on synthesised singing.

python -m training.transcription CORPUS OUT_DIR --steps STEPS [--start MODEL.pt] [--threads THREADS]

Besides the next token the model learns which word is sung in every frame of the encoder, and to attend to the last
token where it is sung, then to the next one, since a synthesiser knows all of it. The vocabulary is the library's; only
the tokens of our songs are trained, and in the checkpoint the rest cannot be chosen. A run that was stopped goes on
from its last checkpoint.
"""

from __future__ import annotations

import argparse
import math
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from whisper import load_model
from whisper.model import ModelDimensions, Whisper, sinusoids

from training.corpus import read_corpus
from training.run import go_on, save, set_learning_rate
from training.windows import NONE, STAMPS, WINDOW_SECONDS, Tokens, Window, Windows

SEED = 20261121
STATE, HEADS = 128, 2
VOCABULARY = 51865
DIMENSIONS = ModelDimensions(
    n_mels=80, n_audio_ctx=1500, n_audio_state=STATE, n_audio_head=HEADS, n_audio_layer=3,
    n_vocab=VOCABULARY, n_text_ctx=448, n_text_state=STATE, n_text_head=HEADS, n_text_layer=4,
)  # fmt: skip
STAGES = ((0.2, 6.0, 8), (0.55, 10.0, 6), (1.0, WINDOW_SECONDS, 3))  # up to a share of the steps: seconds, batch
LEARNING_RATE = 1e-3
BETAS = (0.9, 0.98)
WEIGHT_DECAY = 0.01
WARM_UP_STEPS = 100
COOL_DOWN = 0.4  # share of the steps at the end, over which the learning rate falls to nothing
LARGEST_GRADIENT = 1.0
CONVOLUTION_GAIN = math.sqrt(8)  # as they begin, positions would drown what the convolutions hear
STAMP_GAIN = 0.15  # time stamps begin as a sinusoid, neighbours alike
SUNG_WEIGHT, TARGET_WEIGHT, TOKEN_WEIGHT = 1.0, 0.3, 0.15  # of the losses beside that of the next token
MOST_REPEATS = 24  # of a separated voice, beside each clean one
NEVER = -60.0  # logit of a token that is not trained
REPORT_SECONDS = 120.0
CHECKPOINT = "transcription.pt"


class Trainee(nn.Module):
    """A Whisper with a small table of tokens, and a guess at the word that is sung in each frame."""

    def __init__(self, tokens: Tokens) -> None:
        super().__init__()
        self.whisper = Whisper(DIMENSIONS)
        self._used = tokens.used
        table = nn.Embedding(len(tokens.used), STATE)
        first_stamp = tokens.place[tokens.tokenizer.timestamp_begin]
        with torch.no_grad():
            table.weight.normal_(std=0.05)
            table.weight[first_stamp : first_stamp + STAMPS] = sinusoids(STAMPS, STATE) * STAMP_GAIN
            table.weight[:, 0] = 0
            self.whisper.decoder.positional_embedding.normal_(std=0.02)
            for convolution in (self.whisper.encoder.conv1, self.whisper.encoder.conv2):
                convolution.weight *= CONVOLUTION_GAIN
        self.whisper.decoder.token_embedding = table
        self.sung = nn.Linear(STATE, 2 * len(tokens.words) + 1)

    @torch.no_grad()
    def start_from(self, trained: Whisper) -> None:
        """Take over a trained model of the same dimensions; tokens that it was not trained for stay as they are.

        Its decoder may have half the layers: each is then followed by a copy that adds nothing yet.
        """
        weights = trained.state_dict()
        rows = weights.pop("decoder.token_embedding.weight")[self._used]
        known = rows[:, 0] > NEVER / 2
        self.whisper.decoder.token_embedding.weight[known] = rows[known]
        if 2 * trained.dims.n_text_layer == DIMENSIONS.n_text_layer:
            weights = _deepened(weights)
        self.whisper.load_state_dict(weights, strict=False)

    def encode(self, mel: Tensor, first_frames: Sequence[int]) -> Tensor:
        """The encoder of the library, for windows of any length from any position: (batch, frames, STATE)."""
        encoder = self.whisper.encoder
        hidden = functional.gelu(encoder.conv2(functional.gelu(encoder.conv1(mel)))).permute(0, 2, 1)
        positions = encoder.positional_embedding
        hidden = hidden + torch.stack([positions[first : first + hidden.shape[1]] for first in first_frames])
        for block in encoder.blocks:
            hidden = block(hidden)
        return encoder.ln_post(hidden)

    @contextmanager
    def attention(self) -> Iterator[list[Tensor]]:
        """Collect where each decoder layer attends while it runs: log weights (batch, heads, tokens, frames)."""
        seen: list[Tensor] = []
        halves: dict[str, Tensor] = {}

        def keep(_: nn.Module, __: Any, output: Tensor, name: str) -> None:
            halves[name] = output.unflatten(-1, (HEADS, -1)).transpose(1, 2).float()
            if len(halves) == 2:
                scores = halves["query"] @ halves["key"].transpose(-1, -2) / math.sqrt(STATE // HEADS)
                seen.append(scores.log_softmax(-1))
                halves.clear()

        hooks = [
            getattr(block.cross_attn, name).register_forward_hook(lambda *passed, name=name: keep(*passed, name=name))
            for block in self.whisper.decoder.blocks
            for name in ("query", "key")
        ]
        try:
            yield seen
        finally:
            for hook in hooks:
                hook.remove()

    @torch.no_grad()
    def hold_bias(self) -> None:
        """Keep channel 0 of the decoder's last norm at 1: in it lies every token's bias, NEVER for untrained ones."""
        self.whisper.decoder.ln.weight[0], self.whisper.decoder.ln.bias[0] = 0, 1


def train(corpus: Path, out_dir: Path, steps: int, start: Path | None, threads: int) -> Path:
    """Train the model.

    Parameters
    ----------
    corpus : Path
        Has the folders `voice` and, where they are made already, `separated` and `bands`.
    out_dir : Path
        Gets transcription.pt, from which a stopped run goes on, and the model for Whisper.
    steps : int
        In all, those of the stopped run included.
    start : Path, optional
        A Whisper checkpoint of the same dimensions, from which this one starts.
    threads : int
        Of torch, on a CPU.

    Returns
    -------
    Path
        The model for Whisper, demo.pt.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(SEED)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    out_dir.mkdir(parents=True, exist_ok=True)
    tokens = Tokens()
    model = Trainee(tokens).to(device)
    if start:
        model.start_from(load_model(start, device))
    optimiser = torch.optim.AdamW(model.parameters(), LEARNING_RATE, betas=BETAS, weight_decay=WEIGHT_DECAY)
    first = go_on(out_dir / CHECKPOINT, model, optimiser)["step"]
    windows = _windows(corpus, SEED + first, tokens)
    measured: list[list[float]] = []
    reported = time.monotonic()
    for step in range(first, steps):
        set_learning_rate(optimiser, LEARNING_RATE, step, steps, warm_up_steps=WARM_UP_STEPS, cool_down=COOL_DOWN)
        _, seconds, batch = next(stage for stage in STAGES if step < stage[0] * steps)
        measured.append(_step(model, optimiser, [windows.draw(seconds) for _ in range(batch)], device))
        if time.monotonic() - reported > REPORT_SECONDS or step + 1 == steps:
            names = ("loss", "tokens", "frames", "place of target", "place of token")
            said = ", ".join(f"{name} {value:.3f}" for name, value in zip(names, np.nanmean(measured, 0), strict=True))
            print(f"step {step + 1} of {steps}, {seconds:g} s: {said}", flush=True)
            save(out_dir / CHECKPOINT, model, optimiser, step + 1)
            measured, reported = [], time.monotonic()
    return export(model.cpu(), tokens, out_dir / "demo.pt")


def export(model: Trainee, tokens: Tokens, path: Path) -> Path:
    """Write a model as whisper.load_model reads it.

    The table of tokens gets its full height again. Most of its rows are then the same, so the file's entries are
    deflated, which torch.load reads as it reads stored ones.

    Parameters
    ----------
    model : Trainee
    tokens : Tokens
    path : Path
        A .pt file.

    Returns
    -------
    Path
        `path`, in half precision.
    """
    weights = {name: values.detach().half() for name, values in model.whisper.state_dict().items()}
    table = torch.zeros(VOCABULARY, STATE, dtype=torch.half)
    table[:, 0] = NEVER
    table[tokens.used] = weights["decoder.token_embedding.weight"]
    stored = path.with_suffix(".part")
    torch.save(
        {"dims": asdict(DIMENSIONS), "model_state_dict": weights | {"decoder.token_embedding.weight": table}}, stored
    )
    with zipfile.ZipFile(stored) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
    stored.unlink()
    return path


def _deepened(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A model's weights with every layer of its decoder twice; the second adds nothing to what passes through it."""
    deep = {}
    for name, values in weights.items():
        if not name.startswith("decoder.blocks."):
            deep[name] = values
            continue
        _, _, number, part = name.split(".", 3)
        adds = part.removesuffix(".weight").removesuffix(".bias") in ("attn.out", "cross_attn.out", "mlp.2")
        deep[f"decoder.blocks.{2 * int(number)}.{part}"] = values
        deep[f"decoder.blocks.{2 * int(number) + 1}.{part}"] = torch.zeros_like(values) if adds else values
    return deep


def _windows(corpus: Path, seed: int, tokens: Tokens) -> Windows:
    """Windows of all voices; the separated ones count up to MOST_REPEATS times as often."""
    clean, separated = (read_corpus(corpus / name) for name in ("voice", "separated"))
    bands = [song.samples for song in read_corpus(corpus / "bands")]
    times = min(MOST_REPEATS, max(1, round(len(clean) / len(separated)))) if separated else 0
    return Windows([*clean, *separated * times], bands, len(clean), seed, tokens)


def _step(model: Trainee, optimiser: torch.optim.Optimizer, batch: Sequence[Window], device: str) -> list[float]:
    """Learn from one batch: the loss, the shares of tokens and frames known, the probability of the right places."""
    height = max(len(window.tokens) for window in batch)
    tokens = torch.zeros(len(batch), height, dtype=torch.long)
    targets = torch.full((len(batch), height), NONE)
    for row, window in enumerate(batch):
        tokens[row, : len(window.tokens)] = torch.tensor(window.tokens)
        targets[row, : len(window.targets)] = torch.tensor(window.targets)
    mel = torch.stack([window.mel for window in batch]).to(device)
    sung = torch.from_numpy(np.stack([window.sung for window in batch])).to(device)
    targets = targets.to(device)
    with torch.autocast(device, torch.bfloat16), model.attention() as attention:
        heard = model.encode(mel, [window.first_frame for window in batch])
        logits = model.whisper.decoder(tokens.to(device), heard)
        frames = model.sung(heard)
    frames = frames.float().flatten(0, 1)
    half = len(attention) // 2  # the library times words by the second half of the layers
    target_place = _place_loss(torch.cat(attention[half:], 1), [window.target_spans for window in batch])
    token_place = _place_loss(
        torch.cat([layer[:, :1] for layer in attention[:half]], 1), [window.token_spans for window in batch]
    )
    loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=NONE)
    loss = loss + SUNG_WEIGHT * functional.cross_entropy(frames, sung.flatten())
    loss = loss + TARGET_WEIGHT * target_place + TOKEN_WEIGHT * token_place
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), LARGEST_GRADIENT)
    optimiser.step()
    model.hold_bias()
    return [
        loss.item(), _share(logits.argmax(-1) == targets, targets != NONE),
        _share(frames.argmax(-1) == sung.flatten(), sung.flatten() < frames.shape[-1] - 1),
        target_place.item(), token_place.item(),
    ]  # fmt: skip


def _place_loss(attention: Tensor, spans: Sequence[Sequence[tuple[int, int] | None]]) -> Tensor:
    """How far attention (batch, heads, tokens, frames; log) is from lying evenly on each token's frames, in nats."""
    wanted = torch.zeros(attention.shape[0], 1, *attention.shape[2:])
    frames = attention.shape[-1]
    for row, of_window in enumerate(spans):
        for position, span in enumerate(of_window):
            if span and span[0] < frames:
                first, end = span[0], min(span[1], frames)
                wanted[row, 0, position, first:end] = 1 / (end - first)
    wanted = wanted.to(attention.device)
    count = wanted.sum() * attention.shape[1]
    entropy = -(torch.xlogy(wanted, wanted)).sum() * attention.shape[1]
    return (-(wanted * attention).sum() - entropy) / count.clamp_min(1)


def _share(right: Tensor, counted: Tensor) -> float:
    """The share of what counts that is right; 0 where nothing counts."""
    return (right & counted).sum().item() / max(counted.sum().item(), 1)


def main() -> None:
    """Train as the command line asks."""
    parser = argparse.ArgumentParser(prog="python -m training.transcription", description="Train the model of words.")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--start", type=Path, help="a checkpoint of the same dimensions to start from")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    print(train(**vars(arguments)))


if __name__ == "__main__":
    main()
