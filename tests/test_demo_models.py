"""The demo models do their work, end to end over HTTP: every stem is the right one.

The limits are looser than what bench/demo_models.py measures; a swapped stem, a wrong rate or a shifted clock is far
beyond them. Nothing is asked of the words yet: on separated vocals the demo Whisper does not hear well enough.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.judging import Judged, judge
from tests.serving import Server
from training.corpus import EVALUATION_SEEDS
from training.song import STEMS, Song, make_song

SECONDS = 24.0
LEAST_SDR_DB = 2.0
LEAST_GAIN_DB = {"drums": 7.0, "bass": 6.0, "other": 6.0, "vocals": 6.0}


@pytest.fixture(scope="module")
def songs() -> list[Song]:
    """Two songs that no training has used."""
    return [make_song(seed, SECONDS) for seed in EVALUATION_SEEDS[:2]]


@pytest.fixture(scope="module")
def judged(songs: list[Song], tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Judged]]:
    """What the service made of them."""
    folder = tmp_path_factory.mktemp("demo_models")
    server = Server(folder / "service", Path("nowhere")).start()
    try:
        yield [judge(server, song, folder) for song in songs]
    finally:
        server.stop()


@pytest.mark.parametrize("name", STEMS)
def test_stems(judged: list[Judged], name: str) -> None:
    gains = [song.sdr_db[name] - song.mixture_sdr_db[name] for song in judged]
    assert np.mean([song.sdr_db[name] for song in judged]) > LEAST_SDR_DB
    assert np.mean(gains) > LEAST_GAIN_DB[name]
