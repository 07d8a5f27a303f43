"""The demo models do their work, end to end over HTTP: stems, words and times are right.

The limits are looser than the goals that bench/demo_models.py measures; swapped stems, a wrong rate, a shifted clock or
a broken aligner are far beyond them. tests/test_demo.py asks the same of the demo song.
"""

import json
from pathlib import Path

from models import audio, whisper
from models.sources import BUNDLED
from tests.judging import DEMO, MOST_WRONG_WORDS, assert_well_made, judge
from tests.serving import Server
from training.corpus import EVALUATION_SEEDS
from training.measures import matched
from training.score import SAMPLE_RATE
from training.song import make_song

SECONDS = 34.0  # longer than Whisper's window
UNSUNG_SECONDS = 12.0


def test_a_song_of_an_unseen_seed_is_well_made(server: Server, tmp_path: Path) -> None:
    song = make_song(EVALUATION_SEEDS[0], SECONDS)
    assert_well_made(judge(server, song, tmp_path))
    with_beams = whisper.Request(beam_size=5)
    model = whisper.load("demo", "cpu", BUNDLED / "demo.pt")
    heard = whisper.run(model, with_beams, tmp_path / "vocals.wav", tmp_path, lambda *told: None)
    sung = [word.text.strip().lower() for word in song.words]
    assert (heard.language, len(sung) > 10) == ("en", True)
    assert matched(sung, heard.text.split())[0] <= MOST_WRONG_WORDS * len(sung)


def test_a_song_without_voice_gets_no_words(server: Server, tmp_path: Path) -> None:
    song = make_song(EVALUATION_SEEDS[0], SECONDS)
    unsung = (song.mixture - song.stems["vocals"])[:, -round(UNSUNG_SECONDS * SAMPLE_RATE) :]
    with audio.Writer(tmp_path / "unsung.wav", SAMPLE_RATE, 2) as writer:
        writer.write(unsung)
    done = server.upload(tmp_path / "unsung.wav", **DEMO)
    path = f"/download/whisper/{done['file_id']}/transcription_demo.json"
    heard = json.loads(server.get(path).content)
    assert (done["status"], heard["text"].strip()) == ("completed", "")
    assert heard["message"] in (whisper.NO_VOICE, whisper.NO_WORDS)
