"""Text and pairs as tokens, beside what TRL makes of the same rows."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runyard.data.rows import Chat, Pair, Plain, detect
from runyard.trainers.text.chat import CHATML
from runyard.trainers.text.tokens import NOT_TRAINED, Encoder, Example, PairExample

pytestmark = [pytest.mark.llm, pytest.mark.filterwarnings("ignore")]

QUESTION = [{"role": "user", "content": "Hi"}]
PAIR = {
    "prompt": QUESTION,
    "chosen": [{"role": "assistant", "content": "Hello there"}],
    "rejected": [{"role": "assistant", "content": "Go"}],
}


def plain(prompt: str, completion: str, tokenizer: Any, train_on: Any = "assistant", max_length: int = 500) -> Example:
    (example,) = Encoder(tokenizer, max_length, train_on).encode([Plain(prompt, completion)])
    assert isinstance(example, Example)
    return example


def pair(row: dict[str, Any], tokenizer: Any, max_length: int = 500) -> PairExample:
    shape = detect(row, "dpo")
    assert shape is not None
    (example,) = Encoder(tokenizer, max_length).encode([shape.read(row)])
    assert isinstance(example, PairExample)
    return example


@pytest.mark.parametrize(
    ("prompt", "completion"),
    [("Two and two?", " Four."), ("Two and two? ", "Four."), ("Q:\n", "A"), ("a", "b"), ("ñ", "😀"), ("x", "\n\n y ")],
)
def test_completion_and_its_end_are_learnt_as_in_trl(prompt: str, completion: str, smollm2: Any) -> None:
    from trl.data_utils import common_prefix_length

    example = plain(prompt, completion, smollm2)
    whole = smollm2(prompt + completion + smollm2.eos_token)["input_ids"]
    start = common_prefix_length(smollm2(prompt)["input_ids"], whole)
    assert example.ids == whole
    assert example.trained == [False] * start + [True] * (len(whole) - start)
    assert example.end == smollm2.eos_token_id
    assert example.columns[1][:start] == [NOT_TRAINED] * start


def test_text_is_learnt_whole_and_ends_once(make_tokenizer: Any) -> None:
    tokenizer = make_tokenizer(None, bos=True)
    for text in ("Once upon a time", "Once upon a time</s>"):
        example = plain("", text, tokenizer)
        assert tokenizer.decode(example.ids) == "<s>Once upon a time</s>"
        assert all(example.trained)
    everything = plain("Two?", "Four", tokenizer, "all")
    assert all(everything.trained)


def test_beginning_of_text_is_not_learnt_with_a_prompt(make_tokenizer: Any) -> None:
    tokenizer = make_tokenizer(None, bos=True)
    example = plain("ab", "cd", tokenizer)
    assert tokenizer.decode(example.ids) == "<s>abcd</s>"
    assert example.trained == [False, False, False, True, True, True]


def test_cut_keeps_the_start(smollm2: Any) -> None:
    whole = plain("Two and two?", " Four it is, my friend.", smollm2)
    cut = plain("Two and two?", " Four it is, my friend.", smollm2, max_length=6)
    assert (cut.ids, cut.trained, cut.truncated) == (whole.ids[:6], whole.trained[:6], True)
    assert (cut.end, whole.end, whole.truncated) == (None, smollm2.eos_token_id, False)
    exact = plain("Two and two?", " Four it is, my friend.", smollm2, max_length=len(whole.ids))
    assert exact == whole


def test_pair_of_conversations_as_in_trl(smollm2: Any) -> None:
    example = pair(PAIR, smollm2)
    prompt = smollm2.apply_chat_template(QUESTION, add_generation_prompt=True, return_dict=True)["input_ids"]
    assert example.prompt == prompt
    for name, ids in (("chosen", example.chosen), ("rejected", example.rejected)):
        whole = smollm2.apply_chat_template([*QUESTION, *PAIR[name]], return_dict=True)["input_ids"]
        line_break = smollm2("\n")["input_ids"]
        assert prompt + ids + line_break == whole
    assert example.end == smollm2.eos_token_id


def test_plain_pair_as_in_trl(smollm2: Any) -> None:
    example = pair({"prompt": "Sky?", "chosen": " Blue, it is", "rejected": " Black"}, smollm2)
    prompt = smollm2("Sky?")["input_ids"]
    assert example.prompt == prompt
    assert prompt + example.chosen == smollm2("Sky? Blue, it is<|im_end|>")["input_ids"]
    assert prompt + example.rejected == smollm2("Sky? Black<|im_end|>")["input_ids"]


def test_answers_whose_first_letters_join_the_prompt(smollm2: Any) -> None:
    example = pair({"prompt": "un", "chosen": "believable", "rejected": "know"}, smollm2)
    assert smollm2.decode(example.prompt + example.chosen) == "unbelievable<|im_end|>"
    assert smollm2.decode(example.prompt + example.rejected) == "unknow<|im_end|>"


@pytest.mark.parametrize(
    ("word", "chosen", "rejected"),
    [("un", "believable", "know"), ("java", "ih", "er"), ("Fi", "choice", "Prec")],
)
def test_joined_letters_cost_the_prompt_its_last_word_alone(
    word: str, chosen: str, rejected: str, smollm2: Any
) -> None:
    example = pair({"prompt": f"Please say {word}", "chosen": chosen, "rejected": rejected}, smollm2)
    assert smollm2.decode(example.prompt) == "Please say"


def test_pair_that_is_the_same_after_the_cut_has_nothing_to_learn(smollm2: Any) -> None:
    row = {"prompt": "Say it:", "chosen": " one two three four", "rejected": " one two three five"}
    assert pair(row, smollm2).learnt
    cut = pair(row, smollm2, max_length=5)
    assert (cut.truncated, cut.learnt) == (True, 0)
    assert pair(row, smollm2, max_length=2).learnt == 0


WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(str.strip)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(WORDS, min_size=2, max_size=4))
def test_any_words_are_masked_by_turn(make_tokenizer: Any, words: list[str]) -> None:
    """With single bytes as tokens, what is learnt is the answers' bytes and their end, nothing else."""
    tokenizer = make_tokenizer(CHATML, eos="<|im_end|>")
    turns = [{"role": "assistant" if index % 2 else "user", "content": word} for index, word in enumerate(words)]
    weights = [1 if turn["role"] == "assistant" else None for turn in turns]
    (example,) = Encoder(tokenizer, 10_000).encode([Chat(turns, weights)])
    assert isinstance(example, Example)
    learnt = [token for token, trained in zip(example.ids, example.trained, strict=True) if trained]
    answers = "".join(f"{turn['content']}<|im_end|>" for turn in turns if turn["role"] == "assistant")
    assert learnt == tokenizer(answers, add_special_tokens=False)["input_ids"]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(WORDS, WORDS, WORDS)
def test_any_pair_is_put_together_again(smollm2: Any, prompt: str, chosen: str, rejected: str) -> None:
    (example,) = Encoder(smollm2, 1000).encode([Pair(Plain(prompt, chosen), Plain(prompt, rejected))])
    assert isinstance(example, PairExample)
    for ids, answer in ((example.chosen, chosen), (example.rejected, rejected)):
        whole = smollm2(prompt + answer)["input_ids"]
        assert example.prompt + ids in (whole, [*whole, smollm2.eos_token_id])
        assert ids
