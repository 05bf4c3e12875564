"""Which text of a conversation is learnt, for the chat templates of many model families."""

from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from runyard.data import RowError
from runyard.data.rows import Chat, Row, detect
from runyard.trainers.text.chat import CHATML, ChatFormat, adopt_template
from runyard.trainers.text.tokens import Encoder, Example

pytestmark = [pytest.mark.llm, pytest.mark.filterwarnings("ignore")]

SYSTEM = {"role": "system", "content": "Be brief."}
TWO_TURNS = [
    {"role": "user", "content": "What is two and two?"},
    {"role": "assistant", "content": "It is four."},
    {"role": "user", "content": "And three?"},
    {"role": "assistant", "content": "Seven."},
]
THINKING = [
    *TWO_TURNS[:1],
    {"role": "assistant", "content": "<think>\nI add.\n</think>\n\nIt is four."},
    *TWO_TURNS[2:3],
    {"role": "assistant", "content": "<think>\nAgain.\n</think>\n\nSeven."},
]
TOOL_CALL = {
    "tools": [{"type": "function", "function": {"name": "weather", "description": "", "parameters": {}}}],
    "messages": [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "abcdefghi", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}],
        },
        {"role": "tool", "tool_call_id": "abcdefghi", "content": "sunny"},
        {"role": "assistant", "content": "It is sunny."},
    ],
}
MISTRAL = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] + '\n\n' %}"
    "{% set messages = messages[1:] %}{% else %}{% set system = '' %}{% endif %}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}"
    "{% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + (system if loop.revindex0 < 2 else '') + "
    "message['content'] + ' [/INST]' }}{% else %}{{ ' ' + message['content'].strip() + '</s>' }}{% endif %}{% endfor %}"
)
ENDLESS = (
    "{% for message in messages %}{{ '### ' + message['role'] + ': ' + message['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '### assistant: ' }}{% endif %}"
)


def template(family: str) -> str:
    import trl

    return (Path(trl.__file__).parent / "chat_templates" / f"{family}.jinja").read_text()


def read(row: dict[str, Any]) -> Row:
    shape = detect(row, "sft")
    assert shape is not None
    return shape.read(row)


def encode(row: dict[str, Any], tokenizer: Any, train_on: Any = "assistant", max_length: int = 2000) -> Example:
    (example,) = Encoder(tokenizer, max_length, train_on).encode([read(row)])
    if isinstance(example, RowError):
        raise example
    assert isinstance(example, Example)
    return example


def learnt(row: dict[str, Any], tokenizer: Any, train_on: Any = "assistant") -> list[str]:
    """The stretches of text whose tokens are learnt."""
    example = encode(row, tokenizer, train_on)
    marked = groupby(zip(example.ids, example.trained, strict=True), key=lambda pair: pair[1])
    return [tokenizer.decode([token for token, _ in group]) for trained, group in marked if trained]


@pytest.mark.parametrize(
    ("family", "end", "last"),
    [
        ("llama3", "<|eot_id|>", "<|eot_id|>"),
        ("llama3_1", "<|eot_id|>", "<|eot_id|>"),
        ("qwen2_5", "<|im_end|>", "<|im_end|>"),
        ("gemma3", "<end_of_turn>", "<end_of_turn>"),
        ("phi3", "<|end|>", "<|end|>\n</s>"),
        ("deepseekv3", "<｜end▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
    ],
)
def test_answers_are_learnt_to_their_end(family: str, end: str, last: str, make_tokenizer: Any) -> None:
    tokenizer = make_tokenizer(template(family))
    expected = [f"It is four.{end}", f"Seven.{last}"]
    assert learnt({"messages": TWO_TURNS}, tokenizer) == expected
    assert learnt({"messages": [SYSTEM, *TWO_TURNS]}, tokenizer) == expected
    assert learnt({"messages": TWO_TURNS}, tokenizer, "last") == expected[1:]
    assert encode({"messages": TWO_TURNS}, tokenizer).end is not None


@pytest.mark.parametrize("family", ["llama3", "gemma3", "phi3", "cohere", "qwen3_instruct_2507", "lfm2", "qwen2_5_vl"])
def test_same_answers_as_templates_with_marks(family: str, make_tokenizer: Any) -> None:
    """TRL marks the answers in its copies of the templates: a second opinion that shares no code with ours."""
    tokenizer = make_tokenizer(template(family))
    marked = tokenizer.apply_chat_template(
        TWO_TURNS,
        chat_template=template(f"{family}_training"),
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    example = encode({"messages": TWO_TURNS}, tokenizer)
    assert example.ids == marked["input_ids"]
    differing = [
        token for token, ours, theirs in zip(example.ids, example.trained, marked["assistant_masks"], strict=True)
        if ours != bool(theirs)
    ]  # fmt: skip
    assert tokenizer.decode(differing).strip() == ""  # only line breaks after the end-of-turn token


def test_thinking_that_a_template_takes_out_of_earlier_turns(make_tokenizer: Any) -> None:
    tokenizer = make_tokenizer(template("qwen3"))
    assert learnt({"messages": THINKING}, tokenizer) == [
        "It is four.<|im_end|>",
        "<think>\nAgain.\n</think>\n\nSeven.<|im_end|>",
    ]
    assert learnt({"messages": TWO_TURNS}, tokenizer)[1] == "<think>\n\n</think>\n\nSeven.<|im_end|>"


def test_system_prompt_that_moves_to_the_last_question(make_tokenizer: Any) -> None:
    tokenizer = make_tokenizer(MISTRAL)
    text = tokenizer.decode(encode({"messages": [SYSTEM, *TWO_TURNS]}, tokenizer).ids)
    assert text.endswith("[INST] Be brief.\n\nAnd three? [/INST] Seven.</s>")
    # No template prints the first answer alone in the same way: it is found by its words.
    assert learnt({"messages": [SYSTEM, *TWO_TURNS]}, tokenizer) == ["It is four.</s>", " Seven.</s>"]


def test_what_a_template_prints_before_an_answer_is_learnt(make_tokenizer: Any) -> None:
    thinks = CHATML.replace(
        "'\n' + message", "'\n' + ('<think></think>' if message.role == 'assistant' else '') + message"
    )
    tokenizer = make_tokenizer("{{ messages | length }} messages: " + thinks)
    expected = [f"<think></think>{words}<|im_end|>" for words in ("It is four.", "Seven.")]
    assert learnt({"messages": TWO_TURNS}, tokenizer) == expected


def test_conversation_that_begins_with_an_answer(smollm2: Any) -> None:
    turns = [{"role": "assistant", "content": "Welcome!"}, *TWO_TURNS]
    assert learnt({"messages": turns}, smollm2) == [
        "Welcome!<|im_end|>", "It is four.<|im_end|>", "Seven.<|im_end|>"
    ]  # fmt: skip


def test_same_words_in_every_turn(make_tokenizer: Any) -> None:
    turns = [{"role": role, "content": "yes"} for role in ("user", "assistant", "user", "assistant")]
    for family in ("qwen3", "llama3"):
        assert [text[-13:-10] for text in learnt({"messages": turns}, make_tokenizer(template(family)))] == ["yes"] * 2


def test_weights_leave_answers_out(make_tokenizer: Any) -> None:
    tokenizer = make_tokenizer(template("qwen2_5"))
    turns = [TWO_TURNS[0], TWO_TURNS[1] | {"weight": 0}, *TWO_TURNS[2:]]
    assert learnt({"messages": turns}, tokenizer) == ["Seven.<|im_end|>"]
    everything = learnt({"messages": turns}, tokenizer, "all")
    assert "It is four." not in "".join(everything)
    assert everything[-1].endswith("And three?<|im_end|>\n<|im_start|>assistant\nSeven.<|im_end|>\n")
    unweighted = [TWO_TURNS[0], TWO_TURNS[1] | {"weight": 0}]
    assert encode({"messages": unweighted}, tokenizer).learnt == 0


@pytest.mark.parametrize("family", ["qwen2_5", "qwen3", "llama3_1", "gptoss", "deepseekv3", "qwen3_5_think"])
def test_tool_calls_are_learnt(family: str, make_tokenizer: Any) -> None:
    first, second = learnt(TOOL_CALL, make_tokenizer(template(family)))
    assert "weather" in first
    assert "Rome" in first
    assert "sunny" not in first
    assert "It is sunny." in second


@pytest.mark.parametrize(
    ("family", "row", "message"),
    [
        ("llama3", TOOL_CALL, "leaves out the call of the tool weather"),
        ("gemma", {"messages": [SYSTEM, *TWO_TURNS]}, "refuses this conversation: System role not supported"),
        ("gemma3", {"messages": TWO_TURNS[:2] + TWO_TURNS[:1] * 2}, "refuses this conversation: Conversation roles"),
        ("smolvlm", {"messages": TWO_TURNS}, "leaves out the words of this answer"),
        ("llava_next", {"messages": TWO_TURNS}, "refuses this conversation"),
    ],
)
def test_template_that_does_not_fit(family: str, row: dict[str, Any], message: str, make_tokenizer: Any) -> None:
    with pytest.raises(RowError, match=message):
        encode(row, make_tokenizer(template(family)))


def test_template_without_end_of_turn(make_tokenizer: Any) -> None:
    tokenizer = make_tokenizer(ENDLESS)
    assert learnt({"messages": TWO_TURNS}, tokenizer) == ["It is four.\n", "Seven.\n"]
    assert encode({"messages": TWO_TURNS}, tokenizer).end is None


def test_options_of_a_row_reach_the_template(make_tokenizer: Any) -> None:
    tokenizer = make_tokenizer("{{ mood }}" + CHATML)
    example = encode({"messages": TWO_TURNS, "chat_template_kwargs": {"mood": "merry"}}, tokenizer)
    assert tokenizer.decode(example.ids).startswith("merry<|im_start|>user")


def test_model_without_template(make_tokenizer: Any) -> None:
    tokenizer = make_tokenizer(None)
    assert "ChatML is used" in str(adopt_template(tokenizer))
    assert learnt({"messages": TWO_TURNS}, tokenizer) == ["It is four.<|im_end|>", "Seven.<|im_end|>"]
    assert adopt_template(tokenizer) is None
    with pytest.raises(RowError, match="the model has no chat template"):
        adopt_template(make_tokenizer(None, without=("<|im_end|>",)))


def test_smollm2_learns_answers_only(smollm2: Any) -> None:
    turns = [*TWO_TURNS[:3], {"role": "assistant", "content": "Größe 😀\n\nok"}]
    assert learnt({"messages": turns}, smollm2) == ["It is four.<|im_end|>", "Größe 😀\n\nok<|im_end|>"]
    text, spans = ChatFormat(smollm2).render(Chat(turns, [None, 1, None, 1]))
    assert text[: spans[1].start].endswith("What is two and two?<|im_end|>\n<|im_start|>assistant\n")
