"""Runyard: a self-hosted training server. `runyard.Client` talks to one; a script that runs on one tells how it goes by
`runyard.progress`, `runyard.metric` and `runyard.checkpoint`."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runyard.reporting import checkpoint, metric, progress
    from runyard.sdk.async_client import AsyncClient
    from runyard.sdk.client import Client

__version__ = "0.1.0"
HOMES = {
    "AsyncClient": "runyard.sdk.async_client",
    "Client": "runyard.sdk.client",
    "checkpoint": "runyard.reporting",
    "metric": "runyard.reporting",
    "progress": "runyard.reporting",
}
__all__ = ["AsyncClient", "Client", "__version__", "checkpoint", "metric", "progress"]


def __getattr__(name: str) -> object:
    # A trainer imports this package on a machine that may lack the client's libraries.
    if module := HOMES.get(name):
        return getattr(import_module(module), name)
    raise AttributeError(f"module 'runyard' has no attribute {name!r}")
