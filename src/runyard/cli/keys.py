"""Keys for programs."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from runyard.cli import options, output

if TYPE_CHECKING:
    from runyard.schemas.people import KeyRead

app = typer.Typer(no_args_is_help=True, help="Keys with which programs sign in.")
Key = Annotated[str, typer.Argument(metavar="KEY", help="Id of the key, not the key itself.", show_default=False)]


@app.command("list")
def list_(
    ctx: typer.Context,
    everybodys: Annotated[bool, typer.Option("--all", help="The whole tenant's; for its admins.")] = False,
    json: options.Json = False,
) -> None:
    """List your keys, newest first."""
    with options.client(ctx) as client:
        page = client.keys(everybodys=everybodys)
    headings = ("ID", "USER", "NAME", "BEGINNING", "SCOPE", "STATE", "EXPIRES", "USED")
    output.listing(page, headings, _row, json=json, nothing="no keys yet: runyard keys create NAME")


@app.command()
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for.", show_default=False)],
    scope: options.Scope = "submit",
    days: options.Days = 0,
    json: options.Json = False,
) -> None:
    """Make a key of your own. It is shown this once; in a pipe it is all that is printed."""
    with options.client(ctx) as client:
        made = client.create_key(name, scope=scope, days=days or None)
    if json:
        output.as_json(made)
    elif not output.on_terminal():
        print(made.key)
    else:
        until = f"until {output.moment(made.expires_at)}" if made.expires_at else "until it is revoked"
        output.fields([("id", made.id), ("scope", made.scope), ("good", until), ("key", made.key)])
        print("\nKeep it now: it is never shown again. Programs take it from RUNYARD_KEY.")


@app.command()
def revoke(ctx: typer.Context, key: Key, json: options.Json = False) -> None:
    """Have a key open nothing from now on; feeds that were opened with it end."""
    with options.client(ctx) as client:
        revoked = client.revoke_key(key)
    if json:
        output.as_json(revoked)
    else:
        print(f"revoked {revoked.id} ({revoked.name}) of {revoked.user}")


def _row(found: "KeyRead") -> tuple[object, ...]:
    times = (output.moment(at) for at in (found.expires_at, found.used_at))
    return found.id, found.user, found.name, found.prefix, found.scope, _state(found), *times


def _state(found: "KeyRead") -> str:
    if found.revoked_at is not None:
        return "revoked"
    return "expired" if found.expires_at is not None and found.expires_at <= time.time() else "good"
