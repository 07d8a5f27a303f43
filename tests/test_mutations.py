"""Real files with a few bytes wrong, by the thousand: each is taken or refused, nothing breaks, nothing is left.

MUTATIONS says how many of each format; `make mutate` sends a thousand. The seed of one that breaks something is its
number, so that it can be sent again alone.
"""

import os
import random
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from flask.testing import FlaskClient

from config import Config
from tests import contract, damaged

MUTATIONS = int(os.environ.get("MUTATIONS", "25"))
SECONDS = 2.5  # an ogg page holds one, and is refused whole
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
HEAD_BYTES = 600  # where most of what a parser believes is written


def _place(dice: random.Random, content: bytes) -> int:
    """Somewhere, as often as not in the head."""
    return dice.randrange(min(len(content), HEAD_BYTES) if dice.random() < 0.5 else len(content))


def some_bytes(dice: random.Random, content: bytes) -> bytes:
    """A few bytes are others."""
    changed = bytearray(content)
    for _ in range(dice.randint(1, 16)):
        changed[_place(dice, content)] = dice.randrange(256)
    return bytes(changed)


def some_bits(dice: random.Random, content: bytes) -> bytes:
    """A few bits are turned."""
    changed = bytearray(content)
    for _ in range(dice.randint(1, 16)):
        changed[_place(dice, content)] ^= 1 << dice.randrange(8)
    return bytes(changed)


def a_number(dice: random.Random, content: bytes) -> bytes:
    """Some two or four bytes are a number at the edge of what fits."""
    kind = dice.choice(("<I", ">I", "<H", ">H"))
    number = struct.pack(kind, dice.choice(EXTREMES) % (1 << 8 * struct.calcsize(kind)))
    place = _place(dice, content)
    return content[:place] + number + content[place + len(number) :]


def cut(dice: random.Random, content: bytes) -> bytes:
    """The end is missing."""
    return content[: _place(dice, content)]


def without_a_piece(dice: random.Random, content: bytes) -> bytes:
    """A piece is missing."""
    place = _place(dice, content)
    return content[:place] + content[place + dice.randint(1, 2000) :]


def with_a_piece_again(dice: random.Random, content: bytes) -> bytes:
    """A piece stands there several times."""
    place = _place(dice, content)
    return content[:place] + content[place : place + dice.randint(1, 500)] * dice.randint(2, 50) + content[place:]


def with_a_foreign_piece(dice: random.Random, content: bytes) -> bytes:
    """A piece of noise, or of nothing, in between."""
    place, length = _place(dice, content), dice.randint(1, 3000)
    return content[:place] + (dice.randbytes(length) if dice.random() < 0.5 else bytes(length)) + content[place:]


def turned_round(dice: random.Random, content: bytes) -> bytes:
    """The second part comes first."""
    place = _place(dice, content)
    return content[place:] + content[:place]


WAYS: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    some_bytes, some_bits, a_number, cut, without_a_piece, with_a_piece_again, with_a_foreign_piece, turned_round,
)  # fmt: skip


def mutated(content: bytes, seed: int) -> bytes:
    """A file with one to three things wrong."""
    dice = random.Random(seed)
    for _ in range(dice.randint(1, 3)):
        content = dice.choice(WAYS)(dice, content) or b"\0"
    return content


@pytest.fixture(scope="module")
def sounds() -> dict[str, bytes]:
    """A whole file of each format."""
    return {ending: damaged.sound(ending, SECONDS) for ending in damaged.ENCODERS}


def files(config: Config) -> Iterator[Path]:
    """What lies where uploads and results do, but for the databases."""
    for folder in (config.upload_folder, config.output_folder):
        yield from (path for path in folder.rglob("*") if path.is_file() and ".db" not in path.name)


def upload(client: FlaskClient, name: str, content: bytes) -> str | None:
    """Send a file; its id when it was taken. Anything but a clear answer is an error."""
    body = damaged.multipart(("file", name, content))
    answer = client.post("/upload", data=body, content_type=damaged.MULTIPART)
    if answer.status_code == 200:
        return str(answer.json["file_id"])
    assert answer.status_code in (413, 415), f"{answer.status_code} {answer.text}"
    contract.error(answer, answer.status_code)
    return None


@pytest.mark.parametrize("ending", damaged.ENCODERS)
def test_mutated_files_are_taken_or_refused(
    client: FlaskClient, config: Config, sounds: dict[str, bytes], ending: str
) -> None:
    whole, taken = sounds[ending], Counter[bool]()
    assert upload(client, f"x.{ending}", whole), "as it was, it is fine"
    kept = sorted(files(config))
    for seed in range(MUTATIONS):
        try:
            file_id = upload(client, f"x.{ending}", mutated(whole, seed))
            taken[file_id is not None] += 1
            if file_id:
                assert client.delete(f"/cleanup/{file_id}").status_code == 200
            assert sorted(files(config)) == kept
        except Exception as error:
            error.add_note(f"{ending}, seed {seed}")
            raise
    assert min(taken[True], taken[False]) > MUTATIONS / 20, taken
    print(f"{ending}: {taken[True]} taken, {taken[False]} refused")


def test_a_seed_says_what_is_wrong(sounds: dict[str, bytes]) -> None:
    for whole in sounds.values():
        made = [mutated(whole, seed) for seed in range(40)]
        assert made == [mutated(whole, seed) for seed in range(40)]
        assert np.mean([content != whole for content in made]) > 0.9
        assert len(set(made)) > 30
