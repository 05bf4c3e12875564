"""Lists, tags and figures from the command line, against the real server and scripts that report."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

Cli = Callable[..., Result]
pytestmark = pytest.mark.xdist_group("cli")

SCRIPT = """
import sys
import runyard

for step in (1, 2, 3):
    runyard.metric(step, loss=float(sys.argv[1]) / step, samples_per_second=float(sys.argv[2]), iteration_seconds=0.5)
"""


@pytest.fixture(scope="module")
def two(server: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Ids of two jobs that have completed."""
    import runyard

    file = tmp_path_factory.mktemp("scripts") / "reports.py"
    file.write_text(SCRIPT)
    ids = []
    with runyard.Client(server.url) as client:
        for name, args in (("analytics-a", ["6", "4"]), ("analytics-b", ["3", "8"])):
            spec = {"kind": "script", "file": str(file), "args": args, "name": name, "experiment": "figures"}
            job = client.submit(spec | {"tags": ["analytics"]})
            assert [event.type for event in client.watch(job.id)]
            assert client.job(job.id).state == "completed"
            ids.append(job.id)
    return ids[0], ids[1]


def records(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_list_is_narrowed_and_sorted(cli: Cli, two: tuple[str, str]) -> None:
    def names(*options: str) -> list[str]:
        return [job["name"] for job in records(cli("jobs", "list", "--json", "--experiment", "figures", *options))]

    assert names() == ["analytics-b", "analytics-a"]
    assert names("--sort", "throughput", "--ascending") == ["analytics-a", "analytics-b"]
    assert names("--sort", "loss", "--ascending") == ["analytics-b", "analytics-a"]
    assert names("--find", "lytics-a") == ["analytics-a"]
    assert names("--until", "2001-01-01") == []
    assert names("--tag", "analytics", "--state", "failed") == []
    shown = cli("jobs", "list", "--experiment", "figures", "--find", "analytics-a").stdout.rstrip("\n").split("\t")
    assert (shown[1], shown[8], shown[9]) == ("analytics-a", "2", "4")


def test_tags_are_added_and_taken_off(cli: Cli, two: tuple[str, str]) -> None:
    result = cli("jobs", "tag", two[0], "good", "team/nlp", "--remove", "nothing")
    assert result.stdout == f"{two[0]} (analytics-a): analytics good team/nlp\n"
    assert cli("jobs", "tag", two[0], "--remove", "good", "--remove", "team/nlp").stdout.endswith(": analytics\n")
    cli("jobs", "tag", two[0], "no blanks", code=2)
    assert "analytics" in cli("jobs", "show", two[0]).stdout


def test_how_a_job_went(cli: Cli, two: tuple[str, str]) -> None:
    [found] = records(cli("analytics", two[0], "--json"))
    assert found["losses"] == {
        "initial_loss": 6.0, "final_loss": 2.0, "best_loss": 2.0, "loss_reduction_percent": pytest.approx(200 / 3),
    }  # fmt: skip
    assert found["performance"]["total_samples"] == 6
    text = cli("analytics", "analytics-a").stdout
    assert "best loss" in text
    assert "note: it reported no GPU figures" in text
    assert cli("analytics", "job", two[0]).stdout.splitlines()[0] == text.splitlines()[0]
    cli("analytics", "nosuchjob", code=3)


def test_all_together_side_by_side_and_over_time(cli: Cli, two: tuple[str, str]) -> None:
    [summary] = records(cli("analytics", "summary", "--json"))
    assert summary["top_performing_jobs"][0]["job_id"] == two[1]
    assert "samples a second" in cli("analytics", "summary").stdout
    [found] = records(cli("analytics", "compare", *two, "--json"))
    assert found["winner"]["best_loss"] == found["winner"]["best_throughput"] == two[1]
    assert found["differences"] == {"args": {two[0]: ["6", "4"], two[1]: ["3", "8"]}}
    assert two[1] in cli("analytics", "compare", "analytics-a", "analytics-b").stdout
    rows = list(csv.DictReader(io.StringIO(cli("analytics", "compare", *two, "--csv").stdout)))
    assert [row["name"] for row in rows] == ["analytics-a", "analytics-b"]
    cli("analytics", "compare", two[0], code=2)
    periods = records(cli("analytics", "trends", "--json"))
    assert periods[-1]["completed"] >= 2
    assert "\t" in cli("analytics", "trends", "--by", "week").stdout


def test_few_points_of_a_curve(cli: Cli, two: tuple[str, str], tmp_path: Path) -> None:
    assert len(records(cli("jobs", "metrics", two[0], "--points", "2", "--json"))) <= 3


async def test_both_clients_read_curves(server: Any, two: tuple[str, str]) -> None:
    import runyard

    with runyard.Client(server.url) as client:
        curves = client.curves(two[0], ["loss"], smooth=0.5)
        assert curves.series["loss"].last == [6.0, 3.0, 2.0]
        assert len(curves.series["loss"].smooth) == 3
        assert client.count_jobs(tag="analytics").total == 2
    async with runyard.AsyncClient(server.url) as client:
        assert (await client.curves(two[0], after_step=2)).series["loss"].step == [3]
