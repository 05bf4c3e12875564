"""Column names: the mapping of a job file, and words for wrong ones."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from runyard.data import rows
from runyard.data.errors import RowError

KNOWN_AS = {
    "question": "prompt", "instruction": "prompt", "query": "prompt", "input": "prompt", "problem": "prompt",
    "answer": "completion", "response": "completion", "output": "completion", "solution": "completion",
    "content": "text", "body": "text", "document": "text", "dialogue": "messages", "conversation": "messages",
    "dialog": "messages", "chat": "messages", "win": "chosen", "preferred": "chosen", "accepted": "chosen",
    "lose": "rejected", "dispreferred": "rejected",
}  # fmt: skip


def rename(row: Mapping[str, Any], mapping: Mapping[str, str]) -> dict[str, Any]:
    """The row under our names. Raises RowError when the mapping names a column that is not there."""
    renamed = dict(row)
    for ours, theirs in mapping.items():
        if ours not in rows.COLUMNS:
            raise RowError(f"is no column that we know{_near(ours, rows.COLUMNS)}", f"data.columns.{ours}")
        if theirs not in row:
            raise RowError(
                f"there is no column {theirs!r}{_near(theirs, row)}; found: {_listed(row)}", f"data.columns.{ours}"
            )
        renamed[ours] = row[theirs]
    return renamed


def wrong(found: Iterable[str], kind: rows.Kind | None) -> RowError:
    """The error for a row with which nothing can be done, with what would make it right."""
    found = list(found)
    wanted = [shape for shape in rows.SHAPES if shape.kind == (kind or shape.kind)]
    expected = " | ".join(dict.fromkeys(" + ".join(shape.columns) for shape in wanted))
    other = rows.detect(dict.fromkeys(found), None) if kind else None
    if other:
        return RowError(f"has the columns of {other.kind} data ({' + '.join(other.columns)}), but the job is {kind}")
    return RowError(f"wrong columns: found {_listed(found)}; expected {expected}{_advice(found, wanted)}")


def missing(shape: rows.Shape, found: Mapping[str, Any]) -> RowError:
    """The error for a row that lacks what the rows before it had."""
    other = rows.detect(found, None)
    if other and other is not shape:
        return RowError(f"is {other.name}, but the rows before it are {shape.name}: keep one shape in one file")
    lacking = next(column for column in shape.columns if column not in found)
    return RowError(f"has no {lacking!r}{_near(lacking, found)}; found: {_listed(found)}")


def _advice(found: list[str], wanted: list[rows.Shape]) -> str:
    names = {column for shape in wanted for column in shape.columns}
    meant: dict[str, list[str]] = {}
    for column in found:
        near = get_close_matches(column.lower(), names, n=1, cutoff=0.7)
        meant.setdefault(KNOWN_AS.get(column.lower()) or (near[0] if near else ""), []).append(column)
    fitting = next((shape for shape in wanted if all(len(meant.get(c, ())) == 1 for c in shape.columns)), None)
    if fitting is None:
        return "; data.columns maps our names to yours"
    mapping = ", ".join(f"{ours}: {meant[ours][0]}" for ours in fitting.columns)
    return f"; if it is {fitting.name}, set data.columns to {{{mapping}}}"


def _near(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return (", ".join(names[:12]) or "nothing") + more
