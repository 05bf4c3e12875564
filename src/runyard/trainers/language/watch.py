"""The watch over the loss: a run that has gone wrong stops with the reason instead of burning its time.

- A loss or gradient norm that is not finite stops the run at once. In fp16 a gradient norm may overflow while the loss
  scale is searched for, so there only OVERFLOWS in a row do.
- A loss above `3 * best + 5`, where best is the lowest smoothed loss so far, in EXPLODED reports in a row.
"""

import math

from runyard.protocol.specs.language import DType
from runyard.trainers.failures import TrainingError
from runyard.trainers.language.state import RunState

SMOOTHING = 0.9
FACTOR, MARGIN = 3.0, 5.0
EXPLODED = 5
OVERFLOWS = 20


def watch(state: RunState, step: int, loss: float, grad_norm: float | None, dtype: DType) -> None:
    """Take one report into account; raises TrainingError (loss_not_finite, loss_exploded)."""
    if not math.isfinite(loss):
        raise _not_finite(step, "loss", loss)
    overflow = grad_norm is not None and not math.isfinite(grad_norm)
    state.scaled_overflows = state.scaled_overflows + 1 if overflow else 0
    if grad_norm is not None and overflow and (dtype != "fp16" or state.scaled_overflows >= OVERFLOWS):
        raise _not_finite(step, "gradient norm", grad_norm)
    _watch_explosion(state, step, loss)


def _watch_explosion(state: RunState, step: int, loss: float) -> None:
    best = state.best_smoothed_loss
    if best is not None and loss > FACTOR * best + MARGIN:
        state.exploded_reports += 1
        if state.exploded_reports >= EXPLODED:
            raise TrainingError(
                "loss_exploded",
                f"the loss exploded: {loss:.3g} at step {step}, {EXPLODED} reports in a row far above the best so far "
                f"({best:.3g}). Lower training.learning_rate, lengthen training.warmup, or look at the data",
            )
        return
    state.exploded_reports = 0
    smoothed = loss if state.smoothed_loss is None else SMOOTHING * state.smoothed_loss + (1 - SMOOTHING) * loss
    state.smoothed_loss = smoothed
    state.best_smoothed_loss = smoothed if best is None else min(best, smoothed)


def _not_finite(step: int, what: str, value: float) -> TrainingError:
    return TrainingError(
        "loss_not_finite",
        f"the {what} became {value} at step {step}. Lower training.learning_rate, use bf16 or fp32 instead of fp16, "
        "or look for damaged rows in the data; checkpoints written before are intact",
    )
