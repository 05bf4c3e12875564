"""Quotas: what may be used, what is, and what is left."""

import math
from typing import TYPE_CHECKING, Annotated

import typer

from runyard.cli import options, output
from runyard.domain.quotas import EACH_USER, TENANT, Quota, of_user

if TYPE_CHECKING:
    from runyard.schemas.page import Page
    from runyard.schemas.people import LimitRead, QuotaRead

app = typer.Typer(help="See and set how much of everything there may be.")
NAMES = [quota.value for quota in Quota]


@app.callback(invoke_without_command=True)
def quotas(
    ctx: typer.Context,
    user: Annotated[
        str | None, typer.Option(help="Somebody else's, for admins; yours unless set.", show_default=False)
    ] = None,
    json: options.Json = False,
) -> None:
    """Show what is used, what may be, and what is left: of a user, then of the whole tenant."""
    if ctx.invoked_subcommand is not None:
        return
    with options.client(ctx) as client:
        page = client.quotas(user)
    output.listing(page, ("OF", "QUOTA", "USED", "LIMIT", "LEFT"), _row, json=json, nothing="no quotas")


@app.command("set")
def set_(
    ctx: typer.Context,
    amounts: Annotated[
        list[str],
        typer.Argument(metavar="QUOTA=AMOUNT...", help=f"Of {', '.join(NAMES)}; none takes a limit away."),
    ],
    of: Annotated[str, typer.Option(help="tenant, 'each user', or the name of one user.", show_default=False)],
    tenant: Annotated[str | None, typer.Option(help="Yours unless set.", show_default=False)] = None,
    json: options.Json = False,
) -> None:
    """Say how much a tenant, each of its users, or one of them may have; sizes may be written as 50GB.

    What a user may have who is not named is what each user may have.
    """
    whose = of if of in (TENANT, EACH_USER) or of.startswith(of_user("")) else of_user(of)
    with options.client(ctx) as client:
        _list(client.set_quotas(whose, dict(map(_parse, amounts)), tenant=tenant), json=json)


@app.command()
def limits(ctx: typer.Context, json: options.Json = False) -> None:
    """List what was set; what a server sets for each user by its settings is not among it."""
    with options.client(ctx) as client:
        _list(client.limits(), json=json)


def _list(page: "Page[LimitRead]", *, json: bool) -> None:
    headings = ("TENANT", "OF", "QUOTA", "LIMIT")
    output.listing(
        page, headings, lambda it: (it.tenant, it.of, it.quota, _amount(it.quota, it.amount)), json=json,
        nothing="nothing was set: runyard quotas set --of 'each user' waiting=20",
    )  # fmt: skip


def _parse(text: str) -> tuple[str, float | None]:
    name, sign, amount = (part.strip() for part in text.partition("="))
    if name not in NAMES or not sign:
        raise typer.BadParameter(f"{text!r} must look like waiting=20; there are {', '.join(NAMES)}")
    if amount.lower() == "none":
        return name, None
    try:
        number = float(_bytes(amount) if name == Quota.STORED_BYTES else amount)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise typer.BadParameter(f"{text!r}: the amount must be a number from 0 on, or none")
    return name, number


def _bytes(text: str) -> int:
    from pydantic import ByteSize, TypeAdapter

    return TypeAdapter(ByteSize).validate_python(text)


def _row(found: "QuotaRead") -> tuple[object, ...]:
    return found.of, found.quota, *(_amount(found.quota, it) for it in (found.used, found.limit, found.left))


def _amount(quota: str, amount: float | None) -> str:
    if amount is None:
        return "-"
    return output.size(amount) if quota == Quota.STORED_BYTES else f"{amount:.2f}".rstrip("0").rstrip(".")
