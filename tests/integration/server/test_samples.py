"""Answers of a language model to the same prompts, as clients ask for them."""

import time
from typing import Any

from runyard.db.queries import samples
from runyard.server.deps import Yard


async def answer(yard: Yard, job_id: str, step: int, *texts: str, wanted: str | None = None) -> None:
    """What ingest does with answers to the prompts `prompt 0`, `prompt 1`, and so on."""
    rows = {
        (step, index): {
            "attempt": 1, "at": time.time(), "prompt": f"prompt {index}", "answer": text, "wanted": wanted,
            "truncated": text.endswith("-"),
        }
        for index, text in enumerate(texts)
    }  # fmt: skip
    async with yard.database.write() as session:
        await samples.record(session, job_id, rows)


async def test_they_are_told_by_step_with_the_base_model_first(api: Any, yard: Yard) -> None:
    job = await api.job()
    for step in (0, 10, 20, 30):
        await answer(yard, job, step, f"a {step}", f"b {step}-", wanted="c")
    found = (await api.get(f"/api/v1/jobs/{job}/samples")).json()
    assert found["prompts"] == [{"index": n, "prompt": f"prompt {n}", "wanted": "c"} for n in (0, 1)]
    assert found["steps"] == [0, 10, 20, 30]
    assert found["answers"][:2] == [
        {"step": 0, "index": 0, "answer": "a 0", "truncated": False},
        {"step": 0, "index": 1, "answer": "b 0-", "truncated": True},
    ]
    few = (await api.get(f"/api/v1/jobs/{job}/samples", params={"steps": 2})).json()
    assert few["steps"] == [0, 30]


async def test_a_job_that_was_asked_nothing_has_none(api: Any) -> None:
    found = await api.get(f"/api/v1/jobs/{await api.job()}/samples")
    assert found.json() == {"prompts": [], "steps": [], "answers": []}


async def test_prompts_are_checked_when_a_job_is_submitted(api: Any) -> None:
    last_word = [{"role": "assistant", "content": "done"}]
    for value, field in (
        ({"prompts": ["x"] * 9}, "samples.prompts"),
        (["x"] * 9, "samples.prompts"),
        ({}, "samples"),
        ({"from_eval": 2}, None),
        ({"prompts": [last_word]}, "samples"),
        ({"prompts": ["x", ""]}, "samples.prompts.1.text"),
        ({"prompts": [[{"role": "robot", "content": "x"}]]}, "samples.prompts.0.messages.0.role"),
    ):
        answer = await api.submit(samples=value)
        assert (answer.status_code, answer.json()["problems"][0]["field"]) == (422, field), answer.text
    long_way, short_way = [(await api.submit(samples=one)).json()["id"] for one in ({"prompts": ["x"]}, ["x"])]
    specs = [(await api.get(f"/api/v1/jobs/{id_}")).json()["spec"]["samples"] for id_ in (long_way, short_way)]
    assert specs[0]["prompts"] == specs[1]["prompts"] == ["x"]


async def test_the_page_shows_them_newest_first_and_what_is_wanted_on_top(api: Any, yard: Yard) -> None:
    job = await api.job()
    assert "samples-title" not in (await api.get(f"/jobs/{job}")).text
    for step in (0, 1000, 2000):
        await answer(yard, job, step, f"<b>at {step}</b>-", wanted="wanted one")
    page = (await api.get(f"/jobs/{job}")).text
    table = page[page.index('id="live-samples"') : page.index('id="log-part"')]
    places = [
        table.index(text) for text in ("prompt 0", "wanted one", "at 2000&lt;/b&gt;-…", "at 1000&lt;", "at 0&lt;")
    ]
    assert places == sorted(places)
    assert places[3] < table.index(">base<") < places[4]
    assert "<b>" not in table


async def test_runs_that_were_asked_the_same_are_compared(api: Any, yard: Yard) -> None:
    one, other, silent = [await api.job(name=name) for name in ("one", "other", "silent")]
    for step in (0, 7):
        await answer(yard, one, step, f"of one at {step}", "only here")
    await answer(yard, other, 0, "of the other")
    page = (await api.get(f"/compare?jobs={one},{other},{silent}")).text
    table = page[page.index("Same prompt") :]
    assert "of one at 7" in table
    assert "of the other" in table
    assert "of one at 0" not in table
    assert "only here" not in table
    assert "Same prompt" not in (await api.get(f"/compare?jobs={one},{silent}")).text
