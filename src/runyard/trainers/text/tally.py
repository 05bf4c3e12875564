"""What examples amount to, and what about them should worry their owner."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from runyard.data.rows import Pair, Plain, Row
from runyard.trainers.text.tokens import Example, PairExample


@dataclass
class Tally:
    """Counts of examples; those with nothing to learn count as untrained alone."""

    lengths: list[int] = field(default_factory=list)
    tokens: int = 0
    trained_tokens: int = 0
    truncated: int = 0
    untrained: int = 0
    untrained_by_cutting: int = 0
    ends: set[int] = field(default_factory=set)
    """The tokens that were learnt as the end of an answer."""

    def add(self, example: Example | PairExample) -> bool:
        """Whether the example is of use."""
        self.truncated += example.truncated
        if not example.learnt:
            self.untrained += 1
            self.untrained_by_cutting += example.truncated
            return False
        self.lengths.append(example.length)
        self.tokens += example.tokens
        self.trained_tokens += example.learnt
        self.ends |= set() if example.end is None else {example.end}
        return True

    @property
    def rows(self) -> int:
        return len(self.lengths)

    def why_untrained(self, max_length: int) -> str:
        """Why nothing in a row would be learnt."""
        if self.untrained_by_cutting:
            return f"cut before the first trained token: raise training.max_length (now {max_length} tokens)"
        return "without a trained token: every answer has weight 0"


def warnings(tally: Tally, tokenizer: Any, max_length: int) -> list[str]:
    """What the counts say that a user should know before training."""
    found = []
    if tally.truncated:
        seen = tally.rows + tally.untrained
        found.append(
            f"{tally.truncated} of {seen} rows are longer than training.max_length ({max_length} tokens): "
            "their ends are cut off"
        )
    if tally.untrained:
        found.append(f"{tally.untrained} rows are left out: {tally.why_untrained(max_length)}")
    if not tally.ends:
        found.append(f"the end-of-turn token is not trained, so the model may not learn to stop: {_no_end(tally)}")
    elif tokenizer.eos_token_id not in tally.ends:
        ends = ", ".join(tokenizer.convert_ids_to_tokens(sorted(tally.ends)))
        found.append(
            f"answers end with {ends}, but the model's end-of-text token is {tokenizer.eos_token}: "
            f"who generates with it must stop at {ends}"
        )
    return found


def plain_text_warnings(rows: Sequence[Row], tokenizer: Any) -> list[str]:
    """What is often not meant in rows of prompt and completion."""
    plain = [row.chosen if isinstance(row, Pair) else row for row in rows]
    prompts = [row for row in plain if isinstance(row, Plain) and row.prompt]
    found = []
    glued = next((row for row in prompts if not row.prompt[-1].isspace() and not row.completion[0].isspace()), None)
    if glued:
        seam = f"{glued.prompt[-12:]}{glued.completion[:12]}"
        found.append(f"prompt and completion are joined as they are, with no space or line break between: {seam!r}")
    if prompts and tokenizer.chat_template:
        found.append(
            "the model has a chat template, but prompt and completion are plain text, which is learnt without it: "
            "write the rows as messages to train it as a chat"
        )
    return found


def _no_end(tally: Tally) -> str:
    if tally.truncated == tally.rows + tally.untrained:
        return "every row is cut"
    return "the chat template prints none after an answer, or its answer has weight 0"
