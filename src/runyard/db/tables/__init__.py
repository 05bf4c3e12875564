"""The whole schema. Times are seconds since the epoch."""

from runyard.db.tables.base import OfJob, OfUser, Table, Tenanted
from runyard.db.tables.facts import JobTotal, Rollup, Sample, Series
from runyard.db.tables.jobs import (
    IS_TURN,
    Artifact,
    Attempt,
    Checkpoint,
    FeedEvent,
    IdempotencyKey,
    Job,
    Metric,
    Move,
)
from runyard.db.tables.notices import Channel, Cursor, Delivery
from runyard.db.tables.people import Access, ApiKey, AuditEntry, BrowserSession, Limit, Secret, Tenant, User
from runyard.db.tables.yard import Cleanup, DataSet, Leader, Quarantine, Schedule, Template

__all__ = [
    "IS_TURN",
    "Access",
    "ApiKey",
    "Artifact",
    "Attempt",
    "AuditEntry",
    "BrowserSession",
    "Channel",
    "Checkpoint",
    "Cleanup",
    "Cursor",
    "DataSet",
    "Delivery",
    "FeedEvent",
    "IdempotencyKey",
    "Job",
    "JobTotal",
    "Leader",
    "Limit",
    "Metric",
    "Move",
    "OfJob",
    "OfUser",
    "Quarantine",
    "Rollup",
    "Sample",
    "Schedule",
    "Secret",
    "Series",
    "Table",
    "Template",
    "Tenant",
    "Tenanted",
    "User",
]
