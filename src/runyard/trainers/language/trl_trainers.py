"""TRL's trainers with what a run needs besides: exact resume, whole checkpoints, a stop that is obeyed.

Importing this module loads torch and TRL: do it inside functions.
"""

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
import torch
from transformers import Trainer
from trl import DPOTrainer, SFTTrainer

from runyard.protocol import folders
from runyard.protocol.emitter import Emitter
from runyard.protocol.events import Phase
from runyard.protocol.rundir import RunDir
from runyard.protocol.specs.language import DpoSpec, SftSpec
from runyard.trainers.language import export, grouping
from runyard.trainers.language.choices import Plan
from runyard.trainers.language.state import RunState
from runyard.trainers.stop import Stop

BATCH_SECONDS = 5.0


class EvaluationCutError(Exception):
    """An evaluation was left because the run was asked to stop."""


@dataclass
class Guide:
    """What a trainer and its callbacks share about one run."""

    spec: SftSpec | DpoSpec
    plan: Plan
    rundir: RunDir
    emitter: Emitter
    stop: Stop
    state: RunState
    lengths: Sequence[int]
    cache: Path
    gpu_uuid: str | None
    on_gpu: bool
    start: Path | None = None
    """The checkpoint of another run whose weights this one begins with."""
    samples: int = 0
    """Rows trained on since this process began; a packed sequence counts each of its rows."""
    trained: torch.Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.int64))
    """Tokens trained on since they were last taken; kept on the device so that counting never waits for it."""

    _batches: int = 0
    _batch_told_at: float = field(default_factory=time.monotonic)

    def note_batch(self, phase: Phase, step: int) -> None:
        """A batch is done where no steps are taken. Told every few seconds, so that a long phase is not taken for a
        standstill."""
        self._batches += 1
        if time.monotonic() - self._batch_told_at < BATCH_SECONDS:
            return
        self._batch_told_at = time.monotonic()
        known = self.emitter.snapshot
        self.emitter.progress(
            phase, step, known.total_steps, epoch=known.epoch, eta_seconds=known.eta_seconds, batch=self._batches
        )

    def take_trained(self) -> int:
        """Tokens trained on since the last call."""
        count = int(self.trained.item())
        self.trained = torch.zeros_like(self.trained)
        return count


class _Guided:
    """Shared by both trainers; comes before TRL's class, whose methods it extends."""

    def __init__(self, *args: Any, guide: Guide, **kwargs: Any) -> None:
        self.guide = guide
        self._scratch = guide.rundir.root
        super().__init__(*args, **kwargs)
        self._total_train_tokens = guide.state.tokens  # TRL starts from 0 on resume

    def _send_telemetry(self) -> None:
        """A self-hosted run tells nobody."""

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """Rows arrive as tokens, already cut and, for packing, already packed."""
        return dataset

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """The library groups by length with the global random state, which a resumed run can't repeat."""
        if self.guide.plan.group_by_length:
            return GroupedSampler(self.guide.lengths, self.guide.plan.batch_size, self.guide.spec.training.seed)
        return super()._get_train_sampler(train_dataset)  # type: ignore[misc]

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        if self.model.training:  # type: ignore[attr-defined]
            self._count(inputs)
        return super().compute_loss(model, inputs, *args, **kwargs)  # type: ignore[misc]

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Leaves the random state as it was: a run is the same whether, or when, it was evaluated."""
        guide, step = self.guide, self.state.global_step  # type: ignore[attr-defined]
        guide.emitter.phase("evaluating")
        try:
            with random_state_kept():
                metrics: dict[str, float] = super().evaluate(*args, **kwargs)  # type: ignore[misc]
        except EvaluationCutError:
            self._metrics["eval"].clear()  # type: ignore[attr-defined]
            guide.state.evaluation_owed = True
            control = self.control  # type: ignore[attr-defined]
            control.should_save = control.should_training_stop = step > 0
            return {}
        guide.emitter.phase("training")
        return metrics

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        guide, step = self.guide, self.state.global_step  # type: ignore[attr-defined]
        guide.emitter.phase("saving")
        with folders.written_whole(guide.rundir.checkpoint(step)) as folder:
            self._scratch = folder
            Trainer._save_checkpoint(self, model, trial)  # not TRL's, which adds a model card
            written = folder / f"checkpoint-{step}"  # the library's own naming
            guide.state.save(written)
            for path in written.iterdir():
                path.rename(folder / path.name)
            written.rmdir()
        guide.emitter.phase("training")

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._scratch)

    def _save(self, output_dir: str, state_dict: Any = None) -> None:
        export.write(self.model, self.processing_class, Path(output_dir))  # type: ignore[attr-defined]

    def _count(self, inputs: dict[str, Any]) -> None:
        guide = self.guide
        if "completion_mask" in inputs:  # preference pairs: chosen rows, then rejected rows
            guide.samples += inputs["input_ids"].shape[0] // 2
            trained = inputs["completion_mask"].sum()
        else:
            packed = inputs.get("cu_seq_lens_q")
            guide.samples += inputs["input_ids"].shape[0] if packed is None else packed.numel() - 1
            trained = inputs["labels"][..., 1:].ne(-100).sum()
        guide.trained = guide.trained.to(trained.device) + trained


class GuidedSftTrainer(_Guided, SFTTrainer):  # type: ignore[misc]
    pass


class GuidedDpoTrainer(_Guided, DPOTrainer):  # type: ignore[misc]
    def compute_ref_log_probs(self, model: Any, inputs: Any) -> Any:
        """Runs over all rows in the constructor, where no callback looks for a stop request."""
        self.guide.stop.check()
        if self.guide.emitter.snapshot.phase == "loading":
            self.guide.note_batch("loading", 0)
        return super().compute_ref_log_probs(model, inputs)


class GroupedSampler(torch.utils.data.Sampler[int]):
    """Gives the loader its order by length; the library tells it the epoch."""

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self._lengths, self._batch_size, self._seed = list(lengths), batch_size, seed
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        return iter(grouping.order(self._lengths, self._batch_size, self._seed, self._epoch))

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Whatever is drawn inside, what follows draws as if it had not been."""
    python, numbers = random.getstate(), numpy.random.get_state()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        yield
    random.setstate(python)
    numpy.random.set_state(numbers)
