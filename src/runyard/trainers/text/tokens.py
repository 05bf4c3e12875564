"""Rows as token numbers, and which of them are learnt."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal

from runyard.data.errors import DataError, RowError
from runyard.data.rows import Chat, Pair, Plain, Row, is_plain
from runyard.protocol.problems import Problem
from runyard.trainers.text.chat import ChatFormat, Span, special_tokens

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


class _Whole:
    """Tokens before they are cut, and where in the text they are."""

    def __init__(self, ids: list[int], offsets: Sequence[tuple[int, int]]) -> None:
        self.ids = ids
        # Tokenizers may leave blanks out of a token's offsets: what is between two tokens belongs to the second.
        # Offsets never run backwards but for added tokens, which have none.
        self._ends = list(accumulate((end for _, end in offsets), max))
        self._starts = list(accumulate(map(min, (start for start, _ in offsets), [0, *self._ends]), max))

    def inside(self, span: Span) -> slice:
        """The tokens that hold a character of the span."""
        return slice(bisect_right(self._ends, span.start), bisect_left(self._starts, span.end))

    def close(self, eos: int, end: int) -> None:
        """End with the end-of-text token, just once, at the last character of the text."""
        if self.ids and self.ids[-1] == eos:
            for column in (self.ids, self._starts, self._ends):
                column.pop()
        self.ids.append(eos)
        self._starts.append(end - 1)
        self._ends.append(end)


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
            whole = _Whole(ids, offsets)
            if plain and self._eos is not None:
                whole.close(self._eos, len(text.text))
            yield whole

    def _cut(self, text: _Text, whole: _Whole) -> Example:
        trained = [text.everything] * len(whole.ids)
        for spans, learnt in ((text.answers, True), (text.masked, False)):
            for span in spans:
                tokens = whole.inside(span)
                trained[tokens] = [learnt] * len(trained[tokens])
        length = self._max_length
        return Example(
            whole.ids[:length],
            trained[:length],
            truncated=len(whole.ids) > length,
            end=self._end(whole, text.answers),
        )

    def _end(self, whole: _Whole, answers: Sequence[Span]) -> int | None:
        if not answers or not whole.ids:
            return None
        last = whole.inside(answers[-1]).stop - 1
        return whole.ids[last] if last < self._max_length and whole.ids[last] in self._special_ids else None

    def _cut_pair(self, texts: Sequence[_Text], wholes: Sequence[_Whole]) -> PairExample:
        chosen, rejected = wholes
        start = min(whole.inside(text.answers[0]).start for text, whole in zip(texts, wholes, strict=True))
        while chosen.ids[:start] != rejected.ids[:start]:  # where the prompt's last letters join the answer's first
            start -= 1
        length = self._max_length
        return PairExample(
            prompt=chosen.ids[:start],
            chosen=chosen.ids[start:length],
            rejected=rejected.ids[start:length],
            truncated=max(len(chosen.ids), len(rejected.ids)) > length,
            end=self._end(chosen, texts[0].answers),
        )
