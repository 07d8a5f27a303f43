"""The service: `create_app(config)` wires the rooms together; `python app.py` serves and supervises.

Read from the top, a script's first act is to patch the standard library for its server: whatever is imported before
that would keep the blocking versions.
"""

import sys

import async_mode
from config import Config
from errors import InvalidInput

if __name__ == "__main__":
    try:
        CONFIG = Config.from_environment()
        async_mode.patch(CONFIG.async_mode)
    except InvalidInput as error:
        sys.exit(error.message)
    except ModuleNotFoundError as error:
        sys.exit(f"ASYNC_MODE={CONFIG.async_mode!r} needs the package {error.name}: pip install {error.name}.")

import ctypes
import logging
import platform
import re
import signal
import socket
import threading
import time
import uuid
from dataclasses import dataclass
from functools import partial
from urllib.parse import quote

from flask import Response, g, request
from flask_cors import CORS
from flask_openapi3 import Info, OpenAPI

import sockets.keys
import sockets.live
import sockets.progress
from api_keys import KeyRing
from connections import Door, most_connections
from jobs.counters import WORKER_RESTARTS
from jobs.courier import Courier
from jobs.emitter import redis_publisher
from jobs.live import LiveService
from jobs.queue import Queue
from jobs.retention import Retention
from jobs.service import JobService
from jobs.store import JobStore
from jobs.supervisor import Supervisor
from jobs.sweeper import Sweeper
from jobs.tail import Tail
from jobs.webhooks import Webhooks
from logs import configure_logging, request_id
from routes import (
    analyze,
    cleanup,
    download,
    errors,
    generate,
    headers,
    health,
    keys,
    limits,
    metrics,
    models,
    pages,
    process,
    songs,
    statistics,
    status,
    transcribe,
    upload,
)
from routes import jobs as jobs_routes
from routes.context import Studio
from routes.requests import StudioRequest
from sockets import socketio
from storage.database import Database
from storage.files import Files
from storage.songs import Songs

VERSION = "0.1.0"
FORM_BYTES = 1024 * 1024  # what a multipart form may add to the file itself
PING_SECONDS = 5.0  # between pings, and for an answer: who hears none any more knows that the other side is gone
SOCKET_BYTES = 16 * 1024 * 1024  # of one Socket.IO message; a larger one ends the connection
M_ARENA_MAX = -8  # of mallopt(3)
WATCH_SECONDS = 0.2  # between looks at whether all workers have ended
SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
BLUEPRINTS = (
    health, models, upload, process, analyze, generate, transcribe, download, status, cleanup, jobs_routes, songs,
    statistics, metrics, keys,
)  # fmt: skip

log = logging.getLogger("studio")


@dataclass(frozen=True)
class Background:
    """What runs beside the requests: the tail of events, the supervisor of workers, the courier of webhooks."""

    tail: Tail
    supervisor: Supervisor
    courier: Courier

    def start(self) -> None:
        """Begin to follow events, to keep workers alive and to deliver webhooks."""
        self.tail.start()
        self.supervisor.start()
        self.courier.start()


def create_app(config: Config) -> OpenAPI:
    """Wire the rooms together.

    Parameters
    ----------
    config : Config

    Returns
    -------
    OpenAPI
        A Flask app; `app.extensions["background"].start()` brings it to life.

    Raises
    ------
    InvalidInput
        When settings cannot be used: names them.
    """
    ring = KeyRing.parse(config.api_keys)
    app = OpenAPI(
        __name__, static_folder="static", doc_ui=False, info=Info(title="Studio backend", version=VERSION),
        validation_error_status=400, validation_error_callback=errors.raise_invalid_input,
        security_schemes=keys.SCHEMES if ring else {}, openapi_extensions=keys.description(ring),
    )  # fmt: skip
    app.request_class = StudioRequest
    app.extensions["keys"] = ring
    app.config["MAX_CONTENT_LENGTH"] = config.max_content_length + FORM_BYTES
    app.json.sort_keys = app.json.ensure_ascii = False  # type: ignore[attr-defined]
    _build(app, config)
    for module in BLUEPRINTS:
        app.register_api(module.bp)
    app.register_blueprint(pages.bp)
    errors.register(app)
    app.before_request(_begin_request)
    app.before_request(keys.identify)
    limits.register(app, config.rate_limit, config.upload_rate_limit, config.trusted_proxies, config.redis_url)
    keys.register(app)
    app.after_request(_end_request)
    app.extensions["metrics"] = metrics.Metrics(app.extensions["studio"])
    app.after_request(app.extensions["metrics"].note)
    app.teardown_request(_clean_request)
    origins = [origin.strip() for origin in config.cors_origins.split(",")]
    CORS(app, origins=origins, expose_headers=["X-Request-ID", "Location", "Retry-After", "Content-Disposition"])
    socketio.init_app(
        app, async_mode=config.async_mode, cors_allowed_origins="*" if origins == ["*"] else origins,
        message_queue=config.redis_url or None, max_http_buffer_size=SOCKET_BYTES,
        ping_interval=PING_SECONDS, ping_timeout=PING_SECONDS,
        async_handlers=False,  # a client's events in their order: its frames of sound must not overtake each other
        always_connect=True,  # what is said to it as it connects comes after the word that it is
    )  # fmt: skip
    sockets.live.answer_early()
    sockets.keys.refuse_strangers(ring)
    headers.register(app)
    return app


def _build(app: OpenAPI, config: Config) -> None:
    """The rooms behind the routes."""
    database = Database(config.database)
    store = JobStore(database, redis_publisher(config.redis_url) if config.redis_url else None)
    queue = Queue(config.redis_url, config.queue_file)
    tail = Tail(store, None if config.redis_url else sockets.progress.emit_event)
    files = Files(config.upload_folder, config.output_folder, config.min_free_disk)
    retention = Retention(database, files, config.retention_hours)
    sweeper = Sweeper(store, queue, config.silence_seconds, config.max_attempts, files, retention)
    supervisor = Supervisor(config, store, sweeper)
    database.create_tables()

    def worker_expected(queue_name: str) -> bool:
        alive = store.workers(alive_since=time.time() - config.silence_seconds)
        return supervisor.expects(queue_name) or any(worker.queue == queue_name for worker in alive)

    library = Songs(database)
    files.remove_abandoned(lambda file_id: library.get(file_id) is not None)
    webhooks = Webhooks(store, config.webhook_secret, config.webhook_private)
    jobs = JobService(store, queue, library, files, tail, worker_expected, config.cancel_seconds,
                      config.max_queued_jobs, webhooks)  # fmt: skip
    app.extensions["background"] = Background(tail, supervisor, Courier(webhooks))
    count_death = partial(store.tally, WORKER_RESTARTS, queue="live")
    app.extensions["live"] = LiveService(config, sockets.live.deliver, count_death)
    app.extensions["studio"] = Studio(
        jobs=jobs, models_dir=config.models_dir, musicgen_engine=config.musicgen_engine,
        max_upload_bytes=config.max_content_length,
        max_duration_seconds=config.max_duration_seconds, silence_seconds=config.silence_seconds,
        version=VERSION, draining=lambda: supervisor.draining,
    )  # fmt: skip


def _begin_request() -> None:
    """Give the request an id: the client's own when it is sane."""
    given = request.headers.get("X-Request-ID", "")
    request_id.set(given if SANE_REQUEST_ID.fullmatch(given) else uuid.uuid4().hex)
    g.began_at = time.perf_counter()


def _end_request(response: Response) -> Response:
    """Echo the request's id and write its log line."""
    response.headers["X-Request-ID"] = request_id.get()
    milliseconds = (time.perf_counter() - g.get("began_at", time.perf_counter())) * 1000
    level = logging.DEBUG if request.path.startswith(("/static", "/health", "/metrics")) else logging.INFO
    log.log(level, "%s %s %d %.1f ms", request.method, quote(request.path), response.status_code, milliseconds)
    return response


def _clean_request(_error: BaseException | None) -> None:
    """Remove what a failed upload left."""
    if isinstance(request, StudioRequest):
        request.remove_incoming()


def serve(config: Config) -> int:
    """Serve until told to stop, then let the workers finish or put back what they run.

    Returns
    -------
    int
        Exit status: 0 after a drain, 1 when the server could not run.
    """
    configure_logging(config.log_format, config.log_level)
    _share_one_heap()
    try:
        _try_port(config)
    except OSError as error:
        log.critical("cannot serve at %s: %s", _address(config), error)
        return 1
    try:
        config.make_folders()
        app = create_app(config)
    except InvalidInput as error:
        log.critical("%s", error.message)
        return 1
    background: Background = app.extensions["background"]
    supervisor = background.supervisor
    for name in ("SIGTERM", "SIGINT"):
        signal.signal(getattr(signal, name), lambda *_: supervisor.drain())
    background.start()
    server = threading.Thread(target=_listen, args=(app, config), name="server", daemon=True)
    server.start()
    print(f"The page is at {_address(config)}/test_progress.html, the API's documentation at {_address(config)}/docs",
          flush=True)  # fmt: skip
    while server.is_alive() and not supervisor.stopped.wait(WATCH_SECONDS):
        pass  # in short steps, since on Windows an endless wait hears no Ctrl-C
    failed = not server.is_alive()
    supervisor.drain()
    supervisor.stopped.wait()
    app.extensions["live"].stop()
    background.courier.stop()
    background.tail.stop()
    log.info("stopped")
    return 1 if failed else 0


def _share_one_heap() -> None:
    """Let all threads allocate from one heap: glibc opens one for each, and keeps what was freed there."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def _listen(app: OpenAPI, config: Config) -> None:
    """Answer requests; this ends only by an error."""
    per_client = 0 if config.trusted_proxies else config.max_connections_per_client  # a proxy is not one client
    door = Door(per_client, most_connections(), limits.network)
    socketio.run(app, host=config.host, port=config.port, **async_mode.server_options(config.async_mode, door))


def _try_port(config: Config) -> None:
    """Raise OSError when someone has the port: eventlet would share it, and each would get some of the requests."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    socket.create_server((config.host, config.port), family=family).close()


def _address(config: Config) -> str:
    """Where the service is found."""
    host = f"[{config.host}]" if ":" in config.host else config.host
    return f"http://{host}:{config.port}"


if __name__ == "__main__":
    sys.exit(serve(CONFIG))
