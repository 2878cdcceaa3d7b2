"""What the engine is to do with each row, and when it is to give up."""

from dataclasses import dataclass

from bulkcert.service.actions import Action

SAMPLE = 100
"""Rows that must be finished before a percentage in ``--max-errors`` counts."""


@dataclass(frozen=True, slots=True)
class Limit:
    """When there are too many errors.

    Attributes:
        rows: Number of rows that may fail, or None.
        share: Share of the finished rows that may fail, from 0 to 1, or None.
    """

    rows: int | None = None
    share: float | None = None

    def exceeded(self, errors: int, finished: int) -> bool:
        """Returns whether so many errors among so many finished rows are too many."""
        if self.rows is not None and errors > self.rows:
            return True
        return self.share is not None and finished >= SAMPLE and errors > self.share * finished


@dataclass(frozen=True, slots=True)
class RunLimits:
    """What the engine is to do with each row.

    Attributes:
        action: What is asked.
        instance: ``MqttInstanceId``.
        workers: Workers of each lane.
        max_errors: When to give up.
        limit_rows: Most rows to call, or None.
    """

    action: Action
    instance: str
    workers: int
    max_errors: Limit
    limit_rows: int | None = None
