"""Live transcription as the web process sees it: sessions, and the workers that hear them.

The workers are processes of their own, started at the first session, so that no long separation delays a word.
"""

import logging
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator

import models
from config import Config
from jobs.live_link import TOKEN_VARIABLE, Link
from jobs.supervisor import describe_exit
from models.whisper import LANGUAGES

ROOT = Path(__file__).resolve().parent.parent
BUFFER_SECONDS = 60.0  # of sound that a session may be ahead of what was heard
HELLO_SECONDS = 60.0  # a worker may take so long until it connects
STOP_SECONDS = 5.0
WATCH_SECONDS = 0.5  # between looks for sessions that fell silent

Deliver = Callable[[str, str, dict[str, Any]], None]

log = logging.getLogger(__name__)


class Options(BaseModel):
    """What a session may ask for."""

    model_config = ConfigDict(extra="forbid", strict=True)

    language: str | None = None
    variant: str | None = None
    singing: bool = False

    @field_validator("language")
    @classmethod
    def _known_language(cls, language: str | None) -> str | None:
        """A code that Whisper knows."""
        if language is not None and language not in LANGUAGES:
            raise ValueError(f"{language[:16]!r} is not the code of a language that Whisper knows, such as 'en'")
        return language

    @field_validator("variant")
    @classmethod
    def _known_variant(cls, variant: str | None) -> str | None:
        """A variant of Whisper."""
        known = models.spec("whisper").variants
        if variant is not None and variant not in known:
            raise ValueError(f"{variant[:32]!r} is none of {', '.join(known)}")
        return variant


@dataclass
class _Session:
    """A session: who hears it, what it may send."""

    worker: "_Worker"
    sent_seconds: float = 0.0
    released_seconds: float = 0.0
    finishing: bool = False
    heard_from_at: float = field(default_factory=time.monotonic)


@dataclass
class _Worker:
    """A live worker process; what is for it waits until it has connected."""

    index: int
    process: "subprocess.Popen[bytes]"
    link: Link | None = None
    waiting: list[tuple[dict[str, Any], bytes]] = field(default_factory=list)


class LiveService:
    """Takes in sound and delivers text.

    Parameters
    ----------
    config : Config
    deliver : callable
        Told session, kind and payload: final, partial, finished, or broken (with `message`); after the last two the
        session is over.
    """

    def __init__(self, config: Config, deliver: Deliver) -> None:
        self._config, self._deliver = config, deliver
        self._sessions: dict[str, _Session] = {}
        self._workers: list[_Worker] = []
        self._lock = threading.RLock()
        self._watching = False

    @property
    def full(self) -> bool:
        """Whether there are as many sessions as there may be."""
        return len(self._sessions) >= self._config.live_sessions

    def wake(self) -> None:
        """Start a worker if there is none, so that it is ready when the first sound comes."""
        with self._lock:
            if not self._workers:
                self._workers.append(self._new_worker())

    def start(self, session: str, options: Options) -> None:
        """Begin a session.

        Parameters
        ----------
        session : str
            Not in use.
        options : Options
        """
        chosen = options.model_dump() | {"variant": options.variant or self._config.live_variant}
        with self._lock:
            worker = self._free_worker()
            self._sessions[session] = _Session(worker)
            self._send(worker, {"kind": "start", "session": session, "options": chosen})
            if not self._watching:
                self._watching = True
                threading.Thread(target=self._watch, name="live", daemon=True).start()

    def knows(self, session: str) -> bool:
        """Whether a session has begun and is not over."""
        return session in self._sessions

    def finishing(self, session: str) -> bool:
        """Whether a session has been asked to finish."""
        return self._sessions[session].finishing

    def audio(self, session: str, pcm: bytes, rate: int) -> bool:
        """Take in sound.

        Parameters
        ----------
        session : str
        pcm : bytes
            16-bit samples, mono.
        rate : int
            In Hz.

        Returns
        -------
        bool
            False when BUFFER_SECONDS of sound wait to be heard already, and this is not taken.
        """
        with self._lock:
            state = self._sessions[session]
            seconds = len(pcm) / 2 / rate
            if state.sent_seconds + seconds - state.released_seconds > BUFFER_SECONDS:
                return False
            state.sent_seconds += seconds
            state.heard_from_at = time.monotonic()
            self._send(state.worker, {"kind": "audio", "session": session, "rate": rate}, pcm)
        return True

    def finish(self, session: str) -> None:
        """Hear what a session has sent to its end; `finished` follows."""
        with self._lock:
            self._sessions[session].finishing = True
            self._send(self._sessions[session].worker, {"kind": "finish", "session": session})

    def leave(self, session: str) -> None:
        """Forget a session whose client is gone."""
        with self._lock:
            if (state := self._sessions.pop(session, None)) is not None:
                self._send(state.worker, {"kind": "leave", "session": session})

    def stop(self) -> None:
        """End the workers."""
        with self._lock:
            workers, self._workers = self._workers, []
        for worker in workers:
            if worker.link is not None:
                worker.link.close()
            try:
                worker.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                worker.process.kill()

    def _free_worker(self) -> _Worker:
        """The worker with the fewest sessions; another one while there may be more."""
        load = {id(worker): 0 for worker in self._workers}
        for state in self._sessions.values():
            load[id(state.worker)] = load.get(id(state.worker), 0) + 1
        idle = [worker for worker in self._workers if not load[id(worker)]]
        if not idle and len(self._workers) < self._config.live_workers:
            self._workers.append(self._new_worker())
            return self._workers[-1]
        return min(self._workers, key=lambda worker: load[id(worker)])

    def _new_worker(self) -> _Worker:
        """Start a worker process, and a thread that waits for it to connect."""
        token = secrets.token_hex(16)
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(HELLO_SECONDS)
        command = [sys.executable, "-P", "-m", "jobs.live_worker", "--port", str(listener.getsockname()[1]),
                   "--index", str(self._free_index())]  # fmt: skip
        import_from = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = os.environ | self._config.environment() | {"PYTHONPATH": import_from, TOKEN_VARIABLE: token}
        worker = _Worker(self._free_index(), subprocess.Popen(command, env=environment))
        threading.Thread(target=self._serve, args=(worker, listener, token), name="live-worker", daemon=True).start()
        return worker

    def _free_index(self) -> int:
        """The lowest number that no worker has."""
        return min(set(range(len(self._workers) + 1)) - {worker.index for worker in self._workers})

    def _serve(self, worker: _Worker, listener: socket.socket, token: str) -> None:
        """Hand on what a worker says, until it ends."""
        try:
            link = _welcome(listener, token)
            with self._lock:
                worker.link = link
                for message, sound in worker.waiting:
                    link.send(message, sound)
                worker.waiting.clear()
            while (said := link.receive()) is not None:
                self._hand_on(said[0])
        except OSError as error:
            log.error("live worker: %s", error)
        finally:
            listener.close()
            self._bury(worker)

    def _hand_on(self, message: dict[str, Any]) -> None:
        """What a worker says of a session, to that session."""
        session, kind = message.pop("session"), message.pop("kind")
        with self._lock:
            state = self._sessions.get(session)
            if state is None:
                return
            if kind == "released":
                state.released_seconds = message["seconds"]
                return
            if kind in ("finished", "broken"):
                del self._sessions[session]
        self._deliver(session, kind, message)

    def _bury(self, worker: _Worker) -> None:
        """Tell the sessions of a worker that has ended."""
        if worker.link is not None:
            worker.link.close()
        with self._lock:
            expected = worker not in self._workers
            self._workers = [other for other in self._workers if other is not worker]
            orphans = [session for session, state in self._sessions.items() if state.worker is worker]
            for session in orphans:
                del self._sessions[session]
        if worker.process.poll() is None:
            worker.process.kill()
        status = worker.process.wait()
        if not expected:
            log.error("live worker ended: %s", describe_exit(status))
        for session in orphans:
            message = f"The live worker ended ({describe_exit(status)}); start a new session."
            self._deliver(session, "broken", {"message": message})

    def _watch(self) -> None:
        """End sessions that fell silent."""
        while True:
            time.sleep(WATCH_SECONDS)
            limit = time.monotonic() - self._config.live_idle_seconds
            with self._lock:
                speaking = {name: state for name, state in self._sessions.items() if not state.finishing}
            for session in [name for name, state in speaking.items() if state.heard_from_at < limit]:
                self.leave(session)
                seconds = self._config.live_idle_seconds
                self._deliver(session, "broken", {"message": f"Nothing came for {seconds:g} s; start a new session."})

    def _send(self, worker: _Worker, message: dict[str, Any], sound: bytes = b"") -> None:
        """Send to a worker, or keep it until the worker has connected; a dead one is noticed by its own thread."""
        if worker.link is None:
            worker.waiting.append((message, sound))
            return
        try:
            worker.link.send(message, sound)
        except OSError as error:
            log.info("live worker: %s", error)


def _welcome(listener: socket.socket, token: str) -> Link:
    """The line to the worker, once somebody connects who knows the token."""
    while True:
        connection, _ = listener.accept()
        connection.settimeout(None)
        link = Link(connection)
        hello = link.receive()
        if hello is not None and secrets.compare_digest(str(hello[0].get("token")), token):
            return link
        link.close()
