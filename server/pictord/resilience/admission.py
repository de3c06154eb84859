"""Admission: whether a call may wait for its turn, or is refused before it waits.

The queue of the whole gateway is bounded twice: at most two waiters for each slot that all providers have together, and
no wait that is predicted to be longer than 30 s. A wait that no other caller causes is the provider's rate limit or a
freeze, and is called RATE_LIMITED; any other refusal is QUEUE_FULL. With a free slot and no quota nothing waits, and
nothing here is asked.
"""

from dataclasses import dataclass
from typing import Literal

from pictord.domain.plan import ExclusionReason
from pictord.domain.reason import Reason

Refusal = ExclusionReason | Literal[Reason.QUEUE_FULL]


@dataclass(frozen=True, slots=True)
class AdmissionSettings:
    """`longest_wait_s` in seconds; `waiters_per_slot` over all providers."""

    waiters_per_slot: float = 2.0
    longest_wait_s: float = 30.0


class NotAdmitted(Exception):
    """A call was refused before it was sent; nothing was taken, and it cost nothing.

    Attributes:
        reason: what stood in the way.
        text: a sentence for people.
        retry_after_s: when the same call may be admitted, in seconds; None if that takes a person.
    """

    def __init__(self, reason: Refusal, text: str, retry_after_s: float | None) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Wait:
    """A predicted wait of one call.

    `ahead` callers of the same provider come first; the call may start in `wait_s` seconds. `by_rate` says that it is
    the rate limit or a freeze that holds it up, and no other caller.
    """

    ahead: int
    wait_s: float
    by_rate: bool


def check_wait(wait: Wait, settings: AdmissionSettings, *, room_s: float, waiting: int, slots: int) -> None:
    """Refuse a wait that is too long, or a place in a queue that is full.

    Args:
        wait: what is predicted for this call.
        settings: the bounds.
        room_s: seconds until this call's latest start (may be infinite).
        waiting: all who wait in the gateway.
        slots: all slots of the gateway.

    Raises:
        NotAdmitted: RATE_LIMITED or QUEUE_FULL.
    """
    if waiting >= settings.waiters_per_slot * slots:
        raise NotAdmitted(Reason.QUEUE_FULL, f"{waiting} calls are waiting already", max(wait.wait_s, 1.0))
    bound_s = min(room_s, settings.longest_wait_s)
    if wait.wait_s > bound_s:
        reason: Refusal = ExclusionReason.RATE_LIMITED if wait.by_rate else Reason.QUEUE_FULL
        raise NotAdmitted(reason, f"would start in {wait.wait_s:.1f} s, may wait {bound_s:.1f} s", wait.wait_s)
