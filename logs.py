"""Log lines, for people or as JSON; each carries the id of the request it belongs to."""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

request_id: ContextVar[str] = ContextVar("request_id", default="-")


@contextmanager
def on_behalf_of(request: str) -> Iterator[None]:
    """Let the log lines of a block carry the id of the request that they are about.

    Parameters
    ----------
    request : str
    """
    token = request_id.set(request)
    try:
        yield
    finally:
        request_id.reset(token)


class _RequestId(logging.Filter):
    """Puts the present request's id on every record."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True


class _Json(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "request_id": getattr(record, "request_id", "-"),
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure_logging(log_format: str, level: str) -> None:
    """Send every log line of this process to standard error.

    Parameters
    ----------
    log_format : str
        "text" or "json".
    level : str
        DEBUG, INFO, WARNING or ERROR.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_RequestId())
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s [%(request_id)s] %(message)s", "%H:%M:%S")
    handler.setFormatter(_Json() if log_format == "json" else text)
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    for noisy in ("numba", "matplotlib", "werkzeug", "engineio", "socketio", "urllib3", "filelock"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
