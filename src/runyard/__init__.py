"""Runyard: a self-hosted training server. `runyard.Client` talks to one."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runyard.sdk.async_client import AsyncClient
    from runyard.sdk.client import Client

__version__ = "0.1.0"
CLIENTS = {"AsyncClient": "runyard.sdk.async_client", "Client": "runyard.sdk.client"}
__all__ = ["AsyncClient", "Client", "__version__"]


def __getattr__(name: str) -> object:
    # A trainer imports this package on a machine that may lack the client's libraries.
    if module := CLIENTS.get(name):
        return getattr(import_module(module), name)
    raise AttributeError(f"module 'runyard' has no attribute {name!r}")
