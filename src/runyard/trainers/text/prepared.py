"""Prepared sets on disk: `CACHE/prepared/FINGERPRINT` with Arrow files and `report.json`.

A set is complete or not there: it is made beside and renamed. The report holds the SHA-256 of each file, so a set
that was damaged later is noticed, and made again.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import TypeAdapter

from runyard.trainers.text.tally import Tally
from runyard.trainers.text.tokens import Example, PairExample

if TYPE_CHECKING:
    from datasets import Dataset

COLUMNS = {"sft": ("input_ids", "labels"), "dpo": ("prompt_ids", "chosen_ids", "rejected_ids")}
BATCH_ROWS = 256


@dataclass(frozen=True)
class DataReport:
    """What a run trains on. Counts are of training rows unless said; those of pairs count both answers' tokens."""

    rows: int
    """Rows used."""
    dropped: int
    """Bad rows left out."""
    truncated: int
    """Rows cut at the maximal length."""
    untrained: int
    """Rows left out because nothing in them would be learnt."""
    duplicates: int
    tokens: int
    trained_tokens: int
    lengths: tuple[int, ...]
    """Tokens of every used row; of a pair, the prompt and the longer answer."""
    end_of_turn_trained: bool
    fingerprint: str
    eval_rows: int = 0
    shape: str = ""
    own_template: bool = True
    """False where the model had no chat template and ChatML was taken."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prepared:
    """Token numbers, memory-mapped: `input_ids` and `labels`, or `prompt_ids`, `chosen_ids` and `rejected_ids`."""

    train: "Dataset"
    eval: "Dataset | None"
    report: DataReport


class Table:
    """An Arrow file of examples, and their counts. Examples with nothing to learn are only counted."""

    def __init__(self, path: Path, kind: str) -> None:
        import pyarrow

        self.tally = Tally()
        self._schema = pyarrow.schema([(name, pyarrow.list_(pyarrow.int32())) for name in COLUMNS[kind]])
        self._writer = pyarrow.ipc.new_stream(str(path), self._schema)
        self._pending: list[tuple[list[int], ...]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._flush()
        self._writer.close()

    def add(self, example: Example | PairExample) -> None:
        if not self.tally.add(example):
            return
        self._pending.append(example.columns)
        if len(self._pending) >= BATCH_ROWS:
            self._flush()

    def _flush(self) -> None:
        import pyarrow

        if self._pending:
            columns = [list(column) for column in zip(*self._pending, strict=True)]
            self._writer.write_batch(pyarrow.record_batch(columns, schema=self._schema))
            self._pending.clear()


_stored_report: TypeAdapter[DataReport] = TypeAdapter(DataReport)


def load(folder: Path) -> Prepared | None:
    """The prepared set in a folder; None when there is none or it is damaged."""
    import datasets

    try:
        stored = json.loads((folder / "report.json").read_bytes())
        report = _stored_report.validate_python(stored["report"])
        if any(_sha256(folder / name) != expected for name, expected in stored["files"].items()):
            return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    tables = {name: datasets.Dataset.from_file(str(folder / name)) for name in stored["files"]}
    return Prepared(tables["train.arrow"], tables.get("eval.arrow"), report)


@contextmanager
def draft(folder: Path) -> Iterator[tuple[Path, Callable[[DataReport], None]]]:
    """A folder to write a set in, and what makes it the one at `folder`. It is gone unless that was called."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".draft-", dir=folder.parent, ignore_cleanup_errors=True) as temporary:
        made = Path(temporary) / "set"
        made.mkdir()

        def publish(report: DataReport) -> None:
            files = {path.name: _sha256(path) for path in sorted(made.glob("*.arrow"))}
            (made / "report.json").write_text(json.dumps({"report": asdict(report), "files": files}))
            _put_in_place(made, folder, broken=Path(temporary) / "broken")

        yield made, publish


def _put_in_place(made: Path, folder: Path, broken: Path) -> None:
    if folder.exists() and load(folder) is None:
        with suppress(FileNotFoundError):  # another process was faster
            folder.rename(broken)
    try:
        made.rename(folder)
    except OSError:
        if not folder.exists():
            raise
        # Another process made the same set meanwhile: the content decides the name, so theirs is as good.


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tokenizer_identity(tokenizer: Any) -> str:
    """A hash of all that decides how text becomes tokens."""
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    # Set by whoever called the tokenizer last, and of no effect here.
    del backend["padding"], backend["truncation"]
    parts = [backend, tokenizer.chat_template, tokenizer.eos_token, tokenizer.special_tokens_map]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
