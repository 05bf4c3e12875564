"""The page as people use it: a real browser, a real server, real jobs."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, Request, Route, expect
from tests.e2e.browser import WAIT_MILLISECONDS, serious_faults, visit
from tests.integration.engine.receiver import listening

from runyard.testing.live import LiveYard
from runyard.testing.tiny import save_tiny_model

pytestmark = pytest.mark.xdist_group("page")
expect.set_options(timeout=WAIT_MILLISECONDS)

STEADY = """
import os, signal, sys, time
from pathlib import Path
import runyard

place = Path(os.environ.get("RUNYARD_CHECKPOINT_DIR", ".")) / "step.txt"
steps, pause = int(sys.argv[1]), float(sys.argv[2])
gate = Path(sys.argv[3]) if len(sys.argv) > 3 else None
step = int(place.read_text()) if place.exists() else 0
signal.signal(signal.SIGTERM, lambda *_: (place.write_text(str(step)), sys.exit(75)))
while step < steps:
    step += 1
    runyard.metric(step, loss=2.0 / step, learning_rate=1e-4)
    runyard.progress(step, steps)
    print(f"step {step}", flush=True)
    time.sleep(pause)
    while gate and step == 20 and not gate.exists():
        time.sleep(0.02)
"""
TAB = """
let seen = true;
Object.defineProperty(document, "hidden", { get: () => !seen });
window.look = (value) => { seen = value; document.dispatchEvent(new Event("visibilitychange")); };
"""
"""A tab that can be turned away from and back to: a browser without a screen shows all of its tabs at once."""
PAGE_BYTES = 300_000
UPLOADED = re.compile(r"dataset:[0-9a-f]{12}\b")
"""A data set that is there; until one is chosen, a form's job file says `dataset:ID`."""


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveYard]:
    home = tmp_path_factory.mktemp("page") / "home"
    with LiveYard(
        home, {"OMP_NUM_THREADS": "1", "RUNYARD_SLOTS": "2", "RUNYARD_OUTBOUND_HOSTS": "127.0.0.0/8"}
    ) as yard:
        yield yard


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("programs") / "steady.py"
    path.write_text(STEADY)
    return path


@pytest.fixture(scope="module")
def finished(yard: LiveYard, program: Path) -> list[str]:
    """Ids of jobs that have ended: two that went well, one that failed."""
    specs = [script(program, name, 30, tags=["seen"]) for name in ("first run", "second run")]
    specs.append({"kind": "script", "name": "third run", "command": "echo at the end; exit 3"})
    ids = [yard.client.submit(spec).id for spec in specs]
    for id_ in ids:
        yard.wait_for_end(id_)
    return ids


def script(
    program: Path, name: str, steps: int, pause: float = 0.0, gate: Path | None = None, **fields: Any
) -> dict[str, Any]:
    """With a gate it waits after step 20 until that file is there."""
    args = [str(steps), str(pause), *([str(gate)] if gate else [])]
    return {"kind": "script", "name": name, "file": str(program), "args": args, **fields}


def answered_late(route: Route) -> None:
    """With what the server says now, a while later."""
    answer = route.fetch()
    route.request.frame.page.wait_for_timeout(1500)
    route.fulfill(response=answer)


def newest_step(page: Page) -> int:
    """What the first chart says it shows."""
    label = page.locator("#charts .chart").first.get_attribute("aria-label") or ""
    found = re.search(r"at step ([\d,]+)", label)
    return int(found[1].replace(",", "")) if found else 0


def wait_for_step(page: Page, step: int) -> None:
    chart = page.locator("#charts .chart").first
    expect(chart.locator("canvas")).to_be_visible()
    for _ in range(WAIT_MILLISECONDS // 100):
        if newest_step(page) >= step:
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"the curve stays at step {newest_step(page)}, {step} was expected")


def test_a_job_from_the_form_to_its_end(browser: Browser, yard: LiveYard, program: Path) -> None:
    with visit(browser, yard.url) as page:
        page.goto("/new")
        page.get_by_label("script", exact=True).check()
        page.get_by_label("Job file").fill(
            f"kind: script\nname: from the form\nfile: {program}\nargs: ['100000', '0.05']\nresumable: true\n"
        )
        expect(page.get_by_text("Can start")).to_be_visible()
        page.locator("#form").get_by_label("Name", exact=True).fill("walked by hand")
        expect(page.get_by_label("Job file")).to_have_value(re.compile("name: walked by hand"))
        page.get_by_role("button", name="Start job").click()

        expect(page.get_by_role("heading", name="walked by hand")).to_be_visible()
        state = page.locator(".state.filled").first
        expect(state).to_have_text("Running")
        wait_for_step(page, 5)
        expect(page.locator("#log")).to_contain_text("step 5")
        before = newest_step(page)
        page.reload()
        wait_for_step(page, before + 5)

        page.get_by_role("button", name="Pause").click()
        expect(state).to_have_text("Paused")
        page.get_by_role("button", name="Resume").click()
        expect(state).to_have_text("Running")
        wait_for_step(page, newest_step(page) + 5)

        page.get_by_role("button", name="Cancel…").first.click()
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_role("button", name="Keep running")).to_be_focused()
        dialog.get_by_role("button", name="Keep running").click()
        expect(state).to_have_text("Running")
        page.get_by_role("button", name="Cancel…").first.click()
        page.get_by_role("button", name="Cancel job").click()
        expect(state).to_have_text("Cancelled")
        assert page.title().startswith("walked by hand")


@pytest.mark.llm
def test_rows_of_an_upload_are_shown_with_what_is_trained(browser: Browser, yard: LiveYard, tmp_path: Path) -> None:
    save_tiny_model(yard.home / "models" / "tiny")
    rows = tmp_path / "fruit.jsonl"
    rows.write_text('{"prompt": "say one: ", "completion": "plum"}\n{"prompt": "another: ", "completion": "<b>"}\n')
    with visit(browser, yard.url, refusals=True) as page:
        page.goto("/new?kind=sft")
        page.locator("#form").get_by_label("Model", exact=True).fill("tiny")
        page.get_by_label("Upload data").set_input_files(rows)
        expect(page.locator("#upload-says")).to_have_text("fruit.jsonl: 2 rows, all readable")
        page.get_by_role("button", name="Show what is trained").click()
        expect(page.locator("#rows pre")).to_have_count(2, timeout=4 * WAIT_MILLISECONDS)  # torch is imported
        expect(page.locator("#rows")).to_contain_text("2 rows.")
        assert page.locator("#rows pre").all_inner_texts() == ["say one: plum<|end|>", "another: <b><|end|>"]
        assert page.locator("#rows mark").all_inner_texts() == [" plum<|end|>", "<b><|end|>"]
        page.locator("#form").get_by_label("Model", exact=True).fill("none")
        page.get_by_role("button", name="Show what is trained").click()
        expect(page.locator("#rows")).to_contain_text("Mend what the plan names first.")


def test_form_and_file_are_one_and_the_plan_says_what_is_wrong(browser: Browser, yard: LiveYard) -> None:
    with visit(browser, yard.url) as page:
        page.goto("/new?kind=sft")
        file, start = page.get_by_label("Job file"), page.get_by_role("button", name="Start job")
        page.get_by_label("Rank").fill("8")
        page.get_by_label("Alpha").fill("16")
        page.get_by_label("Method").get_by_label("DoRA").check()
        expect(file).to_have_value(re.compile(r"rank: 8\n +alpha: 16\n +type: dora\n"))
        file.fill("kind: sft\nmodel: a/b\ndata: c/d\ntraining:\n  learning_rat: 1e-4\n")
        expect(page.locator("#plan")).to_contain_text(
            "line 5: training.learning_rat unknown field; did you mean learning_rate?"
        )
        expect(start).to_have_attribute("aria-disabled", "true")
        file.fill("kind: sft\nmodel: a/b\ndata: c/d\ntraining:\n  learning_rate: 3e-4\n")
        expect(page.get_by_label("Learning rate")).to_have_value("0.0003")
        file.fill("kind: sft\n  model: [")
        expect(page.locator("#plan")).to_contain_text("line 2")


def test_a_file_that_is_written_while_a_kind_is_chosen_stays(browser: Browser, yard: LiveYard) -> None:
    """Whoever types does not wait for the answer; the last that was said holds."""
    with visit(browser, yard.url) as page:
        page.goto("/new?kind=sft")
        expect(page.locator("#plan")).to_contain_text("Choose the data")
        page.route("**/new/check", answered_late)
        page.get_by_label("script", exact=True).check()
        file = page.get_by_label("Job file")
        file.fill("kind: script\nname: typed\ncommand: echo typed\n")
        expect(page.locator("#form").get_by_label("Name", exact=True)).to_have_value("typed")
        expect(file).to_have_value("kind: script\nname: typed\ncommand: echo typed\n")
        page.get_by_role("group", name="Kind").get_by_role("radio").first.check()
        file.fill("kind: script\nname: again\ncommand: echo again\n")
        expect(page.locator("#form").get_by_label("Name", exact=True)).to_have_value("again")
        expect(page.get_by_label("script", exact=True)).to_be_checked()


def test_what_was_typed_in_a_field_does_not_come_back_over_the_file(browser: Browser, yard: LiveYard) -> None:
    """A field tells of its change a second time when it is left."""
    with visit(browser, yard.url) as page:
        page.goto("/new?kind=script")
        file, name = page.get_by_label("Job file"), page.locator("#form").get_by_label("Name", exact=True)
        name.fill("one")
        expect(file).to_have_value(re.compile("name: one"))
        file.fill("kind: script\nname: two\ncommand: echo two\n")
        expect(name).to_have_value("two")
        expect(file).to_have_value("kind: script\nname: two\ncommand: echo two\n")


def test_a_job_that_is_being_started_is_not_started_again(browser: Browser, yard: LiveYard) -> None:
    asked: list[str] = []
    with visit(browser, yard.url) as page:
        page.on("request", lambda request: asked.append(f"{request.method} {request.url}"))
        page.route("**/api/v1/jobs", answered_late)
        page.goto("/new?kind=script")
        start = page.get_by_role("button", name="Start job")
        expect(start).to_have_attribute("aria-disabled", "false")
        with page.expect_request("**/api/v1/jobs"):
            start.click()
        page.locator("#start").evaluate("button => button.click()")
        expect(page).to_have_url(re.compile(r"/jobs/\w{12}$"))
    assert asked.count(f"POST {yard.url}/api/v1/jobs") == 1


def test_a_job_whose_answer_was_lost_is_not_made_twice(browser: Browser, yard: LiveYard) -> None:
    def lose_first(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer) if taken else route.abort()
        taken.append(answer.json()["id"])

    taken: list[str] = []
    with visit(browser, yard.url, refusals=True) as page:
        page.route("**/api/v1/jobs", lose_first)
        page.goto("/new?kind=script")
        start = page.get_by_role("button", name="Start job")
        expect(start).to_have_attribute("aria-disabled", "false")
        start.click()
        expect(page.locator("#refused")).to_contain_text("whether it heard of this is not known")
        start.click()
        expect(page).to_have_url(re.compile(r"/jobs/\w{12}$"))
        page.go_back()
        expect(start).to_have_attribute("aria-disabled", "false")
        start.click()
        expect(page).to_have_url(re.compile(r"/jobs/\w{12}$"))
    assert taken[0] == taken[1] != taken[2], "who comes back and starts it again wants another"


def test_a_file_that_was_given_up_for_another_does_not_come_back(
    browser: Browser, yard: LiveYard, tmp_path: Path
) -> None:
    """However late its upload ends."""

    def hold_first(route: Route) -> None:
        if held:
            route.continue_()
        held.append(route)

    held: list[Route] = []
    for name in ("first.jsonl", "second.jsonl"):
        (tmp_path / name).write_text(f'{{"prompt": "{name}", "completion": "plum"}}\n')
    with visit(browser, yard.url) as page:
        page.route("**/api/v1/datasets", hold_first)
        page.goto("/new?kind=sft")
        upload, file = page.get_by_label("Upload data"), page.get_by_label("Job file")
        with page.expect_request("**/api/v1/datasets"):
            upload.set_input_files(tmp_path / "first.jsonl")
        upload.set_input_files(tmp_path / "second.jsonl")
        expect(page.locator("#upload-says")).to_have_text("second.jsonl: 1 rows, all readable")
        expect(file).to_have_value(UPLOADED)
        chosen = UPLOADED.findall(file.input_value())
        with page.expect_response("**/api/v1/datasets"):
            held[0].continue_()
        page.locator("#form").get_by_label("Name", exact=True).fill("after both")
        expect(file).to_have_value(re.compile("name: after both"))
        assert UPLOADED.findall(file.input_value()) == chosen
        expect(page.locator("#upload-says")).to_have_text("second.jsonl: 1 rows, all readable")


def new_channel(page: Page, name: str, address: str) -> Locator:
    """The form for a webhook, filled in but not sent."""
    page.goto("/settings")
    page.get_by_role("button", name="New channel…").click()
    form = page.get_by_role("dialog", name="New channel")
    form.get_by_label("Name").fill(name)
    form.get_by_label("By").select_option("webhook")
    form.get_by_label("Address").fill(address)
    return form


def test_a_form_that_is_sent_twice_at_once_is_sent_once(browser: Browser, yard: LiveYard) -> None:
    asked: list[str] = []
    with visit(browser, yard.url) as page:
        page.on("request", lambda request: asked.append(f"{request.method} {request.url}"))
        form = new_channel(page, "twice", "http://127.0.0.1:9/nobody")
        form.locator("form").evaluate("form => { form.requestSubmit(); form.requestSubmit(); }")
        expect(page.locator("#made-channel code")).to_contain_text("whsec_")
        page.get_by_role("button", name="Remove").click()
        expect(page.locator("#live-channels li")).to_have_count(0)
    assert asked.count(f"POST {yard.url}/api/v1/channels") == 1


def test_a_job_that_is_taken_up_again_is_followed_again(browser: Browser, yard: LiveYard, tmp_path: Path) -> None:
    """Log, feed and curves had come to their end with the job."""
    gate, name = tmp_path / "gate", "taken up again"
    command = f"echo tried; test -e {gate}"
    job_id = yard.client.submit({"kind": "script", "name": name, "command": command}).id
    yard.wait_for_end(job_id)
    with visit(browser, yard.url) as page:
        page.goto(f"/jobs/{job_id}")
        expect(page.locator("#log-says")).to_have_text("complete")
        expect(page.locator("#log").get_by_text("tried", exact=True)).to_have_count(1)
        gate.touch()
        page.get_by_role("button", name=re.compile("^Retry")).first.click()
        expect(page.locator(".state.filled").first).to_have_text("Completed")
        expect(page.locator("#log").get_by_text("tried", exact=True)).to_have_count(2)
        expect(page.locator("#log-says")).to_have_text("complete")


def test_a_cut_connection_is_said_and_everything_is_caught_up(
    browser: Browser, yard: LiveYard, program: Path, tmp_path: Path
) -> None:
    job_id = yard.client.submit(script(program, "through a cut", 150, 0.1, tmp_path / "gate")).id
    with visit(browser, yard.url, refusals=True) as page:
        page.goto(f"/jobs/{job_id}")
        wait_for_step(page, 5)
        connection, pause = page.locator("#connection"), page.get_by_role("button", name="Pause")
        yard.kill()
        (tmp_path / "gate").touch()
        expect(connection).to_have_attribute("data-state", "waiting")
        expect(connection).to_contain_text("Reconnecting… data from")
        expect(pause).to_have_attribute("aria-disabled", "true")
        shown = newest_step(page)
        assert shown >= 5, "nothing is cleared"
        yard.start()
        expect(connection).to_have_attribute("data-state", "live")
        expect(page.locator(".state.filled").first).to_have_text("Completed")
        wait_for_step(page, 150)
        page.locator("#charts .chart").first.focus()
        page.keyboard.press("t")
        steps = page.locator("#charts .values").first.locator("tbody td:first-child").all_text_contents()
        assert steps == [str(step) for step in range(1, 151)], "each once"


def test_points_that_come_while_the_curve_is_fetched_are_not_lost(
    browser: Browser, yard: LiveYard, program: Path, tmp_path: Path
) -> None:
    """At the beginning, and again when somebody asks for another smoothing."""
    job_id = yard.client.submit(script(program, "while it is fetched", 120, 0.1, tmp_path / "gate")).id

    with visit(browser, yard.url) as page:
        page.route("**/curves?*", answered_late)
        page.goto(f"/jobs/{job_id}")
        wait_for_step(page, 20)
        page.locator("[data-smooth]").fill("0.3")
        (tmp_path / "gate").touch()
        expect(page.locator(".state.filled").first).to_have_text("Completed")
        wait_for_step(page, 120)
        page.locator("#charts .chart").first.focus()
        page.keyboard.press("t")
        steps = page.locator("#charts .values").first.locator("tbody td:first-child").all_text_contents()
        assert steps == [str(step) for step in range(1, 121)]


def test_the_table_of_a_chart_that_was_out_of_sight_is_up_to_date(
    browser: Browser, yard: LiveYard, program: Path
) -> None:
    job_id = yard.client.submit(script(program, "out of sight", 100, 0.1)).id
    with visit(browser, yard.url, viewport={"width": 1000, "height": 300}) as page:
        page.goto(f"/jobs/{job_id}")
        page.locator("#charts .chart").first.scroll_into_view_if_needed()
        wait_for_step(page, 5)
        page.mouse.wheel(0, 10_000)
        wait_for_step(page, 100)
        page.evaluate(
            "document.querySelector('#charts .chart').dispatchEvent(new KeyboardEvent('keydown', {key: 't'}))"
        )
        steps = page.locator("#charts .values").first.locator("tbody td:first-child").all_text_contents()
        assert steps == [str(step) for step in range(1, 101)]


def test_scripts_and_feed_of_a_page_are_there_once_and_a_click_asks_once(
    browser: Browser, yard: LiveYard, program: Path
) -> None:
    job_id = yard.client.submit(script(program, "once", 300, 0.1, resumable=True)).id
    asked: list[str] = []
    with visit(browser, yard.url) as page:
        page.on("request", lambda request: asked.append(f"{request.method} {request.url}"))
        page.goto(f"/jobs/{job_id}")
        wait_for_step(page, 5)
        page.get_by_role("button", name="Pause").click()
        expect(page.locator(".state.filled").first).to_have_text("Paused")
    scripts = [one.split("?")[0].split("/")[-1] for one in asked if one.split("?")[0].endswith(".js")]
    assert "frame.js" in scripts
    assert len(set(scripts)) == len(scripts)
    streams = [one for one in asked if "/stream?" in one]
    assert len(set(streams)) == len(streams) >= 1, "one that is made anew goes on from a later event"
    assert [one for one in asked if one.startswith("POST ")] == [f"POST {yard.url}/api/v1/jobs/{job_id}/pause"]
    yard.client.cancel(job_id)


def test_an_evaluation_that_comes_later_joins_the_curve_that_is_there(
    browser: Browser, yard: LiveYard, tmp_path: Path
) -> None:
    late = tmp_path / "late.py"
    late.write_text(
        "import time, runyard\n"
        "for step in range(1, 101):\n"
        "    runyard.metric(step, loss=1 / step, learning_rate=0.1)\n"
        "    if step % 50 == 0: runyard.metric(step, split='eval', eval_loss=2 / step)\n"
        "    time.sleep(0.1)\n"
    )
    job_id = yard.client.submit({"kind": "script", "name": "late", "file": str(late)}).id
    with visit(browser, yard.url) as page:
        page.goto(f"/jobs/{job_id}")
        wait_for_step(page, 5)
        page.locator("#charts .chart").first.focus()
        page.keyboard.press("t")
        chart = page.locator("#charts .chart").first
        expect(chart).to_have_attribute("aria-label", re.compile(r"train .*; eval 0\.020 at step 100"))
        expect(page.locator("#charts .legend [data-line=eval] b").first).to_have_text("0.020")
        expect(page.locator("#charts .values")).to_have_count(1)
        expect(page.locator("#charts .chart")).to_have_count(2)


def test_a_channel_is_made_tried_and_removed(browser: Browser, yard: LiveYard) -> None:
    with listening() as receiver, visit(browser, yard.url, refusals=True) as page:
        page.add_init_script("window.setInterval = () => 0")  # nothing is renewed but by what is pressed
        form = new_channel(page, "ci", "nonsense")
        form.get_by_label("completed").uncheck()
        form.get_by_role("button", name="Make channel").click()
        expect(form.locator(".wrong")).to_contain_text("url")
        form.get_by_label("Address").fill(receiver.url)
        form.get_by_role("button", name="Make channel").click()
        expect(page.locator("#made-channel code")).to_contain_text("whsec_")
        row = page.locator("#live-channels li")
        expect(row).to_contain_text("ci")
        expect(row).to_contain_text("failed, stalled, never starts")
        page.get_by_role("button", name="Send a test").click()
        expect(row).to_contain_text("channel test")
        yard.wait_for(lambda: yard.client.deliveries("ci").items[0].status == "delivered", "the answer")
        page.reload()
        expect(row).to_contain_text("delivered")
        yard.wait_for_end(yard.client.submit({"kind": "script", "name": "told of", "command": "exit 3"}).id)
        yard.wait_for(lambda: len(yard.client.deliveries("ci").items) == 2, "a message of the job")
        page.reload()
        expect(row.get_by_role("link", name="told of")).to_be_visible()
        page.get_by_role("button", name="Switch off").click()
        expect(page.get_by_role("button", name="Switch on")).to_be_visible()
        page.get_by_role("button", name="Remove").click()
        expect(page.get_by_text("Nobody is told")).to_be_visible()


def test_silence_is_told_from_quiet(browser: Browser, yard: LiveYard, finished: list[str]) -> None:
    """A connection that is open but dead, as behind a cable that was pulled; and a yard where nothing happens."""
    with visit(browser, yard.url, refusals=True) as page:
        page.goto("/")
        connection = page.locator("#connection")
        page.wait_for_timeout(6000)
        expect(connection).to_have_text("Live")
        os.kill(yard.pid, signal.SIGSTOP)
        try:
            expect(connection).to_contain_text("Reconnecting…")
            expect(page.locator("#yard-title")).to_be_visible()
        finally:
            os.kill(yard.pid, signal.SIGCONT)
        expect(connection).to_have_attribute("data-state", "live")


def test_tabs_that_nobody_looks_at_do_not_keep_others_from_opening(
    browser: Browser, yard: LiveYard, program: Path, tmp_path: Path
) -> None:
    """A browser has six connections to a server; what happened to a job while its tab was away is caught up."""
    job_id = yard.client.submit(script(program, "unseen", 40, 0, tmp_path / "gate")).id
    with visit(browser, yard.url) as page:
        page.context.add_init_script(TAB)
        page.goto(f"/jobs/{job_id}")
        wait_for_step(page, 20)
        page.evaluate("look(false)")
        for _ in range(8):
            other = page.context.new_page()
            other.goto("/")
            expect(other.locator("#connection")).to_have_text("Live")
            other.evaluate("look(false)")
        (tmp_path / "gate").touch()
        expect(page).to_have_title(re.compile("^✓ unseen"))
        assert newest_step(page) == 20
        page.evaluate("look(true)")
        wait_for_step(page, 40)
        expect(page.locator("#connection")).to_have_text("Live")


def test_history_is_found_compared_tagged_and_kept(browser: Browser, yard: LiveYard, finished: list[str]) -> None:
    with visit(browser, yard.url) as page:
        page.goto("/jobs")
        page.get_by_label("Find by name, model or tag").fill("run")
        page.get_by_role("button", name="Find").click()
        expect(page).to_have_url(re.compile(r"/jobs\?q=run$"))
        expect(page.locator("#jobs tbody tr")).to_have_count(3)
        page.get_by_role("link", name="Failed 1").click()
        expect(page.locator("#jobs tbody tr")).to_have_count(1)
        expect(page.locator("#jobs tbody tr")).to_contain_text("third run")
        page.go_back()
        for name in ("first run", "second run"):
            page.get_by_label(f"Choose {name}").check()
        page.get_by_role("button", name="Tag…").click()
        page.get_by_label("Tag", exact=True).nth(1).fill("compared")
        page.get_by_role("button", name="Add tag").click()
        expect(page.locator("#jobs")).to_contain_text("compared")
        page.get_by_role("button", name="Compare").click()
        expect(page.get_by_role("heading", name="Compare 2 runs")).to_be_visible()
        expect(page.locator("#charts canvas").first).to_be_visible()
        with page.expect_download() as downloading:
            page.get_by_role("link", name="CSV").click()
        text = downloading.value.path().read_text()
        assert all(id_ in text for id_ in finished[:2])

        page.goto(f"/jobs/{finished[0]}")
        page.locator("summary[aria-label=More]").click()
        with page.expect_download() as downloading:
            page.get_by_role("link", name="Download logs").click()
        assert downloading.value.path().read_bytes().startswith(b"PK")


def test_what_failed_is_told_on_the_overview_until_it_was_looked_at(
    browser: Browser, yard: LiveYard, finished: list[str]
) -> None:
    with visit(browser, yard.url) as page:
        page.goto("/")
        expect(page.locator(f"#need-{finished[2]}")).to_contain_text("third run failed")
        page.locator(f"#need-{finished[2]}").get_by_role("link", name="Open").click()
        expect(page.locator(".advice")).to_contain_text("ended with code 3")
        page.goto("/")
        expect(page.locator("#yard-title")).to_be_visible()
        expect(page.locator(f"#need-{finished[2]}")).to_have_count(0)


def test_a_tag_is_taken_back_from_those_alone_that_got_it_now(
    browser: Browser, yard: LiveYard, finished: list[str]
) -> None:
    def tag(name: str) -> None:
        page.get_by_label(f"Choose {name}").check()
        page.get_by_role("button", name="Tag…").click()
        page.get_by_label("Tag", exact=True).nth(1).fill("mistaken")
        page.get_by_role("button", name="Add tag").click()
        expect(row(name)).to_contain_text("mistaken")

    def row(name: str) -> Locator:
        return page.locator("#jobs tbody tr").filter(has_text=name)

    with visit(browser, yard.url) as page:
        page.goto("/jobs?q=run")
        tag("first run")
        tag("second run")
        expect(page.get_by_role("alert")).to_contain_text("1 changed")
        page.get_by_role("alert").get_by_role("button", name="Undo").click()
        expect(row("second run")).not_to_contain_text("mistaken")
        expect(row("first run")).to_contain_text("mistaken")
        assert ["mistaken" in yard.client.job(id_).tags for id_ in finished[:2]] == [True, False]


def test_who_may_only_look_sees_no_buttons_and_foreign_jobs_are_not_there(browser: Browser, tmp_path: Path) -> None:
    with LiveYard(tmp_path / "home") as yard, visit(browser, yard.url, refusals=True) as page:
        job = yard.client.submit({"kind": "script", "name": "ours", "command": "sleep 600"})
        first_admin(yard, "ann")
        page.goto("/")
        sign_in(page, "ann")
        expect(page.locator("#yard-title")).to_be_visible()
        make(page, "tenants", name="other")
        make(page, "users", name="vic", password=PASSWORD, role="viewer")
        make(page, "users", name="otto", password=PASSWORD, role="admin", tenant="other")
        forget(page)
        page.goto(f"/jobs/{job.id}")
        expect(page).to_have_url(re.compile(r"/sign-in\?next="))
        sign_in(page, "vic", "wrong wrong wrong")
        expect(page.get_by_role("alert")).to_contain_text("the name or the password is wrong")
        sign_in(page, "vic")
        expect(page.get_by_role("heading", name="ours")).to_be_visible()
        for words in ("Pause", "Cancel…", "New job", "Duplicate and edit"):
            expect(page.get_by_text(words, exact=True)).to_have_count(0)
        assert page.locator("[data-post]").count() == 0
        page.goto("/jobs")
        expect(page.get_by_role("link", name="ours")).to_be_visible()
        assert page.locator("[data-post], [data-part]").count() == 0
        refused = page.goto("/people")
        assert refused is not None
        assert refused.status == 403
        unknown = page.goto("/jobs/0123456789ab")
        assert unknown is not None
        assert unknown.status == 404
        missing = page.locator("main").inner_text()
        page.goto("/")
        page.locator("summary[aria-label^=vic]").click()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()

        sign_in(page, "otto")
        expect(page.locator("#yard-title")).to_be_visible()
        foreign = page.goto(f"/jobs/{job.id}")
        assert foreign is not None
        assert foreign.status == 404
        assert page.locator("main").inner_text().replace(job.id, "0123456789ab") == missing
        page.goto("/jobs")
        expect(page.get_by_text("No jobs yet")).to_be_visible()


def test_the_first_account_is_made_by_a_link_that_works_once(browser: Browser, tmp_path: Path) -> None:
    with LiveYard(tmp_path / "home", options=["--setup"]) as yard, visit(browser, yard.url, refusals=True) as page:
        [link] = re.findall(r"http://\S+/setup#\S+", (yard.home / "server.log").read_text())
        for second in (False, True):
            page.goto(link)
            page.get_by_label("Name or e-mail").fill("ann")
            page.get_by_label("Password").fill(PASSWORD)
            page.get_by_role("button", name="Make the account").click()
            if second:
                expect(page.get_by_role("alert")).not_to_be_empty()
            else:
                expect(page.locator("#yard-title")).to_be_visible()
                page.locator("summary[aria-label^=ann]").click()
                expect(page.locator(".person .menu")).to_contain_text("admin of main, operator")
                forget(page)
        page.goto("/")
        sign_in(page, "ann")
        expect(page.locator("#yard-title")).to_be_visible()


PASSWORD = "correct horse battery"


def first_admin(yard: LiveYard, name: str) -> None:
    """By hand, beside the server: on its data folder."""
    command = [*yard.program, "users", "create", name, "--role", "admin", "--operator", "--password-stdin"]
    environment = {**os.environ, "RUNYARD_HOME": str(yard.home), "RUNYARD_URL": yard.url}
    done = subprocess.run(command, input=PASSWORD, text=True, capture_output=True, timeout=60, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


def make(page: Page, path: str, **fields: Any) -> None:
    """With the API, as who is signed in on the page."""
    word = page.locator("meta[name=csrf]").get_attribute("content") or ""
    answer = page.request.post(f"/api/v1/{path}", data=fields, headers={"X-CSRF-Token": word})
    assert answer.ok, answer.text()


def forget(page: Page) -> None:
    """Who was signed in; a live page would notice, and go to sign in by itself."""
    page.goto("about:blank")
    page.context.clear_cookies()


def sign_in(page: Page, name: str, password: str = PASSWORD) -> None:
    page.get_by_label("Name or e-mail").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


PAGES = [
    *("/", "/jobs", "/jobs/{ok}", "/jobs/{failed}", "/compare?jobs={ok},{other}", "/new"),
    *("/data", "/templates", "/people", "/audit", "/settings"),
]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_every_page_can_be_read_by_everybody(
    browser: Browser, yard: LiveYard, finished: list[str], path: str, theme: Any
) -> None:
    """No serious fault that axe knows of, nothing on the console, and no sideways scrolling, in both themes."""
    ids = {"ok": finished[0], "other": finished[1], "failed": finished[2]}
    with visit(browser, yard.url, color_scheme=theme) as page:
        page.goto(path.format(**ids))
        if "{" in path and "failed" not in path:
            expect(page.locator("#charts canvas").first).to_be_visible()
        expect(page.locator(".plan.old")).to_have_count(0)
        for width in (1440, 768, 320):
            page.set_viewport_size({"width": width, "height": 900})
            assert not serious_faults(page), width
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"{path} is {wide} wide on a screen of {width}"


def test_a_page_is_light(browser: Browser, yard: LiveYard, finished: list[str]) -> None:
    with visit(browser, yard.url) as page:
        asked: list[Request] = []
        page.on("requestfinished", lambda request: asked.append(request))
        page.goto(f"/jobs/{finished[0]}")
        expect(page.locator("#charts canvas").first).to_be_visible()
        expect(page.locator("#log-says")).to_have_text("complete")
        assert sum(request.sizes()["responseBodySize"] for request in asked) < PAGE_BYTES


def test_another_way_on_is_chosen_and_the_new_job_is_opened_with_it(
    browser: Browser, yard: LiveYard, tmp_path: Path
) -> None:
    """The diff follows the choice, and the new job can be cancelled from the page that opens."""
    save_tiny_model(yard.home / "models" / "tiny")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "say one: ", "completion": "plum"}\n' * 8)
    training = {"max_steps": 100_000, "batch_size": 4, "micro_batch_size": 4, "max_length": 256, "packing": True}
    spec = {"kind": "sft", "name": "too much", "model": "tiny", "data": str(rows), "limits": {"retries": 0}}
    job_id = yard.client.submit({**spec, "training": training}).id
    yard.wait_for_step(job_id, 2)
    for process in yard.trainers():
        if "runyard.trainers" in process.info["cmdline"]:
            process.kill()  # as the kernel does when memory runs out
    assert yard.wait_for_end(job_id).reason == "killed"
    with visit(browser, yard.url) as page:
        page.goto(f"/jobs/{job_id}")
        ways = page.get_by_role("radiogroup", name="Change one thing and try again")
        expect(ways.get_by_role("radio")).to_have_count(3)
        expect(ways.locator(".diff:visible")).to_contain_text("training.micro_batch_size: 2")
        assert not serious_faults(page)
        ways.get_by_role("radio").nth(1).check()
        expect(ways.locator(".diff:visible")).to_contain_text("training.activation_checkpointing: true")
        page.get_by_role("button", name="Retry with this change").click()
        expect(page).not_to_have_url(re.compile(job_id))
        expect(page.get_by_role("heading", name="too much")).to_be_visible()
        page.get_by_role("button", name="Cancel it").click()
        expect(page.locator(".state.filled").first).to_have_text("Cancelled")
    made = page.url.rpartition("/")[2]
    assert yard.client.job(made).spec["training"] == training | {"activation_checkpointing": True}


def test_a_failure_without_a_way_on_shows_what_was_said_last(browser: Browser, yard: LiveYard) -> None:
    command = "seq 30; echo it broke >&2; seq 30 >&2; exit 3"
    job = yard.wait_for_end(yard.client.submit({"kind": "script", "name": "broken", "command": command}).id)
    with visit(browser, yard.url) as page:
        page.goto(f"/jobs/{job.id}")
        advice = page.locator(".advice")
        expect(advice).to_contain_text("The last 20 lines follow.")
        assert advice.locator("pre").last.inner_text().split() == [str(number) for number in range(11, 31)]
        advice.get_by_role("link", name="Edit and start new").click()
        expect(page.get_by_label("Job file")).to_have_value(re.compile("name: broken"))
