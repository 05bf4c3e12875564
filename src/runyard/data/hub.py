"""Data sets by their hub name."""

import errno
from collections.abc import Iterator
from typing import Any

from runyard.data.errors import DataError, refuse
from runyard.data.files import without_nulls
from runyard.data.lines import RawRow


def read(name: str, subset: str | None, split: str) -> Iterator[RawRow]:
    """Rows of one split, numbered from 1. Raises DataError when the set can't be reached, found or read."""
    for number, row in enumerate(_load(name, subset, split), start=1):
        yield RawRow(number, {column: without_nulls(value) for column, value in row.items()})


def _load(name: str, subset: str | None, split: str) -> Any:
    try:
        import datasets  # noqa: PLC0415 - takes seconds, and only hub names need it
    except ImportError:
        raise refuse(name, "hub names need the package datasets: pip install 'runyard[llm]'") from None
    try:
        return datasets.load_dataset(name, subset, split=split)
    except datasets.exceptions.DatasetNotFoundError as error:
        raise refuse(name, f"the hub has no such data set, or it needs a sign-in: {error}") from None
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _explain(name, error) from None


def _explain(name: str, error: Exception) -> DataError:
    if isinstance(error, ConnectionError) or "offline" in type(error).__name__.lower():
        return refuse(name, "the hub can't be reached for this data set; is it a file? Then give its path and ending")
    return refuse(name, f"can't be loaded from the hub: {error}")
