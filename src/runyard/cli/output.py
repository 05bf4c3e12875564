"""What goes to standard output: tables and colours on a terminal, tab-separated lines in a pipe, JSON when asked."""

import json
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from runyard.schemas.page import Page

MOST = 200
WIDTH = 110
Item = TypeVar("Item")


def on_terminal() -> bool:
    return sys.stdout.isatty()


def as_json(value: Any) -> None:
    """One line of JSON, so that streams can be read line by line."""
    print(json.dumps(_plain(value), separators=(",", ":")), flush=True)


def as_yaml(value: Any, indent: str = "") -> str:
    from runyard.domain import yamlfile

    return textwrap.indent(yamlfile.written(value, WIDTH).rstrip(), indent)


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table for eyes, or lines for `cut` with no heading; a cell is one line, whatever others wrote into it."""
    texts = [["" if cell is None else harmless(str(cell)) for cell in row] for row in rows]
    if not on_terminal():
        for row in texts:
            print("\t".join(row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    view = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        view.add_column(heading, overflow="fold")
    for row in texts:
        view.add_row(*(Text(cell, style=STATE_STYLES.get(cell, "")) for cell in row))
    Console().print(view)


def listing(
    page: "Page[Item]", headings: Sequence[str], row: Callable[[Item], Sequence[object]], *, json: bool, nothing: str
) -> None:
    """What there is, newest first; on a terminal it is also said when there is `nothing`, or more."""
    if json:
        for item in page.items:
            as_json(item)
    elif on_terminal() and not page.items:
        print(nothing)
    else:
        table(headings, (row(item) for item in page.items))
        if on_terminal() and page.next_cursor:
            print(f"… and older ones: --limit {min(MOST, len(page.items) * 2)}")


def fields(pairs: Iterable[tuple[str, object]]) -> None:
    """Names and values, one a line; empty values are left out."""
    shown = [(name, str(value)) for name, value in pairs if value not in (None, "")]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        print(f"{name:<{width}}  {value}")


def size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def duration(seconds: float) -> str:
    """1:05 or 2:03:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def moment(at: float | None) -> str:
    return "" if at is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def number(value: float | None, digits: int = 4) -> str:
    return "" if value is None else f"{value:.{digits}g}"


def harmless(text: str) -> str:
    """What would steer a terminal, or break a line, is spelled out."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _plain(value: Any) -> Any:
    from pydantic import BaseModel

    match value:
        case BaseModel():
            return value.model_dump(mode="json")
        case list() | tuple():
            return [_plain(item) for item in value]
    return value


STATE_STYLES = {
    "running": "green", "completed": "bold green", "failed": "bold red", "cancelled": "dim", "paused": "yellow",
    "queued": "cyan", "starting": "cyan", "pausing": "yellow", "cancelling": "yellow",
}  # fmt: skip
