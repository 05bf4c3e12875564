"""`python -m bench.peer_drivers.mlflow_search DATABASE RUNS TIMES`: how long MLflow's search takes, as JSON in ms."""

import json
import random
import statistics
import sys
import time
from collections.abc import Callable

AT_ONCE = 2000


def main() -> None:
    path, runs, times = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    import mlflow
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{path}"
    mlflow.set_tracking_uri(uri)
    client = MlflowClient(uri)
    experiment = client.create_experiment("bench", artifact_location="/nowhere")
    fill(uri, experiment, runs)

    def search(**how: object) -> Callable[[], object]:
        return lambda: client.search_runs([experiment], max_results=50, **how)

    asked = {
        "newest": search(),
        "one user's": search(filter_string="params.user = 'user3'"),
        "by loss": search(order_by=["metrics.loss ASC"]),
        "by loss, one user's": search(filter_string="params.user = 'user3'", order_by=["metrics.loss ASC"]),
        "of a model": search(filter_string="params.model ILIKE '%chat-8b%'"),
        "a rare word": search(filter_string="attributes.run_name ILIKE '%77777%'"),
    }
    print(json.dumps({what: timed(ask, times) for what, ask in asked.items()}))


def timed(ask: Callable[[], object], times: int) -> float:
    """The middle of as many as fit into half a minute, the first left out where there are more."""
    taken: list[float] = []
    while len(taken) <= times and sum(taken) < 30:
        began = time.perf_counter()
        ask()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:] or taken) * 1000


def fill(uri: str, experiment: str, runs: int) -> None:
    """By its own tables: to log each run would take hours."""
    from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlParam, SqlRun, SqlTag
    from sqlalchemy import create_engine, insert

    chance = random.Random(1)
    engine = create_engine(uri)
    for first in range(0, runs, AT_ONCE):
        rows: dict[type, list[dict[str, object]]] = {SqlRun: [], SqlLatestMetric: [], SqlParam: [], SqlTag: []}
        for number in range(first, min(runs, first + AT_ONCE)):
            id_, at = f"{chance.getrandbits(128):032x}", 1_700_000_000_000 + number * 1000
            name = f"support-sft-{number}"
            rows[SqlRun].append(
                {
                    "run_uuid": id_, "name": name, "source_type": "LOCAL", "source_name": "", "entry_point_name": "",
                    "user_id": f"user{number % 20}", "status": "FINISHED", "start_time": at, "end_time": at + 900_000,
                    "deleted_time": None, "source_version": "", "lifecycle_stage": "active",
                    "artifact_uri": f"/nowhere/{id_}", "experiment_id": int(experiment),
                }
            )  # fmt: skip
            for key, value in (("loss", chance.uniform(0.3, 4)), ("throughput", chance.uniform(1, 90))):
                rows[SqlLatestMetric].append(
                    {"key": key, "value": value, "timestamp": at, "step": 1000, "is_nan": False, "run_uuid": id_}
                )
            model = chance.choice(("meta/base-1b", "meta/chat-8b", "team/base-8b"))
            for key, text in (("user", f"user{number % 20}"), ("model", model)):
                rows[SqlParam].append({"key": key, "value": text, "run_uuid": id_})
            rows[SqlTag].append({"key": "mlflow.runName", "value": name, "run_uuid": id_})
        with engine.begin() as connection:
            for table, some in rows.items():
                connection.execute(insert(table), some)
    with engine.begin() as connection:
        connection.exec_driver_sql("ANALYZE")


if __name__ == "__main__":
    main()
