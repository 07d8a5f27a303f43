"""Each model through HTTP, against its library in this process on the same checkpoint, song and seed."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import librosa
import numpy as np
import pytest
import torch
import transformers
import whisper
from demucs.api import Separator
from mutagen.id3 import ID3

from models import audio, gemma_3n, prompts
from models.chroma import HOP, SAMPLE_RATE
from models.words import MIN_WORD_SECONDS
from tests import render
from tests.serving import Server
from tests.test_pipeline import STEP, likeness

SEED = 11
LOOP: list[render.Chord] = [(9, "minor"), (5, "major")]
SECONDS, BEAT_SECONDS, TEMPO_BPM = 4.0, 0.5, 120
LEVEL = 0.25  # of the song: random weights make stems up to three times as loud, which shall not clip
MUSIC = {"prompt": "happy rock", "temperature": 0.9, "top_k": 50}
BEGINNING_SECONDS = 1.5
TOKENS = 24
LIBROSA = {
    "basic_chroma": lambda y: librosa.feature.chroma_stft(y=y, sr=SAMPLE_RATE, n_fft=8192, hop_length=HOP, tuning=0),
    "librosa_chroma": lambda y: librosa.feature.chroma_cqt(y=y, sr=SAMPLE_RATE, hop_length=HOP),
}


@dataclass(frozen=True)
class Song:
    """A song that was uploaded to the service; what the service makes of it is downloaded beside it."""

    server: Server
    path: Path
    file_id: str

    def process(self, model: str, variant: str, **parameters: Any) -> dict[str, Any]:
        """Run a model on it and download the files; the result."""
        answer = self.server.post(f"/process/{model}/{self.file_id}", model_variant=variant, **parameters)
        assert answer.ok, answer.text
        for file in answer.json()["files"]:
            self.download(file["download_url"])
        result: dict[str, Any] = answer.json()["result"]
        return result

    def download(self, url: str) -> Path:
        """A file that the service made, by its last name."""
        answer = self.server.get(url)
        assert answer.ok, answer.text
        path = self.path.with_name(Path(urlsplit(url).path).name)
        path.write_bytes(answer.content)
        return path

    def json(self, name: str) -> Any:
        """What a downloaded file says."""
        return json.loads(self.path.with_name(name).read_text(encoding="utf-8"))

    def sound(self, name: str) -> np.ndarray:
        """A downloaded file's samples, (channels, samples)."""
        return audio.read(self.path.with_name(name))[0]

    def mono(self, sample_rate: int) -> np.ndarray:
        """The song as models hear it, (samples,)."""
        return audio.read(self.path, sample_rate=sample_rate, channels=1)[0][0]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As the service has it: the order of sums decides the last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def song(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Song:
    """A band with a voice that never rests, so that nothing is gated."""
    band = render.play(render.band(LOOP, BEAT_SECONDS), SECONDS)
    voice, _ = render.sing(render.LYRICS.split(), np.arange(0, SECONDS, BEAT_SECONDS), band.shape[1])
    path = render.save(tmp_path_factory.mktemp("song") / "Dusk - Silver River.wav", LEVEL * (band + voice))
    return Song(server, path, server.upload(path)["file_id"])


@pytest.fixture(scope="module")
def stems(song: Song, weights_dir: Path) -> dict[str, np.ndarray]:
    """The song as Demucs separates it; the service has separated it, too."""
    song.process("demucs", "htdemucs", seed=SEED, output_format="wav", bit_depth=32)
    separator = Separator("htdemucs", repo=weights_dir / "demucs", device="cpu")
    own = random.Random(SEED)  # which other threads do not draw from
    with patch("demucs.apply.random", own), patch("demucs.transformer.random", own):
        found = separator.separate_tensor(torch.from_numpy(song.sound(song.path.name)), render.RATE)[1]
    return {name: stem.numpy() for name, stem in found.items()}


@pytest.fixture(scope="module")
def heard(song: Song, weights_dir: Path) -> dict[str, Any]:
    """What Whisper hears in the song; the service has listened to it, too."""
    song.process("whisper", "tiny", temperature=0)
    model = whisper.load_model(str(weights_dir / "whisper" / "tiny.pt"), device="cpu")
    samples = song.mono(whisper.audio.SAMPLE_RATE)
    found = model.transcribe(samples, temperature=0.0, word_timestamps=True, fp16=False)
    return json.loads(json.dumps(found))


def error_db(wanted: np.ndarray, given: np.ndarray) -> float:
    """The signal over the error, in dB."""
    assert wanted.shape == given.shape
    return float(10 * np.log10((wanted**2).sum() / max(((wanted - given) ** 2).sum(), 1e-30)))


def generated(folder: Path, clip_seconds: float = 0.0, song: Song | None = None) -> np.ndarray:
    """A second of MusicGen's own music, after the song's last seconds where there are any, (channels, samples)."""
    model = transformers.MusicgenForConditionalGeneration.from_pretrained(folder)
    inputs = transformers.AutoTokenizer.from_pretrained(folder)([MUSIC["prompt"]], return_tensors="pt")
    rate = model.config.audio_encoder.sampling_rate
    if song:
        inputs["input_values"] = torch.from_numpy(song.mono(rate)[None, None, -round(clip_seconds * rate) :])
    frames = model.config.audio_encoder.frame_rate + model.decoder.num_codebooks - 1  # each book lags one behind
    torch.manual_seed(SEED)
    sampling = {name: value for name, value in MUSIC.items() if name != "prompt"}
    found = model.generate(**inputs, do_sample=True, guidance_scale=4.0, max_new_tokens=frames, **sampling)
    return found[0].numpy()


def answered(model: Any, processor: Any, content: Any, **sampling: Any) -> str:
    """Gemma's own answer to one turn."""
    chat = [{"role": "user", "content": content}]
    inputs = processor.apply_chat_template(
        chat, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    if "input_features" in inputs:
        inputs["input_features"] = inputs["input_features"].to(model.dtype)
    torch.manual_seed(SEED)
    tokens = model.generate(**inputs, max_new_tokens=TOKENS, **sampling)[0, inputs["input_ids"].shape[1] :]
    return str(processor.decode(tokens, skip_special_tokens=True)).strip()


def test_demucs(song: Song, stems: dict[str, np.ndarray]) -> None:
    assert len(stems) == 4
    for name, wanted in stems.items():
        assert error_db(wanted, song.sound(f"{name}.wav")) > 60, name


def test_whisper(song: Song, heard: dict[str, Any]) -> None:
    given = song.json("transcription_tiny.json")
    for segment in given["segments"]:
        del segment["confidence"]  # which the library does not tell
    assert {name: given[name] for name in heard} == heard
    assert heard["segments"][0]["words"]


def test_musicgen_from_text(song: Song, weights_dir: Path) -> None:
    asked = {**MUSIC, "duration": 1, "cfg_coeff": 4, "seed": SEED, "model_variant": "small"}
    answer = song.server.post("/generate/text-to-music", **asked).json()
    given = song.sound(song.download(answer["download_url"]).name)
    wanted = generated(weights_dir / "musicgen" / "small")
    assert np.abs(given - wanted).max() < STEP < np.abs(wanted).max()


def test_musicgen_from_a_beginning(song: Song, weights_dir: Path) -> None:
    asked = {**MUSIC, "duration": 1, "cfg_coeff": 4, "seed": SEED, "prompt_seconds": BEGINNING_SECONDS}
    result = song.process("musicgen", "small", **asked)
    wanted = generated(weights_dir / "musicgen" / "small", BEGINNING_SECONDS, song)
    assert np.abs(song.sound(result["generated_file"]) - wanted).max() < STEP < np.abs(wanted).max()


def test_gemma_that_reads(song: Song, weights_dir: Path) -> None:
    variant, sampling = "gemma-2-2b-it", {"do_sample": True, "temperature": 0.1, "top_p": 0.95}
    result = song.process("gemma_3n", variant, seed=SEED, max_new_tokens=TOKENS, **sampling)
    folder = weights_dir / "gemma_3n" / variant
    model = transformers.Gemma2ForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    prompt = song.json(result["output_files"]["json"])["prompt"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert result["audio_analysis"] == answered(model, tokenizer, prompt, **sampling) != ""


def test_gemma_that_hears(song: Song, weights_dir: Path) -> None:
    variant = "gemma-3n-E2B-it"
    result = song.process("gemma_3n", variant, task="transcribe", do_sample=False, max_new_tokens=TOKENS)
    gemma_3n.leave_out_vision()
    folder = weights_dir / "gemma_3n" / variant
    model = transformers.Gemma3nForConditionalGeneration.from_pretrained(folder, dtype=torch.bfloat16)
    processor = transformers.AutoProcessor.from_pretrained(folder)
    forwards, backwards = (
        answered(model, processor, [{"type": "audio", "audio": sound}, {"type": "text", "text": prompts.TRANSCRIBE}],
                 do_sample=False)
        for sound in (song.mono(16000), song.mono(16000)[::-1].copy())
    )  # fmt: skip
    assert result["audio_analysis"] == forwards != backwards


@pytest.mark.parametrize("variant", LIBROSA)
def test_pitch_analysis(song: Song, variant: str) -> None:
    result = song.process("pitch_analysis", variant, plot=False)
    given = song.json(result["analysis_file"])
    samples, rate = librosa.load(song.path, sr=SAMPLE_RATE)
    mean = LIBROSA[variant](samples).mean(axis=1)
    assert list(given["chroma_mean"].values()) == pytest.approx((mean / mean.max()).tolist(), abs=0.005)
    names = [librosa.midi_to_note(pitch, octave=False, unicode=False) for pitch in mean.argsort()[::-1][:3]]
    assert result["dominant_pitches"] == names
    assert result["tempo_bpm"] == pytest.approx(TEMPO_BPM, rel=0.01)
    (tempo,) = librosa.feature.tempo(y=samples, sr=rate)
    assert result["tempo_bpm"] == pytest.approx(tempo, rel=0.05)  # which librosa knows to a frame of 23 ms


def test_karaoke(song: Song, stems: dict[str, np.ndarray], heard: dict[str, Any]) -> None:
    song.process("karaoke", "full", snap_to_onsets=False)
    rest = np.sum([stem for name, stem in stems.items() if name != "vocals"], axis=0)
    assert error_db(rest, song.sound("instrumental.wav")) > 60
    assert likeness(rest, song.sound("karaoke.mp3")) > 0.99
    assert likeness(stems["vocals"], song.sound("karaoke.mp3")) < 0.9
    wanted = [word for segment in heard["segments"] for word in segment["words"]]
    given = [word for line in song.json("karaoke.json")["lines"] for word in line["words"]]
    assert [word["word"] for word in given] == [word["word"].strip() for word in wanted]
    starts = [word["start"] for word in given]
    apart = accumulate((word["start"] for word in wanted), lambda before, now: max(now, before + MIN_WORD_SECONDS))
    assert starts == pytest.approx(list(apart), abs=0.001)
    tags = ID3(song.path.with_name("karaoke.mp3"))
    (plain,), (timed,) = tags.getall("USLT"), tags.getall("SYLT")
    assert (str(tags["TIT2"]), str(tags["TPE1"])) == ("Silver River", "Dusk")
    assert " ".join(plain.text.split()) == heard["text"].strip()
    assert [time for _, time in timed.text] == [round(start * 1000) for start in starts]
