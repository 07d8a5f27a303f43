"""demo.py as its user runs it: a process in a folder of its own, in a terminal and without one."""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import termios
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Timer

import av
import psutil
import pytest
import requests
from PIL import Image

from tests import compiled
from tests.judging import MOST_WRONG_WORDS, assert_well_made, judge_files
from tests.serving import ROOT
from training.demo_song import SECONDS, SEED
from training.measures import matched
from training.song import STEMS, make_song

LIMIT_SECONDS = 600  # real models, though small ones, and perhaps a busy machine
STAGES = ("Upload", "Separation", "Transcription", "Karaoke")
NOWHERE = "http://127.0.0.1:9"  # a proxy that is none: whoever asks other hosts for something fails
AUDIO = {"stems": {"bass", "drums", "instrumental", "other", "vocals"}, "karaoke": {"karaoke"}}


@dataclass(frozen=True)
class Run:
    """How a run of demo.py ended."""

    folder: Path  # where it was started
    status: int
    said: str
    left: list[int]  # its processes that still run

    @property
    def output(self) -> Path:
        """The folder of results."""
        return self.folder / "demo_output"


class Demo:
    """demo.py with nothing but what a fresh clone has: no weights in caches, no network; what Numba compiles is there.

    Parameters
    ----------
    folder : Path
        It is started here.
    **environment
        Further variables.
    """

    def __init__(self, folder: Path, **environment: object) -> None:
        self.folder, self._mark = folder, uuid.uuid4().hex
        (folder.parent / "temporary").mkdir(exist_ok=True)
        settings = {
            "MARK": self._mark, "TMPDIR": folder.parent / "temporary", "XDG_CACHE_HOME": folder.parent / "cache",
            "HTTP_PROXY": NOWHERE, "HTTPS_PROXY": NOWHERE, "DEVICE": "cpu", "PYTHONUNBUFFERED": "1",
            "NUMBA_CACHE_DIR": compiled.folder_of("demo"),
        } | environment  # fmt: skip
        self._environment = os.environ | {name: str(value) for name, value in settings.items()}

    @contextmanager
    def started(self, *arguments: object, output: int) -> Iterator[subprocess.Popen[bytes]]:
        """The process, with both of its outputs to a file descriptor; it is ended when it takes too long."""
        command = [sys.executable, ROOT / "demo.py", *map(str, arguments)]
        process = subprocess.Popen(command, cwd=self.folder, env=self._environment, stdin=subprocess.DEVNULL,
                                   stdout=output, stderr=subprocess.STDOUT)  # fmt: skip
        timer = Timer(LIMIT_SECONDS, process.terminate)
        timer.start()
        yield process
        process.wait()
        timer.cancel()

    def run(self, *arguments: object) -> Run:
        """Run it without a terminal."""
        with self.started(*arguments, output=subprocess.PIPE) as process:
            said, _ = process.communicate()
        return self.ended(process.returncode, said)

    def run_in_terminal(self, *arguments: object) -> Run:
        """Run it in a terminal."""
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (40, 120))
        said = b""
        with self.started(*arguments, output=theirs) as process:
            os.close(theirs)
            while more := _read(ours):
                said += more
        os.close(ours)
        return self.ended(process.returncode, said)

    def ended(self, status: int, said: bytes) -> Run:
        """What there is to see after the process."""
        return Run(self.folder, status, said.decode(), list(self._left()))

    def _left(self) -> Iterator[int]:
        """Ids of processes that were started by it, or by what it started."""
        for process in psutil.process_iter():
            try:
                if process.environ().get("MARK") == self._mark:
                    yield process.pid
            except psutil.Error:
                continue  # another user's, or gone meanwhile


@pytest.fixture(scope="module", autouse=True)
def not_in_the_background() -> Iterator[None]:
    """Where a shell runs these tests in the background they ignore Ctrl-C, and so would what they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before or signal.SIG_DFL)


@pytest.fixture
def started_in(tmp_path: Path) -> Path:
    """An empty folder to start it in."""
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The demo song, in a terminal."""
    folder = tmp_path_factory.mktemp("demo") / "here"
    folder.mkdir()
    return Demo(folder).run_in_terminal()


def test_the_demo_song_goes_through_and_leaves_nothing_running(shown: Run) -> None:
    assert shown.status == 0, shown.said
    assert "trained on synthesised songs alone" in shown.said
    _assert_tidied(shown)


def test_four_bars_move(shown: Run) -> None:
    for stage in STAGES:
        assert re.search(rf"{stage} +100% \|█+\| \S", shown.said), stage
    percents = {int(percent) for percent in re.findall(r"Separation +(\d+)% \|", shown.said)}
    assert len(percents - {0, 10, 100}) >= 3, "what the model itself tells"


def test_lyrics_key_and_tempo_are_printed(shown: Run) -> None:
    truth = json.loads((ROOT / "static" / "demo" / "words.json").read_text())
    assert f"Key    {truth['key']} (" in shown.said
    printed = re.search(r"\nLyrics\r?\n(.*?)\r?\n\r?\n", shown.said, re.DOTALL)
    assert printed is not None
    sung = (ROOT / "static" / "demo" / "lyrics.txt").read_text().split()
    wrong, _ = matched(sung, printed[1].split())
    assert wrong <= MOST_WRONG_WORDS * len(sung), printed[1]
    assert len(printed[1].splitlines()) >= 3, "line by line, as they are sung"
    tempo = re.search(r"Tempo  (\d+) BPM", shown.said)
    assert tempo is not None
    assert int(tempo[1]) == pytest.approx(truth["tempo_bpm"], rel=0.03)


def test_everything_is_downloaded_and_decodes(shown: Run) -> None:
    for folder, names in AUDIO.items():
        sounds = {path.stem: path for path in (shown.output / folder).glob("*.mp3")}
        assert set(sounds) == names
        for path in sounds.values():
            assert _decoded_seconds(path) == pytest.approx(26.0, abs=0.2), path
    lyrics = {path.suffix for path in (shown.output / "lyrics").iterdir()}
    assert {".txt", ".srt", ".lrc", ".json"} <= lyrics
    assert {path.suffix for path in (shown.output / "karaoke").iterdir()} >= {".lrc", ".ass", ".json"}
    for path in shown.output.rglob("*"):
        if path.suffix == ".json":
            assert json.loads(path.read_text(encoding="utf-8")), path
        elif path.suffix == ".png":
            with Image.open(path) as picture:
                picture.load()
                assert min(picture.size) > 100
        elif path.is_file() and path.suffix != ".mp3":
            path.read_text(encoding="utf-8")
    assert list(shown.output.glob("key_and_tempo/*.png"))


def test_stems_words_and_times_are_right(shown: Run) -> None:
    files = [f"stems/{name}.mp3" for name in STEMS]
    files += ["lyrics/transcription_demo.json", "karaoke/karaoke.json", "karaoke/karaoke.lrc"]
    assert_well_made(judge_files(make_song(SEED, SECONDS), *(shown.output / file for file in files)))


def test_a_stage_that_fails_is_told_and_the_others_go_on(started_in: Path, weights_dir: Path, tone: Path) -> None:
    shutil.copytree(weights_dir / "demucs", started_in.parent / "weights" / "demucs", copy_function=os.link)
    stale = started_in / "demo_output" / "lyrics" / "last_time.txt"
    stale.parent.mkdir(parents=True)
    stale.touch()
    demo = Demo(started_in, MODELS_DIR=started_in.parent / "weights")
    ran = demo.run(tone, "--variant", "htdemucs", "--words", "tiny")
    assert ran.status == 1, ran.said
    assert re.search(r"^Transcription failed: .*tiny\.pt.*models\.weights pull whisper tiny", ran.said, re.MULTILINE)
    assert re.search(r"^Karaoke failed: Not started", ran.said, re.MULTILINE)
    assert re.search(r"^Separation +100%  Audio separation complete$", ran.said, re.MULTILINE)
    assert "Key    A major" in ran.said
    assert _decoded_seconds(ran.output / "stems" / "vocals.mp3") == pytest.approx(3.0, abs=0.2)
    assert not stale.exists()
    assert "synthesised" not in ran.said
    _assert_tidied(ran)


def test_a_file_that_is_no_audio(started_in: Path) -> None:
    (started_in / "words.mp3").write_text("These are only words. " * 50)
    ran = Demo(started_in).run("words.mp3")
    assert ran.status == 1
    assert re.fullmatch(r"Upload failed: .*text.*\.", ran.said.splitlines()[-1])
    _assert_tidied(ran, also={"words.mp3"})


def test_a_song_that_is_missing(started_in: Path) -> None:
    ran = Demo(started_in).run("nowhere.mp3")
    assert (ran.status, ran.said) == (1, "There is no file 'nowhere.mp3'.\n")
    assert list(started_in.iterdir()) == []


def test_a_service_that_cannot_start_says_why(started_in: Path) -> None:
    ran = Demo(started_in, HEARTBEAT_SECONDS="often").run()
    assert ran.status == 1
    assert "HEARTBEAT_SECONDS='often'" in ran.said.splitlines()[-1]
    _assert_tidied(ran)


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_the_service_too(started_in: Path, sent: signal.Signals, status: int) -> None:
    demo = Demo(started_in)
    with demo.started(output=subprocess.PIPE) as process:
        assert process.stdout is not None
        said = b""
        while b"The service runs at" not in said and (line := process.stdout.readline()):
            said += line
        process.send_signal(sent)
        said += process.stdout.read()
    ran = demo.ended(process.returncode, said)
    assert ran.status == status, ran.said
    assert "Traceback" not in ran.said
    _assert_tidied(ran)


def test_a_signal_that_falls_into_a_finalizer_is_not_lost() -> None:
    script = """
import os, signal, subprocess, sys, weakref
import demo
signals, thing = demo.Signals(), type("Thing", (), {})()
process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
signals.forward_to(process)
weakref.finalize(thing, signal.raise_signal, signal.SIGINT)
del thing
print(process.wait(30), signals.got)
"""
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (ran.stdout.split(), ran.stderr) == ([str(-signal.SIGTERM), str(int(signal.SIGINT))], "")


def _assert_tidied(ran: Run, *, also: frozenset[str] | set[str] = frozenset()) -> None:
    """No process, no open port, no temporary folder, and in the folder it was started in nothing but results."""
    assert ran.left == []
    if address := re.search(r"http://127\.0\.0\.1:\d+", ran.said):
        with pytest.raises(requests.ConnectionError):
            requests.get(f"{address[0]}/health", timeout=5)
    assert list((ran.folder.parent / "temporary").glob("demo-*")) == []
    assert {path.name for path in ran.folder.iterdir()} == {"demo_output", *also}


def _read(descriptor: int) -> bytes:
    """What a terminal's other end wrote; empty when it is closed, which Linux tells as an error."""
    try:
        return os.read(descriptor, 65536)
    except OSError:
        return b""


def _decoded_seconds(path: Path) -> float:
    """How long an audio file is, by decoding all of it."""
    with av.open(path) as container:
        stream = container.streams.audio[0]
        return sum(frame.samples for frame in container.decode(stream)) / stream.rate
