"""A live worker: hears the sessions of live transcription in turn, each with its own buffer.

`python -m jobs.live_worker --port PORT --index INDEX` connects to the web process that started it; the token comes by
the environment. It ends when that connection does.
"""

import argparse
import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from config import Config
from errors import ModelUnavailable, StudioError
from jobs.compiled import keep_compiled_apart
from jobs.live_link import TOKEN_VARIABLE, Link
from logs import configure_logging
from models import Report, live, weights, whisper
from models.device import choose_device, describe_device

LOOK_SECONDS = 0.25  # between looks at sessions that nothing comes from
BEAT_SECONDS = 1.0  # between signs of life while there are sessions
END_SECONDS = 5.0  # a hearing that is under way when the web process goes gets so long

log = logging.getLogger(__name__)


@dataclass
class Speaker:
    """A session as the worker has it; `ears` come when the model is loaded."""

    id: str
    options: dict[str, Any]
    loading: "Future[whisper.Whisper] | None" = None
    ears: live.Session | None = None
    finishing: bool = False
    released_seconds: float = 0.0
    partial: str = ""
    waiting: list[tuple[int, bytearray]] = field(default_factory=list)  # rate and sound


class LiveWorker:
    """Hears sessions in turn.

    Parameters
    ----------
    config : Config
    link : Link
    index : int
        Which of several live workers; they share the GPUs evenly.
    """

    def __init__(self, config: Config, link: Link, index: int = 0) -> None:
        self._config, self._link, self._index = config, link, index
        self._arrived: queue.Queue[tuple[dict[str, Any], bytes] | None] = queue.Queue()
        self._speakers: dict[str, Speaker] = {}
        self._models: dict[str, Future[whisper.Whisper]] = {}
        self._beaten_at = 0.0

    def run(self) -> None:
        """Work until the web process hangs up."""
        threading.Thread(target=self._receive, name="receive", daemon=True).start()
        behind = False
        while self._take(None if not self._speakers else 0.0 if behind else LOOK_SECONDS):
            if self._speakers and time.monotonic() - self._beaten_at > BEAT_SECONDS:
                self._beaten_at = time.monotonic()
                self._say("beat", "")
            behind = sum(map(self._attend, list(self._speakers.values()))) > 0  # each has its turn

    def _receive(self) -> None:
        """Keep what comes, also while a session is heard; end the process when nothing will come any more."""
        while (message := self._link.receive()) is not None:
            self._arrived.put(message)
        self._arrived.put(None)
        time.sleep(END_SECONDS)
        os._exit(0)

    def _take(self, wait_seconds: float | None) -> bool:
        """Take what has come, or wait for it; False when nothing will come any more."""
        try:
            arrived = self._arrived.get(timeout=wait_seconds) if wait_seconds != 0 else self._arrived.get_nowait()
            while arrived is not None:
                self._obey(*arrived)
                arrived = self._arrived.get_nowait()
        except queue.Empty:
            return True
        return False

    def _obey(self, message: dict[str, Any], sound: bytes) -> None:
        """Do what one message says."""
        kind, session = message["kind"], message["session"]
        if kind == "start":
            self._speakers[session] = Speaker(session, message["options"])
        elif (speaker := self._speakers.get(session)) is None:
            return
        elif kind == "audio":
            if not speaker.waiting or speaker.waiting[-1][0] != message["rate"]:
                speaker.waiting.append((message["rate"], bytearray()))
            speaker.waiting[-1][1].extend(sound)
        elif kind == "finish":
            speaker.finishing = True
        elif kind == "leave":
            del self._speakers[session]

    def _attend(self, speaker: Speaker) -> bool:
        """Hear one session once, whatever goes wrong with it is its own; whether it can be heard more at once."""
        try:
            return self._hear(speaker)
        except Exception as error:  # of any library, on any sound; other sessions go on
            known = isinstance(error, StudioError)
            if not known:
                log.exception("live worker: session %s broke", speaker.id)
            message = str(error) if known else "Live transcription failed with an internal error; the log has it."
            self._end(speaker, "broken", message=message)
            return False

    def _hear(self, speaker: Speaker) -> bool:
        """Take in what came, hear it once, send what is new."""
        if speaker.ears is None:
            options = speaker.options
            speaker.loading = speaker.loading or self._loading(options["variant"])
            if not speaker.loading.done():
                return False
            speaker.ears = live.Session(speaker.loading.result(), options["language"], singing=options["singing"])
        waiting, speaker.waiting = speaker.waiting, []
        for rate, sound in waiting:
            speaker.ears.take(bytes(sound), rate)
        stream = speaker.ears.stream
        if speaker.finishing and not stream.behind:
            self._tell(speaker, speaker.ears.finish(), "")
            self._end(speaker, "finished", seconds=round(stream.seconds, 3))
            return False
        heard = stream.step()
        if stream.released_seconds != speaker.released_seconds:
            speaker.released_seconds = stream.released_seconds
            self._say("released", speaker.id, seconds=speaker.released_seconds)
        if heard is not None:
            self._tell(speaker, *heard)
        return stream.behind

    def _tell(self, speaker: Speaker, finals: list[live.Final], partial: str) -> None:
        """Send what is final, and what may change where it is not as before."""
        for final in finals:
            self._say("final", speaker.id, **final.payload())
        if partial != speaker.partial or (finals and partial):
            speaker.partial = partial
            self._say("partial", speaker.id, text=partial)

    def _end(self, speaker: Speaker, kind: str, **fields: Any) -> None:
        """Send a session its last message and forget it."""
        self._say(kind, speaker.id, **fields)
        self._speakers.pop(speaker.id, None)

    def _say(self, kind: str, session: str, **fields: Any) -> None:
        """Send to the web process."""
        try:
            self._link.send({"kind": kind, "session": session, **fields})
        except OSError:  # it is gone, which _receive() sees, too
            log.info("live worker: nobody listens any more")

    def _loading(self, variant: str) -> "Future[whisper.Whisper]":
        """The model of a variant, loaded aside, so that nobody waits for another's; those no longer in use leave."""
        if (known := self._models.get(variant)) is not None and not (known.done() and known.exception()):
            return known
        wanted = {speaker.options["variant"] for speaker in self._speakers.values()}
        self._models = {name: model for name, model in self._models.items() if name in wanted}
        loading: Future[whisper.Whisper] = Future()
        self._models[variant] = loading
        threading.Thread(target=self._load, args=(variant, loading), name="load", daemon=True).start()
        return loading

    def _load(self, variant: str, loading: "Future[whisper.Whisper]") -> None:
        """Find or download a variant's weights and load them."""
        report = self._report(variant)
        report(0.0, f"Loading whisper {variant}...")
        try:
            gpus = describe_device(None)["gpu_count"]
            device = choose_device(self._config.device, self._index % max(1, gpus))
            if self._config.require_gpu and device == "cpu":
                raise ModelUnavailable("This service requires a GPU (REQUIRE_GPU=true) and this machine has none.")
            path = weights.fetch("whisper", variant, self._config.models_dir, report)
            loading.set_result(whisper.load(variant, device, path))
            report(1.0, f"Whisper {variant} is loaded.")
        except BaseException as error:  # whatever it is, who waits for the model is told
            loading.set_exception(error)

    def _report(self, variant: str) -> Report:
        """A report that tells the waiting sessions of a variant how its loading goes, in whole percents."""
        told: tuple[int, str | None] = (-1, None)

        def report(fraction: float, message: str | None = None) -> None:
            nonlocal told
            percent = int(100 * fraction)
            if (percent, message) != told:
                told = (percent, message)
                for speaker in list(self._speakers.values()):
                    if speaker.ears is None and speaker.options["variant"] == variant:
                        self._say("loading", speaker.id, message=message, progress=percent)

        return report


def main() -> int:
    """Run until the web process hangs up.

    Returns
    -------
    int
        Exit status: 0.
    """
    parser = argparse.ArgumentParser(description="Hear the sessions of live transcription.")
    parser.add_argument("--port", type=int, required=True, help="of the web process that started it")
    parser.add_argument("--index", type=int, default=0, help="which of several live workers")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the web process, which then hangs up
    config = Config.from_environment()
    configure_logging(config.log_format, config.log_level)
    keep_compiled_apart(config.output_folder, f"live{options.index}")
    link = Link(socket.create_connection(("127.0.0.1", options.port)))
    link.send({"kind": "hello", "token": os.environ[TOKEN_VARIABLE]})
    LiveWorker(config, link, options.index).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
