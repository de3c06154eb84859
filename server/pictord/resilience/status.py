"""What the guards know about a provider, as snapshots for ListProviders, metrics and the router."""

from collections.abc import Mapping
from dataclasses import dataclass

from pictord.domain.plan import ExclusionReason
from pictord.resilience.breaker import BreakerKey, BreakerState, WindowCounts


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether a call would be admitted now.

    `obstacle` None means yes, after `wait_s` seconds; otherwise `text` says why not and `retry_after_s` when it may be
    tried again (None: when a person has acted).
    """

    obstacle: ExclusionReason | None = None
    text: str = ""
    wait_s: float = 0.0
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class BreakerStatus:
    """One breaker; `open_s` seconds until its first probe, `counts` over its window."""

    key: BreakerKey
    state: BreakerState
    open_s: float
    counts: WindowCounts


@dataclass(frozen=True, slots=True)
class LimiterStatus:
    """One account's limiter; calls, seconds.

    `burst` and `tokens` (calls that could start at once) are None without a quota. `wait_s` is a newcomer's wait.
    """

    burst: float | None
    tokens: float | None
    frozen_s: float
    wait_s: float


@dataclass(frozen=True, slots=True)
class ProviderStatus:
    """One provider; spans in seconds.

    `disabled_reason` is None unless an operator disabled it; `disabled_s` is infinite until somebody enables it.
    `waiting` counts callers, `error_share` is failed calls of all finished ones in the breakers' windows (0 to 1).
    """

    provider: str
    disabled_reason: str | None
    disabled_s: float
    key_refused: bool
    unfunded_s: float
    tripped_models: Mapping[str, float]
    breakers: tuple[BreakerStatus, ...]
    limiter: LimiterStatus
    in_flight: int
    limit: int
    waiting: int
    error_share: float

    @property
    def enabled(self) -> bool:
        """Whether calls may be sent at all."""
        return self.disabled_reason is None and not self.key_refused
