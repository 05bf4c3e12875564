"""Secrets of a tenant."""

import sys
from getpass import getpass
from typing import TYPE_CHECKING, Annotated

import typer

from runyard.cli import options, output

if TYPE_CHECKING:
    from runyard.schemas.people import SecretRead

app = typer.Typer(no_args_is_help=True, help="What jobs name as secret:NAME, and nobody is shown.")
Name = Annotated[str, typer.Argument(metavar="NAME", help="Such as HF_TOKEN.", show_default=False)]


@app.command("list")
def list_(ctx: typer.Context, json: options.Json = False) -> None:
    """List the names; the values are never shown."""
    with options.client(ctx) as client:
        page = client.secrets()
    nothing = "no secrets yet: runyard secrets set HF_TOKEN"
    output.listing(page, ("NAME", "SET BY", "SET"), _row, json=json, nothing=nothing)


@app.command("set")
def set_(ctx: typer.Context, name: Name, json: options.Json = False) -> None:
    """Set a secret: typed unseen, or from standard input, as in `runyard secrets set HF_TOKEN < token.txt`.

    It is for the jobs that are started from now on.
    """
    value = _value(name)
    with options.client(ctx) as client:
        found = client.set_secret(name, value)
    if json:
        output.as_json(found)
    else:
        print(f"{found.name} is set: name it in a script's env as secret:{found.name}")


@app.command()
def remove(ctx: typer.Context, name: Name, json: options.Json = False) -> None:
    """Remove a secret; jobs that name it can't be started any more."""
    with options.client(ctx) as client:
        client.remove_secret(name)
    if json:
        output.as_json({"removed": name})
    else:
        print(f"removed {name}")


def _value(name: str) -> str:
    """Never an argument: everybody on the machine sees those, and the shell keeps them."""
    if sys.stdin.isatty():
        return getpass(f"Value of {name}: ")
    text = sys.stdin.read()
    line = text.removesuffix("\n").removesuffix("\r")
    return text if "\n" in line else line  # a key file ends with a line end, a token does not


def _row(found: "SecretRead") -> tuple[object, ...]:
    return found.name, found.user, output.moment(found.changed_at)
