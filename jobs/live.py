"""Live transcription as the web process sees it: sessions, and the workers that hear them.

The workers are processes of their own, started at the first session, so that no long separation delays a word.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator

import models
from config import Config
from errors import Conflict, InvalidInput, QueueFull
from jobs.live_process import LiveProcess
from models.whisper import LANGUAGES

BUFFER_SECONDS = 60.0  # of sound that a session may be ahead of what was heard
WATCH_SECONDS = 0.25  # between looks for sessions that fell silent
HANG_SECONDS = 120.0  # a worker that says nothing for so long while it has sessions is ended

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

    worker: LiveProcess | None = None  # none until it has begun
    sent_seconds: float = 0.0
    released_seconds: float = 0.0
    dropping: bool = False
    finishing: bool = False
    heard_from_at: float = field(default_factory=time.monotonic)


class LiveService:
    """Takes in sound and delivers text.

    Parameters
    ----------
    config : Config
    deliver : callable
        Told session, kind and payload: final, partial, loading, error, finished, or broken (with `message`); after the
        last two the session is over. Never called while a lock is held.
    on_death : callable, optional
        Called when a worker has ended that was not told to.
    """

    def __init__(self, config: Config, deliver: Deliver, on_death: Callable[[], None] | None = None) -> None:
        self._config, self._deliver, self._on_death = config, deliver, on_death
        self._sessions: dict[str, _Session] = {}
        self._workers: list[LiveProcess] = []
        self._lock = threading.RLock()
        self._watching = self._stopping = False

    def open(self, session: str) -> bool:
        """Give a client its place, and see to it that there is a worker.

        Parameters
        ----------
        session : str

        Returns
        -------
        bool
            False when there are as many sessions as there may be.
        """
        with self._lock:
            if self._stopping or (session not in self._sessions and self._full):
                return False
            self._sessions.setdefault(session, _Session())
            if not self._workers:
                self._workers.append(self._new_worker())
            if not self._watching:
                self._watching = True
                threading.Thread(target=self._watch, name="live-watch", daemon=True).start()
        return True

    def begin(self, session: str, options: Options) -> None:
        """Choose how a session is heard.

        Raises
        ------
        Conflict
            When it has begun already, or is over.
        """
        chosen = options.model_dump() | {"variant": options.variant or self._config.live_variant}
        with self._lock:
            state = self._state(session)
            if state.worker is not None:
                raise Conflict("start comes before the first audio, and once.")
            state.worker = self._free_worker()
            state.heard_from_at = time.monotonic()
            state.worker.send({"kind": "start", "session": session, "options": chosen})

    def audio(self, session: str, pcm: bytes, rate: int) -> None:
        """Take in sound; a session that has not begun does so with the usual options.

        Parameters
        ----------
        session : str
        pcm : bytes
            16-bit samples, mono.
        rate : int
            In Hz.

        Raises
        ------
        InvalidInput
            When it is longer than BUFFER_SECONDS.
        Conflict
            When it has finished.
        QueueFull
            When BUFFER_SECONDS of sound wait to be heard already: this is not taken. It is said once, until some is
            taken again.
        """
        seconds = len(pcm) / 2 / rate
        with self._lock:
            state = self._state(session)
            if seconds > BUFFER_SECONDS:
                raise InvalidInput(
                    f"A frame of {seconds:g} s of audio is too long, since {BUFFER_SECONDS:g} s may wait to be heard; "
                    "send a second at a time."
                )
            if state.worker is None:
                self.begin(session, Options())
            assert state.worker is not None
            state.heard_from_at = time.monotonic()
            if state.sent_seconds + seconds - state.released_seconds > BUFFER_SECONDS:
                said, state.dropping = state.dropping, True
                if said:
                    return
                raise QueueFull(
                    f"{BUFFER_SECONDS:g} s of audio wait to be heard already, so what comes now is dropped and not on "
                    "the session's clock; send it slower."
                )
            state.dropping = False
            state.sent_seconds += seconds
            state.worker.send({"kind": "audio", "session": session, "rate": rate}, pcm)

    def finish(self, session: str) -> None:
        """Hear what a session has sent to its end; `finished` follows.

        Raises
        ------
        Conflict
            When it was said already.
        """
        with self._lock:
            state = self._state(session)
            state.finishing = True
            if state.worker is not None:
                state.worker.send({"kind": "finish", "session": session})
                return
            del self._sessions[session]
        self._tell(session, "finished", {"seconds": 0.0})

    def leave(self, session: str) -> None:
        """Forget a session whose client is gone."""
        with self._lock:
            state = self._sessions.pop(session, None)
            if state is not None and state.worker is not None:
                state.worker.send({"kind": "leave", "session": session})

    def stop(self) -> None:
        """End the workers, and with them the sessions."""
        with self._lock:
            self._stopping = True
            workers, self._workers = self._workers, []
        for worker in workers:
            worker.stop()

    @property
    def _full(self) -> bool:
        """Whether there are as many sessions as there may be."""
        return len(self._sessions) >= self._config.live_sessions

    def _state(self, session: str) -> _Session:
        """A session that may still send."""
        state = self._sessions.get(session)
        if state is None:
            raise Conflict("This session is over; connect again for another.")
        if state.finishing:
            raise Conflict("This session has been asked to finish already; only its last finals are to come.")
        return state

    def _free_worker(self) -> LiveProcess:
        """The worker with the fewest sessions; another one while there may be more."""
        load = [sum(state.worker is worker for state in self._sessions.values()) for worker in self._workers]
        if not load or (min(load) and len(load) < self._config.live_workers):
            self._workers.append(self._new_worker())
            return self._workers[-1]
        worker = self._workers[load.index(min(load))]
        if not min(load):
            worker.heard_at = time.monotonic()  # it had nothing to say
        return worker

    def _new_worker(self) -> LiveProcess:
        """Start a worker process, with the lowest number that no other has."""
        index = min(set(range(len(self._workers) + 1)) - {worker.index for worker in self._workers})
        return LiveProcess(self._config, index, self._hand_on, self._lose)

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
        self._tell(session, kind, message)

    def _lose(self, worker: LiveProcess, reason: str) -> None:
        """Tell the sessions of a worker that has ended."""
        with self._lock:
            self._workers = [other for other in self._workers if other is not worker]
            orphans = [session for session, state in self._sessions.items() if state.worker is worker]
            for session in orphans:
                del self._sessions[session]
        for session in orphans:
            self._tell(session, "broken", {"message": reason})
        if self._on_death and not self._stopping:
            try:
                self._on_death()
            except Exception:  # of whatever counts it
                log.exception("live worker %d: its end was not counted", worker.index)

    def _tell(self, session: str, kind: str, payload: dict[str, Any]) -> None:
        """Deliver; that one client cannot be told ends nobody else's session."""
        try:
            self._deliver(session, kind, payload)
        except Exception:  # of whatever carries it
            log.exception("live session %s: %s was not delivered", session, kind)

    def _watch(self) -> None:
        """End sessions that fell silent, and workers that hang."""
        seconds = self._config.live_idle_seconds
        while not self._stopping:
            time.sleep(WATCH_SECONDS)
            now = time.monotonic()
            with self._lock:
                states = list(self._sessions.items())
                hanging = [worker for worker in self._workers if now - worker.heard_at > HANG_SECONDS]
            for worker in hanging:
                if any(state.worker is worker for _, state in states):
                    worker.kill()
            for session, state in states:
                if not state.finishing and now - state.heard_from_at > seconds:
                    message = f"Nothing came for {seconds:g} s, so this session ends."
                    self._tell(session, "error", {"message": message})
                    with suppress(Conflict):  # it ended meanwhile
                        self.finish(session)
