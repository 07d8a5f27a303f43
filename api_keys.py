"""API keys: who holds which, and how a request or a Socket.IO client gives one.

    python -m api_keys new NAME      a fresh key, shown once, and what to set for it
    python -m api_keys adopt NAME    what nobody owns (it was there before keys were set) becomes NAME's

A key is 256 bits of chance, so its SHA-256 tells nothing that could be guessed: slow hashes protect what people choose.
"""

import argparse
import hashlib
import hmac
import re
import secrets
import sys
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from werkzeug.http import parse_cookie

from errors import InvalidInput, StudioError

COOKIE = "studio_key"
PREFIX = "studio_"  # by which people, and scanners of sources, see what it is
KEY_BYTES = 32
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
HASH = re.compile(r"[0-9a-f]{64}")
ENTRY = "an entry is NAME:HASH as `python -m api_keys new NAME` prints it, entries are separated by commas"


class KeyRing:
    """The keys that a service accepts, by their hashes; without any it needs none.

    Parameters
    ----------
    keys : iterable of (str, str)
        Name and hash of each. A name may have several keys, so that one can take another's place.
    """

    def __init__(self, keys: Iterable[tuple[str, str]] = ()) -> None:
        self._keys = tuple(keys)

    @classmethod
    def parse(cls, text: str) -> "KeyRing":
        """The keys of `API_KEYS`.

        Parameters
        ----------
        text : str
            NAME:HASH, separated by commas; empty for none.

        Raises
        ------
        InvalidInput
            Says which entry is wrong, and shows nothing of it: it may be a key.
        """
        keys: list[tuple[str, str]] = []
        for number, entry in enumerate(text.split(",") if text.strip() else (), 1):
            name, _, digest = (part.strip() for part in entry.partition(":"))
            digest = digest.lower()
            if not NAME.fullmatch(name) or not HASH.fullmatch(digest):
                raise InvalidInput(f"API_KEYS: entry {number} cannot be read; {ENTRY}.")
            if any(known == digest and other != name for other, known in keys):
                raise InvalidInput(f"API_KEYS: entry {number} is the key of another name, too; make a key for each.")
            keys.append((name, digest))
        return cls(keys)

    def __bool__(self) -> bool:
        return bool(self._keys)

    @property
    def names(self) -> set[str]:
        """Who holds keys."""
        return {name for name, _ in self._keys}

    def name_of(self, key: str) -> str | None:
        """Who holds a key, None when nobody does; it takes as long whichever it is."""
        digest, found = hash_of(key), None
        for name, known in self._keys:
            if hmac.compare_digest(known, digest):
                found = name
        return found

    def identify(self, environ: Mapping[str, Any], auth: Any = None) -> str | None:
        """Who asks, None when no key was given or one that nobody holds.

        Parameters
        ----------
        environ : mapping
            Of the request, as WSGI has it.
        auth : object, optional
            What a Socket.IO client sends as it connects.
        """
        key = given(environ, auth)
        return None if key is None else self.name_of(key)


def given(environ: Mapping[str, Any], auth: Any = None) -> str | None:
    """The key that a request or a Socket.IO client gives, None when it gives none; as KeyRing.identify()."""
    scheme, _, token = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() == "bearer":  # any other is for the proxy in front
        return str(token).strip()
    if "HTTP_X_API_KEY" in environ:
        return str(environ["HTTP_X_API_KEY"]).strip()
    if isinstance(auth, dict) and isinstance(auth.get("api_key"), str):
        return str(auth["api_key"]).strip()
    return parse_cookie(environ.get("HTTP_COOKIE")).get(COOKIE) if is_same_origin(environ) else None


def hash_of(key: str) -> str:
    """What is kept of a key: its SHA-256, hexadecimal."""
    return hashlib.sha256(key.encode(errors="replace")).hexdigest()


def new_key() -> str:
    """A fresh key."""
    return PREFIX + secrets.token_urlsafe(KEY_BYTES)


def is_same_origin(environ: Mapping[str, Any]) -> bool:
    """Whether a browser sends a request for a page of ours: it adds the cookie for other ports of our host, too.

    Parameters
    ----------
    environ : mapping
        Of the WSGI request.

    Returns
    -------
    bool
        True for clients that are no browsers.
    """
    site = environ.get("HTTP_SEC_FETCH_SITE")
    if site is not None:
        return site in ("same-origin", "none")  # none: the person at the screen, by address bar or bookmark
    origin = environ.get("HTTP_ORIGIN")
    if origin is None:
        return True
    try:
        return urlsplit(origin).netloc.lower() == environ.get("HTTP_HOST", "").lower()
    except ValueError:  # no address at all
        return False


def main(arguments: list[str] | None = None) -> int:
    """The commands; exit status 0 when it worked."""
    parser = argparse.ArgumentParser(prog="python -m api_keys", description="API keys of the service.")
    commands = parser.add_subparsers(dest="command", required=True)
    for command, what in (("new", "make a key; it is shown once"),
                          ("adopt", "make NAME the owner of all that has none")):  # fmt: skip
        commands.add_parser(command, help=what).add_argument("name", metavar="NAME")
    chosen = parser.parse_args(arguments)
    try:
        print(_new(chosen.name) if chosen.command == "new" else _adopt(chosen.name))
    except StudioError as error:
        print(error.message, file=sys.stderr)
        return 1
    return 0


def _new(name: str) -> str:
    """A fresh key with what to set for it."""
    if not NAME.fullmatch(name):
        raise InvalidInput(f"{name!r} is no name for a key: up to 64 of A-Z a-z 0-9 . _ -, a letter or digit first.")
    key = new_key()
    return (f"{key}\n\nThis is the key, for whoever is {name}; it is shown only now. The service keeps its hash:\n\n"
            f"API_KEYS={name}:{hash_of(key)}\n\nKeys that there are already stay before it, with a comma between.")


def _adopt(name: str) -> str:
    """Give what nobody owns to a name; how much that was."""
    from config import Config
    from jobs.adoption import adopt
    from storage.database import Database

    config = Config.from_environment()
    if name not in KeyRing.parse(config.api_keys).names:
        raise InvalidInput(f"{name!r} is no name in API_KEYS.")
    database = Database(config.database)
    database.create_tables()
    return f"{adopt(database, name)} songs and pieces of music are {name}'s now."


if __name__ == "__main__":
    sys.exit(main())
