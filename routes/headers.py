"""Headers that every answer carries, whoever gives it: ours, Flask's, Engine.IO's."""

from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask

# The one style that wavesurfer.js writes into the page; a new version of it may need a new hash (a test compares).
WAVEFORM_STYLE = "'sha256-5PP43BnU5yH/rFan+OMuagcJ566hafpOP2E2t5PLZic='"
# A worker is ruled by the policy that comes with its own file, so scripts and answers carry the same one as the pages.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data: blob:; media-src 'self' blob:; "
    f"style-src 'self' {WAVEFORM_STYLE}; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
)
DOCS_POLICY = CONTENT_SECURITY_POLICY.replace(WAVEFORM_STYLE, "'unsafe-inline'")  # Swagger UI writes styles of its own
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(self), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",  # for browsers that do not know frame-ancestors
}

WSGI = Callable[..., Iterable[bytes]]


def register(app: Flask) -> None:
    """Put the headers on whatever an app answers; what wraps the app later is not reached."""
    app.wsgi_app = _WithHeaders(app.wsgi_app)  # type: ignore[method-assign]


class _WithHeaders:
    """A WSGI application whose answers get the headers that they lack."""

    def __init__(self, inner: WSGI) -> None:
        self._inner = inner

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            given = {name.lower() for name, _ in headers}
            return start_response(
                status, [*headers, *(each for each in HEADERS.items() if each[0].lower() not in given)], *exc_info
            )

        return self._inner(environ, start)
