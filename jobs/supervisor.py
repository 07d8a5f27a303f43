"""The parent of the worker processes: starts them, watches them, starts another when one dies."""

import logging
import os
import signal
import subprocess
import threading
import time
from dataclasses import dataclass

import processes
from config import Config
from jobs import counters
from jobs.store import JobStore
from jobs.sweeper import Sweeper

WATCH_SECONDS = 0.2
DEAF_SECONDS = 1.0  # when the database takes no writes for so long, nobody can be heard
SWEEP_SECONDS = 2.0
BIRTH_SECONDS = 60.0  # a worker may take so long before its first sign of life
YOUNG_SECONDS = 5.0  # a worker that dies so soon is started again ever more slowly
MAX_PAUSE_SECONDS = 30.0
HOPELESS_STARTS = 4  # so many workers in a row ended before their first sign of life

log = logging.getLogger(__name__)


@dataclass
class Child:
    """One worker process and its place: a queue and a device."""

    queue: str
    index: int
    id: str = ""
    process: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0.0
    heard_at: float = 0.0  # Unix seconds
    start_after: float = 0.0
    pause_seconds: float = 0.0
    stillborn: int = 0  # in a row, before their first sign of life


class Supervisor:
    """Keeps one worker per device and one for light work alive.

    Parameters
    ----------
    config : Config
    store : JobStore
    sweeper : Sweeper
    """

    def __init__(self, config: Config, store: JobStore, sweeper: Sweeper) -> None:
        self._config, self._store, self._sweeper = config, store, sweeper
        self._children = [Child("gpu", 0), Child("cpu", 0)] if config.start_workers else []
        self._deaf_at = 0.0  # Unix seconds
        self.draining = False
        self.stopped = threading.Event()

    def start(self) -> None:
        """Start the workers and watch them in a thread."""
        threading.Thread(target=self._run, name="supervisor", daemon=True).start()

    def drain(self) -> None:
        """Ask every worker to finish or put back what it runs; `stopped` is set when all have ended.

        Safe in a signal handler, which may have interrupted the holder of any lock: it only sets a flag.
        """
        self.draining = True

    def expects(self, queue: str) -> bool:
        """Whether a worker of that queue runs or will soon; no more once several could not even begin."""
        return any(child.queue == queue and child.stillborn < HOPELESS_STARTS for child in self._children)

    def _run(self) -> None:
        """Watch until drained."""
        swept_at = 0.0
        while not self.draining:
            try:
                for child in self._children:
                    self._watch(child)
                if time.monotonic() - swept_at >= SWEEP_SECONDS:
                    swept_at = time.monotonic()
                    if self._can_hear():
                        self._end_silent()
                        self._sweeper.sweep()
                    self._add_devices()
            except Exception:  # the database, the queue or the machine, in any words; workers need to be watched
                log.exception("supervisor: a round failed, going on")
            time.sleep(WATCH_SECONDS)  # not an event's wait: drain() is called in a signal handler and only sets a flag
        try:
            self._stop_children()
        except Exception:  # as above; but who waits for the end must not wait for ever
            log.exception("supervisor: jobs of dead workers are left to the next start")
        self.stopped.set()

    def _watch(self, child: Child) -> None:
        """Start a child that does not run."""
        if child.process is not None:
            status = child.process.poll()
            if status is None:
                return
            self._bury(child, status)
        if time.monotonic() >= child.start_after:
            self._spawn(child)

    def _spawn(self, child: Child) -> None:
        """Start a worker process; it ends when our end of its standard input closes, which it does when we die."""
        child.id = f"{os.getpid()}-{child.queue}{child.index}-{time.time_ns():x}"
        command = processes.command("jobs.worker", "--supervised", "--id", child.id, "--queue", child.queue,
                                    "--device-index", child.index)  # fmt: skip
        environment = processes.environment(**self._config.environment())
        child.process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE)
        child.started_at = time.monotonic()
        child.heard_at = time.time() + BIRTH_SECONDS

    def _can_hear(self) -> bool:
        """Whether signs of life come through: workers write them, and a busy or full database is not their death."""
        if not self._store.database.takes_writes(DEAF_SECONDS):
            log.warning("supervisor: the database takes no writes; nobody is taken for dead meanwhile")
            self._deaf_at = time.time()
        return time.time() - self._deaf_at > self._config.silence_seconds

    def _end_silent(self) -> None:
        """Kill a child that runs but gives no sign of life: it hangs, and would hold its place for ever."""
        heard = {worker.id: worker.heartbeat_at for worker in self._store.workers()}
        for child in self._children:
            child.heard_at = heard.get(child.id, child.heard_at)
            if child.process is not None and time.time() - child.heard_at > self._config.silence_seconds:
                log.error("worker %s gives no sign of life, ending it", child.id)
                child.process.kill()

    def _bury(self, child: Child, status: int) -> None:
        """Take over from a dead child; one that died young waits before its successor."""
        reason = describe_exit(status)
        log.error("worker %s ended: %s", child.id, reason)
        _close_input(child)
        lived = any(worker.id == child.id for worker in self._store.workers())
        child.stillborn = 0 if lived else child.stillborn + 1
        self._sweeper.release(child.id, reason)
        self._store.tally(counters.WORKER_RESTARTS, queue=child.queue)
        young = time.monotonic() - child.started_at < YOUNG_SECONDS
        child.pause_seconds = min(max(2 * child.pause_seconds, 0.5), MAX_PAUSE_SECONDS) if young else 0.0
        child.start_after = time.monotonic() + child.pause_seconds
        child.process = None

    def _add_devices(self) -> None:
        """One worker for every GPU that the first one found."""
        if not self._children or self._config.device not in ("auto", "cuda"):
            return
        first = next(c for c in self._children if c.queue == "gpu")
        count = next((w.info.get("gpu_count", 0) for w in self._store.workers() if w.id == first.id), 0)
        have = sum(c.queue == "gpu" for c in self._children)
        self._children += [Child("gpu", index) for index in range(have, count)]

    def _stop_children(self) -> None:
        """Close every child's input, wait for its grace time, then end it."""
        running = [c for c in self._children if c.process is not None]
        for child in running:
            _close_input(child)
        deadline = time.monotonic() + self._config.drain_seconds + self._config.cancel_seconds
        for child in running:
            assert child.process is not None
            try:
                child.process.wait(max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
        for child in running:  # only now, since the database may be out of reach: none is left behind
            if child.process is not None and child.process.returncode != 0:
                self._sweeper.release(child.id, describe_exit(child.process.returncode))


def describe_exit(status: int) -> str:
    """Why a process ended, in words: the signal that killed it, and a guess where that is fair."""
    if status >= 0:
        return f"ended with exit status {status}"
    name = f"killed by signal {-status}"
    return f"{name}, perhaps out of memory" if -status == getattr(signal, "SIGKILL", 9) else name


def _close_input(child: Child) -> None:
    """Close our end of a child's standard input."""
    if child.process is not None and child.process.stdin is not None:
        try:
            child.process.stdin.close()
        except OSError:  # it died meanwhile, which is what we are about to find out
            log.debug("worker %s: standard input was closed already", child.id)
