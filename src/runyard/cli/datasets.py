"""Data sets of a server."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runyard.cli import options, output

if TYPE_CHECKING:
    from runyard.schemas.datasets import DataSetRead

app = typer.Typer(no_args_is_help=True, help="Upload and look after data sets.")
DataSet = Annotated[str, typer.Argument(metavar="DATASET", help="Id of the data set.", show_default=False)]


@app.command()
def upload(
    ctx: typer.Context,
    file: Annotated[
        str, typer.Argument(help="A .jsonl, .csv or .parquet file, or its http or https address.", show_default=False)
    ],
    name: Annotated[str | None, typer.Option(help="The file's name unless set.", show_default=False)] = None,
    json: options.Json = False,
) -> None:
    """Upload a data file, or have the server fetch it; every row is checked."""
    with options.client(ctx) as client:
        found = client.upload_dataset(file, name=name)
    if json:
        output.as_json(found)
        return
    _show(found)
    print(f"\nIn a job file: data: dataset:{found.id}")


@app.command("list")
def list_(
    ctx: typer.Context,
    limit: options.Limit = 50,
    json: options.Json = False,
) -> None:
    """List data sets, newest first."""
    with options.client(ctx) as client:
        page = client.datasets(limit=limit)
    headings = ("ID", "NAME", "FORMAT", "ROWS", "SIZE", "CREATED")
    output.listing(page, headings, _row, json=json, nothing="no data sets yet: runyard datasets upload FILE")


@app.command()
def show(ctx: typer.Context, dataset: DataSet, json: options.Json = False) -> None:
    """Show a data set and what the check of its rows found."""
    with options.client(ctx) as client:
        found = client.dataset(dataset)
    if json:
        output.as_json(found)
    else:
        _show(found)


@app.command()
def delete(ctx: typer.Context, dataset: DataSet, json: options.Json = False) -> None:
    """Delete a data set that no waiting or running job needs."""
    with options.client(ctx) as client:
        client.delete_dataset(dataset)
    if json:
        output.as_json({"deleted": dataset})
    else:
        print(f"deleted {dataset}")


def _row(found: "DataSetRead") -> tuple[object, ...]:
    size, created = output.size(found.size_bytes), output.moment(found.created_at)
    return found.id, found.name, found.format, found.rows, size, created


def _lengths(found: Mapping[str, Any] | None) -> str | None:
    if not found:
        return None
    return (
        f"{found['shortest']:,} to {found['longest']:,} characters, half of the rows up to {found['median']:,}, "
        f"95 % up to {found['most']:,}"
    )


def _show(found: "DataSetRead") -> None:
    report = found.report
    output.fields(
        [
            ("id", found.id),
            ("name", found.name),
            ("size", f"{output.size(found.size_bytes)}, {found.rows} rows, {found.format}"),
            ("shape", report.get("shape")),
            ("for jobs", ", ".join(report.get("kinds", ()))),
            ("bad rows", report.get("bad")),
            ("lengths", _lengths(report.get("lengths"))),
            ("SHA-256", found.hash_sha256),
        ]
    )
    for problem in report.get("problems", ()):
        place = ":".join(str(problem[part]) for part in ("file", "line") if problem.get(part))
        print(f"  {place}: {problem['message']}")
