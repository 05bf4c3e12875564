"""The server and its machine."""

from typing import TYPE_CHECKING

import typer

from runyard import __version__
from runyard.cli import options, output

if TYPE_CHECKING:
    from runyard.schemas.system import EngineRead


def print_version(wanted: bool) -> None:
    if wanted:
        print(f"runyard {__version__}")
        raise typer.Exit


def system(ctx: typer.Context, json: options.Json = False) -> None:
    """Show the server and its machine."""
    with options.client(ctx) as client:
        found = client.system()
    if json:
        return output.as_json(found)
    output.fields(
        [
            ("server", f"{client.url}, version {found.version}, on {found.host}"),
            ("database", found.database),
            ("processors", found.cpu_count),
            ("memory", f"{found.memory_available_mb:.0f} of {found.memory_total_mb:.0f} MB available"),
            ("disk", f"{output.size(found.disk_free_bytes)} of {output.size(found.disk_total_bytes)} free"),
            ("jobs", ", ".join(f"{count} {state}" for state, count in found.jobs.items() if count) or "none"),
            ("engine", _engine(found.engine)),
            ("at once", f"{len(found.gpus)} on GPUs" if found.gpus else found.slots),
        ]
    )
    for gpu in found.gpus:
        use = "" if gpu.utilization_percent is None else f", {gpu.utilization_percent:.0f}% busy"
        print(f"GPU {gpu.index}  {gpu.name}, {gpu.memory_used_mb:.0f} of {gpu.memory_total_mb:.0f} MB used{use}")
    for warning in found.warnings:
        print(f"warning: {warning}")
    return None


def _engine(found: "EngineRead | None") -> str:
    if found is None:
        return "none"
    return f"{found.name}, since {output.moment(found.since)}" + ("" if found.alive else ", not heard of")
