"""Job files: write one, check one, see what it trains on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runyard.cli import exits, jobfiles, options, output

if TYPE_CHECKING:
    from runyard.protocol.specs import Spec

KINDS = ["sft", "dpo", "script"]
Kind = Annotated[str, typer.Argument(metavar="KIND", help="sft, dpo or script.", autocompletion=lambda: KINDS)]


def init(
    kind: Kind,
    model: Annotated[str | None, typer.Option(help="The model to start from.", show_default=False)] = None,
    data: Annotated[str | None, typer.Option(help="The data to train on.", show_default=False)] = None,
    file: Annotated[str | None, typer.Option(help="The Python file of a script.", show_default=False)] = None,
) -> None:
    """Print a commented job file: `runyard init sft > job.yaml`."""
    from runyard.cli import blanks
    from runyard.protocol.specs import SPEC_CLASSES

    if kind not in SPEC_CLASSES:
        raise typer.BadParameter(f"{kind} is not one of {', '.join(SPEC_CLASSES)}")
    print(blanks.job_file(kind, model=model, data=data, file=file), end="")


def schema(
    to: Annotated[Path | None, typer.Option("--output", "-o", help="A file to write.", show_default=False)] = None,
) -> None:
    """Print the JSON Schema of job files, for editors that complete and check them."""
    from runyard.cli import editors

    text = editors.schema()
    if to is None:
        print(text)
    else:
        to.write_text(f"{text}\n")
        print(f"{to}: put `# yaml-language-server: $schema={to}` on top of a job file")


def validate(
    job_file: options.JobFile,
    overrides: options.Overrides = None,
    no_data: Annotated[bool, typer.Option("--no-data", help="Check the file alone.")] = False,
    json: options.Json = False,
) -> None:
    """Check a job file, and with the training libraries installed its model and every row of its data."""
    from runyard.protocol import commands
    from runyard.protocol.specs.script import ScriptSpec
    from runyard.sdk.errors import JobFileError

    found: dict[str, Any] = {"problems": [], "warnings": []}
    note = "the data were not checked" if no_data else None
    try:
        spec = jobfiles.load(Path(job_file), overrides)
    except JobFileError as error:
        if not json:
            raise
        found["problems"] = [problem.model_dump(mode="json") for problem in error.problems]
    else:
        if isinstance(spec, ScriptSpec):
            found["problems"] = [problem.model_dump(mode="json") for problem in commands.missing(spec)]
            note = None
        elif not no_data and (note := jobfiles.missing_libraries()) is None:
            found = _ask_trainer(spec, "--check")
    _show_check(found, job_file, note, json=json)
    if found["problems"]:
        raise typer.Exit(exits.Code.BAD_INPUT)


def preview(
    job_file: options.JobFile,
    count: Annotated[int, typer.Option("-n", min=1, max=100, help="How many examples.")] = 3,
    overrides: options.Overrides = None,
    json: options.Json = False,
) -> None:
    """Show a few examples as the model will see them, the tokens it learns from in colour."""
    from runyard.protocol.specs.script import ScriptSpec

    spec = jobfiles.load(Path(job_file), overrides)
    note = "preview shows training data, and a script reads its own" if isinstance(spec, ScriptSpec) else None
    if note := note or jobfiles.missing_libraries():
        exits.say(note)
        raise typer.Exit(exits.Code.BAD_INPUT)
    found = _ask_trainer(spec, "--preview", str(count))
    if found.get("problems"):
        _show_check(found, job_file, None, json=json)
        raise typer.Exit(exits.Code.BAD_INPUT)
    if json:
        output.as_json(found)
    else:
        _show_preview(found)


def _ask_trainer(spec: "Spec", *arguments: str) -> dict[str, Any]:
    """What the trainer says about a job in a run folder that is thrown away."""
    import json
    import subprocess
    import sys
    import tempfile

    from runyard.protocol.rundir import RunDir

    with tempfile.TemporaryDirectory(prefix="runyard-") as folder:
        RunDir(Path(folder)).spec.write_text(spec.model_dump_json())
        command = [sys.executable, "-m", "runyard.trainers", folder, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        last = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "no output")
        exits.say(f"the check broke off: {last.strip()}")
        raise typer.Exit(exits.Code.JOB_FAILED) from None
    return answer


def _show_check(found: dict[str, Any], job_file: str, note: str | None, *, json: bool) -> None:
    if json:
        return output.as_json(found)
    from runyard.protocol.problems import Problem

    for problem in found["problems"]:
        exits.say(str(Problem.model_validate(problem)))
    for warning in found["warnings"]:
        print(f"warning: {warning}")
    if found["problems"]:
        return None
    if report := found.get("report"):
        share = report["trained_tokens"] / report["tokens"] if report["tokens"] else 0
        print(
            f"{report['rows']} rows to train on, {report['eval_rows']} to evaluate; "
            f"{report['tokens']} tokens, {share:.0%} of them trained; {report['mean_length']} tokens a row, "
            f"at most {report['longest']}"
        )
    for choice in found.get("choices", ()):
        print(f"{choice['field']} = {choice['value']}: {choice['reason']}")
    print(f"{job_file}: can be run" + (f" ({note})" if note else ""))
    return None


def _show_preview(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    for example in found["examples"]:
        cut = ", cut at training.max_length" if example["truncated"] else ""
        title = f"{example['title']}: {example['trained_tokens']} of {example['tokens']} tokens trained{cut}"
        console.print(Text(title, style="bold"))
        for text, trained in example["pieces"]:
            # Without colours the trained stretches must still stand out.
            shown = f"⟦{text}⟧" if trained and not output.on_terminal() else text
            console.print(Text(shown, style="bold green" if trained else "dim"), end="")
        console.print("\n")
    legend = "green" if output.on_terminal() else "⟦…⟧"
    console.print(
        f"{legend}: trained. {found['trained_share']:.0%} of the tokens in the first {found['sample_rows']} rows."
    )
    for warning in found["warnings"]:
        console.print(Text(f"warning: {warning}", style="yellow"))
