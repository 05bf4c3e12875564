"""What a job reported and left: metrics, samples, events, checkpoints, files; as tables and as lines for programs."""

from typing import Annotated

import typer

from runyard.cli import options, output


def metrics(
    ctx: typer.Context,
    job: options.Job,
    split: Annotated[str | None, typer.Option(help="train or eval.")] = None,
    after_step: Annotated[int | None, typer.Option(help="Only later steps.")] = None,
    points: Annotated[
        int | None,
        typer.Option(min=2, max=4000, help="Of each value at most so many that show its extremes; all unless set."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Print a job's curve."""
    with options.client(ctx) as client:
        found = client.metrics(client.find_job(job).id, split=split, after_step=after_step, points=points)
    if json:
        for point in found:
            output.as_json(point)
        return
    names = list(dict.fromkeys(name for point in found for name in point.values))
    rows = ([p.step, p.split, *(output.number(p.values.get(name)) for name in names)] for p in found)
    output.table(["STEP", "SPLIT", *(name.upper() for name in names)], rows)


def samples(
    ctx: typer.Context,
    job: options.Job,
    steps: Annotated[
        int | None, typer.Option(min=2, max=50, help="The base model and so many of the newest checkpoints, in all.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Print what a language model answers to the same prompts, from the base model to the newest checkpoint."""
    with options.client(ctx) as client:
        found = client.samples(client.find_job(job).id, steps=steps)
    if json:
        output.as_json(found)
        return
    rows: list[tuple[object, ...]] = []
    for prompt in found.prompts:
        rows.append((prompt.index + 1, "prompt", prompt.prompt))
        rows += [(prompt.index + 1, "wanted", prompt.wanted)] if prompt.wanted is not None else []
        for one in found.answers:
            if one.index == prompt.index:
                cut = " …" if one.truncated else ""
                rows.append((prompt.index + 1, f"step {one.step}" if one.step else "base", one.answer + cut))
    output.table(("PROMPT", "STEP", "TEXT"), rows)


def events(
    ctx: typer.Context,
    job: options.Job,
    after: Annotated[int, typer.Option(help="Only entries after this cursor.")] = 0,
    json: options.Json = False,
) -> None:
    """Print all that happened to a job so far."""
    from json import dumps

    with options.client(ctx) as client:
        job_id = client.find_job(job).id
        while page := client.events(job_id, after=after).items:
            for event in page:
                if json:
                    output.as_json(event)
                else:
                    print(f"{event.id}\t{output.moment(event.at)}\t{event.type}\t{dumps(event.data)}")
            after = page[-1].id


def files(ctx: typer.Context, job: options.Job, json: options.Json = False) -> None:
    """List a job's checkpoints, and the files it left with their SHA-256."""
    with options.client(ctx) as client:
        job_id = client.find_job(job).id
        checkpoints, artifacts = client.checkpoints(job_id), client.artifacts(job_id)
    kept = [checkpoint for checkpoint in checkpoints if checkpoint.removed_at is None]
    if json:
        for record in (*kept, *artifacts):
            output.as_json(record)
        return
    output.table(
        ("PATH", "KIND", "SIZE", "SHA-256"),
        [
            *((c.path, "best checkpoint" if c.best else "checkpoint", output.size(c.size_bytes), "") for c in kept),
            *((a.path, a.kind, output.size(a.size_bytes), a.hash_sha256) for a in artifacts),
        ],
    )
