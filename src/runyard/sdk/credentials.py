"""Which key is for which server: from the environment, or from the file in which `runyard login` keeps them."""

import os
import re
from collections.abc import Generator, Mapping
from pathlib import Path

import httpx
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from runyard.sdk.errors import ClientError

URL, KEY = "RUNYARD_URL", "RUNYARD_KEY"
SENDABLE = re.compile(r"[\x21-\x7e]+")


class Kept(BaseModel):
    """A key that somebody has signed in with. `key_id` is set for one that was made for this alone."""

    key: str = Field(repr=False)
    user: str
    key_id: str | None = None
    expires_at: float | None = None


_file = TypeAdapter(dict[str, Kept])


def key_for(url: str, environment: Mapping[str, str]) -> str | None:
    """RUNYARD_KEY, unless RUNYARD_URL says that it is for another server; else the one that is kept for this server.

    Raises ClientError when the file can't be understood.
    """
    named = environment.get(URL, "").strip()
    if (key := environment.get(KEY, "").strip()) and (not named or address(named) == address(url)):
        return key
    kept = read(path(environment)).get(address(url))
    return kept.key if kept else None


def address(url: str) -> str:
    """As it is written down: the same for all ways to write it. Raises ClientError."""
    try:
        parsed = httpx.URL(url.strip())
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ClientError(f"{url} is no address of a server", hint="it looks like http://127.0.0.1:8000")
    if parsed.userinfo:
        raise ClientError(
            "the server's address holds a name or key", hint="sign in with `runyard login`, or set " + KEY
        )
    return str(parsed.copy_with(query=None, fragment=None)).rstrip("/")


def path(environment: Mapping[str, str]) -> Path:
    """Where keys are kept, whether or not there are any."""
    folder = environment.get("XDG_CONFIG_HOME", "")
    home = environment.get("HOME") or os.path.expanduser("~")
    return (Path(folder) if os.path.isabs(folder) else Path(home, ".config")) / "runyard" / "credentials.json"


def read(file: Path) -> dict[str, Kept]:
    """By address; none where there is no file, or not for us. Raises ClientError, which shows nothing of it."""
    try:
        return _file.validate_json(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    except ValidationError:
        raise ClientError(
            f"{file} can't be understood", hint="remove it, then sign in again: `runyard login`"
        ) from None


def written(kept: Mapping[str, Kept]) -> bytes:
    """What `read` understands."""
    return _file.dump_json(dict(kept), indent=2) + b"\n"


class Bearer(httpx.Auth):
    """Sends a key to its own server and to no other, wherever a request is led."""

    def __init__(self, key: str, url: str) -> None:
        """Raises ClientError, which does not show the key."""
        if not SENDABLE.fullmatch(key):
            raise ClientError("the key can't be one: it has spaces or other characters that no key has")
        self._header, self._origin = f"Bearer {key}", _origin(httpx.URL(url))

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if _origin(request.url) == self._origin:
            request.headers["Authorization"] = self._header
        yield request


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
