"""Templates of a server."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runyard.cli import options, output, watching

if TYPE_CHECKING:
    from runyard.schemas.templates import TemplateRead, VariableRead

app = typer.Typer(no_args_is_help=True, help="Keep good jobs, with places to fill in, and start from them.")
Template = Annotated[str, typer.Argument(metavar="TEMPLATE", help="Its name.", show_default=False)]
Version = Annotated[int | None, typer.Option(min=1, help="The newest unless set.", show_default=False)]
Values = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="The value of a variable; 5 is a number. Repeatable."),
]


@app.command()
def save(
    ctx: typer.Context,
    template: Template,
    job_file: Annotated[
        str | None,
        typer.Argument(metavar="[JOB.YAML]", help="A job file, with ${NAME} or ${NAME:-default} in it."),
    ] = None,
    job: Annotated[
        str | None, typer.Option(help="The spec of this job instead: an id, a name, or `last`.", show_default=False)
    ] = None,
    description: Annotated[str | None, typer.Option(help="What it is for.", show_default=False)] = None,
    variable: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FIELD",
            help="With --job: make a field a variable, such as LR=training.learning_rate. Repeatable.",
        ),
    ] = None,
    describe: Annotated[
        list[str] | None, typer.Option(metavar="NAME=TEXT", help="What a variable is for. Repeatable.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Save a template, or its next version: from a job file, or from a job."""
    if (job_file is None) == (job is None):
        raise typer.BadParameter("give either a job file or --job")
    described: dict[str, dict[str, str]] = {}
    for key, texts in (("field", variable), ("description", describe)):
        for name, value in _pairs(texts).items():
            described.setdefault(name, {})[key] = value
    with options.client(ctx) as client:
        job_id = None if job is None else client.find_job(job).id
        path = None if job_file is None else Path(job_file)
        saved = client.save_template(template, path, job_id=job_id, description=description, variables=described)
    if json:
        output.as_json(saved)
        return
    names = ", ".join(one.name for one in saved.variables) or "none"
    print(f"{saved.name}, version {saved.version}; variables: {names}")
    print(f"Start from it: runyard templates submit {saved.name}{_needed(saved.variables)}")


@app.command("list")
def list_(ctx: typer.Context, limit: options.Limit = 50, json: options.Json = False) -> None:
    """List templates, those that were saved last first."""
    with options.client(ctx) as client:
        page = client.templates(limit=limit)
    headings = ("NAME", "VERSION", "KIND", "VARIABLES", "USER", "SAVED", "DESCRIPTION")
    nothing = "no templates yet: runyard templates save NAME --job last"
    output.listing(page, headings, _row, json=json, nothing=nothing)


@app.command()
def versions(ctx: typer.Context, template: Template, limit: options.Limit = 50, json: options.Json = False) -> None:
    """List the versions of a template, newest first."""
    with options.client(ctx) as client:
        page = client.template_versions(template, limit=limit)
    headings = ("VERSION", "SAVED", "BY", "VARIABLES", "DESCRIPTION")
    output.listing(page, headings, _version_row, json=json, nothing="")


@app.command()
def show(ctx: typer.Context, template: Template, version: Version = None, json: options.Json = False) -> None:
    """Show a template, its variables, and the job that it becomes."""
    with options.client(ctx) as client:
        found = client.template(template, version=version)
    if json:
        output.as_json(found)
        return
    output.fields(
        [
            ("name", found.name),
            ("version", found.version),
            ("for", found.description),
            ("user", found.user),
            ("saved", f"{output.moment(found.created_at)} by {found.saved_by}"),
            ("from job", found.job_id),
        ]
    )
    if found.variables:
        print("\nvariables")
        output.table(("NAME", "DEFAULT", "IN", "DESCRIPTION"), (_variable(one) for one in found.variables))
    print("\nspec")
    print(output.as_yaml(found.spec, indent="  "))


@app.command()
def delete(ctx: typer.Context, template: Template, json: options.Json = False) -> None:
    """Delete a template with all its versions; the jobs that were made of it stay."""
    with options.client(ctx) as client:
        client.delete_template(template)
    if json:
        output.as_json({"deleted": template})
    else:
        print(f"deleted {template}")


@app.command()
def fill(
    ctx: typer.Context, template: Template, values: Values = None, version: Version = None, json: options.Json = False
) -> None:
    """Print the job file that a template becomes: `runyard templates fill NAME > job.yaml`."""
    with options.client(ctx) as client:
        filled = client.fill_template(template, _pairs(values), version=version)
    if json:
        output.as_json(filled)
    else:
        print(output.as_yaml(filled.spec))


@app.command()
def submit(
    ctx: typer.Context,
    template: Template,
    values: Values = None,
    version: Version = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Stay and watch it run.")] = False,
    key: Annotated[
        str | None, typer.Option(help="Submitting again with the same key gives the same job.", show_default=False)
    ] = None,
    every: options.Every = None,
    json: options.Json = False,
) -> None:
    """Submit the job that a template becomes; data files among the values are uploaded first."""
    with options.client(ctx) as client:
        job = client.submit_template(template, _pairs(values), version=version, idempotency_key=key)
        if json:
            output.as_json(job)
        else:
            made = f" from {job.template.name}, version {job.template.version}" if job.template else ""
            print(f"submitted {job.id} ({job.name}){made}: {job.state}", flush=True)
        if watch:
            raise typer.Exit(watching.watch(client, job, every, json=json))
        if not json:
            print(f"Watch it: runyard jobs watch {job.id}")


def _pairs(texts: Iterable[str] | None) -> Mapping[str, str]:
    pairs = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{text!r} must look like NAME=VALUE")
        pairs[name.strip()] = value
    return pairs


def _needed(variables: Iterable["VariableRead"]) -> str:
    return "".join(f" --set {one.name}=…" for one in variables if one.default is None)


def _row(found: "TemplateRead") -> tuple[object, ...]:
    saved = output.moment(found.created_at)
    return found.name, found.version, found.kind, _names(found), found.user, saved, found.description


def _version_row(found: "TemplateRead") -> tuple[object, ...]:
    return found.version, output.moment(found.created_at), found.saved_by, _names(found), found.description


def _names(found: "TemplateRead") -> str:
    return ", ".join(one.name for one in found.variables)


def _variable(one: "VariableRead") -> tuple[object, ...]:
    default = "(required)" if one.default is None else one.default
    return one.name, default, ", ".join(one.fields), one.description
