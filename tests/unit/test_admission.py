"""The queue's bounds, and what a refusal is called."""

import pytest

from pictord.domain.plan import ExclusionReason
from pictord.domain.reason import Reason
from pictord.resilience.admission import AdmissionSettings, NotAdmitted, Wait, check_wait

FOREVER = float("inf")


@pytest.mark.parametrize(
    ("wait", "room_s", "waiting", "slots"),
    [
        pytest.param(Wait(0, 30.0, by_rate=True), FOREVER, 0, 1, id="thirty seconds"),
        pytest.param(Wait(1, 5.0, by_rate=False), 5.0, 1, 1, id="just in time"),
        pytest.param(Wait(1023, 5.0, by_rate=False), FOREVER, 1023, 512, id="the last place"),
    ],
)
def test_a_wait_within_bounds_is_allowed(wait, room_s, waiting, slots):
    """At most two waiters per slot, at most 30 s, and in time."""
    check_wait(wait, AdmissionSettings(), room_s=room_s, waiting=waiting, slots=slots)


@pytest.mark.parametrize(
    ("case", "reason", "retry_after_s"),
    [
        pytest.param((Wait(2, 5.0, by_rate=False), FOREVER, 2, 1), Reason.QUEUE_FULL, 5.0, id="two wait for one slot"),
        pytest.param((Wait(2, 0.1, by_rate=False), FOREVER, 2, 1), Reason.QUEUE_FULL, 1.0, id="at least a second"),
        pytest.param((Wait(9, 31.0, by_rate=False), FOREVER, 9, 512), Reason.QUEUE_FULL, 31.0, id="others come first"),
        pytest.param(
            (Wait(0, 45.0, by_rate=True), FOREVER, 0, 512), ExclusionReason.RATE_LIMITED, 45.0, id="a freeze alone"
        ),
        pytest.param(
            (Wait(0, 6.0, by_rate=True), 5.0, 0, 512), ExclusionReason.RATE_LIMITED, 6.0, id="too late for the caller"
        ),
    ],
)
def test_a_wait_out_of_bounds_is_refused_with_the_time_to_come_back(case, reason, retry_after_s):
    """The refusal says whether it is the queue or the rate, and when it makes sense to try again."""
    wait, room_s, waiting, slots = case
    with pytest.raises(NotAdmitted) as refusal:
        check_wait(wait, AdmissionSettings(), room_s=room_s, waiting=waiting, slots=slots)

    assert (refusal.value.reason, refusal.value.retry_after_s) == (reason, retry_after_s)
