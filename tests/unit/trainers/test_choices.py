"""What a job leaves open, chosen from machine, model and data."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.protocol.specs import job_spec
from runyard.trainers.language.choices import choose, packed_count
from runyard.trainers.language.models import ModelShape
from runyard.trainers.machine import Gpu, Machine, visible_gpus

GIB = 2**30
LAPTOP = Machine(cores=8, memory_bytes=16 * GIB)
H100 = Machine(cores=16, memory_bytes=128 * GIB, gpu=Gpu("H100", 80 * GIB, bf16=True))
T4 = Machine(cores=8, memory_bytes=32 * GIB, gpu=Gpu("T4", 15 * GIB, bf16=False))
SMALL = ModelShape(parameters=135_000_000, layers=30, hidden=576)
SEVEN_B = ModelShape(parameters=7_000_000_000, layers=32, hidden=4096)


@dataclass(frozen=True)
class Data:
    lengths: tuple[int, ...]
    eval_rows: int = 0


UNEVEN = Data(tuple(range(20, 520)))
EVEN = Data((100,) * 400)


def plan_for(data=UNEVEN, machine=LAPTOP, shape=SMALL, kind="sft", frozen=None, **sections):
    spec = job_spec.validate_python({"kind": kind, "model": "m", "data": "d", **sections})
    return choose(spec, data, machine, shape, frozen)


def reasons(choices):
    return {choice.field: choice.reason for choice in choices}


def test_what_is_given_is_kept_and_not_reported():
    training = {"batch_size": 6, "micro_batch_size": 3, "packing": True, "learning_rate": 0.5, "loader_workers": 2}
    plan, choices = plan_for(training=training, model={"name": "m", "dtype": "bf16"})
    assert (plan.batch_size, plan.micro_batch_size, plan.accumulation, plan.packing) == (6, 3, 2, True)
    assert (plan.learning_rate, plan.loader_workers, plan.dtype) == (0.5, 2, "bf16")
    given = {f"training.{name}" for name in training} | {"model.dtype"}
    assert given.isdisjoint(choice.field for choice in choices)


def test_every_choice_has_a_reason():
    _, choices = plan_for(kind="dpo", data=Data(UNEVEN.lengths, eval_rows=5))
    assert all(len(choice.reason) > 10 for choice in choices)
    assert {"training.batch_size", "training.micro_batch_size", "evaluation.every_steps"} <= reasons(choices).keys()


@pytest.mark.parametrize(("machine", "dtype"), [(LAPTOP, "fp32"), (H100, "bf16"), (T4, "fp16")])
def test_numbers_are_what_the_device_is_good_at(machine, dtype):
    assert plan_for(machine=machine)[0].dtype == dtype


def test_short_rows_are_packed_on_a_gpu_and_grouped_on_a_cpu():
    on_gpu, _ = plan_for(Data((50,) * 5000), H100)
    assert (on_gpu.packing, on_gpu.group_by_length) == (True, False)
    on_cpu, choices = plan_for(UNEVEN, LAPTOP)
    assert (on_cpu.packing, on_cpu.group_by_length) == (False, True)
    assert "CPU" in reasons(choices)["training.packing"]


def test_a_small_set_is_not_packed_into_a_handful_of_steps():
    assert not plan_for(Data((50,) * 200), H100)[0].packing
    assert not plan_for(Data((900,) * 2000), H100)[0].packing, "full rows gain nothing"


def test_rows_of_one_length_need_no_grouping():
    assert not plan_for(EVEN)[0].group_by_length


def test_small_sets_get_small_batches():
    assert [plan_for(Data((50,) * rows))[0].batch_size for rows in (1, 40, 100, 300, 100_000)] == [1, 1, 2, 8, 16]


def test_a_big_model_is_fed_in_small_pieces():
    roomy, _ = plan_for(EVEN, H100, SMALL, training={"packing": False})
    tight, choices = plan_for(Data((1000,) * 400), T4, ModelShape(5_000_000_000, 32, 4096))
    assert roomy.micro_batch_size > tight.micro_batch_size == 1
    assert tight.activation_checkpointing
    assert "memory" in reasons(choices)["training.activation_checkpointing"]
    assert not roomy.activation_checkpointing


def test_quantized_weights_leave_room():
    plain, _ = plan_for(Data((1000,) * 4000), T4, SEVEN_B)
    quantized, _ = plan_for(Data((1000,) * 4000), T4, SEVEN_B, model={"name": "m", "quantization": "4bit"})
    assert quantized.micro_batch_size > plain.micro_batch_size


def test_a_tenth_of_the_run_lies_between_two_checkpoints():
    plan, _ = plan_for(EVEN, training={"batch_size": 4, "epochs": 2})
    assert (plan.total_steps, plan.save_every, plan.eval_every) == (200, 20, None)
    plan, _ = plan_for(Data(EVEN.lengths, 10), training={"max_steps": 35}, checkpoints={"every_steps": 7})
    assert (plan.total_steps, plan.save_every, plan.eval_every) == (35, 7, 7)


@pytest.mark.parametrize(
    ("adapter", "epochs", "precomputed"), [("none", 1, True), ("lora", 1, False), ("lora", 3, True)]
)
def test_the_reference_is_computed_once_where_that_pays(adapter, epochs, precomputed):
    plan, choices = plan_for(kind="dpo", adapter=adapter, training={"epochs": epochs})
    assert plan.precompute_reference is precomputed
    assert "preference.precompute_reference" in reasons(choices)


def test_a_resumed_run_keeps_what_was_chosen_unless_told_otherwise():
    first, _ = plan_for(UNEVEN, LAPTOP)
    resumed, choices = plan_for(UNEVEN, H100, frozen=first.model_dump())
    assert resumed == first
    assert set(reasons(choices).values()) == {"chosen when the run began"}
    smaller, _ = plan_for(UNEVEN, H100, frozen=first.model_dump(), training={"micro_batch_size": 1})
    assert (smaller.batch_size, smaller.micro_batch_size) == (first.batch_size, 1)


@given(
    lengths=st.lists(st.integers(1, 1024), min_size=1, max_size=300),
    machine=st.sampled_from([LAPTOP, H100, T4]),
    shape=st.sampled_from([SMALL, SEVEN_B]),
    kind=st.sampled_from(["sft", "dpo"]),
    micro=st.none() | st.integers(1, 7),
)
def test_every_plan_can_be_carried_out(lengths, machine, shape, kind, micro):
    plan, _ = plan_for(Data(tuple(lengths)), machine, shape, kind, training={"micro_batch_size": micro})
    assert plan.batch_size % plan.micro_batch_size == 0
    assert 1 <= plan.micro_batch_size <= plan.batch_size
    assert micro is None or plan.micro_batch_size == micro
    assert 1 <= plan.save_every <= plan.total_steps
    assert not (plan.packing and plan.group_by_length)


def test_packed_rows_are_counted_as_cut():
    assert packed_count([10, 10, 10], 15) == 2
    assert packed_count([1000], 100) == 1


@pytest.mark.parametrize(
    ("environ", "wanted", "visible"),
    [({}, None, "0"), ({}, 0, ""), ({"CUDA_VISIBLE_DEVICES": "2,3"}, 1, "2"), ({"CUDA_VISIBLE_DEVICES": ""}, None, "")],
)
def test_one_process_sees_one_gpu(environ, wanted, visible):
    assert visible_gpus(environ, wanted) == visible
