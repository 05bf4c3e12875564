"""How jobs are found in long lists: one line of text for each, which every search looks through.

Parts are told apart by control characters, which no name keeps: what is looked for as a part of the model is not found
in the name, and a tag is found as a whole.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

MODEL_BEGINS, MODEL_ENDS, TAG = "\x01", "\x02", "\x03"
MOST_MODEL_BYTES = 300
"""An index takes no longer rows; the end of a path says more than its beginning."""
CONTROL = re.compile(r"[\x00-\x1f]+")


class Order(StrEnum):
    """What lists may be sorted by."""

    DATE = "date"
    DURATION = "duration"
    LOSS = "loss"
    THROUGHPUT = "throughput"


def line(name: str, model: str | None, tags: Iterable[str], id_: str) -> str:
    """All that a job is found by."""
    end = folded(model or "").encode()[-MOST_MODEL_BYTES:].decode(errors="ignore")
    marked = TAG.join(["", *map(folded, tags), ""])
    return f"{folded(name)}{MODEL_BEGINS}{end}{MODEL_ENDS}{marked}{id_}"


def folded(text: str) -> str:
    """Without regard to case, on any database."""
    return CONTROL.sub(" ", text).casefold()


@dataclass(frozen=True)
class Filter:
    """None lets everything pass. Text is looked for as a part, in any case; times are seconds since the epoch."""

    states: Sequence[str] | None = None
    user: str | None = None
    kind: str | None = None
    name: str | None = None
    model: str | None = None
    tag: str | None = None
    experiment: str | None = None
    created_from: float | None = None
    created_to: float | None = None
    words: str | None = None
    """Each of them is a part of the name, the model, a tag or the id."""
    priority: str | None = None


@dataclass(frozen=True)
class Sorting:
    order: Order = Order.DATE
    descending: bool = True


@dataclass(frozen=True)
class Mark:
    """The last row of a page: the next one begins after it. `value` is what is sorted by, None where it has none."""

    value: float | None
    created_at: float
    id: str


def cursor(mark: Mark, order: Order) -> str:
    place = f"{mark.created_at.hex()}_{mark.id}"
    if order == Order.DATE:
        return place
    return f"{order}_{'none' if mark.value is None else mark.value.hex()}_{place}"


def parse_cursor(text: str, order: Order) -> Mark:
    """Raises ValueError for anything that `cursor` did not make for this order."""
    *rest, at, id_ = text.split("_")
    if not id_.isalnum():
        raise ValueError(text)
    if order == Order.DATE:
        if rest:
            raise ValueError(text)
        return Mark(None, _number(at), id_)
    name, value = rest
    if name != order:
        raise ValueError(text)
    return Mark(None if value == "none" else _number(value), _number(at), id_)


def _number(text: str) -> float:
    number = float.fromhex(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number
