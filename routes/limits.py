"""How often one client may ask: a rate for all requests and one for uploads and new jobs, both off unless set."""

import math
import time
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

from flask import Flask, Response, g, request
from werkzeug.middleware.proxy_fix import ProxyFix

from routes.errors import answer

if TYPE_CHECKING:
    from flask_limiter import Limiter

EXEMPT = {"health", "metrics", "pages", "static"}
SUBMITTING = {"upload", "process", "analyze", "generate", "transcribe"}  # what is posted there becomes a job
AGAIN = {"jobs.retry", "jobs.resume"}
NETWORK_BITS = 64  # of an IPv6 address; the rest a client chooses as it likes
REDIS_SECONDS = 1.0  # after which a silent Redis is given up and each web process counts for itself


def register(app: Flask, per_minute: int, submissions_per_minute: int, trusted_proxies: int, redis_url: str) -> None:
    """Limit how often each client of an app may ask.

    Parameters
    ----------
    app : Flask
    per_minute : int
        Of all requests but those for health, metrics, pages and static files; 0 for no limit.
    submissions_per_minute : int
        Of uploads and requests for jobs; 0 for no limit.
    trusted_proxies : int
        How many proxies in front have each added an address to X-Forwarded-For.
    redis_url : str
        Where all web processes count together; empty to count in this one.
    """
    if trusted_proxies:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=trusted_proxies, x_proto=0, x_host=0
        )
    if not per_minute and not submissions_per_minute:
        return  # and the library is never loaded
    from flask_limiter import ApplicationLimit, Limiter, RateLimitExceeded

    limits: list[ApplicationLimit] = []
    if per_minute:
        limits.append(ApplicationLimit(f"{per_minute}/minute", scope="requests", error_message="requests"))
    if submissions_per_minute:
        submissions = f"{submissions_per_minute}/minute"
        limits.append(ApplicationLimit(submissions, scope="submissions", error_message="uploads and jobs",
                                       exempt_when=lambda: not _submits()))  # fmt: skip
    timeouts = {"socket_timeout": REDIS_SECONDS, "socket_connect_timeout": REDIS_SECONDS} if redis_url else {}
    limiter = Limiter(
        client, application_limits=[*limits], strategy="moving-window", in_memory_fallback_enabled=True,
        storage_uri=redis_url.replace("unix://", "redis+unix://", 1) if redis_url else "memory://",
        storage_options=timeouts,  # type: ignore[arg-type]
    )  # fmt: skip
    limiter.request_filter(_exempt)
    limiter.init_app(app)
    app.register_error_handler(
        RateLimitExceeded, lambda error: _refuse(limiter, error.description, error.limit.limit.amount)
    )


def client() -> str:
    """Who asks: a key's holder; without a key an address, of IPv6 its network."""
    if g.owner is not None:
        return f"key of {g.owner}"
    return network(request.remote_addr)


def network(remote_address: str | None) -> str:
    """Who counts as one client without a key: an address, of IPv6 its network."""
    given = remote_address or "unknown"  # a Unix socket has none
    try:
        address = ip_address(given.partition("%")[0])
    except ValueError:
        return given
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(IPv6Address(int(address) >> (128 - NETWORK_BITS) << (128 - NETWORK_BITS)))


def _exempt() -> bool:
    """Whether the present request is not counted."""
    return request.method == "OPTIONS" or request.blueprint in EXEMPT or request.endpoint in EXEMPT


def _submits() -> bool:
    """Whether the present request uploads a song or asks for a job."""
    return request.method == "POST" and (request.blueprint in SUBMITTING or request.endpoint in AGAIN)


def _refuse(limiter: "Limiter", what: str | None, most: int) -> Response:
    """Say which limit it is and when it is worth another try."""
    reset_at = limiter.current_limit.window.reset_time if limiter.current_limit else 0.0
    seconds = max(1, math.ceil(reset_at - time.time()))
    response = answer(f"You may send {most} {what} a minute; try again in {seconds} s.", "rate_limited", 429)
    response.headers["Retry-After"] = str(seconds)
    return response
