"""The server, and the engine alone."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runyard.cli import exits

if TYPE_CHECKING:
    from runyard.bootstrap import Started
    from runyard.settings import Settings

Home = Annotated[Path | None, typer.Option(help="The data folder. [default: ~/.runyard]")]
Slots = Annotated[int | None, typer.Option(min=1, help="Jobs at once on a machine without GPUs. [default: 1]")]


def serve(
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="0 takes any free port. [default: 8000]")] = None,
    host: Annotated[str | None, typer.Option(help="An address of this machine. [default: 127.0.0.1]")] = None,
    home: Home = None,
    slots: Slots = None,
    allow_path: Annotated[
        list[Path] | None,
        typer.Option(help="A folder from which jobs may name data and models; may be repeated.", file_okay=False),
    ] = None,
    setup: Annotated[
        bool, typer.Option("--setup", help="Print a one-time link by which the first account is made.")
    ] = False,
    no_engine: Annotated[
        bool, typer.Option("--no-engine", help="Leave jobs to the engines of others on the same PostgreSQL.")
    ] = False,
) -> None:
    """Run the server until Ctrl+C or SIGTERM. Jobs under way go on, and are taken up again at the next start."""
    from runyard import bootstrap
    from runyard.settings import Settings

    options = {"port": port, "host": host, "home": home, "slots": slots, "allowed_paths": allow_path or None}
    with on_data_folder():
        settings = Settings.from_environment(os.environ, **options, engine=False if no_engine else None)
        bootstrap.serve(settings, os.environ, lambda started: _announce(started, settings), sets_up=setup)


def engine(home: Home = None, slots: Slots = None) -> None:
    """Run an engine without a server until Ctrl+C or SIGTERM: it moves the jobs, or stands by while another does.

    For several processes on one PostgreSQL; `runyard serve` brings an engine of its own.
    """
    from runyard import bootstrap
    from runyard.settings import Settings

    with on_data_folder():
        settings = Settings.from_environment(os.environ, home=home, slots=slots)
        bootstrap.run_engine(
            settings, os.environ, lambda name: typer.echo(f"Runyard's engine runs as {name} · stop with Ctrl+C")
        )


@contextmanager
def on_data_folder() -> Iterator[None]:
    """One line and a code for whatever keeps a server from starting, or others from its data folder."""
    from runyard.server.instance import TakenError
    from runyard.server.listening import StartError
    from runyard.settings import SettingsError

    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    try:
        yield
    except SettingsError as error:
        exits.say(str(error))
        raise typer.Exit(exits.Code.BAD_INPUT) from None
    except (StartError, TakenError) as error:
        exits.say(str(error))
        raise typer.Exit(exits.Code.REFUSED) from None


def _announce(started: "Started", settings: "Settings") -> None:
    typer.echo(f"Runyard listens on {started.url} · data in {settings.home} · stop with Ctrl+C")
    if not settings.is_loopback and settings.tls_cert is None and not settings.trusted_proxies:
        typer.echo(
            "Passwords and keys travel in the open: give it RUNYARD_TLS_CERT, or put it behind a proxy with https."
        )
    if started.set_up_link:
        typer.echo(f"Make the first account within an hour, by this link, which works once: {started.set_up_link}")
    if started.is_open:
        typer.echo("No sign-in: whoever is on this machine is its admin. `runyard users create NAME` makes accounts.")
