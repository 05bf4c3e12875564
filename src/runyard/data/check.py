"""Every row of a data set, checked; what was found, counted."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from runyard.data import columns, files, lengths, rows
from runyard.data.errors import DataError, RowError
from runyard.data.report import CheckReport
from runyard.data.sources import Source
from runyard.protocol.problems import Problem

SHOWN_PROBLEMS = 20
PROGRESS_ROWS = 10_000


class Checked(NamedTuple):
    """A row, or what is wrong with it."""

    line: int
    row: rows.Row | RowError
    digest: bytes = b""
    """Equal for rows that say the same."""


class Scan:
    """One pass over a source: iterating gives each row checked; the shape is that of the first usable row."""

    def __init__(self, source: Source, kind: rows.Kind | None = None) -> None:
        self._source = source
        self._kind = kind
        self.shape: rows.Shape | None = None
        self.columns: list[str] = []
        self.plain: bool | None = None

    def __iter__(self) -> Iterator[Checked]:
        for line, values in self._source.rows():
            if isinstance(values, RowError):
                yield Checked(line, values)
                continue
            self.columns = self.columns or list(values)
            try:
                row = self._read(values)
                yield Checked(line, row, _digest(row))
            except RowError as error:
                yield Checked(line, error)

    def _read(self, values: rows.Raw) -> rows.Row:
        renamed = columns.rename(values, self._source.columns)
        if self.shape is None:
            self.shape = rows.detect(renamed, self._kind)
        if self.shape is None:
            raise columns.wrong(renamed, self._kind)
        if not self.shape.fits(renamed):
            raise columns.missing(self.shape, renamed)
        row = self.shape.read(renamed)
        self.plain = rows.is_plain(row) if self.plain is None else self.plain
        if self.plain != rows.is_plain(row):
            words = ("plain text", "messages") if self.plain else ("messages", "plain text")
            raise RowError(f"is {words[1]}, but the rows before it are {words[0]}: keep one form in one file")
        return row


class Findings:
    """Problems, the same one listed once with the number of lines it was found in."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._first: dict[tuple[str, str | None], int] = {}
        self._count: dict[tuple[str, str | None], int] = {}
        self.total = 0

    def add(self, line: int, error: RowError) -> None:
        self.total += 1
        key = (error.message, error.field)
        if key in self._count or len(self._count) < SHOWN_PROBLEMS:
            self._first.setdefault(key, line)
            self._count[key] = self._count.get(key, 0) + 1

    def problems(self) -> list[Problem]:
        return [
            Problem(file=self._file, line=self._first[key], field=key[1], message=_counted(key[0], count))
            for key, count in self._count.items()
        ]


def check(source: Source, kind: rows.Kind | None = None, progress: Callable[[int], None] | None = None) -> CheckReport:
    """Read the whole set. Never raises for what is in it: the report says what is wrong.

    `progress` gets the number of rows read so far, now and then.
    """
    report = CheckReport(source=source.name, format="hub")
    try:
        if source.path is not None:
            report.format = files.format_of(source.path)
            report.size_bytes, report.sha256 = source.path.stat().st_size, _sha256(source.path)
        _count(report, Scan(source, kind), progress)
    except DataError as error:
        report.problems = error.problems
    return report


def content_hash(source: Source, kind: rows.Kind) -> str:
    """Equal when the data is. Raises DataError when it can't be read."""
    if source.path is not None:
        files.format_of(source.path)
        return _sha256(source.path)
    report = check(source, kind)
    report.require(drop_bad_rows=True)
    return str(report.sha256)


def _count(report: CheckReport, scan: Scan, progress: Callable[[int], None] | None) -> None:
    findings, seen, content = Findings(report.source), set[bytes](), hashlib.sha256()
    sizes = Counter[int]()
    for line, row, said in scan:
        report.rows += 1
        if isinstance(row, RowError):
            findings.add(line, row)
        else:
            sizes[lengths.of_row(row)] += 1
        seen.add(said)
        content.update(said)
        if progress and report.rows % PROGRESS_ROWS == 0:
            progress(report.rows)
    seen.discard(b"")
    report.sha256 = report.sha256 or content.hexdigest()
    report.conversations = scan.plain is False
    report.bad, report.columns = findings.total, scan.columns
    report.duplicates = report.good - len(seen)
    report.lengths = lengths.summed_up(sizes)
    report.problems = findings.problems()
    if scan.shape is not None:
        report.shape = scan.shape.name
        report.kinds = [scan.shape.kind] if report.good else []
    if message := _useless(report, len(seen)):
        report.kinds = []
        report.problems.append(Problem(file=report.source, message=message))


def _useless(report: CheckReport, distinct: int) -> str | None:
    if not report.rows:
        return "has no rows"
    if report.kinds == ["dpo"] and distinct == 1 and report.duplicates:
        return f"holds one and the same pair {report.good} times"
    return None


def _digest(row: rows.Row) -> bytes:
    try:
        text = json.dumps(row, default=_plain, sort_keys=True, ensure_ascii=False)
        return hashlib.blake2b(text.encode(), digest_size=16).digest()
    except UnicodeEncodeError:
        raise RowError("holds half of a Unicode character (a lone surrogate such as \\ud83d)") from None


def _plain(value: Any) -> Any:
    return vars(value) if isinstance(value, rows.Row) else str(value)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _counted(message: str, count: int) -> str:
    more = count - 1
    return f"{message} (and {more} more {'row' if more == 1 else 'rows'} like this)" if more else message
