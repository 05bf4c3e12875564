"""A job's data source on its way to tokens: checked as a whole, then encoded in one walk over its good rows."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from runyard.data.check import Findings, Scan, check
from runyard.data.errors import DataError, RowError
from runyard.data.report import CheckReport
from runyard.data.rows import Row
from runyard.data.sources import Source
from runyard.protocol.problems import Problem
from runyard.protocol.specs.language import DpoSpec, SftSpec
from runyard.trainers.text import chat, tally
from runyard.trainers.text.tokens import Encoder, Example, PairExample

ENCODED_TOGETHER = 128
Spec = SftSpec | DpoSpec
Progress = Callable[[int, int | None], None]


class CheckedSet(NamedTuple):
    """A source whose every row was looked at."""

    source: Source
    report: CheckReport


def checked(source: Source, spec: Spec, progress: Progress | None = None) -> CheckedSet:
    """Check a source for a job. Raises DataError when it can't be used."""
    report = check(source, spec.kind, (lambda done: progress(done, None)) if progress else None)
    report.require(drop_bad_rows=spec.data.drop_bad_rows)
    return CheckedSet(source, report)


def encoder(spec: Spec, tokenizer: Any, data: CheckedSet) -> tuple[Encoder, list[str]]:
    """What encodes the rows of a job, and warnings. Raises DataError when the model can't take conversations."""
    warnings = []
    if data.report.conversations:
        try:
            adopted = chat.adopt_template(tokenizer)
        except RowError as error:
            raise DataError([Problem(field="model.name", message=error.message)]) from None
        warnings = [adopted] if adopted else []
    warnings += tally.plain_text_warnings(first_rows(data, spec, ENCODED_TOGETHER), tokenizer)
    training = spec.training
    train_on = training.train_on if isinstance(spec, SftSpec) else "assistant"
    return Encoder(tokenizer, training.max_length, train_on), warnings


def first_rows(data: CheckedSet, spec: Spec, count: int) -> list[Row]:
    """The first good rows."""
    good = (row for _, row, _ in Scan(data.source, spec.kind) if not isinstance(row, RowError))
    return list(islice(good, count))


@dataclass
class Pass:
    """One walk over the good rows of a checked source; what the chat template refuses is noted, not raised."""

    data: CheckedSet
    spec: Spec
    encoder: Encoder
    findings: Findings = field(init=False)

    def __post_init__(self) -> None:
        self.findings = Findings(self.data.source.name)

    def __iter__(self) -> Iterator[tuple[int, Example | PairExample]]:
        """Examples, each with the number of its row among the good ones, from 0."""
        first = 0
        scan = Scan(self.data.source, self.spec.kind)
        good = ((line, row) for line, row, _ in scan if not isinstance(row, RowError))
        while batch := list(islice(good, ENCODED_TOGETHER)):
            examples = self.encoder.encode([row for _, row in batch])
            for index, ((line, _), example) in enumerate(zip(batch, examples, strict=True), start=first):
                if isinstance(example, RowError):
                    self.findings.add(line, example)
                else:
                    yield index, example
            first += len(batch)
        if self.findings.total and not self.spec.data.drop_bad_rows:
            raise DataError(self.findings.problems())

    @property
    def dropped(self) -> int:
        return self.data.report.bad + self.findings.total
