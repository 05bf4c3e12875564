"""`runyard`: the whole command line."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from runyard.cli import (
    analytics,
    audit,
    channels,
    datasets,
    exits,
    files,
    jobs,
    keys,
    login,
    options,
    quotas,
    records,
    retention,
    schedules,
    secrets,
    submit,
    templates,
    tenants,
    top,
    train,
    users,
    yard,
)
from runyard.cli.serve import engine, serve


class Commands(TyperGroup):
    """Ends every command that fails with one line and a code, for mistakes of the user and of the world."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort, typer.TyperException):
            raise
        except KeyboardInterrupt:
            raise typer.Exit(exits.Code.INTERRUPTED) from None
        except Exception as error:
            if (code := exits.report(error)) is None:
                raise
            raise typer.Exit(code) from None


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_show_locals=False,
    rich_markup_mode=None,
    epilog=exits.MEANINGS,
)


@app.callback()
def runyard(
    url: Annotated[
        str | None,
        typer.Option(envvar="RUNYARD_URL", help="Address of the server; the one on this machine unless set."),
    ] = None,
    home: Annotated[Path, typer.Option(envvar="RUNYARD_HOME", hidden=True)] = options.DEFAULT_HOME,
    version: Annotated[bool, typer.Option("--version", callback=yard.print_version, is_eager=True)] = False,
) -> None:
    """A self-hosted training server: one queue, one API, every training job run to the end."""


app.command()(serve)
app.command()(engine)
app.command()(submit.submit)
jobs.app.command()(records.metrics)
jobs.app.command()(records.samples)
jobs.app.command()(records.events)
jobs.app.command()(records.files)
app.add_typer(jobs.app, name="jobs")
app.add_typer(analytics.app, name="analytics")
app.add_typer(datasets.app, name="datasets")
app.add_typer(templates.app, name="templates")
app.add_typer(schedules.app, name="schedules")
app.add_typer(secrets.app, name="secrets")
app.add_typer(channels.app, name="channels")
app.command()(train.train)
app.command()(files.init)
app.command()(files.validate)
app.command()(files.preview)
app.command()(files.schema)
app.command()(yard.system)
app.command()(top.top)
app.command()(retention.retention)
app.command()(login.login)
app.command()(login.logout)
app.command()(login.whoami)
app.add_typer(users.app, name="users")
app.add_typer(keys.app, name="keys")
app.add_typer(tenants.app, name="tenants")
app.add_typer(quotas.app, name="quotas")
app.command()(audit.audit)


if __name__ == "__main__":
    app(prog_name="runyard")
