"""How request bodies are read: JSON or form alike, uploads straight to disk, half ones removed."""

from pathlib import Path
from typing import IO, Any

from flask import Request, current_app
from werkzeug.exceptions import BadRequest

from errors import InvalidInput


class StudioRequest(Request):
    """Flask's request, with uploads streamed to their final disk and bodies that may be forms."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.incoming: list[Path] = []

    def _get_file_stream(self, total_content_length: int | None, content_type: str | None,
                         filename: str | None = None, content_length: int | None = None) -> IO[bytes]:  # fmt: skip
        """Werkzeug's hook for where an uploaded file goes."""
        path = current_app.extensions["studio"].files.incoming_upload()
        self.incoming.append(path)
        return path.open("w+b")

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:
        """The body's fields: a JSON object, a form, or nothing at all.

        Raises
        ------
        InvalidInput
            When the body is JSON that does not parse, or not an object.
        """
        if self.mimetype in ("multipart/form-data", "application/x-www-form-urlencoded"):
            return self.form.to_dict()
        if not self.get_data(cache=True):
            return {}
        try:
            body = super().get_json(force=True, silent=False, cache=cache)
        except BadRequest as error:
            raise InvalidInput("The body is not valid JSON.") from error
        if not isinstance(body, dict):
            raise InvalidInput(f"The body must be a JSON object, not {type(body).__name__}.")
        return body

    def remove_incoming(self) -> None:
        """Remove uploads that were not moved into place, however the request ended."""
        if not self.incoming:
            return
        for storage in self.files.values() if "files" in self.__dict__ else ():
            storage.close()
        for path in self.incoming:
            path.unlink(missing_ok=True)
