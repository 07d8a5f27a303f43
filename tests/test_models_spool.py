"""Separations that are stopped and go on in another place: the bytes of an unstopped one, or a beginning anew."""

import json
import logging
import random
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from errors import Cancelled
from models import audio, demucs, overlap, spool
from models.demucs import Request
from models.spool import Place, Spool

RATE = 44100
SECONDS = 2.5  # segments are of 1 s, so that there are four of them and more
WHOLE = {"of": "this"}


@cache
def loaded(repository: Path, variant: str) -> demucs.Demucs:
    return demucs.load(variant, "cpu", repository)


@pytest.fixture(scope="module")
def repository(weights_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same checkpoints, in bags that take a second at a time."""
    folder = shutil.copytree(weights_dir / "demucs", tmp_path_factory.mktemp("weights") / "demucs")
    for path in folder.glob("*.yaml"):
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"segment": 1}))
    return folder


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise that grows, some of it so loud that stems clip, not at the models' rate."""
    path = tmp_path_factory.mktemp("song") / "in.wav"
    samples = np.random.default_rng(7).standard_normal((2, round(SECONDS * 48000))).astype(np.float32)
    with audio.Writer(path, 48000, 2, sample_format="f32") as writer:
        writer.write(samples * np.linspace(0.1, 20, samples.shape[1], dtype=np.float32) + 0.01)
    return path


@pytest.fixture
def at_every_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Save whenever something is finished."""
    monkeypatch.setattr(spool, "SAVE_SECONDS", 0.0)


class Stopped:
    """A report that stops the run once it is so far; what it was told."""

    def __init__(self, at: float) -> None:
        self.at, self.told = at, []

    def __call__(self, fraction: float, message: str | None = None) -> None:
        self.told.append(fraction)
        if fraction >= self.at:
            raise Cancelled


def go(model: demucs.Demucs, song: Path, out: Path, kept: Spool | None, at: float = 2.0, **parameters: Any) -> Stopped:
    """Run until it is so far, into an empty folder, as each attempt gets one; what was reported."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    report = Stopped(at)
    try:
        demucs.run(model, Request(**parameters), song, out, report, kept)
    except Cancelled:
        assert at < 2
    return report


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("variant", "parameters"),
    [
        ("htdemucs", {"shifts": 0, "output_format": "mp3", "mp3_bitrate": 64, "two_stems": "vocals"}),
        ("htdemucs", {"shifts": 2, "seed": 5, "output_format": "wav"}),
        ("htdemucs", {"shifts": 1, "seed": 5, "output_format": "flac", "clip_mode": "rescale", "overlap": 0.6}),
        ("mdx", {"shifts": 1, "seed": 1, "output_format": "wav", "instrumental": False}),  # a bag of two models
    ],
)
def test_what_was_stopped_goes_on_to_the_same_bytes(
    repository: Path, song: Path, tmp_path: Path, variant: str, parameters: dict[str, Any]
) -> None:
    model, kept = loaded(repository, variant), tmp_path / "kept"
    go(model, song, tmp_path / "whole", None, **parameters)
    done = 0.0
    for at in (0.0, 0.3, 0.95):
        report = go(model, song, tmp_path / "out", Spool(kept), at, **parameters)
        assert min(report.told) >= min(done, 1), "nothing is done twice"
        done = max(done, _fraction(kept))
    report = go(model, song, tmp_path / "out", last := Spool(kept), **parameters)
    assert done >= 0.3
    assert min(report.told) >= done
    assert last.earlier_seconds > 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_random_shifts_are_kept(repository: Path, song: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run draws others; one that goes on has those of the run that began."""
    model, kept, wanted = loaded(repository, "htdemucs"), tmp_path / "kept", {"shifts": 2, "output_format": "flac"}
    begun = random.Random(0)
    monkeypatch.setattr(overlap.random, "Random", lambda seed: begun if seed is None else random.Random(seed))
    state = begun.getstate()
    go(model, song, tmp_path / "out", Spool(kept), 0.4, **wanted)
    assert _fraction(kept) > 0
    go(model, song, tmp_path / "out", Spool(kept), **wanted)
    begun.setstate(state)
    go(model, song, tmp_path / "whole", None, **wanted)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_after_a_kill_at_any_time_it_goes_on_from_the_last_save(
    repository: Path, song: Path, tmp_path: Path, at_every_block: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, killed, wanted = loaded(repository, "htdemucs"), [], {"shifts": 0, "output_format": "wav"}
    replace = Spool._replace

    def copied(kept: Spool, path: Path, pieces: list[Any]) -> None:
        """What a process would leave that is killed before a file is there, and right after."""
        replace(kept, path, pieces)
        killed.append(shutil.copytree(kept._folder, tmp_path / str(len(killed))))
        (half := shutil.copytree(kept._folder, tmp_path / str(len(killed)))).joinpath("state.new").write_bytes(b"0")
        killed.append(half)

    monkeypatch.setattr(Spool, "_replace", copied)
    go(model, song, tmp_path / "whole", Spool(tmp_path / "kept"), **wanted)
    monkeypatch.undo()
    assert len(killed) > 10
    fractions = [_fraction(folder) for folder in killed]
    assert fractions == sorted(fractions)
    for folder in killed[2::6]:
        done = _fraction(folder)
        report = go(model, song, tmp_path / "out", Spool(folder), **wanted)
        assert done == 0 or min(report.told) >= done
        assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize("harm", ["torn", "other", "part", "gone", "parameters", "weights", "sound", "form"])
def test_what_is_damaged_or_of_something_else_is_noticed_and_all_begins_anew(
    repository: Path, song: Path, tmp_path: Path, harm: str, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    model, kept, wanted = loaded(repository, "htdemucs"), tmp_path / "kept", {"shifts": 0, "output_format": "wav"}
    go(model, song, tmp_path / "out", Spool(kept), 0.3, **wanted)
    state, part = kept / "state", kept / "000000.f32"
    content = state.read_bytes()
    if harm in ("torn", "other"):
        state.write_bytes(content[:-5] if harm == "torn" else content[:-6] + b"7" + content[-5:])
    elif harm in ("part", "gone"):
        part.unlink() if harm == "gone" else part.write_bytes(part.read_bytes()[:-4] + b"1234")
    elif harm == "parameters":
        wanted["overlap"] = 0.5
    elif harm == "weights":
        model = demucs.Demucs("htdemucs", "cpu", model.bag, ["another checksum"])
    elif harm == "form":
        monkeypatch.setattr(demucs, "FORM", 2)
    else:
        song = shutil.copy(song, tmp_path / "another.wav")

    def anew(fraction: float, message: str | None = None) -> None:
        if fraction <= demucs.MEASURED:
            raise Cancelled

    with caplog.at_level(logging.WARNING), pytest.raises(Cancelled):
        demucs.run(model, Request(**wanted), song, tmp_path / "out", anew, Spool(kept))
    assert "begins anew" in caplog.text
    assert not kept.exists()


def test_without_room_it_goes_on_and_keeps_nothing(
    repository: Path, song: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Spool(tmp_path / "kept", reserve_bytes=2**62)
    go(loaded(repository, "htdemucs"), song, tmp_path / "out", kept, 0.3, shifts=0, output_format="wav")
    assert "what is finished is not kept" in caplog.text
    assert not (tmp_path / "kept").exists()


def test_who_was_taken_for_dead_no_longer_writes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    slow = _filled(mine)
    mine.rename(theirs)
    there = contents(theirs)
    slow.add(np.full((2, 3), 9, np.float32))
    slow.save(Place({"finished": 9}, np.zeros(0, np.float32)), 0.9)
    slow.discard()
    assert contents(theirs) == there
    assert "is not kept" in caplog.text
    kept = Spool(theirs)
    assert kept.open(WHOLE, lambda fraction: None).facts == {"finished": 3}
    assert [block.tolist() for block in kept.blocks()] == [[[1.0] * 3] * 2, [[2.0] * 3] * 2]
    earlier_seconds = kept.earlier_seconds
    shutil.rmtree(theirs)
    kept.save(Place({"finished": 9}, np.zeros(0, np.float32)), 0.9)
    assert kept.earlier_seconds == earlier_seconds > 0, "that much is in the result, and counts"


def test_a_second_stop_before_anything_new_keeps_what_there_was(tmp_path: Path) -> None:
    _filled(tmp_path / "kept")
    before = contents(tmp_path / "kept")
    with pytest.raises(Cancelled):
        Spool(tmp_path / "kept").open(WHOLE, Stopped(0.0))
    assert contents(tmp_path / "kept") == before


def _filled(folder: Path) -> Spool:
    """Two blocks, saved."""
    kept = Spool(folder)
    assert kept.open(WHOLE, lambda fraction: None) is None
    for value in (1, 2):
        kept.add(np.full((2, 3), value, np.float32))
        kept.save(Place({"finished": 3}, np.arange(4, dtype=np.float32)), 0.3)
    return kept


def _fraction(kept: Path) -> float:
    """How much is kept, as the report has it."""
    if not (kept / "state").exists():
        return 0.0
    head = json.loads((kept / "state").read_bytes()[8:].partition(b"\n")[0])
    return demucs.MEASURED + (1 - demucs.RESCALED - demucs.MEASURED) * float(head["fraction"])
