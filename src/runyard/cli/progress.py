"""A run as it goes: a bar with live figures on a terminal, plain lines in a pipe.

Fed with feed entries, whether they come from a server or from a run folder.
"""

import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from runyard.cli import output

if TYPE_CHECKING:
    from runyard.schemas.jobs import EventRead

LINES_A_RUN = 20
STYLES = {"warning": "yellow", "error": "bold red", "good": "green", "quiet": "dim", "info": ""}


class View(Protocol):
    def show(self, event: "EventRead") -> None: ...


@contextmanager
def view(every: int | None = None) -> Iterator[View]:
    """The bar on a terminal, else lines: one every `every` steps."""
    if output.on_terminal():
        with LiveView() as live:
            yield live
    else:
        yield PlainView(every)


@dataclass
class Figures:
    """The newest numbers of a run. Steps and totals are kept for each phase: training goes on after an evaluation."""

    phase: str = ""
    steps: dict[str, int] = field(default_factory=dict)
    totals: dict[str, int | None] = field(default_factory=dict)
    eta: float | None = None
    values: dict[str, float | None] = field(default_factory=dict)

    def take(self, event: "EventRead") -> None:
        data = event.data
        match event.type:
            case "phase":
                self.phase = data["phase"]
            case "progress":
                self.phase = data["phase"]
                self.steps[self.phase], self.totals[self.phase] = data["step"], data.get("total_steps")
                if self.phase == "training":
                    self.eta = data.get("eta_seconds")
            case "metric" if data.get("split", "train") == "train":
                self.steps["training"] = data["step"]
                self.values |= data["values"]
            case "metric":
                self.values["eval_loss"] = _eval_loss(data)
            case "resumed":
                self.steps["training"] = data["step"]

    @property
    def counted(self) -> str:
        """The phase whose steps are worth showing: an evaluation within training counts none."""
        return self.phase if self.phase in self.steps else "training"

    @property
    def step(self) -> int:
        return self.steps.get(self.counted, 0)

    @property
    def total(self) -> int | None:
        return self.totals.get(self.counted)

    @property
    def place(self) -> str:
        return f"{self.step}/{self.total}" if self.total else str(self.step)

    def line(self) -> str:
        """Such as `loss 1.2345  lr 0.0001  812 tokens/s  2:10 left`."""
        return "  ".join(self._parts())

    def _parts(self) -> Iterator[str]:
        values = self.values
        if "loss" in values:
            yield f"loss {_shown(values['loss'])}"
        if "eval_loss" in values:
            yield f"eval loss {_shown(values['eval_loss'])}"
        if values.get("learning_rate") is not None:
            yield f"lr {values['learning_rate']:.3g}"
        if values.get("tokens_per_second") is not None:
            yield f"{values['tokens_per_second']:.0f} tokens/s"
        if self.eta is not None and self.counted == "training":
            yield f"{output.duration(self.eta)} left"


def sentences(event: "EventRead") -> Iterator[tuple[str, str]]:
    """What is worth a line of its own, each with its style."""
    data = event.data
    match event.type:
        case "state":
            yield from _state(data)
        case "queue":
            yield "quiet", f"queued: {data['wait_cause']}"
        case "resumed":
            yield "info", _resumed(data)
        case "checkpoint":
            best = ", the best so far" if data.get("best") else ""
            yield "quiet", f"checkpoint at step {data['step']} ({output.size(data['size_bytes'])}{best})"
        case "metric" if data.get("split") == "eval":
            yield "good", f"step {data['step']}: eval loss {_shown(_eval_loss(data))}"
        case "sample":
            yield "info", _answer(data)
        case "message":
            level = data.get("level", "info")
            yield level, data["text"] if level == "info" else f"{level}: {data['text']}"


def _resumed(data: dict[str, Any]) -> str:
    if data.get("checkpoint"):
        return f"goes on from the checkpoint of step {data['step']}"
    return "there is no checkpoint yet: starts from the beginning"


def _answer(data: dict[str, Any]) -> str:
    who = f"step {data['step']}" if data["step"] else "base model"
    return f"{who}, asked {_short(data['prompt'], 50)}: {_short(data['answer'], 100)}"


def _short(text: str, width: int) -> str:
    return output.harmless(textwrap.shorten(text, width, placeholder=" …"))


class PlainView:
    """One line for each thing that happens, and one every so many steps. No colours, no cursor movement."""

    def __init__(self, every: int | None = None, write: Any = None) -> None:
        self.figures = Figures()
        self._every = every
        self._write = write or (lambda line: print(line, flush=True))
        self._seen: set[str] = set()
        self._printed: dict[str, int] = {}

    def show(self, event: "EventRead") -> None:
        figures = self.figures
        figures.take(event)
        if event.type == "state" and event.data["after"] == "starting":
            self._seen.clear()
        if event.type == "phase" and figures.phase not in self._seen:
            self._seen.add(figures.phase)
            self._write(figures.phase)
        for _, sentence in sentences(event):
            self._write(sentence)
        if event.type == "resumed":
            self._printed["training"] = figures.step
        if self._due(event):
            self._printed[figures.counted] = figures.step
            what = "step" if figures.counted == "training" else figures.phase
            self._write(f"{what} {figures.place}  {figures.line()}".rstrip())

    def _due(self, event: "EventRead") -> bool:
        figures = self.figures
        training = figures.counted == "training"
        if event.type != ("metric" if training else "progress") or event.data.get("split") == "eval":
            return False
        every = (self._every if training else None) or max(1, (figures.total or 0) // LINES_A_RUN)
        printed = self._printed.get(figures.counted, 0)
        return figures.step >= printed + every or (figures.step == figures.total != printed)


class LiveView:
    """A bar that stays at the bottom; sentences scroll above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self.figures = Figures()
        self._progress: Progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[place]}"),
            TextColumn("{task.fields[figures]}", style="cyan"),
            console=Console(file=sys.stdout),
            transient=True,
        )
        self._task = self._progress.add_task("waiting", total=None, place="", figures="")

    def __enter__(self) -> "LiveView":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, event: "EventRead") -> None:
        from rich.text import Text

        self.figures.take(event)
        for style, sentence in sentences(event):
            self._progress.console.print(Text(sentence, style=STYLES[style]))
        figures = self.figures
        self._progress.update(
            self._task,
            description=figures.phase or "waiting",
            completed=figures.step,
            total=figures.total,
            place=figures.place if figures.step else "",
            figures=figures.line(),
        )


def _state(data: dict[str, Any]) -> Iterator[tuple[str, str]]:
    after = data["after"]
    if after == "starting" and data.get("attempt"):
        yield "info", f"starting (attempt {data['attempt']})"
    elif after in ("queued", "starting", "running", "pausing", "cancelling"):
        yield "info", after


def _eval_loss(data: dict[str, Any]) -> float | None:
    values: dict[str, float | None] = data["values"]
    return values.get("eval_loss", values.get("loss"))


def _shown(value: float | None) -> str:
    """Null on the wire stands for a value that was not finite."""
    return "nan" if value is None else f"{value:.4f}"
