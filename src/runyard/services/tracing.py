"""Traces: what is noted of requests and of the engine's work, where somebody set an endpoint for it.

What is noted is chosen one by one: no header, no query, no body, no text of an error ever gets into a trace.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Protocol

Attributes = Mapping[str, str | int | float | bool]
NONE: Attributes = MappingProxyType({})


class Tell(Protocol):
    """Says more about a span that has begun; `name` replaces the one it began with."""

    def __call__(self, attributes: Attributes = NONE, *, name: str | None = None, failed: bool = False) -> None: ...


class Traces:
    """Notes nothing, and costs nothing."""

    @contextmanager
    def span(self, name: str, attributes: Attributes = NONE, parent: Mapping[str, str] | None = None) -> Iterator[Tell]:
        """What happens in the block. A request has a `parent`: headers that may say which trace it belongs to."""
        yield _nothing

    def close(self) -> None:
        """Send what was not sent yet, for some seconds at most."""


def _nothing(attributes: Attributes = NONE, *, name: str | None = None, failed: bool = False) -> None:
    pass
