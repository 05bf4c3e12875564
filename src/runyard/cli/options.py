"""Options that several commands share, the client they lead to, and completion of job ids."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from runyard.sdk.client import Client

SHOWN_IDS = 50
DEFAULT_HOME = Path("~/.runyard")


def client(ctx: typer.Context) -> "Client":
    """A client for --url, else RUNYARD_URL, else the server that runs on this machine's data folder."""
    from runyard.sdk.client import Client

    root = ctx.find_root().params
    return Client(root.get("url") or _local_url(root.get("home") or DEFAULT_HOME))


def complete_job(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    from runyard.sdk.errors import ClientError

    try:
        with client(ctx) as server:
            jobs = server.jobs(limit=SHOWN_IDS).items
    except ClientError:
        return []
    return [(job.id, f"{job.name} ({job.state})") for job in jobs if job.id.startswith(incomplete)]


def _local_url(home: Path) -> str | None:
    """Where the server on a data folder listens, or listened last."""
    import json

    try:
        return str(json.loads((home.expanduser() / "server.json").read_bytes())["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


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
Every = Annotated[
    int | None,
    typer.Option(min=1, help="In a pipe: print a line every so many steps; unless set, about 20 lines a run."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Change a field, such as training.max_steps=5. Repeatable."),
]
