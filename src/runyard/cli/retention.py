"""What a server removes by itself."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from runyard.cli import exits, options, output

if TYPE_CHECKING:
    from runyard.schemas.retention import CleanupRead
    from runyard.schemas.system import EngineRead
    from runyard.sdk.client import Client

POLL_SECONDS = 0.2
PATIENCE_SECONDS = 15.0
"""For an engine that is on its way: longer than a lease."""
LONGEST_SECONDS = 600.0


def retention(
    ctx: typer.Context,
    apply: Annotated[bool, typer.Option("--apply", help="Remove it now, instead of within the hour.")] = False,
    json: options.Json = False,
) -> None:
    """List what would be removed by now, why, and how many bytes; nothing is removed unless --apply is given."""
    with options.client(ctx) as client:
        if apply:
            _report(_applied(client), json=json)
            return
        found = client.retention()
    if json:
        output.as_json(found)
        return
    rows = ((i.what, i.job_id or "", i.name, i.step, output.size(i.size_bytes), i.why) for i in found.items)
    output.table(("WHAT", "JOB", "NAME", "STEP", "SIZE", "WHY"), rows)
    if output.on_terminal():
        for item in found.spared:
            print(f"stays: {item.job_id} ({item.name}): {item.why}")
        print(f"{len(found.items)} things, {output.size(found.size_bytes)}: removed within the hour, or with --apply")


def _applied(client: "Client") -> "CleanupRead":
    """The outcome, once the engine has done it; ends the command when that can't be expected any more."""
    found, began = client.apply_retention(), time.monotonic()
    while found.asked_at is not None:
        waited = time.monotonic() - began
        if waited > PATIENCE_SECONDS:
            _require_hope(client.system().engine, waited)
        time.sleep(POLL_SECONDS if waited < PATIENCE_SECONDS else 1.0)
        found = client.last_cleanup()
    return found


def _require_hope(engine: "EngineRead | None", waited: float) -> None:
    if engine is None:
        why = "no engine runs; the next one does it"
    elif not engine.alive:
        why = f"the engine, {engine.name}, is not heard of; it or the next one does it"
    elif waited > LONGEST_SECONDS:
        why = f"the engine, {engine.name}, is alive but has not done it for {waited / 60:.0f} minutes; see its log"
    else:
        return
    exits.say(f"nothing is known to be removed yet: {why}")
    raise typer.Exit(exits.Code.SERVER_FAILED)


def _report(done: "CleanupRead", *, json: bool) -> None:
    if json:
        output.as_json(done)
    else:
        print(f"removed {done.removed} things, {output.size(done.freed_bytes)} freed")
    if done.failed:
        exits.say(f"can't be removed: {done.failed}")
        raise typer.Exit(exits.Code.SERVER_FAILED)
