"""Which waiting jobs start now, which running ones make room, and why the others wait: pure functions."""

from runyard.domain.placement.decisions import Expected, Plan, Preemption, Start, Wait
from runyard.domain.placement.demand import UNLIMITED, Gpu, Held, Machine, Needs, Quotas, Waiting
from runyard.domain.placement.order import RANK
from runyard.domain.placement.plan import plan

__all__ = [
    "RANK",
    "UNLIMITED",
    "Expected",
    "Gpu",
    "Held",
    "Machine",
    "Needs",
    "Plan",
    "Preemption",
    "Quotas",
    "Start",
    "Wait",
    "Waiting",
    "plan",
]
