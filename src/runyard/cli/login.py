"""Signing in: a key for this machine, made with a password and kept in the user's configuration."""

import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runyard.cli import exits, keyring, options, output, passwords

if TYPE_CHECKING:
    from runyard.schemas.people import SessionRead
    from runyard.sdk.client import Client
    from runyard.sdk.credentials import Kept

DAYS = 90
FROM_STDIN = "-"
Url = Annotated[
    str | None,
    typer.Argument(
        metavar="[URL]", help="The server; the one that other commands speak to unless set.", show_default=False
    ),
]


def login(
    ctx: typer.Context,
    url: Url = None,
    name: Annotated[str | None, typer.Option(help="Your name there; asked for unless set.", show_default=False)] = None,
    key: Annotated[
        str | None,
        typer.Option(help="A key that you have, instead of name and password; - asks for it.", show_default=False),
    ] = None,
    scope: options.Scope = "submit",
    days: options.Days = DAYS,
    json: options.Json = False,
) -> None:
    """Sign in: every command on this machine then uses a key that is made for it, and kept for you alone.

    The password is typed unseen, or read from standard input where that is no terminal.
    """
    from runyard.sdk.client import Client
    from runyard.sdk.errors import ApiError

    file = _file()
    with Client(url or options.address(ctx), key="") as client:
        client.health()  # before a password is typed for nobody
        _warn_of_eavesdroppers(client.url)
        before = keyring.kept_for(file, client.url)
        try:
            new = _pasted(client.url, key) if key is not None else _made(client, name, scope, days)
        except ApiError as error:
            if error.status == 401 and _is_open(client):
                raise _nothing_to_sign_in_to(client.url) from None
            raise
        _keep(client.url, new)
        _revoke(client.url, before)
        with Client(client.url, key=new.key) as signed_in:
            _tell(client.url, signed_in.whoami(), new, is_usual=_is_usual(ctx, client.url), json=json)


def logout(
    ctx: typer.Context,
    url: Url = None,
    forget: Annotated[bool, typer.Option("--forget", help="Do not ask the server to revoke the key.")] = False,
    json: options.Json = False,
) -> None:
    """Revoke the key that `runyard login` has made, and forget it."""
    from runyard.sdk.client import Client
    from runyard.sdk.errors import ApiError

    file = _file()
    with Client(url or options.address(ctx), key="") as client:
        address = client.url
    kept = keyring.kept_for(file, address)
    if kept is None:
        exits.say(f"nobody is signed in to {address} with `runyard login`")
        raise typer.Exit(exits.Code.NOT_SIGNED_IN)
    is_revoked = False
    if kept.key_id and not forget:
        with Client(address, key=kept.key) as client:
            try:
                client.revoke_key(kept.key_id)
            except ApiError as error:
                if error.status not in (401, 404):  # it is good for nothing already
                    raise
        is_revoked = True
    keyring.keep(file, address, None)
    if json:
        output.as_json({"url": address, "user": kept.user, "revoked": is_revoked})
    else:
        still = "" if is_revoked else "; the key is still good: `runyard keys revoke` ends it"
        print(f"signed out of {address}{still}")
    _warn_of_environment(address)


def whoami(ctx: typer.Context, json: options.Json = False) -> None:
    """Show who you are for the server, and what you may do."""
    with options.client(ctx) as client:
        found, url = client.whoami(), client.url
    if json:
        output.as_json(found)
        return
    output.fields(
        [
            ("server", url),
            ("user", found.user),
            ("tenant", found.tenant),
            ("role", f"{found.role}, operator of the installation" if found.operator else found.role),
            ("by", "no sign-in: there are no accounts" if found.via == "loopback" else found.via),
            ("scope", None if found.via == "loopback" else found.scope),
            ("until", output.moment(found.expires_at)),
        ]
    )


def _made(client: "Client", name: str | None, scope: str, days: int) -> "Kept":
    from runyard.sdk.credentials import Kept

    if name is None:
        if not sys.stdin.isatty():
            raise typer.BadParameter("who signs in? Give --name where nobody can be asked")
        name = str(typer.prompt(f"Name at {client.url}", err=True))
    password = passwords.known("Password")
    made = client.log_in(
        name, password, key_name=f"login on {socket.gethostname()}"[:128], scope=scope, days=days or None
    )
    return Kept(key=made.key, user=made.user, key_id=made.id, expires_at=made.expires_at)


def _pasted(url: str, key: str) -> "Kept":
    from runyard.sdk.client import Client
    from runyard.sdk.credentials import Kept

    key = (passwords.known("Key") if key == FROM_STDIN else key).strip()
    with Client(url, key=key) as client:
        found = client.whoami()
    if found.via == "loopback":
        raise _nothing_to_sign_in_to(url)
    return Kept(key=key, user=found.user, expires_at=found.expires_at)


def _keep(url: str, new: "Kept") -> None:
    """A key that can't be kept is not left lying on the server."""
    try:
        keyring.keep(_file(), url, new)
    except BaseException:
        _revoke(url, new)
        raise


def _revoke(url: str, kept: "Kept | None") -> None:
    """As far as it can be done."""
    from runyard.sdk.client import Client
    from runyard.sdk.errors import ClientError

    if kept is not None and kept.key_id:
        with suppress(ClientError), Client(url, key=kept.key) as client:
            client.revoke_key(kept.key_id)


def _is_open(client: "Client") -> bool:
    from runyard.sdk.errors import ApiError

    try:
        return client.whoami().via == "loopback"
    except ApiError:
        return False


def _nothing_to_sign_in_to(url: str) -> Exception:
    from runyard.sdk.errors import ClientError

    return ClientError(
        f"{url} has no accounts, and lets in whoever is on its machine",
        hint="`runyard users create NAME` makes the first; until then there is nothing to sign in to",
    )


def _tell(url: str, who: "SessionRead", new: "Kept", *, is_usual: bool, json: bool) -> None:
    if json:
        known = {"url": url, "key_id": new.key_id, "user": who.user, "tenant": who.tenant, "role": who.role}
        output.as_json(known | {"scope": who.scope, "expires_at": new.expires_at})
    else:
        until = f"until {output.moment(new.expires_at)}" if new.expires_at else "until it is revoked"
        print(f"signed in to {url} as {who.user}, {who.role} of {who.tenant}; key of scope {who.scope}, {until}")
        if who.scope != "admin" and (who.role == "admin" or who.operator):
            print("For people, keys and quotas: runyard login --scope admin")
        if not is_usual:
            print(f"Have commands speak to it: export RUNYARD_URL={url}")
    _warn_of_environment(url)


def _is_usual(ctx: typer.Context, url: str) -> bool:
    from runyard.sdk import credentials
    from runyard.sdk.connection import DEFAULT_URL

    return credentials.address(options.address(ctx) or DEFAULT_URL) == credentials.address(url)


def _warn_of_eavesdroppers(url: str) -> None:
    from runyard.sdk.connection import is_loopback

    if url.startswith("http:") and not is_loopback(url):
        print(f"warning: {url} is not https: whoever is on the way can read password and key", file=sys.stderr)


def _warn_of_environment(url: str) -> None:
    from runyard.sdk import credentials

    environment = options.environment()
    kept = keyring.kept_for(_file(), url)
    if credentials.key_for(url, environment) != (kept.key if kept else None):
        print("warning: RUNYARD_KEY is set, and goes before what `runyard login` keeps", file=sys.stderr)


def _file() -> Path:
    from runyard.sdk import credentials

    return credentials.path(options.environment())
