"""One job, here and now, with no server."""

import json as json_module
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runyard.cli import exits, jobfiles, options, output, progress

if TYPE_CHECKING:
    from runyard.protocol.rundir import RunDir
    from runyard.protocol.specs import Spec
    from runyard.schemas.jobs import EventRead

POLL_SECONDS = 0.1
STOPPED = 75
BY_SIGTERM = 128 + signal.SIGTERM
SHOWN_LINES = 5


def train(
    job_file: Annotated[
        Path | None, typer.Argument(metavar="JOB.YAML", help="The job file.", show_default=False)
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The run folder; runs/NAME-TIME unless set.", show_default=False),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Go on with the run in this folder.", show_default=False)
    ] = None,
    overrides: options.Overrides = None,
    every: options.Every = None,
    json: options.Json = False,
) -> None:
    """Train here and now, with no server. Ctrl-C saves a checkpoint and leaves; --resume goes on from it.

    Exit codes: 0 completed, 75 stopped and can be resumed, 2 bad input, others failed.
    """
    if (job_file is None) == (resume is None):
        raise typer.BadParameter("give either a job file or --resume FOLDER")
    rundir = _new_run(job_file, to, overrides) if job_file else _old_run(resume or Path())
    raise typer.Exit(Run(rundir).watch(every, json=json))


class Run:
    """The trainer as a child; its events are read from the run folder, as a server would."""

    def __init__(self, rundir: "RunDir") -> None:
        from runyard.protocol import commands

        self.rundir = rundir
        self.attempt = max(rundir.attempts(), default=0) + 1
        spec = json_module.loads(rundir.spec.read_bytes())
        self.is_script = spec["kind"] == "script"
        self.command = commands.command(spec, rundir, self.attempt, sys.executable)
        self.offset = rundir.events.stat().st_size if rundir.events.exists() else 0
        self.last: EventRead | None = None
        self.child: subprocess.Popen[bytes] | None = None
        self.interrupts = 0
        self.was_told = False

    def watch(self, every: int | None, *, json: bool) -> int:
        with ExitStack() as stack:
            view = None if json else stack.enter_context(progress.view(every))
            stack.enter_context(self._forwarded_signals())
            child = self.child = stack.enter_context(self._begun())
            if self.interrupts and not self.was_told:
                self._tell(child)
            self._show(child, view)
            is_whole = child.returncode == 0 and not self.was_told
            if is_whole and self.command.after and any(self.rundir.final.iterdir()):
                child = self.child = stack.enter_context(self._start(self.command.after, self.rundir.root, {}))
                self._show(child, view)
        code = child.returncode if child.returncode >= 0 else 128 - child.returncode
        obeyed = (BY_SIGTERM, 0) if self.is_script else (BY_SIGTERM,)  # a trainer of ours ends with 0 when it is done
        code = STOPPED if self.was_told and code in obeyed else code
        for line in self._closing(code):
            print(line, file=sys.stderr if json else sys.stdout)
        return code

    def _begun(self) -> "subprocess.Popen[bytes]":
        for folder in (self.rundir.attempt(self.attempt), *self.command.folders):
            folder.mkdir(parents=True, exist_ok=True)
        self.rundir.stop_request.unlink(missing_ok=True)
        secrets = {name: os.environ[secret] for name, secret in self.command.secrets.items()}
        return self._start(self.command.argv, self.command.cwd, {**self.command.env, **secrets})

    def _start(self, argv: Sequence[str], cwd: Path, env: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        from runyard.sdk.errors import ClientError

        folder = self.rundir.attempt(self.attempt)
        with (folder / "stdout.log").open("ab") as stdout, (folder / "stderr.log").open("ab") as stderr:
            try:
                # A process group of its own: Ctrl-C reaches it once, through us, as a request to save.
                return subprocess.Popen(
                    argv, cwd=cwd, env={**os.environ, **env}, process_group=0,
                    stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
                )  # fmt: skip
            except OSError as error:
                raise ClientError(f"could not start {argv[0]}: {error.strerror or error}") from None

    def _show(self, child: "subprocess.Popen[bytes]", view: progress.View | None) -> None:
        """Until it has ended, and what it left running with it."""
        for event in self._events(child):
            if view is None:
                output.as_json(event)
            else:
                view.show(event)
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)

    @contextmanager
    def _forwarded_signals(self) -> Iterator[None]:
        """To the child, or to the one that is just being started: it would run on by itself."""

        def forward(number: int, frame: FrameType | None) -> None:
            self.interrupts += 1
            if self.child is not None:
                self._tell(self.child)

        names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {name: signal.signal(name, forward) for name in names}
        try:
            yield
        finally:
            for name, handler in before.items():
                signal.signal(name, handler)
            if self.child is not None and self.child.poll() is None:  # we can't show it any more, but it can save
                self.child.terminate()
                try:
                    self.child.wait()
                except KeyboardInterrupt:
                    self.child.kill()
                    raise

    def _tell(self, child: "subprocess.Popen[bytes]") -> None:
        if child.poll() is not None:
            return
        self.was_told = True
        if self.interrupts == 1:
            child.terminate()
            with suppress(OSError):  # the terminal may be gone
                print(f"\n{self._asked()}; once more stops at once", file=sys.stderr, flush=True)
        else:
            os.killpg(child.pid, signal.SIGKILL)

    def _asked(self) -> str:
        return "it was asked to stop" if self.is_script else "saving a checkpoint, then leaving"

    def _events(self, child: "subprocess.Popen[bytes]") -> Iterator["EventRead"]:
        while True:
            # Asked first: what is written before the end is read after it.
            running = child.poll() is None
            before = self.offset
            for event in self._new_events():
                self.last = event
                yield event
            if running:
                time.sleep(POLL_SECONDS)
            elif self.offset == before:
                return

    def _new_events(self) -> Iterator["EventRead"]:
        from runyard.protocol.events import any_event
        from runyard.protocol.rundir import read_complete_lines
        from runyard.schemas.jobs import EventRead

        lines, self.offset = read_complete_lines(self.rundir.events, self.offset)
        for line in lines:
            event = any_event.validate_json(line)
            data = event.model_dump(mode="json", exclude={"n", "at", "type"})
            yield EventRead(id=event.n, job_id=self.rundir.root.name, at=event.at, type=event.type, data=data)

    def _closing(self, code: int) -> Iterator[str]:
        root, logs = self.rundir.root, self.rundir.attempt(self.attempt)
        data: dict[str, Any] = self.last.data if self.last and self.last.type == "finished" else {}
        match data.get("outcome"):
            case "completed" if self.is_script:
                yield f"completed: its files are in {self.rundir.final}"
            case "completed":
                yield f"completed: the model is in {self.rundir.final}"
            case None if code == 0 and self.is_script:
                yield f"completed. Its output: {logs}"
            case "stopped":
                yield f"stopped. Go on: runyard train --resume {root}"
            case None if code == STOPPED:
                yield f"stopped. Go on: runyard train --resume {root}"
            case "failed":
                yield f"failed ({data.get('reason')}): {data.get('message')}"
                yield f"Its output: {logs}"
            case _:
                yield f"the {'script' if self.is_script else 'trainer'} ended with code {code} and no last word"
                yield from self._last_words()
                again = "Go on from the last checkpoint" if self.rundir.checkpoint_steps() else "Try again"
                yield f"{again}: runyard train --resume {root}"

    def _last_words(self) -> Iterator[str]:
        text = (self.rundir.attempt(self.attempt) / "stderr.log").read_text(errors="replace")
        yield from (f"  {line}" for line in text.splitlines()[-SHOWN_LINES:])


def _new_run(job_file: Path, to: Path | None, overrides: list[str] | None) -> "RunDir":
    from runyard.protocol.rundir import RunDir
    from runyard.sdk.errors import ClientError

    spec = jobfiles.load(job_file, overrides)
    _require_runnable(spec, job_file)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    name = spec.name or _default_name(spec)
    root = (to or Path("runs") / jobfiles.folder_name(name, stamp)).absolute()
    if root.exists() and any(root.iterdir()):
        raise ClientError(f"{root} is not empty", hint="go on with it by --resume, or choose another folder")
    root.mkdir(parents=True, exist_ok=True)
    rundir = RunDir(root)
    rundir.spec.write_text(spec.model_dump_json(indent=2))
    return rundir


def _old_run(root: Path) -> "RunDir":
    from runyard.protocol.rundir import RunDir
    from runyard.protocol.specs import job_spec
    from runyard.sdk.errors import ClientError

    rundir = RunDir(root.absolute())
    if not rundir.spec.is_file():
        raise ClientError(f"{root} holds no run", hint="a run folder has a spec.json")
    _require_runnable(job_spec.validate_json(rundir.spec.read_bytes()), rundir.spec)
    return rundir


def _require_runnable(spec: "Spec", file: Path) -> None:
    from runyard.protocol import commands
    from runyard.protocol.specs.script import ScriptSpec
    from runyard.sdk.errors import JobFileError

    if isinstance(spec, ScriptSpec):
        if problems := [*commands.missing(spec), *commands.missing_secrets(spec, os.environ)]:
            raise JobFileError([problem.model_copy(update={"file": str(file)}) for problem in problems])
    elif note := jobfiles.missing_libraries():
        exits.say(note)
        raise typer.Exit(exits.Code.BAD_INPUT)


def _default_name(spec: "Spec") -> str:
    from runyard.protocol.specs.script import ScriptSpec

    return spec.title if isinstance(spec, ScriptSpec) else f"{Path(spec.data.train).stem} {spec.kind}"
