"""The server."""

import logging
import os
from pathlib import Path
from typing import Annotated

import typer

from runyard.cli import exits


def serve(
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="0 takes any free port. [default: 8000]")] = None,
    host: Annotated[str | None, typer.Option(help="An address of this machine. [default: 127.0.0.1]")] = None,
    home: Annotated[Path | None, typer.Option(help="The data folder. [default: ~/.runyard]")] = None,
    slots: Annotated[
        int | None, typer.Option(min=1, help="Jobs at once on a machine without GPUs. [default: 1]")
    ] = None,
    allow_path: Annotated[
        list[Path] | None,
        typer.Option(help="A folder from which jobs may name data and models; may be repeated.", file_okay=False),
    ] = None,
) -> None:
    """Run the server until Ctrl+C or SIGTERM. Jobs under way go on, and are taken up again at the next start."""
    from runyard import bootstrap
    from runyard.server.instance import TakenError
    from runyard.settings import Settings, SettingsError

    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    options = {"port": port, "host": host, "home": home, "slots": slots, "allowed_paths": allow_path or None}
    try:
        settings = Settings.from_environment(os.environ, **options)
        bootstrap.serve(settings, os.environ, lambda url: _announce(url, settings.home))
    except SettingsError as error:
        exits.say(str(error))
        raise typer.Exit(exits.Code.BAD_INPUT) from None
    except (bootstrap.StartError, TakenError) as error:
        exits.say(str(error))
        raise typer.Exit(exits.Code.REFUSED) from None


def _announce(url: str, home: Path) -> None:
    typer.echo(f"Runyard listens on {url} · data in {home} · stop with Ctrl+C")
