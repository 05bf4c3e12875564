"""Accounts: of a server, or of a data folder on which no server runs."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from runyard.cli import options, output, passwords
from runyard.cli.serve import on_data_folder

if TYPE_CHECKING:
    from runyard.schemas.people import UserRead
    from runyard.sdk.client import Client
    from runyard.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Make and change accounts.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name or e-mail address.", show_default=False)]
Role = Literal["viewer", "member", "admin"]
Subject = Annotated[
    str | None,
    typer.Option(help="Who this is in the tokens of an outside issuer: its claim `sub`.", show_default=False),
]


@app.command("list")
def list_(ctx: typer.Context, json: options.Json = False) -> None:
    """List accounts of your tenant; for an operator, of all."""
    with options.client(ctx) as client:
        page = client.users()
    headings = ("NAME", "TENANT", "ROLE", "OPERATOR", "STATE", "SUBJECT", "CREATED")
    output.listing(page, headings, _row, json=json, nothing="no accounts yet: runyard users create NAME")


@app.command()
def show(ctx: typer.Context, name: Name, json: options.Json = False) -> None:
    """Show an account."""
    with options.client(ctx) as client:
        found = client.user(name)
    if json:
        output.as_json(found)
        return
    output.fields(
        [
            ("name", found.name),
            ("tenant", found.tenant),
            ("role", found.role),
            ("operator", "yes" if found.operator else "no"),
            ("state", _state(found)),
            ("subject", found.subject),
            ("created", output.moment(found.created_at)),
        ]
    )


@app.command()
def create(
    ctx: typer.Context,
    name: Name,
    role: Annotated[Role, typer.Option(help="What they may do in their tenant.")] = "member",
    tenant: Annotated[str | None, typer.Option(help="Yours unless set.", show_default=False)] = None,
    operator: Annotated[bool, typer.Option("--operator", help="May do what concerns all tenants, too.")] = False,
    subject: Subject = None,
    password_stdin: options.PasswordStdin = False,
    no_password: Annotated[bool, typer.Option("--no-password", help="Tokens of an outside issuer only.")] = False,
    json: options.Json = False,
) -> None:
    """Make an account. The first one is admin and operator, and ends the time without sign-in.

    Where no server runs on the data folder, and none was named, it is made in there.
    """
    password = None if no_password else passwords.new(f"Password of {name}", stdin=password_stdin)
    fields = {"password": password, "role": role, "tenant": tenant, "operator": operator, "subject": subject}

    def directly(settings: "Settings") -> "UserRead":
        from runyard import datafolder

        return datafolder.create_user(settings, fields | {"name": name})

    def through(client: "Client") -> "UserRead":
        first = {"role": "admin", "operator": True} if client.whoami().via == "loopback" else {}
        return client.create_user(name, **fields | first)  # type: ignore[arg-type]

    made, place = _do(ctx, directly, through)
    if json:
        output.as_json(made)
        return
    _tell(made, place)
    if made.operator and not operator:
        print("The first account: admin and operator, whatever was asked. From now on everybody has to sign in.")


@app.command()
def change(
    ctx: typer.Context,
    name: Name,
    role: Annotated[Role | None, typer.Option(help="What they may do in their tenant.", show_default=False)] = None,
    operator: Annotated[
        bool | None, typer.Option("--operator/--no-operator", help="May do what concerns all tenants, too.")
    ] = None,
    enabled: Annotated[
        bool | None, typer.Option("--enable/--disable", help="One who is disabled can't sign in; nor do keys open.")
    ] = None,
    subject: Subject = None,
    password: Annotated[bool, typer.Option("--password", help="Ask for a new password.")] = False,
    password_stdin: options.PasswordStdin = False,
    json: options.Json = False,
) -> None:
    """Change an account; it counts at once. An empty --subject takes it away.

    Where no server runs on the data folder, and none was named, it is changed in there: so its owner gets back in.
    """
    asked = {"role": role, "operator": operator, "enabled": enabled, "subject": subject}
    fields: dict[str, Any] = {field: value for field, value in asked.items() if value is not None}
    if password or password_stdin:
        fields["password"] = passwords.new(f"Password of {name}", stdin=password_stdin)
    if not fields:
        raise typer.BadParameter("nothing to change was given")

    def directly(settings: "Settings") -> "UserRead":
        from runyard import datafolder

        return datafolder.change_user(settings, name, fields)

    changed, place = _do(ctx, directly, lambda client: client.change_user(name, **fields))
    if json:
        output.as_json(changed)
    else:
        _tell(changed, place)


@app.command()
def password(ctx: typer.Context) -> None:
    """Change your own password, for which the old one is asked; or give both on standard input, a line each."""
    old, new = passwords.known("Your password until now"), passwords.new("From now on")
    with options.client(ctx) as client:
        client.change_password(old, new)
    print("changed; your keys stay as they are")


def _do(
    ctx: typer.Context,
    directly: "Callable[[Settings], UserRead]",
    through: "Callable[[Client], UserRead]",
) -> "tuple[UserRead, str]":
    """In the data folder itself, where no server was named and none has it; and where it was done."""
    if options.named_address(ctx) is None:
        from runyard.server.instance import TakenError

        with on_data_folder():
            settings = options.settings(ctx)
            try:
                return directly(settings), f"{settings.home}, where no server runs"
            except TakenError:
                if options.local_address(ctx) is None:
                    raise
    with options.client(ctx) as client:
        return through(client), client.url


def _tell(found: "UserRead", place: str) -> None:
    operator = ", operator" if found.operator else ""
    print(f"{found.name}: {found.role} of {found.tenant}{operator}, {_state(found)} · in {place}")


def _row(found: "UserRead") -> tuple[object, ...]:
    operator = "operator" if found.operator else ""
    return (
        *(found.name, found.tenant, found.role, operator, _state(found), found.subject),
        output.moment(found.created_at),
    )


def _state(found: "UserRead") -> str:
    return "enabled" if found.enabled else "disabled"
