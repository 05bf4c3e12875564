"""From a file to prepared sets in a cache, and what a preview shows of them."""

import json
import multiprocessing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from runyard.data import DataError
from runyard.protocol.specs.language import DpoSpec, SftSpec
from runyard.trainers.text.chat import CHATML
from runyard.trainers.text.prepare import prepare
from runyard.trainers.text.prepared import Prepared
from runyard.trainers.text.preview import preview

pytestmark = [pytest.mark.llm, pytest.mark.filterwarnings("ignore")]

ALTERNATING = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{{ raise_exception('No system prompts') }}"
    "{% endif %}{{ message['content'] }}{% if message['role'] == 'assistant' %}</s>{% endif %}{% endfor %}"
)


def chat(question: str, answer: str, **more: Any) -> dict[str, Any]:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer} | more]
    return {"messages": turns}


def pair(question: str, chosen: str, rejected: str) -> dict[str, Any]:
    return {"prompt": question, "chosen": chosen, "rejected": rejected}


def spec(path: Path, rows: Sequence[Any], kind: str = "sft", data: Any = (), **training: Any) -> SftSpec | DpoSpec:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = {"model": "any", "data": {"train": str(path)} | dict(data), "training": training}
    return DpoSpec.model_validate(given) if kind == "dpo" else SftSpec.model_validate(given)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "train.jsonl"


@pytest.fixture
def tokenizer(make_tokenizer: Any) -> Any:
    return make_tokenizer(CHATML, eos="<|im_end|>")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def ignore(done: int, total: int | None) -> None:
    pass


def problems(job: SftSpec | DpoSpec, tokenizer: Any, cache: Path) -> list[str]:
    with pytest.raises(DataError) as caught:
        prepare(job, tokenizer, ignore, cache)
    assert not list(cache.rglob("*.arrow"))
    return [str(problem).removeprefix(job.data.train) for problem in caught.value.problems]


def content(prepared: Prepared) -> list[Any]:
    return [prepared.train[:], prepared.eval[:] if prepared.eval else None, prepared.report]


def test_sft_set_is_counted(file: Path, tokenizer: Any, cache: Path) -> None:
    rows = [chat("Hi", "Hello"), chat("Hi", "Hello"), chat("Hi", "x" * 200), chat("y" * 300, "no room for me")]
    told: list[tuple[int, int | None]] = []
    prepared = prepare(spec(file, rows, max_length=120), tokenizer, lambda *step: told.append(step), cache)
    report = prepared.report
    assert prepared.train.column_names == ["input_ids", "labels"]
    assert (report.rows, report.duplicates, report.truncated, report.untrained) == (3, 1, 2, 1)
    assert report.lengths == tuple(len(ids) for ids in prepared.train["input_ids"])
    assert max(report.lengths) == 120
    assert report.tokens == sum(report.lengths)
    assert report.trained_tokens == sum(label != -100 for labels in prepared.train["labels"] for label in labels)
    assert (report.end_of_turn_trained, report.shape, report.eval_rows) == (True, "messages", 0)
    assert told[-1] == (4, 4)
    assert [warning.split(":")[0] for warning in report.warnings] == [
        "1 rows say the same as an earlier one",
        "2 of 4 rows are longer than training.max_length (120 tokens)",
        "1 rows are left out",
    ]


def test_dpo_set_is_counted(file: Path, tokenizer: Any, cache: Path) -> None:
    job = spec(file, [pair("Sky?", " Blue", " Black"), pair("x" * 90, " a", " b")], "dpo", max_length=64)
    prepared = prepare(job, tokenizer, ignore, cache)
    assert prepared.train.column_names == ["prompt_ids", "chosen_ids", "rejected_ids"]
    row = prepared.train[0]
    assert tokenizer.decode(row["prompt_ids"] + row["rejected_ids"]) == "Sky? Black<|im_end|>"
    assert (prepared.report.rows, prepared.report.untrained, prepared.report.lengths) == (1, 1, (4 + 7,))
    assert (prepared.report.tokens, prepared.report.trained_tokens) == (4 + 6 + 4 + 7, 6 + 7)


def test_bad_rows_are_refused_or_left_out_on_demand(file: Path, tokenizer: Any, cache: Path) -> None:
    rows = [chat("Hi", "Hello"), {"messages": []}, chat("Hi", ""), chat("Bye", "Farewell")]
    assert problems(spec(file, rows), tokenizer, cache) == [
        ":2: messages: holds no messages",
        ":3: messages[1].content: is empty",
    ]
    prepared = prepare(spec(file, rows, data={"drop_bad_rows": True}), tokenizer, ignore, cache)
    assert (prepared.report.rows, prepared.report.dropped) == (2, 2)


def test_rows_that_the_template_refuses_are_bad_rows(file: Path, make_tokenizer: Any, cache: Path) -> None:
    tokenizer = make_tokenizer(ALTERNATING)
    system = {"messages": [{"role": "system", "content": "Be brief."}, *chat("Hi", "Hello")["messages"]]}
    rows = [chat("Hi", "Hello"), system, system]
    expected = ":2: the model's chat template refuses this conversation: No system prompts (and 1 more row like this)"
    assert problems(spec(file, rows), tokenizer, cache) == [expected]
    report = prepare(spec(file, rows, data={"drop_bad_rows": True}), tokenizer, ignore, cache).report
    assert (report.rows, report.dropped) == (1, 2)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([chat("y" * 300, "Hello")] * 2, "all rows are cut before the first trained token: raise training.max_length"),
        ([chat("Hi", "Hello", weight=0)], "all rows are without a trained token: every answer has weight 0"),
        ([], "has no rows"),
        ([{"question": "Hi", "answer": "Hello"}], "set data.columns to {prompt: question, completion: answer}"),
    ],
)
def test_set_with_nothing_to_learn_is_refused(
    file: Path, tokenizer: Any, cache: Path, rows: list[Any], expected: str
) -> None:
    assert expected in problems(spec(file, rows, max_length=64), tokenizer, cache)[0]


def test_pairs_that_say_nothing_are_refused(file: Path, tokenizer: Any, cache: Path) -> None:
    same = problems(spec(file, [pair("Hi", "a", "a")] * 2, "dpo"), tokenizer, cache)
    assert same == [":1: chosen and rejected are the same (and 1 more row like this)"]
    repeated = problems(spec(file, [pair("Hi", "a", "b")] * 2, "dpo"), tokenizer, cache)
    assert repeated == [": holds one and the same pair 2 times"]


def test_split_is_drawn_by_the_seed(file: Path, tokenizer: Any, cache: Path) -> None:
    rows = [chat(f"Question {number}", f"Answer {number}") for number in range(40)]

    def split(seed: int, place: Path) -> tuple[set[str], set[str]]:
        prepared = prepare(spec(file, rows, data={"eval_split": 0.2}, seed=seed), tokenizer, ignore, place)
        assert prepared.eval is not None
        assert (prepared.report.rows, prepared.report.eval_rows) == (32, 8)
        return set(map(str, prepared.train["input_ids"])), set(map(str, prepared.eval["input_ids"]))

    train, held_out = split(1, cache)
    assert not train & held_out
    assert split(1, cache / "elsewhere") == (train, held_out)
    assert split(2, cache)[1] != held_out
    assert "leaves no row" in problems(spec(file, rows[:1], data={"eval_split": 0.2}), tokenizer, cache / "new")[0]


def test_second_file_to_evaluate_on(file: Path, tokenizer: Any, cache: Path, tmp_path: Path) -> None:
    second = tmp_path / "eval.jsonl"
    second.write_text(json.dumps(chat("Two?", "Four")) + "\n{\n")
    job = spec(file, [chat("Hi", "Hello")], data={"eval": str(second)})
    with pytest.raises(DataError, match=r"eval\.jsonl:2: is not valid JSON"):
        prepare(job, tokenizer, ignore, cache)
    second.write_text(json.dumps(chat("Two?", "Four")))
    prepared = prepare(job, tokenizer, ignore, cache)
    assert prepared.eval is not None
    assert (prepared.report.rows, prepared.report.eval_rows, len(prepared.eval)) == (1, 1, 1)


def test_same_data_is_prepared_once(file: Path, tokenizer: Any, cache: Path, tmp_path: Path) -> None:
    rows = [chat("Hi", "Hello"), chat("Bye", "Farewell")]
    first = prepare(spec(file, rows), tokenizer, ignore, cache)
    tokenizer("x", padding="max_length", max_length=4)  # leaves settings behind that change nothing
    told: list[Any] = []
    renamed = spec(tmp_path / "other.jsonl", rows)
    again = prepare(renamed, tokenizer, lambda *step: told.append(step), cache)
    assert content(again) == content(first)
    assert told == []

    def fingerprint(*rows: Any, **training: Any) -> str:
        return prepare(spec(file, rows, **training), tokenizer, ignore, cache).report.fingerprint

    others = {fingerprint(*rows, max_length=32), fingerprint(*rows, train_on="all"), fingerprint(rows[0])}
    assert len(others | {first.report.fingerprint}) == 4
    assert fingerprint(*rows, learning_rate=1e-5) == first.report.fingerprint
    tokenizer.chat_template += " "
    assert fingerprint(*rows) not in others | {first.report.fingerprint}


@pytest.mark.parametrize("name", ["train.arrow", "report.json"])
def test_damaged_set_is_made_again(file: Path, tokenizer: Any, cache: Path, name: str) -> None:
    job = spec(file, [chat("Hi", "Hello")])
    first = content(prepare(job, tokenizer, ignore, cache))
    (damaged,) = cache.rglob(name)
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[: len(whole) // 2])
    assert content(prepare(job, tokenizer, ignore, cache)) == first
    assert damaged.read_bytes() == whole
    damaged.unlink()
    assert content(prepare(job, tokenizer, ignore, cache)) == first
    assert [path.name for path in (cache / "prepared").iterdir()] == [first[2].fingerprint]


def test_processes_may_prepare_the_same_at_once(file: Path, tokenizer: Any, cache: Path) -> None:
    job = spec(file, [chat(f"Question {number}", "Hello") for number in range(300)])
    context = multiprocessing.get_context("spawn")  # we have threads, and what is forked from these may hang
    barrier = context.Barrier(3, timeout=240)
    what = {"prepare": prepare, "given": (job, tokenizer), "cache": cache, "barrier": barrier}
    code = "barrier.wait(); prepare(*given, lambda done, total: None, cache)"
    processes = [context.Process(target=exec, args=(code, what)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    prepared = prepare(job, tokenizer, ignore, cache)
    assert [path.name for path in (cache / "prepared").iterdir()] == [prepared.report.fingerprint]
    assert len(prepared.train) == 300


def test_model_without_template_gets_one_also_from_the_cache(file: Path, make_tokenizer: Any, cache: Path) -> None:
    job = spec(file, [chat("Hi", "Hello")])
    for _ in range(2):
        tokenizer = make_tokenizer(None)
        report = prepare(job, tokenizer, ignore, cache).report
        assert tokenizer.chat_template == CHATML
        assert "ChatML is used" in report.warnings[0]
        assert "must stop at <|im_end|>" in report.warnings[1]
    unable = make_tokenizer(None, without=("<|im_end|>",))
    assert "model.name: the model has no chat template" in problems(job, unable, cache / "new")[0]
    plain = make_tokenizer(None)
    prepare(spec(file, [{"text": "Hello"}]), plain, ignore, cache)
    assert plain.chat_template is None


def test_missing_end_of_turn_is_told(file: Path, make_tokenizer: Any, cache: Path) -> None:
    endless = make_tokenizer("{% for message in messages %}{{ message['content'] + '\n' }}{% endfor %}")
    report = prepare(spec(file, [chat("Hi", "Hello")]), endless, ignore, cache).report
    assert not report.end_of_turn_trained
    assert "the end-of-turn token is not trained" in report.warnings[0]


def test_preview_shows_what_is_learnt(file: Path, tokenizer: Any) -> None:
    rows = [chat("Hi", "Hello"), chat("y" * 300, "Hello"), chat("Bye", "Farewell")]
    report = preview(spec(file, rows, max_length=100), tokenizer, 2)
    first, second = report.examples
    assert (first.title, second.title) == ("row 1", "row 3")
    assert first.pieces == (
        ("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", False),
        ("Hello<|im_end|>", True),
        ("\n", False),
    )
    assert (first.trained_tokens, report.rows, report.sample_rows, report.shape) == (6, 3, 3, "messages")
    assert report.trained_share == pytest.approx((6 + 9) / (first.tokens + second.tokens))
    assert any("1 rows are left out" in warning for warning in report.warnings)


def test_preview_of_pairs_and_of_plain_text(file: Path, tokenizer: Any) -> None:
    chosen, rejected = preview(spec(file, [pair("Sky?", " Blue", " Black")], "dpo"), tokenizer, 5).examples
    assert (chosen.title, rejected.title) == ("row 1, chosen", "row 1, rejected")
    assert rejected.pieces == (("Sky?", False), (" Black<|im_end|>", True))
    report = preview(spec(file, [{"prompt": "Two and two?", "completion": "Four"}]), tokenizer, 1)
    assert "no space or line break between: 'Two and two?Four'" in report.warnings[0]
    assert "the model has a chat template" in report.warnings[1]
