"""Training: what the models are shown is true, what is written loads in the libraries, and judging judges."""

import dataclasses
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import whisper
from whisper.model import Whisper

from models.checkpoints import sha256
from training import separation, transcription
from training.corpus import EVALUATION_SEEDS, FULL_SCALE, CorpusSong, voice_samples, write_corpus, write_samples
from training.measures import matched, nearest, sdr
from training.song import STEMS, make_song, truth
from training.train_demo import SONGS, VALIDATION_SONGS, VOICES, bundle
from training.widening import widen
from training.windows import FRAMES_PER_SECOND, NONE, Tokens, Window, Windows

SEED, SECONDS = 7, 24.0
TOKENS = Tokens()


@cache
def voice() -> CorpusSong:
    """A voice alone, as a corpus has it."""
    song = make_song(SEED, SECONDS, band=False)
    samples = np.round(voice_samples(song.stems["vocals"]) * FULL_SCALE).astype(np.int16)
    return CorpusSong(SEED, samples, json.loads(truth(song)))


def draw(seconds: float, count: int) -> list[Window]:
    """Windows of one voice, without bands."""
    windows = Windows([voice()], [], 1, SEED, TOKENS)
    return [windows.draw(seconds) for _ in range(count)]


def text(window: Window) -> str:
    """What a window's decoder is to write, without time stamps."""
    tokens = [TOKENS.used[target] for target in window.targets if target != NONE]
    return TOKENS.tokenizer.decode([token for token in tokens if token < TOKENS.tokenizer.eot]).strip()


def test_a_voice_alone_is_that_of_the_song() -> None:
    alone, whole = make_song(SEED, 16, band=False), make_song(SEED, 16)
    assert alone.words == whole.words
    assert not any(alone.stems[name].any() for name in STEMS if name != "vocals")
    assert np.corrcoef(alone.stems["vocals"][0], whole.stems["vocals"][0])[0, 1] > 0.85  # in another room


def test_seeds_for_judging_are_never_trained_on(tmp_path: Path) -> None:
    for seeds in (SONGS, VALIDATION_SONGS, VOICES):
        assert not set(seeds) & set(EVALUATION_SEEDS)
    with pytest.raises(ValueError, match="kept for evaluation"):
        write_corpus(tmp_path, EVALUATION_SEEDS[:1])


@pytest.mark.parametrize("seconds", [6.0, 30.0])
def test_windows_are_true(seconds: float) -> None:
    sung_text = " ".join(word["text"] for word in voice().truth["words"])
    said = [window for window in draw(seconds, 12) if text(window)]
    assert len(said) >= 6
    for window in said:
        frames = round(seconds * FRAMES_PER_SECOND)
        assert window.mel.shape == (80, 2 * frames)
        assert len(window.tokens) == len(window.targets) == len(window.target_spans) == len(window.token_spans)
        assert text(window) in sung_text
        assert 0 <= window.first_frame <= 1500 - frames
        spans = [span for span in window.target_spans if span]
        assert all(0 <= start < end <= frames + 3 for start, end in spans)  # stamps reach a little beyond
        named = [
            (target, span) for target, span in zip(window.targets, window.target_spans, strict=True)
            if span and target in TOKENS.word_places
        ]  # fmt: skip
        for target, (start, _) in named:  # where a word is to be looked for, it is sung
            sung = window.sung[start + 1] // 2
            assert TOKENS.used[target] in TOKENS.of_words[sung], TOKENS.words[sung]


def test_windows_hear_what_they_say() -> None:
    """The spectrogram is loud where words are, and silent where none is for long."""
    for window in draw(30.0, 6):
        if not text(window):
            continue
        level = window.mel[:, ::2].mean(dim=0).numpy()
        silence = 2 * len(TOKENS.words)
        assert level[window.sung != silence].mean() > level[window.sung == silence].mean() + 0.1


def test_a_wider_network_computes_the_same() -> None:
    torch.manual_seed(SEED)
    narrow, wide = separation.new_model(16).eval(), separation.new_model(32).eval()
    widen(narrow, wide)
    narrow.segment = wide.segment = 1  # seconds at a time; the networks are as they were
    mixture = torch.randn(1, 2, 44100)
    with torch.no_grad():
        torch.testing.assert_close(wide(mixture), narrow(mixture), atol=1e-4, rtol=1e-4)
    first, second = wide.encoder[1].conv.weight[:, :2].unbind(1)
    assert not torch.equal(first, second)  # else copies would learn the same for ever
    with pytest.raises(ValueError, match="does not widen"):
        widen(separation.new_model(16), separation.new_model(24))


def test_a_deeper_decoder_computes_the_same() -> None:
    torch.manual_seed(SEED)
    shallow = Whisper(dataclasses.replace(transcription.DIMENSIONS, n_text_layer=2)).eval()
    with torch.no_grad():
        shallow.decoder.positional_embedding.normal_(std=0.02)
    trainee = transcription.Trainee(TOKENS).eval()
    trainee.start_from(shallow)
    assert len(trainee.whisper.decoder.blocks) == 4
    mel, tokens = torch.randn(1, 80, 3000), list(TOKENS.tokenizer.sot_sequence)
    with torch.no_grad():
        expected = shallow(mel, torch.tensor([tokens]))[..., TOKENS.used]
        places = torch.tensor([[TOKENS.place[token] for token in tokens]])
        logits = trainee.whisper.decoder(places, trainee.encode(mel, [0]))
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    added = trainee.whisper.decoder.blocks[1]
    assert added.cross_attn.query.weight.any()
    assert not added.cross_attn.out.weight.any()


def test_trained_models_load_in_their_libraries(tmp_path: Path) -> None:
    from demucs.pretrained import get_model

    corpus = tmp_path / "corpus"
    noise = np.random.default_rng(SEED).uniform(-0.2, 0.2, (4, 2, 9 * 44100))
    for folder, samples in ((corpus, noise), (corpus / "validation", noise), (corpus / "voice", voice().samples)):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "7.json").write_text(json.dumps(voice().truth))
        write_samples(folder / "7.npy", samples / (1 if samples is noise else FULL_SCALE))
    stems = separation.train(corpus, tmp_path / "stems", steps=1, width=16, start=None, threads=1)
    words = transcription.train(corpus, tmp_path / "words", steps=2, start=None, threads=1)
    bundle(stems, words, tmp_path / "demo")

    listed = dict(reversed(line.split("  ")) for line in (tmp_path / "demo" / "SHA256SUMS").read_text().splitlines())
    assert listed == {path.name: sha256(path) for path in (tmp_path / "demo").iterdir() if path.name in listed}
    assert len(listed) == 3
    assert get_model("demo", repo=tmp_path / "demo").sources == list(STEMS)
    network = whisper.load_model(str(tmp_path / "demo" / "demo.pt"), device="cpu")
    start = torch.tensor([list(TOKENS.tokenizer.sot_sequence)])
    with torch.no_grad():
        logits = network(torch.zeros(1, 80, 3000), start)[0, -1]
    untrained = torch.ones(len(logits), dtype=torch.bool)
    untrained[TOKENS.used] = False
    assert logits[untrained].max() < -30
    assert logits[TOKENS.used].min() > -30


def test_training_goes_on_where_it_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "voice").mkdir()
    (tmp_path / "voice" / "7.json").write_text(json.dumps(voice().truth))
    write_samples(tmp_path / "voice" / "7.npy", voice().samples / FULL_SCALE)
    for steps in (1, 2):
        transcription.train(tmp_path, tmp_path / "out", steps=steps, start=None, threads=1)
    assert "step 2 of 2" in capsys.readouterr().out
    assert torch.load(tmp_path / "out" / "transcription.pt")["step"] == 2


def test_words_side_by_side() -> None:
    assert matched(["a", "b", "c", "d"], ["a", "b", "c", "d"]) == (0, [(0, 0), (1, 1), (2, 2), (3, 3)])
    assert matched(["a", "b", "c", "d"], ["a", "x", "c"]) == (2, [(0, 0), (2, 2)])
    assert matched(["a", "b"], ["x", "a", "b"]) == (1, [(0, 1), (1, 2)])
    assert matched([], ["a", "b"]) == (2, [])
    assert matched(["a", "b"], []) == (2, [])
    assert nearest([1.0, 2.6], [0.9, 3.0]).tolist() == pytest.approx([0.1, 0.4])


def test_sdr() -> None:
    rng = np.random.default_rng(SEED)
    reference = rng.standard_normal((2, 44100))
    assert sdr(reference, reference + 0.1 * rng.standard_normal((2, 44100))) == pytest.approx(20, abs=0.1)
    assert sdr(reference, np.zeros((2, 44100))) == pytest.approx(0, abs=0.01)
    assert np.isnan(sdr(np.zeros((2, 44100)), reference))
