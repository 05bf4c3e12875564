"""Secrets of the tenant, which scripts name in their `env` as `secret:NAME`."""

from urllib.parse import quote

from runyard.schemas.page import Page
from runyard.schemas.people import SecretRead
from runyard.sdk import calls
from runyard.sdk.calls import API, Call


def secrets() -> Call[Page[SecretRead]]:
    """Their names; nobody is shown the values."""
    return calls.get(f"{API}/secrets", Page[SecretRead])


def set_secret(name: str, value: str) -> Call[SecretRead]:
    """A new one, or another value for the jobs that are started from now on."""
    return Call("PUT", _secret(name), calls.parser(SecretRead), body={"value": value})


def remove_secret(name: str) -> Call[None]:
    """Jobs that name it can't be started any more."""
    return Call("DELETE", _secret(name), calls.nothing)


def _secret(name: str) -> str:
    return f"{API}/secrets/{quote(name, safe='')}"
