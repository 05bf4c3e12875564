"""Text files as rows: JSON lines and CSV, never more than one row in memory."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

from runyard.data.errors import RowError, refuse

MAX_ROW_BYTES = 8 * 2**20
TOO_LONG = "the row is {size:.1f} MiB long; more than 8 MiB in one row can't be read"


class RawRow(NamedTuple):
    """A row as it stands in the file. `line` counts from 1 (rows, where a format has no lines)."""

    line: int
    values: dict[str, Any] | RowError


class TextLines:
    """Lines of a UTF-8 file. `next` raises RowError for a line that can't be read, and goes on after it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self.number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        raw = self._file.readline(MAX_ROW_BYTES + 1)
        if not raw:
            raise StopIteration
        self.number += 1
        if len(raw) > MAX_ROW_BYTES:
            raise RowError(TOO_LONG.format(size=self._skip_rest(raw) / 2**20))
        try:
            return raw.decode("utf-8-sig" if self.number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            byte = raw[error.start]
            raise RowError(
                f"is not UTF-8 text (byte 0x{byte:02x} at position {error.start + 1}): save the file as UTF-8"
            ) from None

    def _skip_rest(self, raw: bytes) -> int:
        size = len(raw)
        while raw and not raw.endswith(b"\n"):
            raw = self._file.readline(MAX_ROW_BYTES)
            size += len(raw)
        return size


def read_json_lines(path: Path) -> Iterator[RawRow]:
    """Every line that is not blank; raises nothing for bad ones, but yields what is wrong with them."""
    with TextLines(path) as lines:
        while True:
            try:
                if line := next(lines).rstrip():  # a line break would make the column in an error 1
                    yield RawRow(lines.number, _parse_object(line))
            except StopIteration:
                return
            except RowError as error:
                yield RawRow(lines.number, error)


def _parse_object(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise RowError(f"is not valid JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError) as error:
        raise RowError(f"is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise RowError(f"must be a JSON object, {{...}}, but is {json_type(value)}")
    return value


def read_csv(path: Path, separators: str = ",;\t") -> Iterator[RawRow]:
    """Rows below the header; `line` is where a row begins. The separator is the one found most in the header.

    Raises DataError when the header can't be used.
    """
    csv.field_size_limit(MAX_ROW_BYTES)  # the default of 128 KiB is short for training text
    header = _csv_header(path, separators)
    with TextLines(path) as lines:
        reader = csv.reader(lines, delimiter=header.separator, strict=True)
        next(reader)
        while True:
            start = lines.number + 1
            try:
                if values := next(reader):
                    yield RawRow(start, _csv_row(header.names, values))
            except StopIteration:
                return
            except RowError as error:
                yield RawRow(start, error)
            except csv.Error as error:
                yield RawRow(start, RowError(f"is not valid CSV: {error}; is a quote open?"))


class _Header(NamedTuple):
    names: list[str]
    separator: str


def _csv_header(path: Path, separators: str) -> _Header:
    try:
        with TextLines(path) as lines:
            first = next(lines)
        separator = max(separators, key=first.count)
        names = [name.strip() for name in next(csv.reader([first], delimiter=separator, strict=True))]
    except StopIteration:
        raise refuse(str(path), "has no rows") from None
    except (RowError, csv.Error) as error:
        raise refuse(str(path), f"the header can't be read: {error}") from None
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise refuse(str(path), f"the header names a column twice: {', '.join(repeated) or '(no name)'}")
    return _Header(names, separator)


def _csv_row(names: list[str], values: list[str]) -> dict[str, Any]:
    if len(values) != len(names):
        raise RowError(f"has {len(values)} fields, but the header has {len(names)}")
    size = sum(map(len, values))
    if size > MAX_ROW_BYTES:
        raise RowError(TOO_LONG.format(size=size / 2**20))
    return dict(zip(names, values, strict=True))


def json_type(value: Any) -> str:
    """The name of a value's type, as people who write JSON say it."""
    names = {bool: "true/false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return "null" if value is None else names.get(type(value), f"a {type(value).__name__}")
