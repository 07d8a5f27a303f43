"""The parent of the workers: it and they mean the same by the same words."""

import os
from pathlib import Path

from tests.serving import Server


def test_relative_places_are_the_same_to_workers_wherever_it_is_started(
    tmp_path: Path, weights_dir: Path, tone: Path
) -> None:
    folder = tmp_path / "somewhere else"
    folder.mkdir()
    for ours in ("logs.py", "errors.py"):
        (folder / ours).write_text("raise SystemExit('a stranger of the same name')")
    relative = {"MODELS_DIR": os.path.relpath(weights_dir, folder), "DATABASE_URL": "sqlite:///rel.db",
                "UPLOAD_FOLDER": "up", "OUTPUT_FOLDER": "out"}  # fmt: skip
    server = Server(folder, weights_dir, **relative)
    server.started_in = folder
    server.start()
    file_id = server.upload(tone)["file_id"]
    answer = server.post(f"/process/demucs/{file_id}", output_format="wav")
    assert answer.status_code == 200, answer.text
    assert server.get(f"/download/{file_id}/vocals").ok
    assert (folder / "rel.db").exists()
    assert (folder / "out" / file_id).is_dir()
    assert server.stop() == 0
