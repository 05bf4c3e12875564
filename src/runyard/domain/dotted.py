"""Settings by dotted name."""

from collections.abc import Iterator, Mapping
from typing import Any


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Each value with where it stands, such as `training.epochs`; lists and empty sections are values."""
    if isinstance(value, Mapping) and value:
        for name, part in value.items():
            yield from flat(part, f"{path}.{name}".lstrip("."))
    else:
        yield path, value
