"""Single rows: what is taken, what is refused, and in which words."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.data import RowError, columns, rows

USER = {"role": "user", "content": "Hi"}
ANSWER = {"role": "assistant", "content": "Hello"}
OTHER = {"role": "assistant", "content": "Go away"}
CALL = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}


def read(row: dict[str, Any], kind: rows.Kind | None = None) -> rows.Row:
    shape = rows.detect(row, kind)
    if shape is None:
        raise columns.wrong(row, kind)
    return shape.read(row)


BAD: list[tuple[dict[str, Any], str | None, str]] = [
    ({"messages": []}, "messages", "holds no messages"),
    ({"messages": None}, "messages", "must be a list of messages, but is null"),
    ({"messages": "Hi"}, "messages", "must be a list of messages, but is text"),
    ({"messages": "[{"}, "messages", "is not valid JSON"),
    ({"messages": ["Hi"]}, "messages[0]", "must be an object with role and content, but is text"),
    ({"messages": [USER]}, "messages", "holds no assistant message"),
    ({"messages": [{"content": "Hi"}, ANSWER]}, "messages[0]", "has no role; found: content"),
    ({"messages": [{"role": "bot", "content": "Hi"}]}, "messages[0].role", "must be one of system, user, assistant"),
    ({"messages": [{"role": 1, "content": "Hi"}]}, "messages[0].role", "but is 1"),
    ({"messages": [{"role": ["user"], "content": "Hi"}]}, "messages[0].role", "but is a list"),
    ({"messages": [USER, {"role": "assistant", "content": None}]}, "messages[1].content", "but is null"),
    ({"messages": [USER, {"role": "assistant"}]}, "messages[1].content", "must be text, but is null"),
    ({"messages": [USER, {"role": "assistant", "content": " \n"}]}, "messages[1].content", "is empty"),
    ({"messages": [{"role": "user", "content": ""}, ANSWER]}, "messages[0].content", "is empty"),
    ({"messages": [{"role": "user", "content": 5}, ANSWER]}, "messages[0].content", "must be text, but is a number"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, ANSWER]},
        "messages[0].content[0]", "must be a text part, but is image_url",
    ),
    ({"messages": [USER, ANSWER | {"weight": 0.5}]}, "messages[1].weight", "must be 0 or 1, but is 0.5"),
    ({"messages": [USER, ANSWER | {"weight": "1"}]}, "messages[1].weight", "must be 0 or 1, but is '1'"),
    ({"messages": [USER | {"weight": 1}, ANSWER]}, "messages[0].weight", "only assistant messages"),
    ({"messages": [USER | {"tool_calls": [CALL]}, ANSWER]}, "messages[0].tool_calls", "only assistant messages"),
    ({"messages": [USER, {"role": "assistant", "tool_calls": CALL}]}, "messages[1].tool_calls", "must be a list"),
    (
        {"messages": [USER, {"role": "assistant", "tool_calls": [{"function": {"arguments": "{}"}}]}]},
        "messages[1].tool_calls[0]", "must be like",
    ),
    (
        {"messages": [USER, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}]},
        "messages[1].tool_calls[0].function.arguments", "is not valid JSON",
    ),
    (
        {"messages": [USER, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}]}]},
        "messages[1].tool_calls[0].function.arguments", "must be an object, but is a list",
    ),
    ({"messages": [USER, ANSWER], "tools": "weather"}, "tools", "is not valid JSON"),
    ({"messages": [USER, ANSWER], "tools": ["weather"]}, "tools", "must be a list of objects"),
    ({"messages": [USER, ANSWER], "chat_template_kwargs": 1}, "chat_template_kwargs", "must be an object"),
    ({"conversations": [{"from": "alien", "value": "Hi"}]}, "conversations[0].from", "but is 'alien'"),
    ({"conversations": [{"from": "gpt", "value": ""}]}, "conversations[0].value", "is empty"),
    ({"prompt": "Hi", "completion": ""}, "completion", "is empty"),
    ({"prompt": "", "completion": "Hello"}, "prompt", "is empty"),
    ({"prompt": "Hi", "completion": 42}, "completion", "must be text, but is a number"),
    ({"prompt": None, "completion": "Hello"}, "prompt", "must be text, but is null"),
    ({"prompt": [USER], "completion": [USER]}, "completion", "holds no assistant message"),
    ({"text": ""}, "text", "is empty"),
    ({"text": ["a"]}, "text", "must be text, but is a list"),
    ({"prompt": "Hi", "chosen": "Hello", "rejected": "Hello"}, None, "chosen and rejected are the same"),
    ({"prompt": [USER], "chosen": [ANSWER], "rejected": [ANSWER]}, None, "chosen and rejected are the same"),
    ({"chosen": [USER, ANSWER], "rejected": [USER, ANSWER]}, None, "chosen and rejected are the same"),
    ({"chosen": "Hello", "rejected": "Go away"}, None, "there is no prompt"),
    ({"chosen": [ANSWER], "rejected": [OTHER]}, None, "there is no prompt"),
    ({"prompt": "Hi", "chosen": "Hello", "rejected": ""}, "rejected", "is empty"),
    ({"prompt": "Hi", "chosen": "Hello", "rejected": None}, "rejected", "must be text, but is null"),
    ({"prompt": [USER], "chosen": [USER], "rejected": [ANSWER]}, "chosen", "holds no assistant message"),
    ({"input": [], "preferred_output": [ANSWER], "non_preferred_output": [OTHER]}, "input", "with messages"),
    (
        {"input": {"messages": []}, "preferred_output": [ANSWER], "non_preferred_output": [OTHER]},
        "input.messages", "holds no messages",
    ),
    (
        {"input": {"messages": [USER]}, "preferred_output": [], "non_preferred_output": [OTHER]},
        "preferred_output", "holds no messages",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("row", "field", "message"), BAD)
def test_bad_row_is_refused_with_its_place(row: dict[str, Any], field: str | None, message: str) -> None:
    with pytest.raises(RowError) as caught:
        read(row)
    assert caught.value.field == field
    assert message in caught.value.message


def test_conversation_has_a_weight_for_each_answer() -> None:
    row = {"messages": [{"role": "developer", "content": ""}, USER, ANSWER | {"weight": 0}, USER, ANSWER]}
    chat = read(row)
    assert isinstance(chat, rows.Chat)
    assert chat.weights == [None, None, 0, None, 1]
    assert [message["role"] for message in chat.messages] == ["system", "user", "assistant", "user", "assistant"]
    assert "weight" not in chat.messages[2]


def test_from_and_value_say_the_same_as_role_and_content() -> None:
    turns = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]
    assert read({"conversations": turns}) == read({"messages": [USER, ANSWER]})


def test_tool_call_arguments_become_objects_and_missing_content_becomes_empty() -> None:
    called = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    chat = read({"messages": [USER, called, {"role": "tool", "content": "", "tool_call_id": "1"}, ANSWER]})
    assert isinstance(chat, rows.Chat)
    assert chat.messages[1]["content"] == ""
    assert chat.messages[1]["tool_calls"][0]["function"] == {"name": "weather", "arguments": {"city": "Rome"}}
    assert chat.messages[2]["tool_call_id"] == "1"


def test_functions_of_old_are_tools() -> None:
    old = {
        "messages": [USER, {"role": "assistant", "function_call": {"name": "weather", "arguments": "{}"}}],
        "functions": [{"name": "weather"}],
    }
    new = {
        "messages": [
            USER, {"role": "assistant", "tool_calls": [{"function": {"name": "weather", "arguments": {}}}]}
        ],
        "tools": '[{"type": "function", "function": {"name": "weather"}}]',
    }  # fmt: skip
    assert read(old) == read(new)


def test_text_parts_are_joined() -> None:
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    assert read({"messages": [USER, {"role": "assistant", "content": parts}]}) == read({"messages": [USER, ANSWER]})


def test_answers_in_a_prompt_are_context() -> None:
    chat = read({"prompt": [USER, ANSWER, USER], "completion": [OTHER]})
    assert isinstance(chat, rows.Chat)
    assert (chat.weights, chat.prompt) == ([None, None, None, 1], 3)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [USER], "chosen": [ANSWER], "rejected": [OTHER]},
        {"prompt": "Hi", "chosen": [ANSWER], "rejected": [OTHER]},
        {"prompt": [USER], "chosen": "Hello", "rejected": "Go away"},
        {"prompt": [USER], "chosen": ANSWER, "rejected": OTHER},
        {"chosen": [USER, ANSWER], "rejected": [USER, OTHER]},
        {"prompt": "Hi", "chosen": [USER, ANSWER], "rejected": [USER, OTHER], "score_chosen": 9.0},
        {"prompt": [USER], "chosen": [USER, ANSWER], "rejected": [USER, OTHER]},
        {"input": {"messages": [USER]}, "preferred_output": [ANSWER], "non_preferred_output": [OTHER]},
        {"input": {"messages": [USER]}, "preferred_completion": [ANSWER], "non_preferred_completion": [OTHER]},
    ],
)
def test_every_way_to_write_a_pair_says_the_same(row: dict[str, Any]) -> None:
    chosen, rejected = rows.Chat([USER, ANSWER], [None, 1], prompt=1), rows.Chat([USER, OTHER], [None, 1], prompt=1)
    assert read(row, "dpo") == rows.Pair(chosen, rejected)


def test_shared_words_are_the_prompt_of_plain_pairs() -> None:
    pair = read({"chosen": "The sky is blue.", "rejected": "The sky is black."})
    assert pair == rows.Pair(rows.Plain("The sky is", " blue."), rows.Plain("The sky is", " black."))


@pytest.mark.parametrize(
    ("found", "kind", "expected"),
    [
        (["question", "answer"], "sft", "if it is prompt-completion, set data.columns to {prompt: question, comple"),
        (["mesages"], "sft", "if it is messages, set data.columns to {messages: mesages}"),
        (["content"], "sft", "if it is text, set data.columns to {text: content}"),
        (["instruction", "input", "output"], "sft", "data.columns maps our names to yours"),
        (["a", "b"], None, "found a, b; expected messages | conversations | prompt + completion | chosen + rejected"),
        (["prompt", "chosen", "rejected"], "sft", "has the columns of dpo data (chosen + rejected), but the job is"),
        (["messages"], "dpo", "has the columns of sft data (messages), but the job is dpo"),
        ([], None, "found nothing"),
    ],
)
def test_wrong_columns_are_explained(found: list[str], kind: rows.Kind | None, expected: str) -> None:
    assert expected in columns.wrong(found, kind).message


def test_columns_are_renamed() -> None:
    renamed = columns.rename({"q": "Hi", "a": "Hello"}, {"prompt": "q", "completion": "a"})
    assert read(renamed) == rows.Plain("Hi", "Hello")
    with pytest.raises(RowError, match=r"there is no column 'questio'; did you mean 'question'\?; found: question"):
        columns.rename({"question": "Hi"}, {"prompt": "questio"})
    with pytest.raises(RowError, match="is no column that we know; did you mean 'prompt'"):
        columns.rename({"question": "Hi"}, {"promt": "question"})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(["role", "content", "from", "value", "weight", "tool_calls", "function", "name", "arguments",
                         "messages", "tools", "type", "text", "id"]),
        inner | st.sampled_from(["user", "assistant", "system", "tool", "[]", "{}"]),
        max_size=5,
    ),
    max_leaves=12,
)  # fmt: skip


@given(st.sampled_from(rows.SHAPES), st.data())
def test_no_row_breaks_the_check(shape: rows.Shape, data: st.DataObject) -> None:
    given_columns = [*shape.columns, "tools", "chat_template_kwargs", "prompt"]
    row = {column: data.draw(JSON, label=column) for column in given_columns}
    with suppress(RowError):
        assert isinstance(shape.read(row), rows.Pair) == (shape.kind == "dpo")
