"""A song through the service, in the terminal: `make demo`, or `python demo.py [SONG]`.

It starts the service on a free port, with a library of its own that goes with it, and is from then on a client like
any other: it knows the HTTP and Socket.IO contract and nothing of what is behind it. Results go to `demo_output/` in
the folder it is started in.
"""

import argparse
import io
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

try:
    import requests
    import socketio
    from tqdm import tqdm
except ModuleNotFoundError as error:
    sys.exit(f"demo.py needs the package {error.name}: pip install -r requirements.txt")

ROOT = Path(__file__).resolve().parent
DEMO_SONG = ROOT / "static" / "demo" / "song.mp3"
OUTPUT = Path("demo_output")
FOLDERS = {"demucs": "stems", "whisper": "lyrics", "karaoke": "karaoke", "pitch_analysis": "key_and_tempo"}
DEMO = "demo"  # the variant of both models that comes with the project
HOST = "127.0.0.1"
STAGES = ("upload", "separation", "transcription", "karaoke")
NEVER_BEGUN = {"error": "It never began."}
BAR = "{desc:<14}{percentage:3.0f}% |{bar:32}| {postfix[0]}"
LINE_PERCENT = 10  # without a terminal: a line when a stage has come so much further
START_SECONDS = 120.0
STOP_SECONDS = 30.0
LOOK_SECONDS = 0.2  # between looks at a service that starts
SILENT_SECONDS = 1.0  # without an event, before a look at whether the service still runs
SIGNALLED = 128  # and the signal's number: the exit status, as shells have it


class DemoFailed(Exception):
    """It cannot go on; a sentence for the person at the terminal."""


class Service:
    """`python app.py` on a free port; inside the `with` block it answers, after it nothing of it runs.

    Unless it had to be killed: its workers then end by themselves, in some seconds.

    Parameters
    ----------
    folder : Path
        Uploads, results and database go here, so that the library of whoever runs the demo stays as it is.
    log : Path
        What the service says.
    signals : Signals
        Stop it, and with it all that waits for it.
    """

    def __init__(self, folder: Path, log: Path, signals: "Signals") -> None:
        port = _free_port()
        self.url, self._log, self._signals = f"http://{HOST}:{port}", log, signals
        settings = {
            "HOST": HOST, "PORT": str(port), "UPLOAD_FOLDER": str(folder / "uploads"), "START_WORKERS": "true",
            "OUTPUT_FOLDER": str(folder / "outputs"), "DATABASE_URL": "", "REDIS_URL": "", "API_KEYS": "",
            "DRAIN_SECONDS": "1",
        }  # fmt: skip
        self._environment = os.environ | settings
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Service":
        with self._log.open("wb") as log:
            command = [sys.executable, str(ROOT / "app.py")]
            self._process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)
        self._signals.forward_to(self._process)
        try:
            self._wait_until_ready()
        except BaseException:  # nothing may stay behind
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def check(self) -> None:
        """Raise DemoFailed when the service has ended."""
        assert self._process is not None
        if (status := self._process.poll()) is not None:
            said = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise DemoFailed(f"The service ended (status {status}): {said[-1] if said else 'it said nothing'}")

    def _wait_until_ready(self) -> None:
        """Return when work sent now would be done."""
        deadline, reason = time.monotonic() + START_SECONDS, "It does not answer."
        with own_session() as session:
            while time.monotonic() < deadline:
                self.check()
                try:
                    answer = session.get(f"{self.url}/health/ready", timeout=5)
                    if answer.ok:
                        return
                    reason = answer.json()["error"]
                except requests.RequestException:
                    pass  # not yet
                time.sleep(LOOK_SECONDS)
        raise DemoFailed(f"The service is not ready after {START_SECONDS:.0f} s: {reason} Its log: {self._log}")

    def _stop(self) -> None:
        """Ask it to stop, and wait; end it when it does not."""
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Signals:
    """Ctrl-C and SIGTERM: they stop the service, and what waits for it finds it gone; the second time, at once.

    Raised as exceptions, where Python happened to be, they could be lost: one that is raised in a finalizer is dropped.

    Attributes
    ----------
    got : int or None
        The last one.
    """

    def __init__(self) -> None:
        self.got: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as with nohup, or a shell's job in the background
                signal.signal(number, self._take)

    def forward_to(self, process: "subprocess.Popen[bytes]") -> None:
        """Stop this process at the next signal; now, when there has been one."""
        self._process = process
        if self.got is not None:
            process.terminate()

    def _take(self, number: int, _: object) -> None:
        if self._process is not None:
            (self._process.terminate if self.got is None else self._process.kill)()
        self.got = number


class Bars:
    """The four stages, one bar each; where there is no terminal, a line whenever one of them has moved on."""

    def __init__(self) -> None:
        self._live = sys.stdout.isatty()
        self._told = dict.fromkeys(STAGES, (0, ""))
        self._open = list(STAGES)
        columns = shutil.get_terminal_size().columns - 1  # a full line would wrap on Windows
        self._bars = {
            stage: tqdm(total=100, desc=stage.capitalize(), bar_format=BAR, postfix=[""], position=place,
                        file=sys.stdout, ncols=columns, disable=not self._live)
            for place, stage in enumerate(STAGES)
        }  # fmt: skip

    def show(self, stage: str, percent: int, message: str) -> None:
        """How far a stage is; `loading` shows as a message at the first that is not done."""
        if stage == "loading" and self._open:
            stage, message = self._open[0], message if percent == 100 else f"{message} {percent}%"
            percent = self._told[stage][0]
        elif stage not in self._open or percent < self._told[stage][0]:
            return  # events may overtake each other
        if percent == 100:
            self._open.remove(stage)
        if self._live:
            bar = self._bars[stage]
            bar.n, bar.postfix = percent, [message]
            bar.refresh()
        elif self._is_news(stage, percent, message):
            print(f"{stage.capitalize():<14}{percent:3}%  {message}", flush=True)
        else:
            return
        self._told[stage] = percent, message

    def close(self) -> None:
        """Leave the bars as they are and go on below them."""
        for bar in self._bars.values():
            bar.close()

    def _is_news(self, stage: str, percent: int, message: str) -> bool:
        """Whether a stage says something else than before, or has come far enough to say it again."""
        last_percent, last_message = self._told[stage]
        return percent == 100 or percent - last_percent >= LINE_PERCENT or message != last_message


class Body(io.BytesIO):
    """A request's body that tells how much of it has been read to be sent."""

    def __init__(self, body: bytes, told: Callable[[int], None]) -> None:
        super().__init__(body)
        self._size_bytes, self._told = len(body), told

    def __len__(self) -> int:
        return self._size_bytes

    def read(self, size: int | None = -1) -> bytes:
        """The next bytes."""
        taken = super().read(size)
        self._told(100 * self.tell() // self._size_bytes)
        return taken


class Client:
    """The calls of the demo.

    Parameters
    ----------
    service : Service
    bars : Bars
    """

    def __init__(self, service: Service, bars: Bars) -> None:
        self._service, self._url, self._bars = service, service.url, bars
        self._session = own_session()

    def notes(self, variants: dict[str, str]) -> set[str]:
        """What whoever chooses these variants must know; `variants` by model."""
        config = self._get("/models")["models"]
        found = (config[model]["variants"].get(variant, {}).get("note") for model, variant in variants.items())
        return {note for note in found if note}

    def upload(self, song: Path, fields: dict[str, str]) -> str:
        """Send a song to be processed; its id."""
        with song.open("rb") as file:
            asked = requests.Request("POST", f"{self._url}/upload", data=fields, files={"file": (song.name, file)})
            prepared = asked.prepare()
        assert isinstance(prepared.body, bytes)
        sent_percent = -1

        def sent(percent: int) -> None:
            nonlocal sent_percent
            if percent != sent_percent:  # 100 comes from the service, when it has taken the song
                sent_percent = percent
                self._bars.show("upload", min(percent, 99), "Uploading...")

        prepared.body = Body(prepared.body, sent)
        try:
            answer = _body(self._session.send(prepared))
        except DemoFailed as error:
            raise DemoFailed(f"Upload failed: {error}") from error
        self._bars.show("upload", 100, answer["message"])
        return str(answer["file_id"])

    def follow(self, file_id: str) -> None:
        """Show the song's events until all is done."""
        events: queue.Queue[dict[str, Any]] = queue.Queue()
        connection = socketio.Client(http_session=own_session(), handle_sigint=False)
        connection.on("processing_progress", events.put)
        # At each connection, also one after a break: with all that was missed.
        connection.on("connect", lambda: connection.emit("subscribe", {"file_id": file_id, "since_seq": 0}))
        try:
            connection.connect(self._url, transports=["polling"])  # for websockets it would need a package more
            while True:
                try:
                    event = events.get(timeout=SILENT_SECONDS)
                except queue.Empty:
                    self._service.check()
                    continue
                if event["stage"] == "complete":
                    break
                self._bars.show(event["stage"], event["progress"], event["error"] or event["message"])
        except socketio.exceptions.ConnectionError as error:
            raise DemoFailed(f"The service does not accept a Socket.IO connection: {error}") from error
        finally:
            connection.shutdown()
        for stage, last in self.status(file_id)["stages"].items():  # what the end may have overtaken
            self._bars.show(stage, last["progress"], last["error"] or last["message"])

    def analyse(self, file_id: str, *, wait: bool) -> None:
        """Have key and tempo looked for; with `wait`, return when they are there, begun before or not."""
        options = {} if wait else {"async": "true"}
        _body(self._session.post(f"{self._url}/process/pitch_analysis/{file_id}", params=options))

    def status(self, file_id: str) -> dict[str, Any]:
        """The song's state: the last word on each stage, and jobs with results and files."""
        return self._get(f"/status/{file_id}")

    def download(self, jobs: list[dict[str, Any]]) -> list[Path]:
        """Put every file that was made into OUTPUT, in place of the last time's; their folders."""
        filled = []
        for model, name in FOLDERS.items():
            folder = OUTPUT / name
            shutil.rmtree(folder, ignore_errors=True)
            for file in (file for job in jobs if job["model"] == model for file in job["files"]):
                folder.mkdir(exist_ok=True)
                answer = self._session.get(self._url + file["download_url"])
                if not answer.ok:
                    _body(answer)
                (folder / file["filename"]).write_bytes(answer.content)
            if folder.exists():
                filled.append(folder)
        return filled

    def _get(self, path: str) -> dict[str, Any]:
        """What a path answers."""
        return _body(self._session.get(self._url + path))


def own_session() -> requests.Session:
    """A session that talks to this machine: a proxy of the environment is for others."""
    session = requests.Session()
    session.trust_env = False
    return session


def _body(answer: requests.Response) -> dict[str, Any]:
    """The body of an answer; a DemoFailed with the service's sentence when it is an error."""
    try:
        body: dict[str, Any] = answer.json()
    except requests.JSONDecodeError:
        body = {}
    if not answer.ok:
        status, path = answer.status_code, answer.request.path_url
        raise DemoFailed(body.get("error") or f"The service answered {status} to {path}.")
    return body


def _free_port() -> int:
    """A TCP port nobody listens on."""
    try:
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            return int(probe.getsockname()[1])
    except OSError as error:
        raise DemoFailed(f"There is no free port on {HOST}: {error.strerror}.") from error


def run(song: Path, variant: str, words: str | None, signals: Signals) -> int:
    """Take a song through the service and show what came of it.

    Parameters
    ----------
    song : Path
    variant : str
        Of demucs.
    words : str or None
        Variant of whisper; None for the service's default.
    signals : Signals

    Returns
    -------
    int
        Exit status: 0 when every stage completed, else 1.

    Raises
    ------
    DemoFailed
        When it cannot go on.
    """
    if not song.is_file():
        raise DemoFailed(f"There is no file {str(song)!r}.")
    _make_output()
    began = time.monotonic()
    fields = {"auto_process": "true", "model_variant": variant, "transcription_model": "whisper"}
    if words:
        fields["transcription_model_variant"] = words
    with tempfile.TemporaryDirectory(prefix="demo-", ignore_cleanup_errors=True) as folder:
        print(f"Starting the service; its log: {OUTPUT / 'service.log'}", flush=True)
        with Service(Path(folder), OUTPUT / "service.log", signals) as service:
            print(f"The service runs at {service.url}; the song is {song}", flush=True)
            failed = _take_through(service, song, fields)
    for stage, reason in failed.items():
        print(f"{stage.capitalize()} failed: {reason}", file=sys.stderr)
    print(f"The service has stopped. This took {time.monotonic() - began:.0f} s.")
    return 1 if failed else 0


def _take_through(service: Service, song: Path, fields: dict[str, str]) -> dict[str, str]:
    """Upload, follow, analyse, download, print; the reasons of what failed, by stage."""
    bars = Bars()
    client = Client(service, bars)
    try:
        chosen = {"demucs": fields["model_variant"], "whisper": fields.get("transcription_model_variant", "")}
        for note in client.notes(chosen):
            tqdm.write(f"Models {DEMO!r}: {note}")
        file_id = client.upload(song, fields)
        client.analyse(file_id, wait=False)  # beside the separation: it has a worker of its own
        client.follow(file_id)
    finally:
        bars.close()
    reasons = {}
    try:
        client.analyse(file_id, wait=True)
    except DemoFailed as error:
        reasons["analysis"] = str(error)
    status = client.status(file_id)
    reasons |= {stage: status["stages"].get(stage, NEVER_BEGUN)["error"] for stage in STAGES}
    folders = client.download(status["jobs"])
    _print_results({job["model"]: job["result"] for job in status["jobs"] if job["result"]}, folders)
    return {stage: reason for stage, reason in reasons.items() if reason}


def _sung_lines(results: dict[str, dict[str, Any]]) -> list[str]:
    """The lyrics line by line as the karaoke shows them, or as they were heard when there is none."""
    if name := results.get("karaoke", {}).get("sync_file"):
        sync = json.loads((OUTPUT / FOLDERS["karaoke"] / name).read_text(encoding="utf-8"))
        return [line["text"].strip() for line in sync["lines"]]
    return [line.strip() for line in results["whisper"]["text"].splitlines() if line.strip()]


def _print_results(results: dict[str, dict[str, Any]], folders: list[Path]) -> None:
    """Lyrics, key, tempo, and where the files are; `results` by model."""
    if heard := results.get("whisper"):
        lines = _sung_lines(results) or [heard.get("message") or "(no words were heard)"]
        print("\nLyrics", *(f"  {line}" for line in lines), sep="\n")
    if found := results.get("pitch_analysis"):
        print(f"\nKey    {found['detected_key']} ({found['confidence']:.0%} confidence)")
        print(f"Tempo  {found['tempo_bpm']:.0f} BPM" if found.get("tempo_bpm") else "Tempo  none found")
    print("\nFiles")
    for folder in folders:
        print(f"  {folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")
    print(flush=True)


def _make_output() -> None:
    """Make the folder of results."""
    try:
        OUTPUT.mkdir(exist_ok=True)
        (OUTPUT / "service.log").write_bytes(b"")
    except OSError as error:
        raise DemoFailed(f"Cannot write to {OUTPUT.absolute()}: {error.strerror}.") from error


def main() -> int:
    """Read the command line and run; the exit status."""
    parser = argparse.ArgumentParser(description="Take a song through the service and put all results in demo_output/.")
    parser.add_argument("song", nargs="?", type=Path, default=DEMO_SONG, help="audio file; the demo song by default")
    parser.add_argument("--variant", default=DEMO, help="of demucs; htdemucs and others are real models")
    parser.add_argument("--words", help="variant of whisper; demo with the variant demo, else the service's default")
    given = parser.parse_args()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # lyrics on a terminal that cannot write them all
    signals = Signals()
    try:
        status = run(given.song, given.variant, given.words or (DEMO if given.variant == DEMO else None), signals)
    except (DemoFailed, requests.RequestException) as failure:
        if signals.got is None:
            lost = "" if isinstance(failure, DemoFailed) else "The service does not answer any more: "
            print(f"{lost}{failure}", file=sys.stderr)
        status = 1
    if signals.got is None:
        return status
    print("\nStopped.", file=sys.stderr)
    return SIGNALLED + signals.got


if __name__ == "__main__":
    sys.exit(main())
