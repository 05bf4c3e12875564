"""The shapes a row may have, and the one form in which each is handed on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from runyard.data import messages
from runyard.data.errors import RowError
from runyard.data.lines import json_type

Kind = Literal["sft", "dpo"]
Raw = Mapping[str, Any]


@dataclass(frozen=True)
class Chat:
    """A conversation. The first `prompt` messages only give context."""

    messages: list[messages.Message]
    weights: list[int | None]
    """For each message: 1 is learnt, 0 is an answer left out, None is no answer."""
    prompt: int = 0
    tools: list[dict[str, Any]] | None = None
    template_options: dict[str, Any] = field(default_factory=dict)
    """Extra arguments of the chat template, such as `enable_thinking`."""


@dataclass(frozen=True)
class Plain:
    """Text that no chat template touches; `completion` is learnt."""

    prompt: str
    completion: str


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt."""

    chosen: Chat | Plain
    rejected: Chat | Plain


Row = Chat | Plain | Pair


def is_plain(row: Row) -> bool:
    """Whether the row is text as it is, and no conversation."""
    return isinstance(row.chosen if isinstance(row, Pair) else row, Plain)


@dataclass(frozen=True)
class Shape:
    """A set of columns that belong together, and how a row of them is read."""

    name: str
    kind: Kind
    columns: tuple[str, ...]
    read: Callable[[Raw], Row]

    def fits(self, row: Raw) -> bool:
        return all(column in row for column in self.columns)


def detect(row: Raw, kind: Kind | None) -> Shape | None:
    """The first shape that the row's columns allow."""
    return next((shape for shape in SHAPES if shape.kind == (kind or shape.kind) and shape.fits(row)), None)


def _chat(column: str) -> Callable[[Raw], Chat]:
    def read(row: Raw) -> Chat:
        read_ones = messages.read(row[column], column)
        if not read_ones.has_answer():
            raise RowError("holds no assistant message, so there is nothing to learn", column)
        return Chat(*read_ones, tools=messages.tools(row), template_options=_options(row))

    return read


def _prompt_completion(row: Raw) -> Chat | Plain:
    prompt, completion = row["prompt"], row["completion"]
    if _is_text(prompt) and _is_text(completion):
        return Plain(_text(prompt, "prompt"), _text(completion, "completion"))
    return _answered(row, _turns(prompt, "prompt", "user"), completion, "completion")


def _plain_text(row: Raw) -> Plain:
    return Plain("", _text(row["text"], "text"))


def _preference(row: Raw) -> Pair:
    chosen, rejected = row["chosen"], row["rejected"]
    if _is_text(chosen) and _is_text(rejected) and _is_text(row.get("prompt", "")):
        return _distinct(_plain_pair(row, _text(chosen, "chosen"), _text(rejected, "rejected")))
    prompt = _given_prompt(row)
    if prompt is None:
        prompt = _shared_prompt(chosen, rejected)
    return _distinct(Pair(_answered(row, prompt, chosen, "chosen"), _answered(row, prompt, rejected, "rejected")))


def _openai_preference(chosen: str, rejected: str) -> Callable[[Raw], Pair]:
    def read(row: Raw) -> Pair:
        given = row["input"]
        if not isinstance(given, dict) or "messages" not in given:
            raise RowError("must be an object with messages", "input")
        prompt = messages.read(given["messages"], "input.messages")
        tools = messages.tools(given, "input.")
        context = {**given, "tools": tools, "chat_template_kwargs": row.get("chat_template_kwargs")}
        return _distinct(
            Pair(_answered(context, prompt, row[chosen], chosen), _answered(context, prompt, row[rejected], rejected))
        )

    return read


SHAPES = (
    Shape("messages", "sft", ("messages",), _chat("messages")),
    Shape("conversations", "sft", ("conversations",), _chat("conversations")),
    Shape("prompt-completion", "sft", ("prompt", "completion"), _prompt_completion),
    Shape("preference", "dpo", ("chosen", "rejected"), _preference),
    Shape(
        "openai-preference", "dpo", ("input", "preferred_output", "non_preferred_output"),
        _openai_preference("preferred_output", "non_preferred_output"),
    ),
    Shape(
        "openai-preference", "dpo", ("input", "preferred_completion", "non_preferred_completion"),
        _openai_preference("preferred_completion", "non_preferred_completion"),
    ),
    Shape("text", "sft", ("text",), _plain_text),
)  # fmt: skip
COLUMNS = {column for shape in SHAPES for column in shape.columns} | {"tools", "functions", "chat_template_kwargs"}


def _answered(row: Raw, prompt: messages.Messages, answer: Any, name: str) -> Chat:
    """A conversation that ends in an answer; context that the answer repeats is taken once."""
    given = _turns(answer, name, "assistant")
    repeated = messages.common_start(prompt.messages, given.messages)
    start = repeated if repeated == len(prompt.messages) else 0
    turns, weights = given.messages[start:], given.weights[start:]
    if all(weight is None for weight in weights):
        raise RowError("holds no assistant message", name)
    context: list[int | None] = [None] * len(prompt.messages)
    return Chat(
        [*prompt.messages, *turns],
        [*context, *weights],
        prompt=len(prompt.messages),
        tools=messages.tools(row),
        template_options=_options(row),
    )


def _turns(value: Any, name: str, role: str) -> messages.Messages:
    """Messages from a list, one message, or the text of one."""
    if isinstance(value, dict):
        value = [value]
    if _is_text(value):
        value = [{"role": role, "content": _text(value, name)}]
    return messages.read(value, name)


def _given_prompt(row: Raw) -> messages.Messages | None:
    prompt = row.get("prompt")
    if prompt is None:
        return None
    if _is_text(prompt) and isinstance(row["chosen"], list) and len(row["chosen"]) > 1:
        return None  # both answers are whole conversations, and this is their first question once more
    return _turns(prompt, "prompt", "user")


def _shared_prompt(chosen: Any, rejected: Any) -> messages.Messages:
    left, right = _turns(chosen, "chosen", "assistant"), _turns(rejected, "rejected", "assistant")
    if left.messages == right.messages:
        raise RowError("chosen and rejected are the same")
    shared = messages.common_start(left.messages, right.messages)
    if not shared:
        raise RowError("there is no prompt: add one, or begin chosen and rejected with the same messages")
    return messages.Messages(left.messages[:shared], left.weights[:shared])


def _plain_pair(row: Raw, chosen: str, rejected: str) -> Pair:
    if row.get("prompt") is not None:
        prompt = _text(row["prompt"], "prompt")
        return Pair(Plain(prompt, chosen), Plain(prompt, rejected))
    if chosen == rejected:
        raise RowError("chosen and rejected are the same")
    shared = chosen[: messages.common_start(chosen, rejected)]
    cut = max(shared.rfind(" "), shared.rfind("\n"))  # words stay whole
    if cut <= 0:
        raise RowError("there is no prompt: add one, or begin chosen and rejected with the same words")
    return Pair(Plain(chosen[:cut], chosen[cut:]), Plain(chosen[:cut], rejected[cut:]))


def _distinct(pair: Pair) -> Pair:
    if pair.chosen == pair.rejected:
        raise RowError("chosen and rejected are the same")
    return pair


def _options(row: Raw) -> dict[str, Any]:
    options = row.get("chat_template_kwargs") or {}
    if not isinstance(options, dict):
        raise RowError(f"must be an object, but is {json_type(options)}", "chat_template_kwargs")
    return options


def _is_text(value: Any) -> bool:
    return not isinstance(value, list | dict)


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise RowError(f"must be text, but is {json_type(value)}", name)
    if not value.strip():
        raise RowError("is empty", name)
    return value
