"""The adapter merged into the base model."""

import json

import pytest

from runyard.trainers.language import merge

pytestmark = pytest.mark.llm


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_the_merged_model_computes_the_same(kind, make_run, train, events, model):
    import torch
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM

    rundir = make_run(kind=kind, training={"learning_rate": 0.05}, output={"merge": True})
    assert train(rundir) == 0
    row = torch.tensor([[5, 9, 17, 40, 8]])
    with torch.no_grad():
        merged = AutoModelForCausalLM.from_pretrained(rundir.merged)(row).logits
        adapted = AutoPeftModelForCausalLM.from_pretrained(rundir.final)(row).logits
        base = AutoModelForCausalLM.from_pretrained(model)(row).logits
    assert torch.allclose(merged, adapted, atol=1e-4)
    assert not torch.allclose(merged, base, atol=1e-2)
    manifest = json.loads(rundir.manifest.read_text())
    assert {entry["path"].split("/")[0] for entry in manifest["files"]} == {"final", "merged"}
    assert manifest["merge"]["max_logit_difference"] < 1e-4
    assert "merged_model" in [event.kind for event in events(rundir, "artifact")]


def test_a_merge_that_differs_fails_and_keeps_the_adapter(make_run, train, events, monkeypatch):
    monkeypatch.setitem(merge.TOLERANCE, "fp32", -1.0)
    rundir = make_run(output={"merge": True})
    assert train(rundir) == 1
    assert events(rundir)[-1].reason == "merge_differs"
    assert (rundir.final / "adapter_model.safetensors").exists()
    assert not rundir.merged.exists()
    assert {entry["path"].split("/")[0] for entry in json.loads(rundir.manifest.read_text())["files"]} == {"final"}


def test_agreement_measures_the_largest_difference():
    import torch

    logits = torch.arange(12.0).reshape(3, 4)
    other = logits.clone()
    other[1] = torch.tensor([9.0, 5, 6, 7])
    found = merge.agree([logits], [other])
    assert (found.max_difference, found.same_top_token) == (5.0, pytest.approx(2 / 3))
    assert found.relative == pytest.approx(5 / 11)
