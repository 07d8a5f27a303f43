"""A live worker: hears the sessions of live transcription in turn, each with its own buffer.

`python -m jobs.live_worker --port PORT --index INDEX` connects to the web process that started it; the token comes by
the environment. It ends when that connection does.
"""

import argparse
import logging
import os
import queue
import socket
import sys
import threading
from dataclasses import dataclass, field
from typing import Any

from config import Config
from errors import StudioError
from jobs.compiled import keep_compiled_apart
from jobs.live_link import TOKEN_VARIABLE, Link
from logs import configure_logging
from models import live, weights, whisper
from models.device import choose_device

IDLE_SECONDS = 0.25  # between looks at sessions that nothing comes from

log = logging.getLogger(__name__)


@dataclass
class Speaker:
    """A session as the worker has it; `ears` come when the model is loaded."""

    id: str
    options: dict[str, Any]
    ears: live.Session | None = None
    finishing: bool = False
    released_seconds: float = 0.0
    waiting: list[tuple[bytes, int]] = field(default_factory=list)


class LiveWorker:
    """Hears sessions in turn.

    Parameters
    ----------
    config : Config
    link : Link
    """

    def __init__(self, config: Config, link: Link) -> None:
        self._config, self._link = config, link
        self._arrived: queue.Queue[tuple[dict[str, Any], bytes] | None] = queue.Queue()
        self._speakers: dict[str, Speaker] = {}
        self._device = choose_device(config.device)
        self._models: dict[str, whisper.Whisper] = {}

    def run(self) -> None:
        """Work until the web process hangs up."""
        threading.Thread(target=self._receive, name="receive", daemon=True).start()
        while self._take():
            for speaker in list(self._speakers.values()):
                self._attend(speaker)

    def _receive(self) -> None:
        """Keep what comes, also while a session is heard."""
        while (message := self._link.receive()) is not None:
            self._arrived.put(message)
        self._arrived.put(None)

    def _take(self) -> bool:
        """Take what has come, or wait a little for it; False when nothing will come any more."""
        try:
            arrived = self._arrived.get(timeout=IDLE_SECONDS)
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
            speaker.waiting.append((sound, message["rate"]))
        elif kind == "finish":
            speaker.finishing = True
        elif kind == "leave":
            del self._speakers[session]

    def _attend(self, speaker: Speaker) -> None:
        """Hear one session once; whatever goes wrong with it is its own."""
        try:
            if speaker.ears is None:
                model = self._model(speaker.options["variant"])
                speaker.ears = live.Session(model, speaker.options["language"], singing=speaker.options["singing"])
            for sound, rate in speaker.waiting:
                speaker.ears.take(sound, rate)
            speaker.waiting.clear()
            self._tell(speaker, speaker.ears)
            if speaker.finishing:
                self._link.send({"kind": "finished", "session": speaker.id})
                self._speakers.pop(speaker.id, None)
        except OSError:  # the web process is gone; _take() will see it
            log.info("live worker: nobody listens any more")
        except Exception as error:  # of any library, on any sound; other sessions go on
            known = isinstance(error, StudioError)
            if not known:
                log.exception("live worker: session %s broke", speaker.id)
            message = str(error) if known else "Live transcription failed with an internal error; the log has it."
            self._link.send({"kind": "broken", "session": speaker.id, "message": message})
            self._speakers.pop(speaker.id, None)

    def _tell(self, speaker: Speaker, ears: live.Session) -> None:
        """Hear a session and send what is new."""
        heard = (ears.stream.finish(), "") if speaker.finishing else ears.stream.step()
        if ears.stream.released_seconds != speaker.released_seconds:
            speaker.released_seconds = ears.stream.released_seconds
            self._link.send({"kind": "released", "session": speaker.id, "seconds": speaker.released_seconds})
        if heard is None:
            return
        finals, partial = heard
        for final in finals:
            self._link.send({"kind": "final", "session": speaker.id, **final.payload()})
        if not speaker.finishing:
            self._link.send({"kind": "partial", "session": speaker.id, "text": partial})

    def _model(self, variant: str) -> whisper.Whisper:
        """The model of a variant; the one before it leaves."""
        if variant not in self._models:
            self._models.clear()
            path = weights.fetch("whisper", variant, self._config.models_dir, lambda fraction, message=None: None)
            self._models[variant] = whisper.load(variant, self._device, path)
        return self._models[variant]


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
    config = Config.from_environment()
    configure_logging(config.log_format, config.log_level)
    keep_compiled_apart(config.output_folder, f"live{options.index}")
    link = Link(socket.create_connection(("127.0.0.1", options.port)))
    link.send({"kind": "hello", "token": os.environ[TOKEN_VARIABLE]})
    LiveWorker(config, link).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
