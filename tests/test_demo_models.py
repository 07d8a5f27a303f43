"""The demo models do their work, end to end over HTTP: stems, words and times are right.

The limits are looser than the goals that bench/demo_models.py measures; swapped stems, a wrong rate, a shifted clock or
a broken aligner are far beyond them. tests/test_demo.py asks the same of the demo song.
"""

from pathlib import Path

from tests.judging import assert_well_made, judge
from tests.serving import Server
from training.corpus import EVALUATION_SEEDS
from training.song import make_song

SECONDS = 24.0


def test_a_song_of_an_unseen_seed_is_well_made(server: Server, tmp_path: Path) -> None:
    assert_well_made(judge(server, make_song(EVALUATION_SEEDS[0], SECONDS), tmp_path))
