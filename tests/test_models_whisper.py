"""models.whisper against the library on the same checkpoint and the same samples."""

import dataclasses
import json
import math
import re
import subprocess
import sys
import warnings
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pydantic
import pytest
import torch
import whisper as library
from whisper import timing
from whisper.model import ModelDimensions
from whisper.tokenizer import LANGUAGES as LIBRARY_LANGUAGES

from errors import Cancelled, InvalidInput, ModelUnavailable
from models import audio, hearing, unsung, voice, whisper
from models.whisper import Request
from tests import render, tiny_weights

RATE = 16000
SEED = 8  # of weights that hear other words in speech played backwards, and another language in silence
SPEECH = "silver river carry me home over the mountain under the moon"


@pytest.fixture(scope="module")
def checkpoints(weights_dir: Path) -> Path:
    return weights_dir / "whisper"


@pytest.fixture(scope="module")
def model(checkpoints):
    """Says a few words in every window, whatever it hears."""
    return whisper.load("tiny", "cpu", checkpoints / "tiny.pt")


@pytest.fixture(scope="module")
def babbler():
    """Says what the sound makes it say: all its weights are random. A window of it has at most 24 tokens."""
    torch.manual_seed(SEED)
    network = network_of(n_audio_state=16, n_text_state=16, n_text_ctx=48)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    for block in network.decoder.blocks:
        block.cross_attn.out.weight.data *= 20  # what it hears counts for more than what it said before
    return whisper.Whisper("base", "cpu", network)


def network_of(**sizes):
    """A network of the library's own class with random weights."""
    given = {
        "n_mels": 80, "n_audio_ctx": 1500, "n_audio_state": 24, "n_audio_head": 2, "n_audio_layer": 1,
        "n_vocab": 51865, "n_text_ctx": 448, "n_text_state": 24, "n_text_head": 2, "n_text_layer": 2,
    }  # fmt: skip
    return library.model.Whisper(ModelDimensions(**given | sizes)).eval()


@pytest.fixture(scope="module")
def voice_16k() -> np.ndarray:
    """Four seconds of speech, as samples (n,) at RATE."""
    spoken = render.say(SPEECH)
    time = np.arange(int(len(spoken) * RATE / render.RATE)) / RATE
    spoken = np.interp(time, np.arange(len(spoken)) / render.RATE, spoken).astype(np.float32)
    return np.tile(spoken, 2)[: 4 * RATE]


@pytest.fixture
def credulous(monkeypatch):
    """Keeps lines that take no time: random weights hear nothing, and their words are placed anywhere."""
    monkeypatch.setattr(unsung, "FEWEST_WORDS", math.inf)


def silence(seconds):
    return np.zeros(round(seconds * RATE), np.float32)


def recording(path, *pieces):
    """A file of these samples, one after the other, and what a decoder makes of it."""
    with audio.Writer(path, RATE, 1) as writer:
        writer.write(np.concatenate(pieces)[None])
    return path, audio.read(path, sample_rate=RATE, channels=1)[0][0]


def run(model, path, report=lambda fraction, message=None: None, **parameters):
    """Result, and the JSON file's content."""
    out = path.parent / f"out_{path.stem}"
    out.mkdir(exist_ok=True)
    result = whisper.run(model, Request(**parameters), path, out, report)
    assert sorted(result.files) == sorted(file.name for file in out.iterdir())
    return result, json.loads((out / result.transcription_file).read_text(encoding="utf-8"))


def plain(value):
    return json.loads(json.dumps(value))


def as_library(heard):
    """The part of our JSON that the library makes."""
    segments = [{key: s[key] for key in s if key != "confidence"} for s in heard["segments"]]
    return {"text": heard["text"], "segments": segments, "language": heard["language"]}


# What the library says


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"beam_size": 2, "word_timestamps": False},
        {"initial_prompt": "Lyrics by Ђорђе.", "condition_on_previous_text": False, "language": "SR"},
        {"task": "translate", "temperature": 0.0, "language": "de"},
    ],
)
def test_equals_the_library_where_nothing_is_gated(model, voice_16k, tmp_path, parameters):
    path, samples = recording(tmp_path / "Ђорђе – песма.wav", *[voice_16k] * 8)
    assert len(samples) == 32 * RATE  # more than one window
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*FP16.*")
        torch.manual_seed(SEED)  # where the prompt makes the model fall back to sampling
        _, heard = run(model, path, **parameters)
    options = {"word_timestamps": True, "language": None, **parameters}
    options["language"] = options["language"] and options["language"].lower()
    torch.manual_seed(SEED)
    expected = plain(library.transcribe(model.network, samples, fp16=False, **options))
    assert len(expected["segments"]) >= 2
    assert as_library(heard) == expected
    assert heard["voice"] == [[0.0, len(samples) / RATE]]


@pytest.mark.parametrize(("wish", "tiny", "demo"), [(None, True, False), (True, True, True), (False, False, False)])
def test_windows_read_what_was_before_unless_the_variant_hears_worse_so(model, wish, tiny, demo):
    request = Request(condition_on_previous_text=wish)
    heard = [dataclasses.replace(model, variant=variant) for variant in ("tiny", "demo")]
    assert [whisper._options(each, request)["condition_on_previous_text"] for each in heard] == [tiny, demo]


@pytest.mark.parametrize(
    "options",
    [{"temperature": 0.0}, {"temperature": 0.0, "beam_size": 3}, {"best_of": 2, "word_timestamps": False}],
)
def test_equals_the_library_on_weights_that_hear(babbler, voice_16k, tmp_path, options):
    path, samples = recording(tmp_path / "a.flac", voice_16k[:RATE])
    torch.manual_seed(SEED)
    expected = library.transcribe(babbler.network, samples, fp16=False, **{"word_timestamps": True, **options})
    torch.manual_seed(SEED)
    result, heard = run(babbler, path, **options)
    assert as_library(heard) == plain(expected)
    assert result.text == expected["text"].strip()


def test_a_window_that_is_encoded_once_is_heard_the_same(babbler, voice_16k):
    runs = []
    counter = babbler.network.encoder.conv1.register_forward_hook(lambda *_: runs.append(1))
    options = {"word_timestamps": True, "temperature": 0.0, "language": "en", "fp16": False}
    expected = library.transcribe(babbler.network, voice_16k, **options)
    twice = len(runs)
    with hearing.encoded_once(babbler.network):
        heard = library.transcribe(babbler.network, voice_16k, **options)
    counter.remove()
    assert (heard["text"], len(heard["segments"])) == (expected["text"], len(expected["segments"]))
    for ours, theirs in zip(heard["segments"], expected["segments"], strict=True):
        assert [word["word"] for word in ours["words"]] == [word["word"] for word in theirs["words"]]
        for key in ("start", "end", "probability"):
            values = [[word[key] for word in segment["words"]] for segment in (ours, theirs)]
            assert values[0] == pytest.approx(values[1], abs=1e-6), key
    assert len(runs) - twice == twice / 2
    assert "forward" not in vars(babbler.network.encoder), "the network is left as it was"


def test_the_babbler_hears(babbler, voice_16k):
    forwards, backwards = (
        library.transcribe(babbler.network, samples, fp16=False, temperature=0.0, language="en")["text"]
        for samples in (voice_16k, voice_16k[::-1].copy())
    )
    assert forwards != backwards


def test_languages_are_the_librarys():
    assert tuple(LIBRARY_LANGUAGES) == whisper.LANGUAGES


def test_a_clip_of_a_twentieth_second_works(model, voice_16k, tmp_path):
    path, samples = recording(tmp_path / "a.wav", voice_16k[3000:3800])
    result, heard = run(model, path)
    assert as_library(heard) == plain(library.transcribe(model.network, samples, fp16=False, word_timestamps=True))
    assert result.duration_seconds == 0.05
    _, heard = run(model, recording(tmp_path / "b.wav", voice_16k[3000:3200])[0])
    assert all(segment["start"] >= 0 for segment in heard["segments"])


# The gate


@pytest.mark.usefixtures("credulous")
def test_no_text_where_there_is_no_voice(model, voice_16k, tmp_path):
    hiss = (np.random.default_rng(0).standard_normal(9 * RATE) * 1e-3).astype(np.float32)
    path, samples = recording(tmp_path / "a.wav", silence(5), voice_16k, hiss, voice_16k, silence(6))
    length = len(voice_16k) / RATE
    spoken = [(5, 5 + length), (14 + length, 14 + 2 * length)]
    _, heard = run(model, path)
    assert len(heard["voice"]) == 2
    for (start, end), (first, last) in zip(heard["voice"], spoken, strict=True):
        assert (start, end) == pytest.approx((first - 0.5, last + 0.5), abs=0.2)
    assert len(heard["segments"]) == 2
    for segment, (start, end) in zip(heard["segments"], heard["voice"], strict=True):
        for timed in (segment, *segment["words"]):
            assert start <= timed["start"] <= timed["end"] <= end
    for segment, (first, last) in zip(heard["segments"], spoken, strict=True):
        assert first - 0.05 <= segment["start"] == segment["words"][0]["start"], "not in the pause before"
        assert segment["words"][-1]["end"] == segment["end"] <= last + 0.05
    _, unguarded = run(model, path, hallucination_guard=False)
    assert as_library(unguarded) == plain(library.transcribe(model.network, samples, fp16=False, word_timestamps=True))


def test_what_is_hardly_heard_and_takes_no_time_is_left_out_and_told(model, voice_16k, tmp_path):
    lines = [piece for _ in range(4) for piece in (voice_16k, silence(6))]
    result, heard = run(model, recording(tmp_path / "a.wav", *lines)[0])
    kept = heard["segments"]
    left_out = f"Lines left out, since they were hardly heard and their words took no time: {4 - len(kept)}."
    assert heard["message"] == left_out
    assert 0 < len(kept) == result.segment_count < 4
    assert [segment["id"] for segment in kept] == list(range(len(kept)))
    assert heard["text"] == "".join(segment["text"] for segment in kept)
    assert not any(s["confidence"] < 0.5 and s["words"][-1]["start"] - s["start"] < 0.2 for s in kept)


def test_times_stay_in_the_gate_without_word_times(model, voice_16k, tmp_path):
    path, _ = recording(tmp_path / "a.wav", voice_16k[: 2 * RATE], silence(9), voice_16k[: 2 * RATE])
    _, heard = run(model, path, word_timestamps=False)
    assert [(s["start"], s["end"]) for s in heard["segments"]] == [tuple(passage) for passage in heard["voice"]]
    assert tiny_weights.SEGMENT_END_SECONDS > 3  # what the model says lies outside


def test_a_gated_file_may_end_between_two_frames(model, voice_16k, tmp_path):
    path, samples = recording(tmp_path / "a.wav", silence(5), voice_16k[: RATE + 120])
    assert len(samples) % 160 == 120
    _, heard = run(model, path)  # the library would wait for a frame that never comes
    assert len(heard["segments"]) == 1


@pytest.mark.parametrize("level", [0.0, 1e-3])
def test_without_voice_the_model_is_not_asked(checkpoints, tmp_path, level):
    deaf = whisper.load("tiny", "cpu", checkpoints / "tiny.pt")
    deaf.network.encoder.register_forward_hook(lambda *_: pytest.fail("the model was asked"))
    noise = np.random.default_rng(0).standard_normal(8 * RATE).astype(np.float32) * level
    path, _ = recording(tmp_path / "a.wav", noise)
    result, heard = run(deaf, path)
    assert (result.text, result.language, result.segment_count) == ("", None, 0)
    assert result.message == heard["message"] == "No voice found in this recording."
    assert (heard["text"], heard["segments"], heard["language"], heard["voice"]) == ("", [], None, [])
    out = path.parent / "out_a"
    assert (out / "transcription_tiny.txt").read_text() == (out / "transcription_tiny.srt").read_text() == ""
    assert (out / "transcription_tiny.vtt").read_text() == "WEBVTT\n\n"


def test_language_is_detected_where_the_voice_begins(babbler, voice_16k, tmp_path):
    path, samples = recording(tmp_path / "a.wav", silence(31), voice_16k)
    result, heard = run(babbler, path, temperature=0.0, word_timestamps=False)
    (passage,) = heard["voice"]
    voiced = samples[round(passage[0] * RATE) :]
    mel = library.log_mel_spectrogram(library.pad_or_trim(voiced))
    probabilities = babbler.network.detect_language(mel)[1]
    expected = max(probabilities, key=probabilities.get)
    assert result.language == expected
    assert library.transcribe(babbler.network, samples, fp16=False, temperature=0.0)["language"] != expected


@pytest.mark.usefixtures("credulous")
def test_long_files_are_heard_in_parts(model, voice_16k, tmp_path, monkeypatch):
    monkeypatch.setattr(hearing, "PART_SECONDS", 40.0)
    monkeypatch.setattr(voice, "CUT_SEARCH_SECONDS", 20.0)
    verse = np.concatenate([*[voice_16k] * 8, silence(1)])
    path, _ = recording(tmp_path / "a.wav", verse, verse, silence(60), verse)
    told = []
    _, heard = run(model, path, lambda fraction, message=None: told.append(fraction))
    segments = heard["segments"]
    assert [s["id"] for s in segments] == list(range(len(segments)))
    assert len(heard["voice"]) == 2
    assert all(any(a <= s["start"] <= s["end"] <= b for a, b in heard["voice"]) for s in segments)
    # The parts are [0, 33), [33, 66), silence, and the rest; each has a window of 30 s, and one for what is left.
    seeks = [segment["seek"] / 100 for segment in segments]
    assert seeks == [0, pytest.approx(30), pytest.approx(33, abs=0.5), pytest.approx(63, abs=0.5),
                     pytest.approx(125.5, abs=0.5), pytest.approx(155.5, abs=0.5)]  # fmt: skip
    assert [s["start"] for s in segments] == sorted(s["start"] for s in segments)
    assert heard["text"] == "".join(s["text"] for s in segments)
    assert told == sorted(told)


# Progress and cancelling


def test_progress_moves_inside_windows_and_never_back(babbler, voice_16k, tmp_path):
    path, samples = recording(tmp_path / "a.wav", *[voice_16k] * 10)
    told = []
    run(babbler, path, lambda fraction, message=None: told.append(fraction), temperature=0.0, word_timestamps=False)
    assert told == sorted(told)
    assert told[0] >= 0
    assert told[-1] == 1.0
    second_window = whisper.LISTENED + (1 - whisper.LISTENED) * 30 * RATE / len(samples)
    inside = {round(fraction, 3) for fraction in told if whisper.LISTENED < fraction < second_window}
    assert len(inside) > 15
    assert max(b - a for a, b in pairwise(told)) < 0.2


def test_progress_knows_where_windows_begin(model, voice_16k, tmp_path):
    path, samples = recording(tmp_path / "a.wav", *[voice_16k] * 12)
    told = []
    run(model, path, lambda fraction, message=None: told.append(fraction))
    second_window = whisper.LISTENED + (1 - whisper.LISTENED) * 30 * RATE / len(samples)
    assert any(fraction == pytest.approx(second_window, abs=1e-3) for fraction in told)


def test_cancelling_at_any_moment_unwinds_and_leaves_the_model_whole(model, voice_16k, tmp_path):
    path, _ = recording(tmp_path / "a.wav", voice_16k[:RATE])
    calls = []
    _, expected = run(model, path, lambda fraction, message=None: calls.append(fraction))
    assert len(calls) > 12
    for stop in [1, 4, 9, *range(len(calls) - 6, len(calls))]:  # the last are the aligner's
        countdown = iter(range(stop))

        def report(fraction, message=None, countdown=countdown):
            if next(countdown, None) is None:
                raise Cancelled

        with pytest.raises(Cancelled):
            run(model, path, report)
        assert not any(module._forward_hooks for module in model.network.modules())
    assert run(model, path)[1] == expected


# Files


@pytest.mark.usefixtures("credulous")
def test_every_format_holds_the_lines_at_the_start_of_their_first_words(model, voice_16k, tmp_path):
    path, _ = recording(tmp_path / "a.wav", voice_16k, silence(6), voice_16k)
    result, heard = run(model, path)
    out = path.parent / "out_a"
    lines = [(s["words"][0]["start"], s["words"][-1]["end"], s["text"].strip()) for s in heard["segments"]]
    assert len(lines) == result.segment_count == 2
    for suffix in ("srt", "vtt"):
        with av.open(str(out / f"transcription_tiny.{suffix}")) as container:
            clock = float(container.streams.subtitles[0].time_base)
            cues = [(p.pts * clock, (p.pts + p.duration) * clock, bytes(p).decode())
                    for p in container.demux(container.streams.subtitles[0]) if p.size]
        assert [text for *_, text in cues] == [text for *_, text in lines]
        assert [cue[:2] for cue in cues] == [pytest.approx(line[:2], abs=0.001) for line in lines]
    lrc = re.findall(r"^\[(\d\d):(\d\d\.\d\d)\](.+)$", (out / "transcription_tiny.lrc").read_text(), re.MULTILINE)
    assert [(int(m) * 60 + float(s), text) for m, s, text in lrc] == [
        (pytest.approx(start, abs=0.01), text) for start, _, text in lines
    ]
    assert (out / result.text_file).read_text().splitlines() == [text for *_, text in lines]


def test_json_adds_our_fields(model, voice_16k, tmp_path):
    path, samples = recording(tmp_path / "a.wav", voice_16k)
    result, heard = run(model, path)
    assert [heard[key] for key in ("model", "model_variant", "message", "aligned")] == ["whisper", "tiny", None, False]
    assert heard["duration_seconds"] == result.duration_seconds == len(samples) / RATE
    for segment in heard["segments"]:
        mean = np.mean([word["probability"] for word in segment["words"]])
        assert segment["confidence"] == pytest.approx(mean)
    _, heard = run(model, path, word_timestamps=False)
    assert heard["segments"][0]["confidence"] == pytest.approx(math.exp(heard["segments"][0]["avg_logprob"]))


# Checkpoints and requests


@pytest.mark.parametrize("content", [None, b"", b"not a checkpoint", "cut", {"dims": {}}, {"a": 1}])
def test_what_is_no_checkpoint_is_named(checkpoints, tmp_path, content):
    path = tmp_path / "medium.pt"
    if content == "cut":
        path.write_bytes((checkpoints / "tiny.pt").read_bytes()[:-1000])
    elif isinstance(content, dict):
        torch.save(content, path)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelUnavailable, match=re.escape(str(path))):
        whisper.load("medium", "cpu", path)


def test_alignment_heads_are_those_of_the_variant_when_they_fit(checkpoints, tmp_path):
    network = network_of(n_text_head=6, n_text_layer=4)
    torch.save({"dims": vars(network.dims), "model_state_dict": network.state_dict()}, tmp_path / "tiny.pt")
    network.set_alignment_heads(library._ALIGNMENT_HEADS["tiny"])
    loaded = whisper.load("tiny", "cpu", tmp_path / "tiny.pt").network
    assert torch.equal(loaded.alignment_heads.to_dense(), network.alignment_heads.to_dense())
    small = whisper.load("tiny", "cpu", checkpoints / "tiny.pt").network
    assert small.alignment_heads.to_dense().tolist() == [[False, False], [True, True]]


def test_every_variant_loads_and_transcribes(checkpoints, voice_16k, tmp_path):
    path, _ = recording(tmp_path / "a.wav", voice_16k[:RATE])
    files = {"large": "large-v3.pt", "turbo": "large-v3-turbo.pt"}
    for variant in ("tiny", "base", "small", "medium", "large", "turbo"):
        loaded = whisper.load(variant, "cpu", checkpoints / files.get(variant, f"{variant}.pt"))
        result, _ = run(loaded, path, language="yue" if variant in files else "zh", word_timestamps=False)
        assert result.transcription_file == f"transcription_{variant}.json"
        assert "love" in result.text
        for file in (tmp_path / "out_a").iterdir():
            file.unlink()


def test_a_language_that_the_checkpoint_does_not_know(model, voice_16k, tmp_path):
    path, _ = recording(tmp_path / "a.wav", voice_16k)
    with pytest.raises(InvalidInput, match="yue"):
        run(model, path, language="yue")


@pytest.mark.parametrize(
    "parameters",
    [
        {"language": "klingon"}, {"task": "sing"}, {"initial_prompt": "x" * 1001}, {"initial_prompt": "<|endoftext|>"},
        {"beam_size": 0}, {"beam_size": 11}, {"temperature": math.nan}, {"temperature": 1.1}, {"best_of": 0},
        {"lyrics": "\n [Chorus] \n"}, {"model": "tiny"},
    ],
)  # fmt: skip
def test_requests_out_of_range_are_refused(parameters):
    with pytest.raises(pydantic.ValidationError) as refused:
        Request(**parameters)
    assert refused.value.errors()[0]["loc"] == tuple(parameters)


def test_importing_the_module_is_cheap():
    code = "import sys, models.whisper; print([m for m in ('torch', 'numpy', 'whisper', 'av') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_is_compiled_for_word_times_is_kept(model):
    timing.dtw(torch.zeros(4, 8))
    kept = Path(timing.dtw_cpu.stats.cache_path)
    assert [*kept.glob("*dtw_cpu*.nbc")]
    assert [*kept.glob("*backtrace*.nbc")]
