"""How request bodies are read: JSON or form alike, uploads straight to disk, half ones removed."""

import json
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from flask import Request, current_app
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import BadRequest
from werkzeug.utils import cached_property

from errors import InvalidInput
from storage.files import Arriving

MAX_BODY_BYTES = 1024 * 1024  # of a body that is read into memory; files are streamed


class StudioRequest(Request):
    """Flask's request, with uploads streamed to their final disk and bodies that may be forms."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.incoming: list[Arriving] = []
        if self.mimetype != "multipart/form-data":
            self.max_content_length = MAX_BODY_BYTES
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            self.environ["wsgi.input_terminated"] = True  # so it is with every server, but eventlet does not say so

    @cached_property
    def args(self) -> "MultiDict[str, str]":
        """The query's fields.

        Raises
        ------
        InvalidInput
            When they are not UTF-8.
        """
        try:
            return super().args
        except UnicodeDecodeError as error:
            raise InvalidInput("The query is not valid UTF-8.") from error

    def _load_form_data(self) -> None:
        """Werkzeug's hook that reads a form; what follows parses every field as JSON, which must not overflow."""
        super()._load_form_data()
        for name, text in self.form.items(multi=True):
            try:
                json.loads(text)
            except json.JSONDecodeError:
                continue  # plain text, then
            except (RecursionError, ValueError) as error:
                raise InvalidInput(f"{name}: too deeply nested, or a number of too many digits.") from error

    def _get_file_stream(self, total_content_length: int | None, content_type: str | None,
                         filename: str | None = None, content_length: int | None = None) -> IO[bytes]:  # fmt: skip
        """Werkzeug's hook for where an uploaded file goes; raises StorageFull when there is too little room for it."""
        files = current_app.extensions["studio"].files
        files.check_room(total_content_length or 0)
        self.incoming.append(files.open_incoming(files.incoming_upload()))
        return self.incoming[-1]

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:
        """The body's fields: a JSON object, a form with its files (which are then refused), or nothing at all.

        Raises
        ------
        InvalidInput
            When the body is JSON that does not parse, or not an object.
        RequestEntityTooLarge
            When the body, which is not a file, is larger than MAX_BODY_BYTES.
        """
        if self.mimetype in ("multipart/form-data", "application/x-www-form-urlencoded"):
            return {**self.form.to_dict(), **self.files.to_dict()}
        if not self.get_data(cache=True):
            return {}
        try:
            body = super().get_json(force=True, silent=False, cache=cache)
        except (BadRequest, RecursionError) as error:
            raise InvalidInput("The body is not valid JSON.") from error
        if not isinstance(body, dict):
            raise InvalidInput(f"The body must be a JSON object, not {type(body).__name__}.")
        return body

    def remove_incoming(self) -> None:
        """Remove uploads that were not moved into place, however the request ended."""
        for file in self.incoming:
            with suppress(OSError):  # a full disk does not take the last of it
                file.close()  # or its room is not free yet
            Path(file.name).unlink(missing_ok=True)
