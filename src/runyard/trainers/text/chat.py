"""A conversation as the model sees it: the text of the tokenizer's chat template, and where in it the answers are.

Templates need no marks for this. An answer reaches from the end of what the template prints before it (with the
prompt for a new answer) to the end of what it prints with it. Some templates print the past differently (they drop
the thinking of earlier turns, or move the system prompt): there the answer is found by printing the conversation
twice more with other words in its place.
"""

import json
import re
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

import jinja2

from runyard.data.errors import RowError
from runyard.data.messages import Message, common_start
from runyard.data.rows import Chat

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
STAND_INS = ("Qu0", "Zy1")  # differ in the first and the last character, so one differs there from any answer
TEMPLATE_ERRORS = (jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


class Span(NamedTuple):
    """Characters `start` up to, not including, `end`."""

    start: int
    end: int


def adopt_template(tokenizer: Any) -> str | None:
    """Give a tokenizer without a chat template the one its tokens were made for; return a warning when that was done.

    Raises RowError when there is none: a made-up format would be learnt, but nobody would know to use it.
    """
    if tokenizer.chat_template:
        return None
    vocabulary = tokenizer.get_vocab()
    if "<|im_start|>" not in vocabulary or "<|im_end|>" not in vocabulary:
        raise RowError(
            "the model has no chat template, so messages can't be turned into text: take the instruct version of the "
            "model, or write the rows as prompt and completion"
        )
    tokenizer.chat_template = CHATML
    return "the model has no chat template: ChatML is used, whose tokens it knows, and saved with the result"


class ChatFormat:
    """The chat template of one tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.specials = special_tokens(tokenizer)
        self._any_special = re.compile(
            "|".join(map(re.escape, sorted(self.specials, key=len, reverse=True))) or r"\b\B"
        )
        self.closers = self._find_closers()

    def render(self, chat: Chat) -> tuple[str, dict[int, Span]]:
        """The text, and the span of each answer by its message's index, its end-of-turn token included.

        Raises RowError when the template refuses the conversation or leaves out an answer.
        """
        try:
            return self._render(chat)
        except RowError:
            if not any("tool_calls" in message for message in chat.messages):
                raise
            as_sent = replace(chat, messages=[_as_sent(message) for message in chat.messages])
            with suppress(RowError):
                return self._render(as_sent)
            raise

    def _render(self, chat: Chat) -> tuple[str, dict[int, Span]]:
        try:
            text = self._print(chat, chat.messages)
        except TEMPLATE_ERRORS as error:
            raise RowError(f"the model's chat template refuses this conversation: {error}") from None
        spans: dict[int, Span] = {}
        reached = 0
        for index in (index for index, weight in enumerate(chat.weights) if weight is not None):
            span = self._answer(chat, text, index)
            if span is None or not reached <= span.start < span.end:
                raise RowError("can't be found in what the model's chat template prints", f"messages[{index}]")
            if left_out := _left_out(chat.messages[index], text[span.start : span.end]):
                raise RowError(f"the model's chat template leaves out {left_out}", f"messages[{index}]")
            spans[index], reached = span, span.end
        return text, spans

    def _answer(self, chat: Chat, text: str, index: int) -> Span | None:
        before = self._prefix(chat, text, index, prompt=True)
        after = len(text) if index == len(chat.messages) - 1 else self._prefix(chat, text, index + 1)
        if before is None or after is None or before >= after:
            differing = self._differing(chat, text, index)
            if differing is None:
                return None
            if before is None or before > differing.start:
                before = self._after_header(chat, text, differing.start)
            after = self._through_closer(text, differing.end)
        return Span(before, self._without_trailing_space(text, before, after))

    def _prefix(self, chat: Chat, text: str, count: int, *, prompt: bool = False) -> int | None:
        """How much of the text the first messages make up; None when they are printed differently alone."""
        try:
            part = self._print(chat, chat.messages[:count], prompt=prompt)
        except TEMPLATE_ERRORS:
            return None
        return len(part) if text.startswith(part) else None

    def _differing(self, chat: Chat, text: str, index: int) -> Span | None:
        """The part of the text that changes with the words of one answer."""
        start, kept = len(text), len(text)
        for words in STAND_INS:
            changed = [*chat.messages]
            changed[index] = {"role": "assistant", "content": words}
            try:
                other = self._print(chat, changed)
            except TEMPLATE_ERRORS:
                return None
            start = min(start, common_start(text, other))
            kept = min(kept, common_start(text[::-1], other[::-1]))
        return Span(start, len(text) - kept)

    def _after_header(self, chat: Chat, text: str, start: int) -> int:
        """Where the answer begins whose words begin at `start`: templates may print more before, such as thinking."""
        try:
            header = self._print(chat, chat.messages, prompt=True)
        except TEMPLATE_ERRORS:
            return start
        header = header.removeprefix(text)
        found = text.rfind(header, 0, start) + len(header)
        if not header or found < len(header) or self._any_special.search(text, found, start):
            return start
        return found

    def _through_closer(self, text: str, end: int) -> int:
        blank = len(text[end:]) - len(text[end:].lstrip())
        closer = self._any_special.match(text, end + blank)
        return closer.end() if closer and closer[0] in self.closers else end

    def _without_trailing_space(self, text: str, start: int, end: int) -> int:
        """The model stops at the end-of-turn token, so the line break after it is nothing to learn."""
        bare = start + len(text[start:end].rstrip())
        return bare if text.endswith(tuple(self.specials), start, bare) else end

    def _find_closers(self) -> set[str]:
        """The tokens that this template prints right after what somebody said."""
        question, answer = STAND_INS
        chat = Chat([{"role": "user", "content": question}, {"role": "assistant", "content": answer}], [None, 1])
        try:
            text = self._print(chat, chat.messages)
        except TEMPLATE_ERRORS:
            return set()
        found = (self._any_special.search(text, text.rfind(words)) for words in STAND_INS)
        return {match[0] for match in found if match}

    def _print(self, chat: Chat, messages: list[Message], *, prompt: bool = False) -> str:
        text = self._tokenizer.apply_chat_template(
            messages, tools=chat.tools, tokenize=False, add_generation_prompt=prompt, **chat.template_options
        )
        return str(text)


def _left_out(message: Message, printed: str) -> str | None:
    """What of an answer a template does not print. Blanks and thinking are its own affair, the last word is not."""
    words = message["content"].split()
    if words and words[-1][-20:] not in printed:
        return "the words of this answer"
    missing = [call["function"]["name"] for call in message.get("tool_calls", ())]
    missing = [name for name in missing if name not in printed]
    return f"the call of the tool {missing[0]}: it may know no tools" if missing else None


def _as_sent(message: Message) -> Message:
    """A message with tool calls as they go over HTTP, arguments as text; some templates expect that."""
    if "tool_calls" not in message:
        return message
    functions = [call["function"] for call in message["tool_calls"]]
    texts = [function | {"arguments": json.dumps(function["arguments"], ensure_ascii=False)} for function in functions]
    calls = [call | {"function": text} for call, text in zip(message["tool_calls"], texts, strict=True)]
    return message | {"tool_calls": calls}


def special_tokens(tokenizer: Any) -> set[str]:
    """Tokens that are no text: ends of turns, headers, padding."""
    added = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    return added | set(tokenizer.all_special_tokens)
