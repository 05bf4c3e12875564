"""A few examples as the model will see them, and which of their tokens are learnt."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any, NamedTuple

from runyard.data import sources
from runyard.trainers.text import encoding, tally
from runyard.trainers.text.encoding import Pass, Spec
from runyard.trainers.text.tally import Tally
from runyard.trainers.text.tokens import Example, PairExample

SAMPLE_ROWS = 200


class Piece(NamedTuple):
    """A stretch of text whose tokens are all learnt, or all not."""

    text: str
    trained: bool


@dataclass(frozen=True)
class PreviewExample:
    """`title` tells the two answers of a pair apart."""

    title: str
    pieces: tuple[Piece, ...]
    tokens: int
    trained_tokens: int
    truncated: bool


@dataclass(frozen=True)
class PreviewReport:
    """What a job would train on. The share and the warnings are of the first `sample_rows` rows."""

    rows: int
    """All good rows of the source."""
    dropped: int
    shape: str
    examples: tuple[PreviewExample, ...]
    sample_rows: int
    trained_share: float
    """Trained tokens to all tokens, 0 to 1."""
    warnings: tuple[str, ...]


def preview(spec: Spec, tokenizer: Any, count: int) -> PreviewReport:
    """Check the training data whole, and show its first `count` usable rows. Raises DataError for bad data."""
    data = encoding.checked(sources.train_source(spec.data), spec)
    encoder, warnings = encoding.encoder(spec, tokenizer, data)
    sample = list(islice(Pass(data, spec, encoder), max(count, SAMPLE_ROWS)))
    counts = Tally()
    usable = [(index, example) for index, example in sample if counts.add(example)]
    return PreviewReport(
        rows=data.report.good,
        dropped=data.report.bad,
        shape=data.report.shape or "",
        examples=tuple(
            shown for index, example in usable[:count] for shown in _shown(f"row {index + 1}", example, tokenizer)
        ),
        sample_rows=len(sample),
        trained_share=counts.trained_tokens / counts.tokens if counts.tokens else 0.0,
        warnings=(*warnings, *tally.warnings(counts, tokenizer, spec.training.max_length)),
    )


def _shown(title: str, example: Example | PairExample, tokenizer: Any) -> Iterator[PreviewExample]:
    if isinstance(example, Example):
        yield _example(title, zip(example.ids, example.trained, strict=True), example.truncated, tokenizer)
        return
    prompt = [(token, False) for token in example.prompt]
    for name, answer in (("chosen", example.chosen), ("rejected", example.rejected)):
        marked = [*prompt, *((token, True) for token in answer)]
        yield _example(f"{title}, {name}", marked, example.truncated, tokenizer)


def _example(title: str, marked: Iterable[tuple[int, bool]], truncated: bool, tokenizer: Any) -> PreviewExample:
    marked = list(marked)
    pieces = (
        Piece(tokenizer.decode([token for token, _ in group], clean_up_tokenization_spaces=False), trained)
        for trained, group in groupby(marked, key=lambda pair: pair[1])
    )
    return PreviewExample(title, tuple(pieces), len(marked), sum(trained for _, trained in marked), truncated)
