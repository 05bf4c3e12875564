"""What both clients do alike: addresses, time limits, and when to ask again."""

import ipaddress
from collections.abc import Callable
from inspect import Parameter, signature
from typing import Any

import httpx

from runyard.sdk import calls
from runyard.sdk.errors import ClientError, NoServerError

DEFAULT_URL = "http://127.0.0.1:8000"
TIMEOUT = httpx.Timeout(30, connect=5)
FEED_TIMEOUT = httpx.Timeout(30, connect=5, read=60)
"""Seconds; a feed that shows no sign of life for so long is asked again from its cursor."""
RETRY_PAUSES = (0.2, 1.0, None)
"""Seconds before each further try; None gives up."""
PATIENCE = 300.0
CLOSED = "the connection was closed"


class Connection:
    """Where the server is."""

    def __init__(self, url: str | None) -> None:
        self.url = (url or DEFAULT_URL).rstrip("/")
        if not self.url.startswith(("http://", "https://")):
            raise ClientError(f"{self.url} is no address of a server", hint=f"it looks like {DEFAULT_URL}")
        # A proxy from the environment is for the world outside.
        near = _is_loopback(httpx.URL(self.url).host)
        self.options: dict[str, Any] = {"base_url": self.url, "timeout": TIMEOUT, "trust_env": not near}

    def lost(self, error: httpx.TransportError) -> NoServerError:
        return NoServerError(self.url, cause_of(error))


def cause_of(error: httpx.TransportError) -> str:
    return str(error) or type(error).__name__


def worth_repeating(call: calls.Call[Any], error: httpx.TransportError) -> bool:
    return call.repeatable and not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)


def as_method(method: Any, described: Callable[..., Any]) -> None:
    """Give a method the name, text and arguments of what it sends."""
    own = signature(described)
    method.__name__, method.__doc__ = described.__name__, described.__doc__
    parameters = [Parameter("self", Parameter.POSITIONAL_ONLY), *own.parameters.values()]
    method.__signature__ = own.replace(parameters=parameters)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
