"""Rows as token numbers, and which of them are learnt."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from runyard.data.errors import DataError, RowError
from runyard.data.rows import Chat, Pair, Plain, Row, is_plain
from runyard.protocol.problems import Problem
from runyard.trainers.chat import ChatFormat, Span, special_tokens

TrainOn = Literal["assistant", "last", "all"]
NOT_TRAINED = -100


@dataclass(frozen=True)
class Example:
    """One sequence for the model. `trained` has an entry for each of `ids`."""

    ids: list[int]
    trained: list[bool]
    truncated: bool
    end: int | None
    """The token that ends the last answer, where it is one that ends turns and is learnt."""

    @property
    def columns(self) -> tuple[list[int], ...]:
        """`input_ids` and `labels`."""
        labels = [token if learnt else NOT_TRAINED for token, learnt in zip(self.ids, self.trained, strict=True)]
        return self.ids, labels

    @property
    def learnt(self) -> int:
        return sum(self.trained)

    @property
    def tokens(self) -> int:
        return len(self.ids)

    @property
    def length(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class PairExample:
    """Two answers to one prompt."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]
    truncated: bool
    end: int | None

    @property
    def columns(self) -> tuple[list[int], ...]:
        """`prompt_ids`, `chosen_ids` and `rejected_ids`."""
        return self.prompt, self.chosen, self.rejected

    @property
    def learnt(self) -> int:
        """Tokens of both answers; none when cutting left nothing of one, or made them the same."""
        if not self.chosen or not self.rejected or self.chosen == self.rejected:
            return 0
        return len(self.chosen) + len(self.rejected)

    @property
    def tokens(self) -> int:
        return 2 * len(self.prompt) + len(self.chosen) + len(self.rejected)

    @property
    def length(self) -> int:
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))


@dataclass(frozen=True)
class _Text:
    """What is to be tokenized. Everything is learnt if `everything`, else `answers`; `masked` never is."""

    text: str
    answers: Sequence[Span]
    masked: Sequence[Span] = ()
    everything: bool = False


@dataclass(frozen=True)
class _Whole:
    """Tokens before they are cut. `position` is how far in the text each token begins and ends."""

    ids: list[int]
    positions: list[Span]


class Encoder:
    """Turns rows into examples of at most `max_length` tokens; what is too long is cut at the end."""

    def __init__(self, tokenizer: Any, max_length: int, train_on: TrainOn = "assistant") -> None:
        if not tokenizer.is_fast:
            problem = Problem(field="model.name", message="its tokenizer can't tell where in the text a token is")
            raise DataError([problem])
        self._tokenizer = tokenizer
        self._max_length = max_length
        self._train_on = train_on
        self._eos = tokenizer.eos_token_id
        self._special_ids = set(tokenizer.convert_tokens_to_ids(sorted(special_tokens(tokenizer))))
        self._chat_format: ChatFormat | None = None

    def encode(self, rows: Sequence[Row]) -> list[Example | PairExample | RowError]:
        """One result a row, in order; a RowError for one that the chat template refuses. Rows are all plain or none."""
        prepared = [self._texts(row) for row in rows]
        flat = [text for texts in prepared if not isinstance(texts, RowError) for text in texts]
        wholes = self._tokenize(flat, plain=bool(rows) and is_plain(rows[0]))
        return [texts if isinstance(texts, RowError) else self._example(texts, wholes) for texts in prepared]

    def _texts(self, row: Row) -> list[_Text] | RowError:
        try:
            if isinstance(row, Pair):
                return [self._answer_text(row.chosen), self._answer_text(row.rejected)]
            return [self._text(row)]
        except RowError as error:
            return error

    def _example(self, texts: Sequence[_Text], wholes: Iterator[_Whole]) -> Example | PairExample:
        if len(texts) == 1:
            return self._cut(texts[0], next(wholes))
        return self._cut_pair(texts, [next(wholes), next(wholes)])

    def _text(self, row: Chat | Plain) -> _Text:
        if isinstance(row, Plain):
            whole = Span(len(row.prompt), len(row.prompt) + len(row.completion))
            return _Text(row.prompt + row.completion, [whole], everything=self._train_on == "all" or not row.prompt)
        text, spans = self._format().render(row)
        wanted = list(spans)[-1:] if self._train_on == "last" else list(spans)
        return _Text(
            text,
            answers=[spans[index] for index in wanted if row.weights[index]],
            masked=[span for index, span in spans.items() if not row.weights[index]],
            everything=self._train_on == "all",
        )

    def _answer_text(self, row: Chat | Plain) -> _Text:
        """All that follows the prompt as one answer."""
        if isinstance(row, Plain):
            return _Text(row.prompt + row.completion, [Span(len(row.prompt), len(row.prompt) + len(row.completion))])
        text, spans = self._format().render(row)
        last = len(row.messages) - 1
        end = spans[last].end if last in spans else len(text)
        return _Text(text[:end], [Span(spans[min(spans)].start, end)])

    def _format(self) -> ChatFormat:
        self._chat_format = self._chat_format or ChatFormat(self._tokenizer)
        return self._chat_format

    def _tokenize(self, texts: Sequence[_Text], *, plain: bool) -> Iterator[_Whole]:
        if not texts:
            return
        encoded = self._tokenizer(
            [text.text for text in texts],
            add_special_tokens=plain,  # chat templates print them
            return_offsets_mapping=True,
            return_attention_mask=False,
            padding=False,
            truncation=False,
            verbose=False,
        )
        for text, ids, offsets in zip(texts, encoded["input_ids"], encoded["offset_mapping"], strict=True):
            positions = _positions(offsets)
            if plain and self._eos is not None:
                ids, positions = self._with_eos(ids, positions, len(text.text))
            yield _Whole(ids, positions)

    def _with_eos(self, ids: list[int], positions: list[Span], end: int) -> tuple[list[int], list[Span]]:
        """End with the end-of-text token, just once, and as a part of the answer."""
        kept = len(ids) - 1 if ids and ids[-1] == self._eos else len(ids)
        return [*ids[:kept], self._eos], [*positions[:kept], Span(end - 1, end)]

    def _cut(self, text: _Text, whole: _Whole) -> Example:
        trained = [text.everything or _inside(position, text.answers) for position in whole.positions]
        for index, position in enumerate(whole.positions):
            if trained[index] and _inside(position, text.masked):
                trained[index] = False
        length = self._max_length
        return Example(
            whole.ids[:length],
            trained[:length],
            truncated=len(whole.ids) > length,
            end=self._end(whole, text.answers, trained),
        )

    def _end(self, whole: _Whole, answers: Sequence[Span], trained: Sequence[bool]) -> int | None:
        inside = [index for index, position in enumerate(whole.positions) if _inside(position, answers[-1:])]
        if not inside or inside[-1] >= self._max_length or not trained[inside[-1]]:
            return None
        last = whole.ids[inside[-1]]
        return last if last in self._special_ids else None

    def _cut_pair(self, texts: Sequence[_Text], wholes: Sequence[_Whole]) -> PairExample:
        chosen, rejected = wholes
        start = min(_first_inside(whole, text.answers[0]) for text, whole in zip(texts, wholes, strict=True))
        while chosen.ids[:start] != rejected.ids[:start]:  # where the prompt's last letters join the answer's first
            start -= 1
        length = self._max_length
        return PairExample(
            prompt=chosen.ids[:start],
            chosen=chosen.ids[start:length],
            rejected=rejected.ids[start:length],
            truncated=max(len(chosen.ids), len(rejected.ids)) > length,
            end=self._end(chosen, texts[0].answers, [True] * len(chosen.ids)),
        )


def _positions(offsets: Sequence[tuple[int, int]]) -> list[Span]:
    """Where each token begins and ends. Tokenizers may leave blanks out of the figures: they belong to the token."""
    positions = []
    reached = 0
    for start, end in offsets:
        positions.append(Span(min(start, reached), end))
        reached = max(reached, end)
    return positions


def _inside(position: Span, spans: Sequence[Span]) -> bool:
    return any(position.end > span.start and position.start < span.end for span in spans)


def _first_inside(whole: _Whole, span: Span) -> int:
    return next((index for index, position in enumerate(whole.positions) if position.end > span.start), len(whole.ids))
