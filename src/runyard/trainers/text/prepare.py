"""From a data file to token numbers on disk: checked, encoded, counted, and kept for the next run."""

import contextlib
import errno
import hashlib
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runyard.data import sources
from runyard.data.check import content_hash
from runyard.data.errors import refuse
from runyard.data.report import CheckReport
from runyard.trainers.text import chat, encoding, prepared, tally
from runyard.trainers.text.encoding import CheckedSet, Pass, Progress, Spec
from runyard.trainers.text.prepared import DataReport, Prepared, Table
from runyard.trainers.text.tally import Tally
from runyard.trainers.text.tokens import Example, PairExample

__all__ = ["DataReport", "Prepared", "prepare"]

FORMAT = 1
"""Goes up when the same settings give other tokens, so that older sets in the cache are not used."""
PROGRESS_REPORTS = 200


def prepare(spec: Spec, tokenizer: Any, emitter_progress: Progress, cache: Path) -> Prepared:
    """The data of a job as token numbers; from the cache when the same was prepared before.

    `emitter_progress` gets rows done and all rows (None while they are being checked). A tokenizer without a chat
    template gets ChatML when the rows are conversations and it knows the tokens. Raises DataError for data that can't
    be used.
    """
    folder = cache / "prepared" / _fingerprint(spec, tokenizer)
    with contextlib.suppress(OSError):
        os.utime(folder)  # what is used last is removed last
    found = prepared.load(folder)
    if found is None:
        _Making(spec, tokenizer, emitter_progress).write(folder)
        found = prepared.load(folder)
    if found is None:
        raise OSError(errno.EIO, "what was written can't be read back", str(folder))
    if not found.report.own_template:
        chat.adopt_template(tokenizer)
    return found


class _Making:
    """The making of one set: both sources are checked before anything is encoded."""

    def __init__(self, spec: Spec, tokenizer: Any, progress: Progress) -> None:
        self._spec, self._tokenizer, self._progress = spec, tokenizer, progress
        eval_source = sources.eval_source(spec.data)
        self._train = encoding.checked(sources.train_source(spec.data), spec, progress)
        self._eval = encoding.checked(eval_source, spec, progress) if eval_source else None
        self._held_out = _held_out(spec, self._train.report)
        had_template = bool(tokenizer.chat_template)
        self._encoder, self._warnings = encoding.encoder(spec, tokenizer, self._train)
        self._own_template = had_template == bool(tokenizer.chat_template)

    def write(self, folder: Path) -> None:
        """Raises DataError when no row is left, or a row is refused by the chat template."""
        walk = Pass(self._train, self._spec, self._encoder)
        with prepared.draft(folder) as (made, publish):
            train_path, eval_path = made / "train.arrow", made / "eval.arrow"
            with Table(train_path, self._spec.kind) as rows, Table(eval_path, self._spec.kind) as eval_rows:
                self._encode(walk, rows, eval_rows)
            self._require_rows(rows, self._train)
            if self._eval or self._held_out:
                self._require_rows(eval_rows, self._eval or self._train)
            else:
                eval_path.unlink()
            publish(self._report(walk.dropped, rows.tally, eval_rows.tally, folder.name))

    def _encode(self, walk: Pass, rows: Table, eval_rows: Table) -> None:
        total = self._train.report.good + (self._eval.report.good if self._eval else 0)
        every = max(encoding.ENCODED_TOGETHER, total // PROGRESS_REPORTS)
        self._progress(0, total)
        for done, (table, example) in enumerate(self._examples(walk, rows, eval_rows), start=1):
            table.add(example)
            if done % every == 0:
                self._progress(done, total)
        self._progress(total, total)

    def _examples(self, walk: Pass, rows: Table, eval_rows: Table) -> Iterator[tuple[Table, Example | PairExample]]:
        for index, example in walk:
            yield (eval_rows if index in self._held_out else rows), example
        if self._eval:
            for _, example in Pass(self._eval, self._spec, self._encoder):
                yield eval_rows, example

    def _require_rows(self, table: Table, data: CheckedSet) -> None:
        if not table.tally.rows:
            length = self._spec.training.max_length
            raise refuse(data.source.name, f"nothing to learn: all rows are {table.tally.why_untrained(length)}")

    def _report(self, dropped: int, rows: Tally, eval_rows: Tally, fingerprint: str) -> DataReport:
        duplicates = self._train.report.duplicates
        counts = [f"{dropped} bad rows are left out"] if dropped else []
        counts += [f"{duplicates} rows say the same as an earlier one"] if duplicates else []
        warnings = [*self._warnings, *counts, *tally.warnings(rows, self._tokenizer, self._spec.training.max_length)]
        return DataReport(
            rows=rows.rows,
            dropped=dropped,
            truncated=rows.truncated,
            untrained=rows.untrained,
            duplicates=duplicates,
            tokens=rows.tokens,
            trained_tokens=rows.trained_tokens,
            lengths=tuple(rows.lengths),
            end_of_turn_trained=bool(rows.ends),
            fingerprint=fingerprint,
            eval_rows=eval_rows.rows,
            shape=self._train.report.shape or "",
            own_template=self._own_template,
            warnings=tuple(warnings),
        )


def _held_out(spec: Spec, report: CheckReport) -> frozenset[int]:
    """Numbers of the rows that are evaluated on, drawn with the job's seed."""
    if spec.data.eval_split is None:
        return frozenset()
    count = max(1, round(report.good * spec.data.eval_split))
    if count >= report.good:
        raise refuse(report.source, f"data.eval_split leaves no row to train on: there are only {report.good}")
    return frozenset(random.Random(spec.training.seed).sample(range(report.good), count))


def _fingerprint(spec: Spec, tokenizer: Any) -> str:
    """A hash of all that decides the tokens. Raises DataError when a source can't be read."""
    data, training = spec.data, spec.training
    given = [sources.train_source(data), sources.eval_source(data)]
    parts = {
        "format": FORMAT,
        "kind": spec.kind,
        "content": [content_hash(source, spec.kind) for source in given if source],
        "tokenizer": prepared.tokenizer_identity(tokenizer),
        "data": data.model_dump(exclude={"train", "eval"}),
        "max_length": training.max_length,
        "train_on": training.train_on if spec.kind == "sft" else None,
        "seed": training.seed if data.eval_split else None,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
