"""What both clients do alike: addresses, time limits, and when to ask again."""

import ipaddress
import os
import random
from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from typing import Any

import httpx

from runyard.sdk import calls, credentials
from runyard.sdk.errors import ApiError, NoServerError

DEFAULT_URL = "http://127.0.0.1:8000"
TIMEOUT = httpx.Timeout(30, connect=5)
FEED_TIMEOUT = httpx.Timeout(30, connect=5, read=60)
"""Seconds; a feed that shows no sign of life for so long is asked again from its cursor."""
RETRY_PAUSES = (0.2, 1.0, None)
"""Seconds before each further try; None gives up."""
BUSY = frozenset({429, 503})
BUSY_SECONDS = 30.0
"""So long a call waits in all where the server says when to ask again; then its refusal is raised."""
JITTER = 0.5
"""Those who were refused together do not come back together: up to this share is added to each pause."""
PATIENCE = 300.0
CLOSED = "the connection was closed"


class Connection:
    """Where the server is, and by which key it knows us.

    The environment is read here, and nowhere else in this package: a program that makes a client is the user's own, so
    that nothing of ours has been started that could hand it over.
    """

    def __init__(self, url: str | None, key: str | None = None, environment: Mapping[str, str] = os.environ) -> None:
        """RUNYARD_URL and RUNYARD_KEY count where nothing is given; an empty key is none. Raises ClientError."""
        self.url = (url or environment.get(credentials.URL, "").strip() or DEFAULT_URL).rstrip("/")
        address = credentials.address(self.url)
        found = credentials.key_for(self.url, environment) if key is None else key.strip()
        # A proxy from the environment is for the world outside.
        near = is_loopback(address)
        self.options: dict[str, Any] = {
            "base_url": self.url,
            "timeout": TIMEOUT,
            "trust_env": not near,
            "auth": credentials.Bearer(found, address) if found else None,
            "follow_redirects": False,
        }

    def lost(self, error: httpx.TransportError) -> NoServerError:
        return NoServerError(self.url, cause_of(error))


class Repeats:
    """When one call is sent again, and when it is given up."""

    def __init__(
        self, call: calls.Call[Any], connection: Connection, chance: Callable[[], float] = random.random
    ) -> None:
        """`chance` gives numbers from 0 to 1."""
        self._call, self._connection, self._chance = call, connection, chance
        self._pauses = iter(RETRY_PAUSES)
        self._left = BUSY_SECONDS

    def pause(self, error: httpx.TransportError | ApiError) -> float:
        """Seconds until the next try; raises what the caller is to see when there is none."""
        if isinstance(error, ApiError):
            return self._until_less_busy(error)
        pause = next(self._pauses)
        if pause is None or not worth_repeating(self._call, error):
            raise self._connection.lost(error) from error
        return pause

    def _until_less_busy(self, error: ApiError) -> float:
        if error.status not in BUSY or error.retry_after is None or not self._call.harmless:
            raise error
        pause = error.retry_after * (1 + JITTER * self._chance())
        self._left -= pause
        if self._left < 0:
            raise error
        return pause


def cause_of(error: httpx.TransportError) -> str:
    return str(error) or type(error).__name__


def unheard(_lost: str | None) -> None:
    """For those who need not know how the connection is."""


def worth_repeating(call: calls.Call[Any], error: httpx.TransportError) -> bool:
    return call.repeatable and not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)


def as_method(method: Any, described: Callable[..., Any]) -> None:
    """Give a method the name, text and arguments of what it sends."""
    own = signature(described)
    method.__name__, method.__doc__ = described.__name__, described.__doc__
    parameters = [Parameter("self", Parameter.POSITIONAL_ONLY), *own.parameters.values()]
    method.__signature__ = own.replace(parameters=parameters)


def is_loopback(url: str) -> bool:
    """Does what is sent there stay on this machine?"""
    host = httpx.URL(url).host
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
