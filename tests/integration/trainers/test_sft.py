"""Supervised fine-tuning with a real, tiny model."""

import pytest

pytestmark = pytest.mark.llm


def test_a_lora_run_trains_and_leaves_a_model(make_run, train, events):
    rundir = make_run()
    assert train(rundir) == 0
    for e in events(rundir):
        print(e.model_dump_json())
