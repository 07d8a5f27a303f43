"""Settings: every knob parses, says what is wrong with it, and stands in the README."""

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import app as web
import config
from config import Config
from errors import InvalidInput
from tests.serving import free_port

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS_RELY_ON = {
    "HOST": "127.0.0.1", "PORT": 5000, "UPLOAD_FOLDER": Path("uploads"), "OUTPUT_FOLDER": Path("outputs"),
    "DATABASE_URL": "", "REDIS_URL": "", "MODELS_DIR": None, "DEVICE": "auto", "REQUIRE_GPU": False,
    "ASYNC_MODE": "eventlet", "MAX_CONTENT_LENGTH": 100 * 1024 * 1024, "API_KEYS": "", "LOG_FORMAT": "text",
}  # fmt: skip


def test_defaults_and_names_that_scripts_rely_on() -> None:
    settings = Config.from_environment({})
    assert {name: getattr(settings, name.lower()) for name in SCRIPTS_RELY_ON} == SCRIPTS_RELY_ON
    assert settings == Config()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("PORT", "8000", 8000),
        ("HOST", "0.0.0.0", "0.0.0.0"),
        ("UPLOAD_FOLDER", "/data/песме и друго", Path("/data/песме и друго")),
        ("MODELS_DIR", "weights", Path("weights")),
        ("REQUIRE_GPU", "true", True),
        ("REQUIRE_GPU", "1", True),
        ("REQUIRE_GPU", "Yes", True),
        ("REQUIRE_GPU", "false", False),
        ("START_WORKERS", "0", False),
        ("START_WORKERS", "no", False),
        ("SILENCE_SECONDS", "1.5", 1.5),
        ("MAX_CONTENT_LENGTH", "1", 1),
        ("ASYNC_MODE", "gevent", "gevent"),
        ("DEVICE", "CUDA:10", "cuda:10"),
        ("DEVICE", "mps", "mps"),
        ("LOG_FORMAT", "json", "json"),
        ("LOG_LEVEL", "debug", "DEBUG"),
        ("PORT", "", 5000),
        ("MODELS_DIR", "", None),
    ],
)
def test_a_variable_sets_its_knob_and_an_empty_one_does_not(name: str, text: str, value: Any) -> None:
    settings = Config.from_environment({name: text})
    assert settings == dataclasses.replace(Config(), **{name.lower(): value})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PORT", "http"), ("PORT", "5000.5"), ("PORT", "-1"), ("PORT", "65536"),
        ("REQUIRE_GPU", "maybe"), ("START_WORKERS", "2"),
        ("MAX_CONTENT_LENGTH", "100 MB"), ("MAX_CONTENT_LENGTH", "0"), ("MODEL_MEMORY_RESERVE", "-1"),
        ("MAX_DURATION_SECONDS", "0"), ("MAX_DURATION_SECONDS", "3 h"), ("MAX_DURATION_SECONDS", "nan"),
        ("JOB_TIMEOUT_SECONDS", "-1"), ("JOB_TIMEOUT_SECONDS", "never"),
        ("RETENTION_HOURS", "-1"), ("RETENTION_HOURS", "a day"), ("RETENTION_HOURS", "nan"),
        ("MIN_FREE_DISK", "-1"), ("MIN_FREE_DISK", "1 GB"), ("MIN_FREE_DISK", "1.5"),
        ("MAX_QUEUED_JOBS", "0"), ("MAX_QUEUED_JOBS", "many"), ("MAX_QUEUED_JOBS", "1.5"),
        ("RATE_LIMIT", "-1"), ("RATE_LIMIT", "60 per minute"), ("UPLOAD_RATE_LIMIT", "1.5"), ("TRUSTED_PROXIES", "-1"),
        ("MAX_CONNECTIONS_PER_CLIENT", "-1"), ("MAX_CONNECTIONS_PER_CLIENT", "few"),
        ("MAX_ATTEMPTS", "0"), ("SILENCE_SECONDS", "soon"), ("SILENCE_SECONDS", "nan"), ("HEARTBEAT_SECONDS", "0"),
        ("HEARTBEAT_SECONDS", "-2"), ("CANCEL_SECONDS", "-1"), ("DRAIN_SECONDS", "-0.5"),
        ("DEVICE", "gpu"), ("DEVICE", "cpu:0"), ("DEVICE", "cuda:"), ("DEVICE", "cuda:N"), ("DEVICE", "cuda:one"),
        ("ASYNC_MODE", "twisted"), ("LOG_FORMAT", "xml"), ("LOG_LEVEL", "loud"),
    ],
)  # fmt: skip
def test_a_bad_value_is_refused_with_its_variable(name: str, text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Config.from_environment({name: text})
    assert caught.value.message.startswith(f"{name}={text!r} ")


@pytest.mark.parametrize("command", [["app.py"], ["-m", "jobs.worker"]])
def test_the_service_says_what_is_wrong_and_ends(command: list[str]) -> None:
    environment = os.environ | {"PORT": "http"}
    ran = subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True,
                         timeout=60, check=False)  # fmt: skip
    assert ran.returncode == 1
    assert ran.stderr.startswith("PORT='http' ")
    assert "Traceback" not in ran.stderr


WEB, WORKER = ["app.py"], ["-m", "jobs.worker", "--queue", "cpu"]


@pytest.mark.parametrize(("command", "name", "value", "words"), [
    (WEB, "DATABASE_URL", "studio.db", "is not a database's URL that SQLAlchemy knows"),
    (WORKER, "DATABASE_URL", "nosql://me:secret@h/d", "is not a database's URL that SQLAlchemy knows"),
    (WEB, "DATABASE_URL", "postgresql+psycopg2://me:secret@h/d", "needs the package psycopg2-binary"),
    (WORKER, "DATABASE_URL", "postgresql://me:secret@h/d", "needs the package psycopg"),
    (WEB, "DATABASE_URL", "sqlite:///{a_file}", "cannot be used: file is not a database"),
    (WORKER, "DATABASE_URL", "sqlite:///{a_file}", "cannot be used: file is not a database"),
    (WEB, "OUTPUT_FOLDER", "{a_file}/outputs", "cannot write there: "),
    (WEB, "API_KEYS", "alice:secret", "entry 1 cannot be read"),
    (WORKER, "UPLOAD_FOLDER", "{a_file}/uploads", "cannot write there: "),
    (WEB, "WEBHOOK_SECRET", "my secret", "must be whsec_ and 24 to 64 bytes in base64"),
])  # fmt: skip
def test_a_setting_that_cannot_be_used_is_said_in_one_line(
    command: list[str], name: str, value: str, words: str, tmp_path: Path
) -> None:
    a_file = tmp_path / "file"
    a_file.write_bytes(b"not a database" * 100)
    folders = {"UPLOAD_FOLDER": str(tmp_path / "uploads"), "OUTPUT_FOLDER": str(tmp_path / "outputs")}
    environment = os.environ | folders | {name: value.format(a_file=a_file), "PORT": str(free_port())}
    ran = subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True,
                         timeout=60, check=False)  # fmt: skip
    assert ran.returncode == 1
    (line,) = ran.stderr.splitlines()
    assert name in line
    assert words in line
    assert "secret" not in line


@pytest.mark.parametrize("mode", ["gevent", "eventlet"])
def test_a_server_that_is_not_installed_is_named(mode: str, tmp_path: Path) -> None:
    (tmp_path / f"{mode}.py").write_text(f"raise ModuleNotFoundError('No module named {mode}', name='{mode}')")
    environment = os.environ | {"ASYNC_MODE": mode, "PYTHONPATH": str(tmp_path)}
    ran = subprocess.run([sys.executable, "app.py"], cwd=ROOT, env=environment, capture_output=True, text=True,
                         timeout=60, check=False)  # fmt: skip
    assert (ran.returncode, ran.stderr) == (1, f"ASYNC_MODE='{mode}' needs the package {mode}: pip install {mode}.\n")


@pytest.mark.parametrize(("host", "address"), [("::1", "http://[::1]:5000"), ("127.0.0.1", "http://127.0.0.1:5000")])
def test_the_address_that_is_shown_can_be_opened(host: str, address: str) -> None:
    assert web._address(Config(host=host)) == address


def test_the_file_env_is_read_and_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text('PORT=6001\nHOST="0.0.0.0"  # everywhere\nLOG_FORMAT=\nDEVICE=cuda:1\nOTHER\n')
    monkeypatch.chdir(tmp_path)
    for name in ("HOST", "LOG_FORMAT", "DEVICE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PORT", "6002")
    settings = Config.from_environment()
    assert (settings.port, settings.host, settings.log_format, settings.device) == (6002, "0.0.0.0", "text", "cuda:1")


def test_a_child_process_gets_the_same_settings() -> None:
    changed = Config(
        host="::1", port=1, upload_folder=Path("a b"), output_folder=Path("/o"), database_url="sqlite://",
        redis_url="redis://h", models_dir=Path("m"), device="mps", require_gpu=True, musicgen_engine="audiocraft",
        async_mode="threading", live_workers=2, live_sessions=3, live_idle_seconds=9.0, live_variant="tiny",
        api_keys="alice:" + "0" * 64,
        max_content_length=5, cors_origins="http://a", log_format="json", log_level="ERROR",
        max_duration_seconds=8.0, max_queued_jobs=6, rate_limit=4, upload_rate_limit=3, trusted_proxies=1,
        max_connections_per_client=9,
        job_timeout_seconds=60.0, retention_hours=24.0, min_free_disk=0,
        start_workers=False, model_memory_reserve=0, heartbeat_seconds=0.25, silence_seconds=0.5, max_attempts=9,
        cancel_seconds=0.75, drain_seconds=7.0, webhook_secret="whsec_", webhook_private=True,
    )  # fmt: skip
    unchanged = [k.name for k in dataclasses.fields(Config) if getattr(changed, k.name) == k.default]
    assert not unchanged, "give these a value of their own above"
    for settings in (changed, Config()):
        assert Config.from_environment(settings.environment()) == settings


def test_settings_do_not_change_once_read() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().port = 1  # type: ignore[misc]


def test_the_database_is_a_file_beside_the_results_unless_named() -> None:
    assert Config(output_folder=Path("/data/out")).database == "sqlite:////data/out/studio.db"
    assert Config(output_folder=Path("out")).database == f"sqlite:///{Path('out').absolute().as_posix()}/studio.db"
    assert Config(database_url="postgresql://h/d").database == "postgresql://h/d"


def test_every_knob_has_its_unit_and_one_line_of_explanation() -> None:
    for knob in dataclasses.fields(Config):
        assert knob.metadata["unit"], knob.name
        assert re.fullmatch(r"[A-Za-z].{15,}\.", knob.metadata["what"]), knob.name


def test_the_readme_shows_the_table() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- settings: python config\.py -->\n(.*?)\n<!-- /settings -->", readme, re.DOTALL)
    assert found is not None
    assert found[1] == config.table()
    assert config.table().count("\n") == len(dataclasses.fields(Config)) + 1


def test_both_environments_have_the_same_packages() -> None:
    """audiocraft's environment differs in torch, and in what it has besides."""
    pins = [
        {pin for pin in (ROOT / name).read_text().splitlines() if "==" in pin and not pin.startswith(("#", "torch"))}
        for name in ("requirements.txt", "requirements-audiocraft.txt")
    ]
    assert pins[0] < pins[1]
