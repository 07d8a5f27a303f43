"""The demo models do their work, end to end over HTTP: stems, words and times are right.

The limits are looser than the goals that bench/demo_models.py measures; swapped stems, a wrong rate, a shifted clock or
a broken aligner are far beyond them. tests/test_demo.py asks the same of the demo song.
"""

from pathlib import Path

import pytest

from models import whisper
from models.sources import BUNDLED
from tests.judging import MOST_WRONG_WORDS, assert_well_made, heard_without_voice, judge
from tests.serving import Server
from training.corpus import EVALUATION_SEEDS
from training.measures import matched
from training.song import Song, make_song

SEED = EVALUATION_SEEDS[4]  # six lines are sung
SECONDS = 34.0  # longer than Whisper's window
UNSUNG_SECONDS = 12.0


@pytest.fixture(scope="module")
def song() -> Song:
    return make_song(SEED, SECONDS)


def test_a_song_of_an_unseen_seed_is_well_made(server: Server, song: Song, tmp_path: Path) -> None:
    assert_well_made(judge(server, song, tmp_path))
    with_beams = whisper.Request(beam_size=5)
    model = whisper.load("demo", "cpu", BUNDLED / "demo.pt")
    heard = whisper.run(model, with_beams, tmp_path / "vocals.wav", tmp_path, lambda *told: None)
    sung = [word.text.strip().lower() for word in song.words]
    assert heard.language == "en"
    assert matched(sung, heard.text.split())[0] <= MOST_WRONG_WORDS * len(sung)


def test_a_song_without_voice_gets_no_words(server: Server, song: Song, tmp_path: Path) -> None:
    heard = heard_without_voice(server, song, tmp_path, UNSUNG_SECONDS)
    assert heard["text"].strip() == ""
    assert heard["message"] in (whisper.NO_VOICE, whisper.NO_WORDS)
