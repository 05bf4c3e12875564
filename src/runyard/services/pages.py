"""Lists in pages, newest first: a cursor names the last item of the page before."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from runyard.domain.errors import InvalidError
from runyard.protocol.problems import Problem


class Dated(Protocol):
    """A row with an age and an id."""

    @property
    def created_at(self) -> float: ...
    @property
    def id(self) -> str: ...


Item = TypeVar("Item", bound=Dated)


def parse_cursor(text: str | None) -> tuple[float, str] | None:
    """The age and id that a cursor stands for. Raises InvalidError for anything that this server did not make."""
    if text is None:
        return None
    at, dot, id_ = text.partition("_")
    try:
        if not dot or not id_.isalnum():
            raise ValueError(text)
        return float.fromhex(at), id_
    except (ValueError, OverflowError):
        problem = Problem(field="cursor", message="must be the next_cursor of the page before")
        raise InvalidError("the cursor is not one of this server", problems=[problem]) from None


def cut(items: Sequence[Item], limit: int) -> tuple[Sequence[Item], str | None]:
    """One page of items, of which one more than the limit was asked for, and the cursor of the next."""
    if len(items) <= limit:
        return items, None
    last = items[limit - 1]
    return items[:limit], f"{last.created_at.hex()}_{last.id}"
