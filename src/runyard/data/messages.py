"""Chat messages as they are written in the wild, checked and brought into the form that chat templates take."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from runyard.data.errors import RowError
from runyard.data.lines import json_type

ROLES = {
    "system": "system", "developer": "system", "user": "user", "human": "user", "assistant": "assistant",
    "gpt": "assistant", "chatgpt": "assistant", "model": "assistant", "tool": "tool", "function": "tool",
    "function_response": "tool", "observation": "tool",
}  # fmt: skip
KEPT = ("name", "tool_call_id", "reasoning_content", "thinking")
MAY_BE_EMPTY = {"system", "tool"}

Message = dict[str, Any]


class Messages(NamedTuple):
    """Messages and, for each, 1 for an answer to learn, 0 for one to leave out, None for what is no answer."""

    messages: list[Message]
    weights: list[int | None]

    def has_answer(self) -> bool:
        return any(weight is not None for weight in self.weights)


def read(value: Any, field: str) -> Messages:
    """Check a list of messages, `role`/`content` or `from`/`value`. Raises RowError with the place in the row."""
    if isinstance(value, str) and value.lstrip()[:1] == "[":
        value = parse_json(value, field)  # columns of CSV and Parquet files often hold lists as text
    if not isinstance(value, list):
        raise RowError(f"must be a list of messages, but is {json_type(value)}", field)
    if not value:
        raise RowError("holds no messages", field)
    read_ones = [_message(item, f"{field}[{index}]") for index, item in enumerate(value)]
    return Messages([message for message, _ in read_ones], [weight for _, weight in read_ones])


def tools(row: Mapping[str, Any], field: str = "") -> list[dict[str, Any]] | None:
    """The tools that the model may call: `tools`, or the older `functions`."""
    for name in ("tools", "functions"):
        value = row.get(name)
        if isinstance(value, str):
            value = parse_json(value, field + name) if value.strip() else None
        if not value:
            continue
        if not isinstance(value, list) or not all(isinstance(tool, dict) for tool in value):
            raise RowError("must be a list of objects", field + name)
        return [{"type": "function", "function": tool} for tool in value] if name == "functions" else value
    return None


def parse_json(text: str, field: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RowError(f"is not valid JSON: {error}", field) from None


def _message(value: Any, field: str) -> tuple[Message, int | None]:
    if not isinstance(value, dict):
        raise RowError(f"must be an object with role and content, but is {json_type(value)}", field)
    role = _role(value, field)
    message: Message = {"role": role, "content": ""}
    message |= {key: value[key] for key in KEPT if value.get(key) is not None}
    if calls := _tool_calls(value, role, field):
        message["tool_calls"] = calls
    content_name = "value" if "content" not in value and "value" in value else "content"
    message["content"] = _content(value.get(content_name), message, f"{field}.{content_name}")
    return message, _weight(value.get("weight"), role, field)


def _role(value: Mapping[str, Any], field: str) -> str:
    name = "from" if "role" not in value and "from" in value else "role"
    if name not in value:
        raise RowError(f"has no role; found: {', '.join(value) or 'nothing'}", field)
    given = value[name]
    role = ROLES.get(given) if isinstance(given, str) else None
    if role is None:
        raise RowError(f"must be one of system, user, assistant, tool, but is {_shown(given)}", f"{field}.{name}")
    return role


def _content(value: Any, message: Message, field: str) -> str:
    if value is None and "tool_calls" in message:
        return ""
    if isinstance(value, list):
        value = "".join(_text_part(part, f"{field}[{index}]") for index, part in enumerate(value))
    if not isinstance(value, str):
        raise RowError(f"must be text, but is {json_type(value)}", field)
    if not value.strip() and message["role"] not in MAY_BE_EMPTY and "tool_calls" not in message:
        raise RowError("is empty", field)
    return value


def _text_part(part: Any, field: str) -> str:
    if isinstance(part, dict) and isinstance(part.get("text"), str):
        return str(part["text"])
    kind = part.get("type") if isinstance(part, dict) else None
    raise RowError(f"must be a text part, but is {kind or json_type(part)}: only text can be trained on", field)


def _weight(value: Any, role: str, field: str) -> int | None:
    if role != "assistant":
        if value is not None:
            raise RowError("only assistant messages have a weight", f"{field}.weight")
        return None
    if value is None:
        return 1
    if not isinstance(value, int | float) or value not in (0, 1):
        raise RowError(f"must be 0 or 1, but is {_shown(value)}", f"{field}.weight")
    return int(value)


def _tool_calls(value: Mapping[str, Any], role: str, field: str) -> list[dict[str, Any]]:
    calls = value.get("tool_calls")
    if calls is None and value.get("function_call"):
        calls = [value["function_call"]]
    if not calls:
        return []
    if role != "assistant":
        raise RowError("only assistant messages call tools", f"{field}.tool_calls")
    if not isinstance(calls, list):
        raise RowError(f"must be a list, but is {json_type(calls)}", f"{field}.tool_calls")
    return [_tool_call(call, f"{field}.tool_calls[{index}]") for index, call in enumerate(calls)]


def _tool_call(call: Any, field: str) -> dict[str, Any]:
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise RowError('must be like {"function": {"name": ..., "arguments": ...}}', field)
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        # A string in OpenAI's format; templates print the object.
        arguments = parse_json(arguments, f"{field}.function.arguments") if arguments.strip() else {}
    if not isinstance(arguments, dict | None):
        raise RowError(f"must be an object, but is {json_type(arguments)}", f"{field}.function.arguments")
    named = {"id": call["id"]} if isinstance(call.get("id"), str) else {}
    return named | {"type": "function", "function": {"name": function["name"], "arguments": arguments or {}}}


def _shown(value: Any) -> str:
    return f"{value!r:.40}" if isinstance(value, str | int | float | bool) else json_type(value)


def common_start(one: Sequence[object], other: Sequence[object]) -> int:
    """How many messages, or characters, both begin with."""
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count
