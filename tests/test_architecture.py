"""Which room may know which: imports are read from the source, and a web process is asked what it has loaded."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = {  # what each room may import of ours
    "errors": set(),
    "logs": set(),
    "processes": set(),
    "connections": set(),
    "async_mode": set(),
    "api_keys": {"errors"},
    "config": {"errors", "async_mode"},
    "models": {"models", "errors", "processes"},
    "storage": {"storage", "errors"},
    "jobs": {"jobs", "models", "storage", "errors", "logs", "config", "processes"},
    "sockets": {"sockets", "jobs", "storage", "errors", "logs", "api_keys"},
    "routes": {"routes", "jobs", "models", "storage", "errors", "logs", "api_keys"},
    "app": {"routes", "sockets", "jobs", "storage", "errors", "logs", "config", "async_mode", "api_keys",
            "connections"},
    "demo": set(),  # a client: it knows what the service answers, and nothing of what is behind it
    "training": {"training", "models"},  # and nobody knows it: it makes weights, and is no part of the service
}
HEAVY = {
    "torch", "torchaudio", "numpy", "scipy", "librosa", "soundfile", "numba", "sklearn", "transformers", "accelerate",
    "whisper", "demucs", "diffq", "matplotlib", "av", "audiocraft",
}  # fmt: skip
NEVER_LOADED = ("torch", "numpy", "librosa", "scipy", "transformers", "whisper", "demucs", "matplotlib", "av",
                "flask_limiter")  # fmt: skip
WEB = {"flask", "flask_cors", "flask_limiter", "flask_openapi3", "flask_socketio", "socketio", "werkzeug"}
DATABASE = {"sqlalchemy", "sqlite3", "huey", "redis"}
SERVERS = {"eventlet", "gevent"}
READS_CONFIG = {("app.py", "<module>"), ("jobs/worker.py", "main"), ("jobs/live_worker.py", "main"),
                ("models/weights.py", "main"), ("api_keys.py", "_adopt")}  # fmt: skip
EMPTY_NAMES = {"util", "utils", "helper", "helpers", "manager", "base", "common", "misc"}


@dataclass(frozen=True)
class Import:
    """One import: the module's first name, where it stands, and the function around it."""

    name: str
    file: str
    line: int
    function: str  # "<module>" at the top

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.name} in {self.function}"


@cache
def sources() -> list[Path]:
    """Every source file of the product and of what makes its weights."""
    return sorted(path for room in ROOMS for path in [*ROOT.glob(f"{room}.py"), *(ROOT / room).rglob("*.py")])


def room(file: str) -> str:
    """The room a file is in."""
    return file.split("/")[0].removesuffix(".py")


def name_of(path: Path) -> str:
    """A file as messages show it."""
    return path.relative_to(ROOT).as_posix()


@cache
def trees() -> dict[str, ast.Module]:
    """Every source file, parsed."""
    return {name_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in sources()}


@cache
def imports() -> list[Import]:
    """Every import that runs; those for annotations alone do not."""
    return [found for file, tree in trees().items() for found in _imports(tree, file, "<module>")]


def _imports(node: ast.AST, file: str, function: str) -> Iterator[Import]:
    """Imports below a node."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name.split(".")[0], file, child.lineno, function) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"{file}:{child.lineno} imports relatively"
            yield Import((child.module or "").split(".")[0], file, child.lineno, function)
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _imports(child, file, child.name if function == "<module>" else function)
        elif not _for_annotations(child):
            yield from _imports(child, file, function)


def _for_annotations(node: ast.AST) -> bool:
    """Whether a node is `if TYPE_CHECKING:`."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def show(found: list[Import]) -> str:
    """Offending imports, one to a line."""
    return "\n".join(map(str, found))


def test_the_walk_sees_every_room_and_what_it_imports() -> None:
    assert {room(each.file) for each in imports()} == set(ROOMS) - {"errors"}
    assert ("torch", "models/demucs.py") in {(each.name, each.file) for each in imports()}
    assert not [path for path in ROOT.glob("*.py") if path.stem not in ROOMS], "a module that belongs to no room"


def test_rooms_know_only_rooms_below_them() -> None:
    wrong = [i for i in imports() if i.name in ROOMS and i.name not in ROOMS[room(i.file)]]
    assert not [i for i in wrong if (i.file, i.function) not in READS_CONFIG], show(wrong)


def test_errors_import_nothing() -> None:
    assert not [i for i in imports() if i.file == "errors.py"]


def test_models_know_no_web_and_no_database() -> None:
    wrong = [i for i in imports() if room(i.file) == "models" and i.name in WEB | DATABASE | SERVERS]
    assert not wrong, show(wrong)


def test_storage_and_jobs_know_no_web() -> None:
    wrong = [i for i in imports() if room(i.file) == "storage" and i.name in WEB | SERVERS]
    assert not wrong, show(wrong)
    wrong = [i for i in imports() if room(i.file) == "jobs" and i.name in WEB | SERVERS]
    assert {(i.file, i.name) for i in wrong} <= {("jobs/emitter.py", "socketio")}, show(wrong)


def test_heavy_imports_sit_inside_functions_of_models() -> None:
    heavy = [i for i in imports() if i.name in HEAVY and room(i.file) != "training"]
    wrong = [i for i in heavy if i.function == "<module>" or room(i.file) != "models"]
    assert not wrong, show(wrong)


def test_only_async_mode_imports_the_server() -> None:
    found = [i for i in imports() if i.name in SERVERS]
    assert {i.file for i in found} == {"async_mode.py"}, show(found)


def test_only_entry_points_read_the_settings() -> None:
    found = {(file, function) for file, function, call in _attributes() if call == "from_environment"}
    assert found == READS_CONFIG
    readers = {file for file, _, name in _attributes() if name in ("environ", "getenv", "putenv")}
    # The environment goes to children (processes, demo), a live worker finds its token in it, Numba is told its folder
    # by it (compiled), weights looks for the caches of libraries, eventlet is set up through it, a WSGI request has an
    # environ of its own.
    handed = {"processes.py", "demo.py", "jobs/live_worker.py", "jobs/compiled.py"}
    assert readers <= {*handed, "config.py", "models/weights.py", "async_mode.py", "routes/requests.py",
                       "routes/keys.py", "sockets/keys.py"}


def _attributes() -> Iterator[tuple[str, str, str]]:
    """File, outermost function and name of everything written as `x.name`."""
    for file, tree in trees().items():
        for top in tree.body:
            function = top.name if isinstance(top, ast.FunctionDef) else "<module>"
            for node in ast.walk(top):
                if isinstance(node, ast.Attribute):
                    yield file, function, node.attr


def test_files_are_named_by_what_they_hold() -> None:
    tests = [*(ROOT / "tests").glob("*.py"), *(ROOT / "bench").glob("*.py")]
    assert not [name_of(path) for path in [*sources(), *tests] if EMPTY_NAMES.intersection(path.stem.split("_"))]


WEB_PROCESS = """
import sys
from pathlib import Path
import async_mode
async_mode.patch(sys.argv[1])
from app import create_app
from config import Config

folder = Path(sys.argv[2])
config = Config(upload_folder=folder / "uploads", output_folder=folder / "outputs", async_mode=sys.argv[1],
                start_workers=False)
app = create_app(config)
app.extensions["background"].start()
client = app.test_client()
for path in ("/health", "/gpu-status", "/models", "/models/whisper", "/openapi.json", "/docs", "/"):
    assert client.get(path).status_code == 200, path
with Path(sys.argv[3]).open("rb") as file:
    song = client.post("/upload", data={"file": (file, "a.wav")})
assert song.status_code == 200, song.text
assert client.get("/status/" + song.json["file_id"]).json["status"] == "uploaded"
assert client.post("/process/demucs/" + song.json["file_id"], json={"shifts": 2}).status_code == 503
print(*sys.modules)
"""


@pytest.mark.parametrize("mode", ["eventlet", "threading"])
def test_a_web_process_never_loads_what_only_models_need(mode: str, tmp_path: Path, tone: Path) -> None:
    command = [sys.executable, "-c", WEB_PROCESS, mode, str(tmp_path), str(tone)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    loaded = set(ran.stdout.split())
    assert {"flask", "models.audio"} <= loaded
    assert ("eventlet" in loaded) == (mode == "eventlet")
    assert not loaded.intersection(NEVER_LOADED)
