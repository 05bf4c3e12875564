"""Options that several commands share, the client they lead to, and completion of job ids."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from runyard.sdk.client import Client
    from runyard.settings import Settings

SHOWN_IDS = 50
DEFAULT_HOME = Path("~/.runyard")


def client(ctx: typer.Context) -> "Client":
    """A client for --url, else RUNYARD_URL, else the server that runs on this machine's data folder."""
    from runyard.sdk.client import Client

    return Client(address(ctx))


def address(ctx: typer.Context) -> str | None:
    return named_address(ctx) or local_address(ctx)


def named_address(ctx: typer.Context) -> str | None:
    """Of a server that the user means."""
    return ctx.find_root().params.get("url") or None


def local_address(ctx: typer.Context) -> str | None:
    """Where the server on this machine's data folder listens, or listened last."""
    import json

    home = ctx.find_root().params.get("home") or DEFAULT_HOME
    try:
        return str(json.loads((home.expanduser() / "server.json").read_bytes())["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def settings(ctx: typer.Context) -> "Settings":
    """Of a server on this machine's data folder. Raises SettingsError."""
    from runyard.settings import Settings

    return Settings.from_environment(os.environ, home=ctx.find_root().params.get("home"))


def environment() -> Mapping[str, str]:
    return os.environ


def complete_job(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    from runyard.sdk.errors import ClientError

    try:
        with client(ctx) as server:
            jobs = server.jobs(limit=SHOWN_IDS).items
    except ClientError:
        return []
    return [(job.id, f"{job.name} ({job.state})") for job in jobs if job.id.startswith(incomplete)]


Job = Annotated[
    str,
    typer.Argument(
        metavar="JOB",
        help="Id, the beginning of one, a name, or `last` for the newest.",
        autocompletion=complete_job,
        show_default=False,
    ),
]
JobFile = Annotated[str, typer.Argument(metavar="JOB.YAML", help="The job file.", show_default=False)]
Limit = Annotated[int, typer.Option(min=1, max=200, help="At most so many.")]
Json = Annotated[bool, typer.Option("--json", help="JSON on standard output; one object a line for streams.")]
Scope = Annotated[
    Literal["read", "submit", "admin"],
    typer.Option(help="How much of what you may do the key may: see, submit jobs and steer your own, or all of it."),
]
Days = Annotated[int, typer.Option(min=0, max=3650, help="So long the key is good; 0 until it is revoked.")]
PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]
Every = Annotated[
    int | None,
    typer.Option(min=1, help="In a pipe: print a line every so many steps; unless set, about 20 lines a run."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Change a field, such as training.max_steps=5. Repeatable."),
]
