"""A worker process: claim a row, run its stage, report progress, finish. The only place where models run.

`python -m jobs.worker --queue gpu` runs one on its own, with the settings of the environment.
"""

import argparse
import importlib
import logging
import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import psutil
from sqlalchemy.exc import OperationalError

import models
from config import Config
from errors import Cancelled, InvalidInput, ModelUnavailable, StudioError
from jobs import counters, outcomes, pipeline
from jobs.compiled import keep_compiled_apart
from jobs.emitter import redis_publisher
from jobs.inputs import Inputs
from jobs.job import COMPLETED, Job, Outcome
from jobs.queue import NAMES, Queue
from jobs.reporter import Drained, Paused, Reporter, TimedOut
from jobs.store import JobStore
from jobs.watch import WATCH_SECONDS, Watch
from logs import configure_logging, on_behalf_of
from models import audio, memory, weights
from models.device import choose_device, describe_device
from models.spool import Spool
from storage.database import Database
from storage.files import Files, result_folder
from storage.songs import Songs

POLL_SECONDS = 0.02  # between looks into an empty SQLite queue
RETRY_SECONDS = 1.0  # before another try at a database that does not answer
NO_TORCH = "torch does not start on this machine; the worker's log says why."
NICENESS = 10  # of 19: nine times less of a processor that others want

log = logging.getLogger(__name__)
T = TypeVar("T")


class Worker:
    """Runs the jobs of one queue, one at a time; models stay loaded between them.

    Parameters
    ----------
    config : Config
    queue : str
        "gpu" or "cpu".
    worker_id : str
        Unique among all workers there ever were.
    device_index : int
        Which of several equal devices, when `config.device` is auto or cuda.
    """

    def __init__(self, config: Config, queue: str, worker_id: str, device_index: int = 0) -> None:
        self.config, self.queue_name, self.id = config, queue, worker_id
        database = Database(config.database)
        database.create_tables()
        publish = redis_publisher(config.redis_url) if config.redis_url else None
        self.store = JobStore(database, publish)
        self.files = Files(config.upload_folder, config.output_folder)
        self.inputs = Inputs(self.store, Songs(database), self.files)
        self.queue = Queue(config.redis_url, config.queue_file)
        self.drain_asked_at: float | None = None
        self.stop_job = threading.Event()
        self.job: Job | None = None
        self.spool: Spool | None = None  # of the job, where its model keeps what it has finished
        self.ended = threading.Event()
        self.info: dict[str, Any] = {}
        self.trouble: StudioError | None = None  # why no job can run here
        self.device, self.device_index = "cpu", device_index
        self.models = self._no_models()

    def run(self) -> None:
        """Work until drain() is called and the present job is done or put back."""
        threading.Thread(target=Watch(self).run, name=f"watch-{self.id}", daemon=True).start()
        try:
            self._prepare()
            self._work()
        finally:
            self.ended.set()
        self.store.remove_worker(self.id)

    def _work(self) -> None:
        """Run one job after the other."""
        while self.drain_asked_at is None:
            try:
                job = self._next_job()
            except Exception:  # the database or the queue, in any library's words; to load all models anew is no help
                log.exception("worker %s: a round failed, going on", self.id)
                time.sleep(RETRY_SECONDS)
                continue
            if job is not None:
                with on_behalf_of(job.request_id):
                    self._run_claimed(job)

    def _next_job(self) -> Job | None:
        """Claim a job, if one waits."""
        if self.trouble and self._others_can():
            time.sleep(WATCH_SECONDS)  # they take the jobs
            return None
        job_id = self.queue.get(self.queue_name)
        if job_id is None:
            if not self.queue.blocking:
                time.sleep(POLL_SECONDS)  # nothing tells of a new row in SQLite
        elif self.drain_asked_at is not None:
            self.queue.put(self.queue_name, job_id)
        else:
            try:
                return self.store.claim(job_id, self.id)
            except Exception:  # the database, in any library's words; the message must not be lost with it
                self.queue.put(self.queue_name, job_id)
                raise
        return None

    def drain(self) -> None:
        """Claim nothing more; the running job gets a grace time and is then put back.

        Safe in a signal handler, which may have interrupted the holder of any lock: it only sets a flag.
        """
        if self.drain_asked_at is None:
            self.drain_asked_at = time.monotonic()

    def _prepare(self) -> None:
        """Find the device; where that fails, go on without, so that every job says why it cannot run."""
        try:
            self.info = self._find_device()
            log.info("worker %s takes jobs of queue %s on %s", self.id, self.queue_name, self.device)
        except StudioError as error:
            self._give_up(error, describe_device(None))
        except Exception:  # an ImportError, an OSError of a library, a driver's RuntimeError: with paths in their words
            log.exception("worker %s: torch does not start", self.id)
            self._give_up(ModelUnavailable(NO_TORCH), {"device": None})
        self.models = self._no_models()

    def _no_models(self) -> memory.LoadedModels:
        """The models of the present device, none of them loaded."""
        return memory.LoadedModels(self.device, reserve_bytes=self.config.model_memory_reserve)

    def _give_up(self, trouble: StudioError, info: dict[str, Any]) -> None:
        """Go on as a worker that can run no job."""
        self.trouble, self.info = trouble, info | {"trouble": trouble.message}
        log.error("worker %s can run no job of queue %s: %s", self.id, self.queue_name, trouble.message)

    def _find_device(self) -> dict[str, Any]:
        """Choose the device; what is known of it. The light queue needs none, and no torch."""
        if self.queue_name == "cpu":
            return {"device": "cpu"}
        self.device = choose_device(self.config.device, self.device_index)
        if self.config.require_gpu and self.device == "cpu":
            raise ModelUnavailable("This service requires a GPU (REQUIRE_GPU=true) and this worker has none.")
        return describe_device(self.device)

    def _others_can(self) -> bool:
        """Whether another worker of this queue lives and has what this one lacks: the jobs are for it, then."""
        alive = self.store.workers(alive_since=time.time() - self.config.silence_seconds)
        return any(w.queue == self.queue_name and w.info.get("device") for w in alive)

    def _run_claimed(self, job: Job) -> None:
        """Run one job to its end, whatever that is; nothing that a job does ends the worker."""
        self.job = job
        log.info("job %s: %s %s on song %s, attempt %d", job.id, job.model, job.variant, job.file_id, job.attempts)
        try:
            try:
                outcome = self._attempt(job)
            finally:  # before the job is seen to have ended: who removes the song then removes everything
                self.files.discard_staging(job.id, job.attempts)
        except (Drained, Paused):
            self._lay_aside(job)
        except TimedOut:
            self._finish(job, outcomes.timed_out(job, self.config.job_timeout_seconds))
        except Cancelled:
            self._finish(job, outcomes.cancelled(job))
        except Exception as error:  # whatever a model raises is the job's failure, and not the worker's
            self._finish(job, outcomes.failed(job, error))
        else:
            self._finish(job, outcome)
        finally:
            self.job = self.spool = None

    def _lay_aside(self, job: Job) -> None:
        """Pause a job that is to, put back any other; the attempt does not count, and what is finished is kept."""
        if self._insist(lambda: self.store.pause(job, refund=True)):
            log.info("job %s: paused", job.id)
        elif self._insist(lambda: self.store.put_back(job, refund=True)):
            self.queue.put(job.queue, job.id)
            log.info("job %s: put back", job.id)

    def _attempt(self, job: Job) -> Outcome:
        """Load the model if need be, run it, and move its files into place."""
        spec = models.spec(job.model)
        report = Reporter(self.store, job, self.stop_job, self.config.job_timeout_seconds)
        report.begin()
        if self.trouble:
            raise self.trouble.with_traceback(None)
        request, audio_path = self.inputs.prepare(job)
        staging = self.files.staging(job.id, job.attempts)
        wrapper = spec.wrapper(self.config.musicgen_engine)
        module = importlib.import_module(f"models.{wrapper}")

        def load() -> Any:
            began_at = time.monotonic()
            path = weights.fetch(wrapper, job.variant, self.config.models_dir, report.loading)
            if path is not None:  # analysis and karaoke have no weights, and nothing to wait for
                report.loading(0.0, f"Loading {job.model} {job.variant}...")
                self.models.make_room(weights.size_bytes(wrapper, job.variant, path))
            model = module.load(job.variant, self.device, path)
            report.loaded()
            if path is not None:
                seconds = time.monotonic() - began_at
                report.note(
                    lambda: self.store.tally(counters.MODEL_LOADS, seconds, model=job.model, variant=job.variant)
                )
            return model

        keeping: dict[str, Spool] = {}
        if spec.goes_on:
            keeping["spool"] = self.spool = Spool(self.files.spool(job.id), self.config.min_free_disk)
        result = self.models.run(
            (job.model, job.variant), load,
            lambda model: module.run(model, request, audio_path, staging, report, **keeping),
        )  # fmt: skip
        with suppress(Paused):  # it is done; what follows is paused in its place
            report(1.0)
        folder = result_folder(job.file_id, job.model, job.variant, job.id, job.attempts)
        self.files.publish(staging, folder)
        entries = self._whole(folder, result.files)
        return Outcome(
            COMPLETED, pipeline.closing_events(job, COMPLETED), pipeline.followers(job),
            folder, result.model_dump(mode="json") | _shown_folder(job.model, folder), entries,
            earlier_seconds=self.spool.earlier_seconds if self.spool else 0.0,
        )  # fmt: skip

    def _whole(self, folder: str, names: list[str]) -> list[dict[str, Any]]:
        """The files of a published result as rows have them; raises, and removes them all, when one is not whole."""
        try:
            return [
                {"filename": name, "size_bytes": audio.whole_size(self.files.result(folder, name))} for name in names
            ]
        except BaseException:
            self.files.remove_results(folder)
            raise

    def _finish(self, job: Job, outcome: Outcome) -> None:
        """Write how a job ended, tell the queue what follows."""
        following = self._insist(lambda: self.store.finish(job, outcome))
        if self.spool:  # not before: who waits for the database too long is ended, and another goes on from it
            self.spool.discard()
        ending = f"{outcome.status} {(outcome.error or {}).get('message', '')}".strip()
        if following is None:
            log.warning("job %s: %s, but was cancelled or taken from this worker, which counts", job.id, ending)
            if outcome.folder:
                self.files.remove_results(outcome.folder)
            self._insist(lambda: self.store.finish(job, outcomes.cancelled(job)))
            return
        log.info("job %s: %s", job.id, ending)
        for new, job_id in zip(outcome.then, following, strict=True):
            self.queue.put(new.queue, job_id)

    def _insist(self, write: Callable[[], T]) -> T:
        """Write how a job ended once the database can: work that is done is not thrown away because it is busy now.

        Who waits so for longer than `silence_seconds` is taken for dead, and then finds the job no longer its own.
        """
        while True:
            try:
                return write()
            except OperationalError:
                log.exception("worker %s: the database does not take the end of a job, trying again", self.id)
                time.sleep(RETRY_SECONDS)


def _shown_folder(model: str, folder: str) -> dict[str, str]:
    """Where a model's files are, as the contract has it in the results of two models."""
    name = {"demucs": "output_dir", "karaoke": "karaoke_dir"}.get(model)
    return {name: f"/outputs/{folder}"} if name else {}


def _watch_parent(worker: Worker) -> None:
    """Drain when the supervisor closes our standard input, which it also does by dying."""
    sys.stdin.read()
    worker.drain()


def new_worker_id() -> str:
    """Unique among hosts and times."""
    return f"{socket.gethostname()[:24]}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def _step_back() -> None:
    """Let who serves people at once, the web process and live transcription, go first when processors are short."""
    process = psutil.Process()
    process.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS if sys.platform == "win32" else max(process.nice(), NICENESS))


def main() -> int:
    """Run a worker until it is told to stop.

    Returns
    -------
    int
        Exit status: 0 after a drain, 1 when it could not run.
    """
    parser = argparse.ArgumentParser(description="Run the jobs of one queue.")
    parser.add_argument("--queue", choices=NAMES, default="gpu")
    parser.add_argument("--device-index", type=int, default=0, help="which of several GPUs")
    parser.add_argument("--id", default=None)
    parser.add_argument("--supervised", action="store_true", help="end when standard input closes")
    options = parser.parse_args()
    try:
        config = Config.from_environment()
    except InvalidInput as error:
        sys.exit(error.message)
    configure_logging(config.log_format, config.log_level)
    _step_back()
    worker_id = options.id or new_worker_id()
    try:
        config.make_folders()
        keep_compiled_apart(config.output_folder, f"{options.queue}{options.device_index}")
        worker = Worker(config, options.queue, worker_id, options.device_index)
        for name in ("SIGTERM", "SIGINT"):
            # A handler may only set flags: the model that it interrupts may hold any lock.
            signal.signal(getattr(signal, name), lambda *_: worker.drain())
        if options.supervised:
            threading.Thread(target=_watch_parent, args=(worker,), daemon=True).start()
        worker.run()
    except InvalidInput as error:
        log.critical("%s", error.message)
        return 1
    except Exception:  # the interpreter would print it too, but not as LOG_FORMAT wants it
        log.exception("worker %s ends", worker_id)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
