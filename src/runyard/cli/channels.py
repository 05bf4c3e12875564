"""Channels: who is told of what happens to jobs."""

import sys
import time
from getpass import getpass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from runyard.cli import exits, options, output

if TYPE_CHECKING:
    from runyard.schemas.channels import ChannelRead, DeliveryRead
    from runyard.sdk.client import Client

PATIENCE_SECONDS = 60.0
POLL_SECONDS = 0.3

app = typer.Typer(no_args_is_help=True, help="Who is told of what happens to jobs, and where.")
Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the channel.", show_default=False)]
States = Annotated[
    str | None,
    typer.Option(
        "--on",
        metavar="STATES",
        help="Of what it tells, with commas: states of jobs, stalled, never_starts; needs_you for what somebody has to "
        "see to. An empty text for jobs that name it alone.",
        show_default=False,
    ),
]
Url = Annotated[
    str | None,
    typer.Option(help="Where to. Others on this machine may see it: typed unseen unless set.", show_default=False),
]


@app.command()
def add(
    ctx: typer.Context,
    name: Name,
    kind: Annotated[
        Literal["apprise", "webhook"], typer.Option(help="Slack, e-mail and others, or a signed webhook.")
    ] = "apprise",
    url: Url = None,
    states: States = None,
    tenant: Annotated[bool, typer.Option("--tenant", help="Tell of all jobs of the tenant, not only yours.")] = False,
    json: options.Json = False,
) -> None:
    """Add a channel; where it leads to is typed unseen, or read from standard input.

    A webhook's secret is shown this once.
    """
    address = url or _address(name)
    with options.client(ctx) as client:
        made = client.add_channel(name, kind, address, of="tenant" if tenant else "user", states=_list(states))
    if json:
        output.as_json(made)
        return
    print(f"{made.name} tells of {_whose(made)} by {made.shown}: {_states(made)}")
    if made.secret:
        print(f"its messages are signed with {made.secret}: it is not shown again")
    print(f"try it: runyard channels test {made.name}")


@app.command("list")
def list_(ctx: typer.Context, json: options.Json = False) -> None:
    """List the channels of the tenant."""
    with options.client(ctx) as client:
        page = client.channels()
    headings = ("NAME", "WHERE", "OF", "TELLS OF", "STATE")
    output.listing(page, headings, _row, json=json, nothing="no channels yet: runyard channels add team")


@app.command()
def change(
    ctx: typer.Context,
    name: Name,
    states: States = None,
    url: Url = None,
    on: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Switch it on or off.", show_default=False)
    ] = None,
    json: options.Json = False,
) -> None:
    """Change what a channel tells of, or where; or switch it on or off."""
    with options.client(ctx) as client:
        found = client.change_channel(name, url=url, states=_list(states), enabled=on)
    if json:
        output.as_json(found)
    else:
        print(f"{found.name} tells of {_whose(found)} by {found.shown}: {_states(found)}")


@app.command()
def rotate(ctx: typer.Context, name: Name, json: options.Json = False) -> None:
    """Give a webhook a new secret; the one before signs, too, for another day."""
    with options.client(ctx) as client:
        made = client.rotate_channel_secret(name)
    if json:
        output.as_json(made)
    else:
        print(f"{made.name} is signed with {made.secret}: it is not shown again")


@app.command()
def remove(ctx: typer.Context, name: Name, json: options.Json = False) -> None:
    """Remove a channel; what was still to be sent there is not sent any more."""
    with options.client(ctx) as client:
        client.remove_channel(name)
    if json:
        output.as_json({"removed": name})
    else:
        print(f"removed {name}")


@app.command("test")
def try_(ctx: typer.Context, name: Name, json: options.Json = False) -> None:
    """Send a message that tells of nothing, and say whether it got through."""
    with options.client(ctx) as client:
        found = _settled(client, client.test_channel(name))
    if json:
        output.as_json(found)
    elif found.status == "delivered":
        print(f"{name} was told")
    else:
        exits.say(f"{name} was not told: {found.last_error or 'no engine has sent it yet'}")
    if found.status != "delivered":
        raise typer.Exit(exits.Code.REFUSED)


@app.command()
def deliveries(ctx: typer.Context, name: Name, limit: options.Limit = 50, json: options.Json = False) -> None:
    """List what was or is to be sent to a channel, newest first."""
    with options.client(ctx) as client:
        page = client.deliveries(name, limit=limit)
    headings = ("ID", "WHAT", "JOB", "STATUS", "TRIES", "ANSWER", "NEXT TRY", "ERROR")
    output.listing(page, headings, _delivery, json=json, nothing="nothing yet")


@app.command()
def resend(
    ctx: typer.Context,
    delivery: Annotated[str, typer.Argument(metavar="DELIVERY", help="Its id.", show_default=False)],
    json: options.Json = False,
) -> None:
    """Send the very same message once more, with the same id."""
    with options.client(ctx) as client:
        found = client.resend_delivery(delivery)
    if json:
        output.as_json(found)
    else:
        print(f"{found.id} ({found.type}) is sent again")


def _settled(client: "Client", found: "DeliveryRead") -> "DeliveryRead":
    """After its first try."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while found.status == "pending" and not found.tries and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        found = client.delivery(found.id)
    return found


def _address(name: str) -> str:
    if sys.stdin.isatty():
        return getpass(f"Where {name} leads to, such as slack://… or https://…: ").strip()
    return sys.stdin.read().strip()


def _list(states: str | None) -> list[str] | None:
    return None if states is None else [part.strip() for part in states.split(",") if part.strip()]


def _whose(found: "ChannelRead") -> str:
    return "all jobs" if found.of == "tenant" else f"{found.user}'s jobs"


def _states(found: "ChannelRead") -> str:
    return ", ".join(found.states) or "those that name it"


def _row(found: "ChannelRead") -> tuple[object, ...]:
    state = "on" if found.enabled else f"off: {found.disabled_because}" if found.disabled_because else "off"
    return found.name, found.shown, _whose(found), _states(found), state


def _delivery(found: "DeliveryRead") -> tuple[object, ...]:
    return (
        *(found.id, found.type, found.job_id, found.status, found.tries, found.response_code),
        *(output.moment(found.next_at), found.last_error),
    )
