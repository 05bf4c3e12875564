"""Tenants, for operators."""

from typing import TYPE_CHECKING, Annotated

import typer

from runyard.cli import options, output

if TYPE_CHECKING:
    from runyard.schemas.people import TenantRead

app = typer.Typer(no_args_is_help=True, help="Tenants: groups of people who see nothing of each other.")
Tenant = Annotated[str, typer.Argument(metavar="TENANT", help="Its name.", show_default=False)]
SCRIPTS = "Whether its jobs may be any program, which then can read what the server can."


@app.command("list")
def list_(ctx: typer.Context, json: options.Json = False) -> None:
    """List tenants."""
    with options.client(ctx) as client:
        page = client.tenants()
    output.listing(page, ("NAME", "SCRIPTS", "CREATED"), _row, json=json, nothing="no tenants")


@app.command()
def create(
    ctx: typer.Context,
    tenant: Tenant,
    scripts: Annotated[bool, typer.Option("--scripts", help=SCRIPTS)] = False,
    json: options.Json = False,
) -> None:
    """Make a tenant; `runyard users create NAME --tenant TENANT` puts people in."""
    with options.client(ctx) as client:
        _tell(client.create_tenant(tenant, scripts=scripts), json=json)


@app.command()
def change(
    ctx: typer.Context,
    tenant: Tenant,
    scripts: Annotated[bool, typer.Option("--scripts/--no-scripts", help=SCRIPTS, show_default=False)],
    json: options.Json = False,
) -> None:
    """Say what a tenant's jobs may be."""
    with options.client(ctx) as client:
        _tell(client.change_tenant(tenant, scripts=scripts), json=json)


def _tell(found: "TenantRead", *, json: bool) -> None:
    if json:
        output.as_json(found)
    else:
        print(f"{found.name}: {_scripts(found)}")


def _row(found: "TenantRead") -> tuple[object, ...]:
    return found.name, "scripts" if found.scripts else "", output.moment(found.created_at)


def _scripts(found: "TenantRead") -> str:
    return "its jobs may be any program" if found.scripts else "its jobs are trainings alone"
