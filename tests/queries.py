"""What is asked of a database."""

import threading
from typing import Any

from sqlalchemy import Engine, event


def asked_here(engine: Engine) -> list[tuple[str, Any]]:
    """A list that grows with each statement and its values that the calling thread executes from now on.

    An app asks the same database from threads of its own, too: for new events, for instance.
    """
    here, asked = threading.get_ident(), []

    def note(_connection: Any, _cursor: Any, statement: str, values: Any, *_more: Any) -> None:
        if threading.get_ident() == here:
            asked.append((statement, values))

    event.listen(engine, "before_cursor_execute", note)
    return asked
