"""Which format a file has, and its rows."""

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from runyard.data import lines
from runyard.data.errors import RowError, refuse

Format = Literal["jsonl", "csv", "parquet"]
HEAD_BYTES = 65536
PARQUET_BATCH = 256
BY_ENDING: dict[str, Format] = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet"
}  # fmt: skip
ENDINGS = ".jsonl, .csv or .parquet"
PACKED = {
    b"\x1f\x8b": "is compressed (gzip): unpack it first",
    b"PK\x03\x04": "is a ZIP archive or an office document: unpack it, or save it as CSV",
    b"\x28\xb5\x2f\xfd": "is compressed (zstd): unpack it first",
    b"BZh": "is compressed (bzip2): unpack it first",
    b"\xfd7zXZ": "is compressed (xz): unpack it first",
    b"\xff\xfe": "is UTF-16 text: save it as UTF-8",
    b"\xfe\xff": "is UTF-16 text: save it as UTF-8",
}


def format_of(path: Path) -> Format:
    """The format by content and ending. Raises DataError when there is no such file or it can't be read."""
    head = _head(path)
    if head.startswith(b"PAR1"):
        return "parquet"
    known = BY_ENDING.get(path.suffix.lower())
    if known == "parquet":
        raise refuse(str(path), "is not a Parquet file: it does not begin with PAR1")
    _refuse_binary(path, head)
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start:
        raise refuse(str(path), "has no rows: the file is empty")
    if known == "csv":
        return "csv"
    _refuse_other_json(path, start)
    if known is None and not start.startswith(b"{"):
        raise refuse(str(path), f"is of no known format: use {ENDINGS}")
    return "jsonl"


def read(path: Path) -> Iterator[lines.RawRow]:
    """Rows of a file with their line numbers. Raises DataError when the file as a whole can't be used."""
    match format_of(path):
        case "jsonl":
            return lines.read_json_lines(path)
        case "csv":
            return lines.read_csv(path)
        case "parquet":
            return _read_parquet(path)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except FileNotFoundError:
        raise refuse(str(path), _not_there(path)) from None
    except IsADirectoryError:
        raise refuse(str(path), f"is a folder: name a {ENDINGS} file in it") from None
    except OSError as error:
        raise refuse(str(path), f"can't be read: {os.strerror(error.errno or errno.EIO)}") from None


def _not_there(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"there is no such file: the folder {folder} does not exist"
    others = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in BY_ENDING)
    return f"there is no such file; the folder holds: {', '.join(others[:5])}" if others else "there is no such file"


def _refuse_binary(path: Path, head: bytes) -> None:
    for magic, message in PACKED.items():
        if head.startswith(magic):
            raise refuse(str(path), message)
    if b"\0" in head:
        raise refuse(str(path), f"is binary, not text: use {ENDINGS}")


def _refuse_other_json(path: Path, start: bytes) -> None:
    if start.startswith(b"["):
        raise refuse(str(path), "is one JSON list: write one object a line (jq -c '.[]' FILE > FILE.jsonl)")
    if re.match(rb"\{\s*\n", start):
        raise refuse(str(path), "spreads objects over several lines: write one object a line (jq -c . FILE)")


def _read_parquet(path: Path) -> Iterator[lines.RawRow]:
    try:
        import pyarrow  # noqa: PLC0415 - the training extra brings it; files of text are read without
        import pyarrow.parquet  # noqa: PLC0415
    except ImportError:
        raise refuse(str(path), "Parquet needs the package pyarrow: pip install 'runyard[llm]'") from None
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=PARQUET_BATCH):
                for index in range(batch.num_rows):
                    number += 1
                    yield lines.RawRow(number, _parquet_row(batch.slice(index, 1)))
    except MemoryError:  # an error of Arrow's, too
        raise
    except (pyarrow.ArrowException, OSError) as error:
        raise refuse(str(path), f"is a damaged Parquet file (after row {number}): {error}") from None


def _parquet_row(row: Any) -> dict[str, Any] | RowError:
    if row.nbytes > lines.MAX_ROW_BYTES:
        return RowError(lines.TOO_LONG.format(size=row.nbytes / 2**20))
    return {name: without_nulls(value) for name, value in row.to_pylist()[0].items()}


def without_nulls(value: Any) -> Any:
    """Columnar formats fill the fields that a nested object lacks with null; take them out again."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value
