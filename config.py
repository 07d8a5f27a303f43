"""Every knob of the service, in one frozen object read from the environment and `.env`.

`python config.py` prints the table that the README shows.
"""

import math
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, get_args

from async_mode import MODES
from errors import InvalidInput

MEBIBYTE = 1024 * 1024
MUSICGEN_ENGINES = ("transformers", "audiocraft")
LIVE_VARIANTS = ("tiny", "base", "small", "medium", "large", "turbo", "demo")
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
DEVICES = ("auto", "cpu", "cuda", "cuda:N", "mps")
BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def _knob(
    default: Any, unit: str, what: str, *, least: float = -math.inf, most: float = math.inf, choices: Sequence[str] = ()
) -> Any:
    """One field with its unit, its line of explanation, and what it may be."""
    metadata = {"unit": unit, "what": what, "least": least, "most": most, "choices": choices}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Config:
    """All settings. A field's environment variable is its name in capitals."""

    host: str = _knob("127.0.0.1", "address", "Where the web process listens; 0.0.0.0 for every interface.")
    port: int = _knob(5000, "port", "TCP port of the web process; 8000 is usual in production.", least=1, most=65535)
    upload_folder: Path = _knob(Path("uploads"), "folder", "Where uploaded songs are kept.")
    output_folder: Path = _knob(Path("outputs"), "folder", "Where results are kept.")
    database_url: str = _knob(
        "", "SQLAlchemy URL",
        "Songs, jobs and events; empty means studio.db (SQLite) in OUTPUT_FOLDER; "
        "PostgreSQL: pip install 'psycopg[binary]'.",
    )  # fmt: skip
    redis_url: str = _knob(
        "", "URL", "Queue and event fan-out over Redis, for several hosts; empty means SQLite on this host."
    )
    models_dir: Path | None = _knob(None, "folder", "Weights fetched ahead; looked in before the libraries' caches.")
    device: str = _knob("auto", "device", "auto, cpu, cuda, cuda:1, mps: where models run.", choices=DEVICES)
    require_gpu: bool = _knob(False, "true/false", "Refuse heavy work (503) on a machine without a GPU.")
    musicgen_engine: str = _knob(
        "transformers", "name", "What MusicGen runs on: transformers, or audiocraft (in an environment of its own).",
        choices=MUSICGEN_ENGINES,
    )  # fmt: skip
    async_mode: str = _knob(
        "eventlet", "name", "Server of the web process: eventlet, gevent (pip install gevent) or threading.",
        choices=MODES,
    )  # fmt: skip
    max_content_length: int = _knob(100 * MEBIBYTE, "bytes", "Largest upload that is accepted.", least=1)
    max_duration_seconds: float = _knob(
        10800.0, "seconds", "Longest song that is accepted; a longer one is refused (413).", least=1
    )
    max_queued_jobs: int = _knob(
        1000, "count", "Jobs that may wait in each queue (gpu, cpu); a request for one more is refused (429).", least=1
    )
    rate_limit: int = _knob(
        0, "requests a minute", "Of one client, but for health, metrics and pages; more is refused (429); 0: no limit.",
        least=0,
    )  # fmt: skip
    upload_rate_limit: int = _knob(
        0, "requests a minute", "Uploads and requests for jobs of one client; more is refused (429); 0: no limit.",
        least=0,
    )  # fmt: skip
    max_connections_per_client: int = _knob(
        200, "count", "Connections that one address may have open, unless TRUSTED_PROXIES is set; 0: no limit.", least=0
    )
    trusted_proxies: int = _knob(
        0, "count", "Proxies in front whose X-Forwarded-For is believed; else all who come by one are one client.",
        least=0,
    )  # fmt: skip
    api_keys: str = _knob(
        "", "NAME:HASH,…", "Who may use it, each what is its own: python -m api_keys new NAME; empty: everybody, all."
    )
    cors_origins: str = _knob("*", "origins", "Origins that may call from a browser, separated by commas.")
    log_format: str = _knob("text", "text/json", "Log lines for people or for machines.", choices=("text", "json"))
    log_level: str = _knob("INFO", "level", "DEBUG, INFO, WARNING or ERROR.", choices=LEVELS)
    start_workers: bool = _knob(True, "true/false", "Whether python app.py starts worker processes itself.")
    model_memory_reserve: int = _knob(
        1024 * MEBIBYTE, "bytes", "Device memory kept free; models not used lately leave when less would be left.",
        least=0,
    )  # fmt: skip
    heartbeat_seconds: float = _knob(2.0, "seconds", "How often a worker says that it lives.", least=0.01)
    silence_seconds: float = _knob(
        15.0, "seconds", "A worker silent for so long is given up and its job queued again.", least=0.01
    )
    max_attempts: int = _knob(
        3, "count", "How often a job is started before its worker's death is its failure.", least=1
    )
    job_timeout_seconds: float = _knob(
        86400.0, "seconds", "A job that runs longer fails, and what hangs loses its process; 0 for no limit.", least=0
    )
    min_free_disk: int = _knob(
        1024 * MEBIBYTE, "bytes", "Room that stays free where files live; uploads and jobs are refused before (507).",
        least=0,
    )  # fmt: skip
    retention_hours: float = _knob(
        0.0, "hours", "Songs leave so long after their upload and the end of their last job; 0 keeps them.", least=0
    )
    cancel_seconds: float = _knob(
        10.0, "seconds", "A cancelled or paused job that does not stop by then loses its process.", least=0
    )
    live_workers: int = _knob(1, "count", "Processes for live transcription, started at its first session.", least=1)
    live_sessions: int = _knob(8, "count", "Live sessions at once; more are told to come back.", least=1)
    live_idle_seconds: float = _knob(
        60.0, "seconds", "A live session that sends nothing for so long is ended.", least=0.1
    )
    live_variant: str = _knob(
        "base", "name", "Whisper's variant for live sessions that ask for none.", choices=LIVE_VARIANTS
    )
    webhook_secret: str = _knob(
        "", "secret", "Signs webhooks: whsec_ and 24 to 64 bytes in base64; empty: webhook_url is refused (409)."
    )
    webhook_private: bool = _knob(False, "true/false", "Whether webhooks may go to this host and private networks.")
    drain_seconds: float = _knob(
        20.0, "seconds", "Time running jobs get at shutdown before they are put back.", least=0
    )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> "Config":
        """Read the settings from `environ`, or from the process environment and the file `.env`.

        Parameters
        ----------
        environ : mapping of str to str, optional
            Instead of the process environment; no file is read then.

        Raises
        ------
        InvalidInput
            When a variable does not parse or is out of range; names it and what it takes.
        """
        if environ is None:
            from dotenv import dotenv_values

            environ = {k: v for k, v in dotenv_values(".env").items() if v is not None} | dict(os.environ)
        values = {}
        for knob in fields(cls):
            text = environ.get(knob.name.upper(), "")
            if text != "":
                values[knob.name] = _parse(knob, text)
        return cls(**values)

    def environment(self) -> dict[str, str]:
        """The settings as environment variables, to hand to a child process."""
        return {k.name.upper(): _text(getattr(self, k.name)) for k in fields(self)}

    def make_folders(self) -> None:
        """Make the folders of uploads and results where they are not there yet.

        Raises
        ------
        InvalidInput
            When nothing can be written there; names the variable.
        """
        for name in ("upload_folder", "output_folder"):
            folder: Path = getattr(self, name)
            try:
                folder.mkdir(parents=True, exist_ok=True)
                tempfile.TemporaryFile(dir=folder).close()
            except OSError as error:
                raise InvalidInput(f"{name.upper()}={str(folder)!r}: cannot write there: {error.strerror}.") from error

    @property
    def database(self) -> str:
        """The database's SQLAlchemy URL."""
        return self.database_url or f"sqlite:///{(self.output_folder / 'studio.db').absolute().as_posix()}"

    @property
    def queue_file(self) -> Path:
        """The queue's SQLite file, used when there is no Redis."""
        return self.output_folder / "queue.db"


def _parse(knob: Field[Any], text: str) -> Any:
    """The value of a knob from its text."""
    given, limits = f"{knob.name.upper()}={text!r}", knob.metadata
    try:
        value = _convert(knob, text)
    except (KeyError, ValueError) as error:
        wanted = f"one of {', '.join(limits['choices'])}" if limits["choices"] else f"a {limits['unit']} value"
        raise InvalidInput(f"{given} is not {wanted}.") from error
    if isinstance(value, int | float) and not limits["least"] <= value <= limits["most"]:
        raise InvalidInput(f"{given} is not between {limits['least']} and {limits['most']} ({limits['unit']}).")
    return value


def _convert(knob: Field[Any], text: str) -> Any:
    """A text as the knob's type; choices in any case, with any number for their :N."""
    if knob.metadata["choices"]:
        for choice in knob.metadata["choices"]:
            if re.fullmatch(choice.replace(":N", ":[0-9]+"), text.strip(), re.IGNORECASE):
                return text.strip().lower() if ":N" in choice else choice
        raise ValueError(text)
    kind: Any = (get_args(knob.type) or (knob.type,))[0]
    return BOOLEANS[text.strip().lower()] if kind is bool else kind(text)


def _text(value: Any) -> str:
    """A value as it is written in the environment."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def table() -> str:
    """The settings as a Markdown table: variable, default, unit, explanation."""
    rows = ["| variable | default | unit | what it does |", "|---|---|---|---|"]
    for knob in fields(Config):
        default = "" if knob.default is MISSING else _text(knob.default)
        shown = f"`{default}`" if default else ""
        rows.append(f"| `{knob.name.upper()}` | {shown} | {knob.metadata['unit']} | {knob.metadata['what']} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())
