"""What was spent, summed: the question and its answer."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pictord.domain.money import CostBasis


class Group(StrEnum):
    """What usage can be grouped by."""

    PROVIDER = "provider"
    MODEL = "model"
    VERSION = "version"
    CALLER = "caller"
    END_USER = "end_user"
    TIER = "tier"
    WORKFLOW = "workflow"
    ROW = "row"
    DAY = "day"
    """The UTC day on which the attempt began."""
    GENERATION = "generation"


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """Attempts that began from `since` until just before `until`; `caller` None means everybody's.

    `most` bounds how many groups are answered, the most expensive ones.
    """

    since: datetime
    until: datetime
    group_by: tuple[Group, ...] = ()
    caller: str | None = None
    unknown_only: bool = False
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Sums:
    """Nano-USD by basis, calls that were sent, and pictures that were kept."""

    reported_nanos: int = 0
    estimated_nanos: int = 0
    unknown_nanos: int = 0
    attempts: int = 0
    pictures: int = 0
    reconciled_nanos: int = 0

    @property
    def nanos(self) -> int:
        """Everything, whatever its basis."""
        return self.reported_nanos + self.reconciled_nanos + self.estimated_nanos + self.unknown_nanos

    def plus(self, other: "Sums") -> "Sums":
        """Both together."""
        return Sums(
            self.reported_nanos + other.reported_nanos,
            self.estimated_nanos + other.estimated_nanos,
            self.unknown_nanos + other.unknown_nanos,
            self.attempts + other.attempts,
            self.pictures + other.pictures,
            self.reconciled_nanos + other.reconciled_nanos,
        )


def sums_of(nanos: int, basis: CostBasis, *, was_sent: bool, pictures: int) -> Sums:
    """One attempt's part in the sums."""
    return Sums(
        nanos if basis is CostBasis.REPORTED else 0,
        nanos if basis is CostBasis.ESTIMATED else 0,
        nanos if basis is CostBasis.UNKNOWN else 0,
        int(was_sent),
        pictures,
        nanos if basis is CostBasis.RECONCILED else 0,
    )


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One group: its keys in the order of the question (empty where an attempt has none), and its sums."""

    keys: tuple[str, ...]
    sums: Sums


def total(rows: Iterable[UsageRow]) -> Sums:
    """All groups together."""
    found = Sums()
    for row in rows:
        found = found.plus(row.sums)
    return found
