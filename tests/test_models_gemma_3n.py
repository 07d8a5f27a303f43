"""models.gemma_3n against transformers' own generate on the same checkpoint; what is measured against known sound."""

import json
from pathlib import Path

import numpy as np
import pydantic
import pytest
import torch
import transformers

from errors import Cancelled, Conflict, ModelUnavailable
from models import audio, features, gemma_3n, prompts
from models.gemma_3n import Inputs
from models.rewording import reworded, word_error_rate
from tests import render

TEXT, NATIVE = "gemma-2-2b-it", "gemma-3n-E2B-it"
HEARD = {
    "text": "helo my frend tonite", "language": "en", "message": None,
    "segments": [
        {"id": 0, "start": 1.0, "end": 3.0, "text": " the silver river carries me helo", "words": [
            {"word": f" {word}", "start": 1.0 + n / 4, "end": 1.25 + n / 4, "probability": 0.9}
            for n, word in enumerate(["the", "silver", "river", "carries", "me", "helo"])
        ]},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def folders(weights_dir: Path) -> Path:
    return weights_dir / "gemma_3n"


@pytest.fixture(scope="module")
def song(tmp_path_factory) -> Path:
    """Ten seconds of C major, then ten of F sharp major."""
    time = np.arange(10 * render.RATE) / render.RATE

    def chord(*hertz: float) -> np.ndarray:
        return sum(np.sin(2 * np.pi * f * time) for f in hertz) / 6

    mono = np.concatenate([chord(261.63, 329.63, 392.0), chord(369.99, 466.16, 554.37)])
    return render.save(tmp_path_factory.mktemp("song") / "song.wav", np.stack([mono, mono]).astype("f4"))


@pytest.fixture(scope="module")
def text_model(folders) -> gemma_3n.Gemma:
    return gemma_3n.load(TEXT, "cpu", folders / TEXT)


def silent(fraction: float, message: str | None = None) -> None:
    """A report nobody reads."""


def test_the_answer_is_the_librarys_own(text_model, folders, song, tmp_path):
    request = Inputs(do_sample=False, max_new_tokens=12, song_title="Dusk", stems=["vocals"])
    result = gemma_3n.run(text_model, request, song, tmp_path, silent)
    kept = json.loads((tmp_path / result.output_files["json"]).read_text())
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders / TEXT)
    model = transformers.AutoModelForCausalLM.from_pretrained(folders / TEXT, dtype=torch.bfloat16)
    inputs = tokenizer.apply_chat_template(
        [{"role": "user", "content": kept["prompt"]}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    tokens = model.generate(**inputs, do_sample=False, max_new_tokens=12)[0, inputs["input_ids"].shape[1] :]
    assert result.audio_analysis == tokenizer.decode(tokens, skip_special_tokens=True).strip() == kept["answer"]
    assert (tmp_path / result.output_files["text"]).read_text().strip() == result.audio_analysis
    assert result.files == [f"analysis_{TEXT}_analyze.txt", f"analysis_{TEXT}_analyze.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(result.files)
    assert kept["features"]["title"] == "Dusk"
    assert kept["features"]["stems"] == ["vocals"]
    assert prompts.analyze(kept["features"]) == kept["prompt"]


def test_what_is_measured(song):
    found = features.measure(song, silent)
    assert found["duration_seconds"] == pytest.approx(20, abs=0.1)
    # A sine of amplitude a in both channels has 20 lg a LUFS at 1 kHz (ITU-R BS.1770); three of 1/6 add their power.
    assert found["loudness_lufs"] == pytest.approx(20 * np.log10(np.sqrt(3) / 6) - 0.7, abs=1.0)
    assert 300 < found["spectral_centroid_hz"] < 550
    assert found["zero_crossing_rate"] == pytest.approx(2 * 400 / 22050, rel=0.4)
    assert max(found["chroma"], key=found["chroma"].get) in ("C", "E", "G", "F#", "A#", "C#")
    assert any(abs(boundary - 10) <= 1 for boundary in found["section_boundaries_seconds"])


def test_silence_has_no_loudness(tmp_path):
    quiet = render.silence(tmp_path / "quiet.wav", 1)
    assert features.integrated_loudness(quiet) == {"loudness_lufs": None, "dynamic_range_lu": None}


def test_loudness_of_a_file_that_is_damaged_and_changes_its_rate(tmp_path):
    tone = np.full((2, render.RATE * 4), 0.1, dtype="f4") * np.sin(np.arange(render.RATE * 4) * 0.1)
    whole = render.save(tmp_path / "whole.mp3", tone)
    raw = bytearray(whole.read_bytes())
    raw[len(raw) // 2 : len(raw) // 2 + 3000] = bytes(range(250)) * 12
    with audio.Writer(tmp_path / "other.mp3", 22050, 1) as writer:
        writer.write(tone[:1])
    damaged = tmp_path / "damaged.mp3"
    damaged.write_bytes(raw + (tmp_path / "other.mp3").read_bytes())
    expected = features.integrated_loudness(whole)["loudness_lufs"]
    assert features.integrated_loudness(damaged)["loudness_lufs"] == pytest.approx(expected, abs=1)


def test_words_need_a_transcription(text_model, song, tmp_path):
    with pytest.raises(Conflict, match="whisper"):
        gemma_3n.run(text_model, Inputs(task="transcribe"), song, tmp_path, silent)


def test_a_rewrite_is_thrown_away(text_model, song, tmp_path):
    """Random weights write nonsense, which departs from every heard word."""
    heard = tmp_path / "transcription_tiny.json"
    heard.write_text(json.dumps(HEARD))
    request = Inputs(task="transcribe", max_new_tokens=8, transcription=heard, seed=1)
    result = gemma_3n.run(text_model, request, song, tmp_path, silent)
    kept = json.loads((tmp_path / result.transcription_file).read_text())
    assert kept["segments"] == HEARD["segments"]
    assert result.text == "the silver river carries me helo"
    assert json.loads((tmp_path / result.output_files["json"]).read_text())["changes"] == []


def test_many_lines_are_corrected_a_few_at_a_time(text_model, song, tmp_path):
    heard = tmp_path / "transcription_tiny.json"
    heard.write_text(json.dumps(HEARD | {"segments": HEARD["segments"] * 25}))
    told: list[float] = []
    request = Inputs(task="transcribe", max_new_tokens=4, transcription=heard, seed=1)
    result = gemma_3n.run(text_model, request, song, tmp_path, lambda fraction, _=None: told.append(fraction))
    kept = json.loads((tmp_path / result.output_files["json"]).read_text())
    assert (len(kept["heard"]), len(kept["rewritten"])) == (25, 3)
    assert told == sorted(told)
    assert len(json.loads((tmp_path / result.transcription_file).read_text())["segments"]) == 25


def test_a_correction_keeps_the_times():
    line = "The silver river carries me hello."
    segments, changes = reworded(HEARD["segments"], [line])
    assert changes == [{"heard": "the silver river carries me helo", "corrected": line}]
    assert [word["word"] for word in segments[0]["words"]] == [f" {word}" for word in line.split()]
    assert [word["start"] for word in segments[0]["words"]] == [1.0, 1.25, 1.5, 1.75, 2.0, 2.25]
    assert segments[0]["start"] == 1.0


@pytest.mark.parametrize("lines", [[], ["a whole other line of words here"], ["one line", "too many"]])
def test_what_is_no_correction(lines):
    assert reworded(HEARD["segments"], lines) == (HEARD["segments"], [])


@pytest.mark.parametrize(("reference", "other", "rate"), [
    ("a b c d", "a b c d", 0), ("a b c d", "a x c d", 0.25), ("a b c d", "a c d", 0.25), ("a b", "a b c", 0.5),
    ("Hello, you", "hello you", 0),
])  # fmt: skip
def test_word_error_rate(reference, other, rate):
    assert word_error_rate(reference.split(), other.split()) == rate


def test_native_variants_hear_the_sound(folders, song, tmp_path):
    model = gemma_3n.load(NATIVE, "cpu", folders / NATIVE)
    told: list[float] = []
    request = Inputs(task="transcribe", max_new_tokens=4, do_sample=False)
    result = gemma_3n.run(model, request, song, tmp_path, lambda fraction, message=None: told.append(fraction))
    kept = json.loads((tmp_path / result.output_files["json"]).read_text())
    assert len(kept["windows"]) == 1
    assert told == sorted(told)
    assert len(told) >= 4
    chat = gemma_3n._chat(model, "words?", np.zeros(16000, dtype=np.float32))
    assert chat["input_features"].shape[-1] == 128  # mel bands of Gemma 3n's own feature extractor


def test_cancel(text_model, song, tmp_path):
    def report(fraction: float, message: str | None = None) -> None:
        if message == "Describing":
            raise Cancelled

    with pytest.raises(Cancelled):
        gemma_3n.run(text_model, Inputs(max_new_tokens=500), song, tmp_path, report)


@pytest.mark.parametrize("variant", [TEXT, NATIVE])
def test_weights_that_do_not_load(variant, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelUnavailable, match="do not load"):
        gemma_3n.load(variant, "cpu", tmp_path)


@pytest.mark.parametrize("parameters", [
    {"task": "sing"}, {"temperature": 0.05}, {"temperature": float("nan")}, {"top_p": 1.5}, {"max_new_tokens": 0},
    {"do_sample": "perhaps"}, {"song_title": "x"},
])  # fmt: skip
def test_parameters_out_of_range(parameters):
    with pytest.raises(pydantic.ValidationError):
        gemma_3n.Request(**parameters)
