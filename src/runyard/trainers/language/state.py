"""What a run must remember from one checkpoint to the next, besides weights and optimizer."""

import math
from pathlib import Path

from pydantic import BaseModel

from runyard.protocol.rundir import write_atomically
from runyard.trainers import checkpoints


class RunState(BaseModel):
    """Kept in every checkpoint, so that a resumed run counts, watches and stops as if it had never paused."""

    tokens: int = 0
    """Real tokens seen, padding not counted."""
    trained_tokens: int = 0
    eval_losses: dict[int, float] = {}
    """Evaluation loss by step."""
    best_eval_loss: float | None = None
    best_eval_step: int | None = None
    evaluations_without_gain: int = 0
    evaluation_owed: bool = False
    """The run was stopped at a step that is to be evaluated, before that was done."""
    ended: bool = False
    """Training is over (all steps, or stopped early): only the export is left."""
    smoothed_loss: float | None = None
    best_smoothed_loss: float | None = None
    exploded_reports: int = 0
    scaled_overflows: int = 0

    def note_evaluation(self, step: int, loss: float, min_delta: float) -> bool:
        """Remember a loss; true when it is the best so far. A gain up to `min_delta` does not reset patience."""
        self.evaluation_owed = False
        if not math.isfinite(loss):
            self.evaluations_without_gain += 1
            return False
        self.eval_losses[step] = loss
        gained = self.best_eval_loss is None or loss < self.best_eval_loss - min_delta
        best = self.best_eval_loss is None or loss < self.best_eval_loss
        self.evaluations_without_gain = 0 if gained else self.evaluations_without_gain + 1
        if best:
            self.best_eval_loss, self.best_eval_step = loss, step
        return best

    def save(self, folder: Path) -> None:
        write_atomically(folder / checkpoints.STATE, self.model_dump_json())

    @classmethod
    def load(cls, folder: Path) -> "RunState":
        return cls.model_validate_json((folder / checkpoints.STATE).read_bytes())
