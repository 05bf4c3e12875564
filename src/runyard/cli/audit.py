"""The audit log: who did what to what, when, from where."""

import re
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runyard.cli import options, output

if TYPE_CHECKING:
    from runyard.schemas.people import AuditRead
    from runyard.sdk.people import Wanted

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def _moment(text: str) -> float:
    """Seconds since the epoch."""
    if ago := re.fullmatch(r"(\d{1,6})([smhdw])", text):
        return time.time() - int(ago[1]) * UNITS[ago[2]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        raise typer.BadParameter("must be a time such as 2026-12-01T02:00, or one ago such as 7d") from None


def audit(
    ctx: typer.Context,
    user: Annotated[str | None, typer.Option(help="Only what this user did.", show_default=False)] = None,
    action: Annotated[str | None, typer.Option(help="Only this, such as create_user.", show_default=False)] = None,
    target: Annotated[str | None, typer.Option(help="Only what was done to this.", show_default=False)] = None,
    refused: Annotated[bool | None, typer.Option("--refused/--done", help="Only what was refused, or done.")] = None,
    since: Annotated[
        float | None,
        typer.Option(
            parser=_moment,
            metavar="TIME",
            help="Such as 2026-12-01T02:00 in local time, or 7d ago.",
            show_default=False,
        ),
    ] = None,
    until: Annotated[
        float | None, typer.Option(parser=_moment, metavar="TIME", help="Likewise.", show_default=False)
    ] = None,
    limit: options.Limit = 50,
    export: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write all of it into a new file, as JSON lines.", show_default=False),
    ] = None,
    json: options.Json = False,
) -> None:
    """List what was done and what was refused, newest first; for admins of a tenant, and operators."""
    wanted: Wanted = {
        "user": user, "action": action, "target": target, "refused": refused, "since": since, "until": until,
    }  # fmt: skip
    with options.client(ctx) as client:
        if export is not None:
            _report(client.export_audit(export, **wanted), json=json)
            return
        page = client.audit(limit=limit, **wanted)
    headings = ("TIME", "TENANT", "USER", "BY", "FROM", "ACTION", "TARGET", "REFUSED")
    output.listing(page, headings, _row, json=json, nothing="nothing of the kind was done")


def _report(file: Path, *, json: bool) -> None:
    if json:
        output.as_json({"path": str(file), "size_bytes": file.stat().st_size})
    else:
        print(f"{file}: {output.size(file.stat().st_size)}")


def _row(entry: "AuditRead") -> tuple[object, ...]:
    return (
        *(output.moment(entry.at), entry.tenant, entry.user, entry.via, entry.address),
        *(entry.action, entry.target, entry.refused),
    )
