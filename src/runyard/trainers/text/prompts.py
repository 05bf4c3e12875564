"""A job's prompts as the model takes them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runyard.data import sources
from runyard.data.check import Scan
from runyard.data.errors import DataError, RowError
from runyard.data.rows import is_plain
from runyard.protocol.problems import Problem
from runyard.protocol.specs.language import PromptMessage
from runyard.trainers.text import chat
from runyard.trainers.text.encoding import Spec
from runyard.trainers.text.tokens import NOT_TRAINED

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Prompt:
    """`text` and `wanted` are for people."""

    text: str
    ids: list[int]
    wanted: str | None = None


def read(spec: Spec, tokenizer: Any, evaluated: "Dataset | None", longest: int | None) -> list[Prompt]:
    """What the job asks, its own prompts before those of its evaluation rows.

    `longest` is how many tokens the model was made for. Raises DataError for prompts that it can't take.
    """
    asked = spec.samples
    if asked is None:
        return []
    is_text = bool(asked.prompts) and _data_are_plain(spec)
    prompts = []
    for index, prompt in enumerate(asked.prompts):
        try:
            read_one = _text(prompt, tokenizer) if is_text and isinstance(prompt, str) else _chat(prompt, tokenizer)
            if longest is not None and len(read_one.ids) >= longest:
                raise RowError(f"has {len(read_one.ids)} tokens, but the model was made for {longest}")
        except RowError as error:
            raise DataError([Problem(field=f"samples.prompts.{index}", message=error.message)]) from None
        prompts.append(read_one)
    if asked.from_eval and evaluated is not None:
        found = (one for one in _of_rows(evaluated, tokenizer) if longest is None or len(one.ids) < longest)
        prompts += [one for one, _ in zip(found, range(asked.from_eval), strict=False)]
    return prompts


def ends(tokenizer: Any) -> set[int]:
    """Tokens after which an answer is over."""
    known = {tokenizer.eos_token_id} if tokenizer.eos_token_id is not None else set()
    if tokenizer.chat_template:
        known.update(tokenizer.convert_tokens_to_ids(sorted(chat.ChatFormat(tokenizer).closers)))
    return known


def _data_are_plain(spec: Spec) -> bool:
    scan = Scan(sources.train_source(spec.data), spec.kind)
    return next((is_plain(row) for _, row, _ in scan if not isinstance(row, RowError)), False)


def _text(prompt: str, tokenizer: Any) -> Prompt:
    ids = list(tokenizer(prompt, verbose=False)["input_ids"])
    if ids and ids[-1] == tokenizer.eos_token_id:  # as some tokenizers end what they are given
        ids.pop()
    return Prompt(prompt, ids)


def _chat(prompt: str | list[PromptMessage], tokenizer: Any) -> Prompt:
    messages = [PromptMessage(role="user", content=prompt)] if isinstance(prompt, str) else prompt
    if not tokenizer.chat_template:
        raise RowError("is a conversation, but the model has no chat template: write a text")
    try:
        printed = tokenizer.apply_chat_template(
            [message.model_dump() for message in messages], tokenize=False, add_generation_prompt=True
        )
    except chat.TEMPLATE_ERRORS as error:
        raise RowError(f"the model's chat template refuses this conversation: {error}") from None
    return Prompt(_shown(messages), list(tokenizer(printed, add_special_tokens=False, verbose=False)["input_ids"]))


def _shown(messages: Sequence[PromptMessage]) -> str:
    if len(messages) == 1:
        return messages[0].content
    return "\n".join(f"{message.role}: {message.content}" for message in messages)


def _of_rows(rows: "Dataset", tokenizer: Any) -> Iterator[Prompt]:
    """What comes before the last answer of each row, where anything does."""
    for row in rows:
        if "prompt_ids" in row:
            before, answer = row["prompt_ids"], row["chosen_ids"]
        else:
            before, answer = _last_answer(row["input_ids"], row["labels"])
        text = tokenizer.decode(before, skip_special_tokens=True).strip()
        if text:
            yield Prompt(text, list(before), tokenizer.decode(answer, skip_special_tokens=True).strip())


def _last_answer(ids: Sequence[int], labels: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
    end = len(labels)
    while end and labels[end - 1] == NOT_TRAINED:
        end -= 1
    start = end
    while start and labels[start - 1] != NOT_TRAINED:
        start -= 1
    return ids[:start], ids[start:end]
