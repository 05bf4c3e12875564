"""What happens between two steps: reports, the stop request, the watch, rotation.

Importing this module loads transformers: do it inside functions.
"""

import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from runyard.protocol import folders
from runyard.protocol.rundir import RunDir
from runyard.trainers import checkpoints
from runyard.trainers.curves import Curves
from runyard.trainers.language.trl_trainers import EvaluationCutError, Guide
from runyard.trainers.language.watch import watch
from runyard.trainers.pace import Pace
from runyard.trainers.stop import Stopped
from runyard.trainers.telemetry import Telemetry

PROGRESS_INTERVAL = 0.2


class StepCallback(TrainerCallback):  # type: ignore[misc]
    """Obeys a stop request at the next step. The user's callbacks run after the library's, so its word counts."""

    def __init__(self, guide: Guide) -> None:
        self.guide = guide
        self._stopping = False

    def on_substep_end(self, args: Any, state: Any, control: TrainerControl, **kwargs: Any) -> None:
        self._leave_if_nothing_is_to_be_saved()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._leave_if_nothing_is_to_be_saved()
        if self.guide.stop.requested:
            self._stopping = True
            self.guide.state.evaluation_owed = bool(control.should_evaluate)
            control.should_evaluate = False
            control.should_save = control.should_training_stop = True
        if state.global_step >= state.max_steps and not self.guide.state.evaluation_owed:
            self.guide.state.ended = True
        if control.should_save:
            control.should_log = True  # the watch sees the loss before anything is saved, and no loss is left out

    def on_epoch_end(self, args: Any, state: Any, control: TrainerControl, **kwargs: Any) -> None:
        """A stop in mid-epoch passes here too, and must not evaluate or save once more."""
        if self._stopping:
            control.should_evaluate = control.should_save = False

    def on_prediction_step(self, args: Any, state: Any, control: TrainerControl, **kwargs: Any) -> None:
        self._leave_if_nothing_is_to_be_saved()
        if self.guide.stop.requested:
            self._stopping = True
            raise EvaluationCutError

    def _leave_if_nothing_is_to_be_saved(self) -> None:
        if self.guide.stop.discard:
            raise Stopped


class ReportCallback(TrainerCallback):  # type: ignore[misc]
    """Metrics, progress, evaluations and checkpoints as events and as TensorBoard curves."""

    def __init__(self, guide: Guide, telemetry: Telemetry, curves: Curves) -> None:
        self.guide = guide
        self.telemetry, self.curves = telemetry, curves
        self.pace = Pace(time.monotonic)
        self._progress_at = 0.0

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        self.pace.begin(state.global_step, self.guide.state.tokens)
        self._report_progress(state)

    def on_log(self, args: Any, state: TrainerState, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
        state.log_history.clear()  # our events hold it; checkpoints need not carry it
        if "loss" not in logs:
            return
        guide, step = self.guide, state.global_step
        guide.state.tokens = int(logs.get("num_tokens", guide.state.tokens))
        trained = guide.take_trained()
        guide.state.trained_tokens += trained
        speed = self.pace.lap(step, samples=guide.samples, tokens=guide.state.tokens, trained_tokens=trained)
        values = train_values(logs) | speed | self.telemetry.sample()
        guide.emitter.metric(step, values)
        self.curves.add("train", step, values)
        last = step >= state.max_steps or guide.stop.requested
        if last or time.monotonic() - self._progress_at >= PROGRESS_INTERVAL:
            self._report_progress(state)
        watch(guide.state, step, logs["loss"], logs.get("grad_norm"), guide.plan.dtype)

    def on_evaluate(
        self, args: Any, state: TrainerState, control: TrainerControl, metrics: dict[str, float], **kwargs: Any
    ) -> None:
        guide, step = self.guide, state.global_step
        values = eval_values(metrics)
        guide.emitter.metric(step, values, split="eval")
        self.curves.add("eval", step, values)
        settings = guide.spec.evaluation
        is_best = guide.state.note_evaluation(step, metrics["eval_loss"], settings.early_stopping_min_delta)
        patience = settings.early_stopping_patience
        if patience is not None:
            control.should_save = control.should_save or is_best  # the best is what such a run delivers
            if guide.state.evaluations_without_gain >= patience:
                self._stop_early(step, control)
        self.pace.skip()

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.guide.note_batch("evaluating", state.global_step)

    def on_save(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        report_checkpoint(self.guide, state.global_step)
        for removed in checkpoints.rotate(
            self.guide.rundir, self.guide.spec.checkpoints.keep, self.guide.state.eval_losses
        ):
            self.guide.emitter.checkpoint_removed(removed)
        self.pace.skip()

    def _stop_early(self, step: int, control: TrainerControl) -> None:
        guide = self.guide
        if not guide.state.ended:
            guide.emitter.message(
                f"stopped early at step {step}: the evaluation loss has not improved in "
                f"{guide.state.evaluations_without_gain} evaluations; best {guide.state.best_eval_loss:.4g} "
                f"at step {guide.state.best_eval_step}"
            )
        guide.state.ended = True
        control.should_save = control.should_training_stop = True

    def _report_progress(self, state: TrainerState) -> None:
        self._progress_at = time.monotonic()
        eta = self.pace.eta_seconds(state.global_step, state.max_steps)
        self.guide.emitter.progress("training", state.global_step, state.max_steps, epoch=state.epoch, eta_seconds=eta)


def report_checkpoint(guide: Guide, step: int) -> None:
    """Tell of a checkpoint that is complete under its name."""
    rundir: RunDir = guide.rundir
    folder = rundir.checkpoint(step)
    losses = guide.state.eval_losses
    guide.emitter.checkpoint(
        step,
        str(folder.relative_to(rundir.root)),
        folders.size_bytes(folder),
        {"eval_loss": losses[step]} if step in losses else {},
        best=checkpoints.best(rundir, losses) == step,
        files=folders.digests(folder),
    )


def train_values(logs: dict[str, float]) -> dict[str, float]:
    """TRL's names as ours: `rewards/chosen` is `rewards_chosen`, `mean_token_accuracy` is `token_accuracy`."""
    renamed = {"mean_token_accuracy": "token_accuracy"}
    return {renamed.get(name, name.replace("/", "_")): value for name, value in logs.items() if name != "epoch"}


def eval_values(metrics: dict[str, float]) -> dict[str, float]:
    dropped = {"epoch", "eval_num_tokens", "eval_steps_per_second"}
    renamed = {"eval_mean_token_accuracy": "eval_token_accuracy"}
    return {renamed.get(name, name.replace("/", "_")): value for name, value in metrics.items() if name not in dropped}
