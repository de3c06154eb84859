"""Who asks, and what they may."""

from dataclasses import dataclass, field
from enum import StrEnum

from pictord.domain.request import Tier


class Role(StrEnum):
    """Operators may also switch providers and read others' history."""

    CALLER = "caller"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class CallerPolicy:
    """What a caller may ask for; None means no restriction of that kind. Amounts are nano-USD."""

    tiers: frozenset[Tier] = frozenset(Tier)
    default_tier: Tier = Tier.STANDARD
    models: frozenset[str] | None = None
    allow_free_high_quality: bool = False
    max_picture_nanos: int | None = None
    may_read_others: bool = False


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated service; its identity comes from the channel, never from a request field."""

    name: str
    role: Role = Role.CALLER
    policy: CallerPolicy = field(default_factory=CallerPolicy)

    @property
    def is_operator(self) -> bool:
        """Whether it may do what only operators may."""
        return self.role is Role.OPERATOR

    @property
    def may_read_others(self) -> bool:
        """Whether other callers' generations and pictures are visible to it."""
        return self.is_operator or self.policy.may_read_others

    def may_read(self, owner: str) -> bool:
        """Whether what this caller (by name) made is visible to it."""
        return owner == self.name or self.may_read_others


LOCAL = Caller("local", Role.OPERATOR)
"""Who calls on loopback when no keys are configured."""
