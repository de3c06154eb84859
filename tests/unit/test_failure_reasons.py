"""Why an output has no picture, in our words, by how its attempts ended."""

from dataclasses import replace

import pytest

import samples
from pictord.domain.money import Cost, CostBasis
from pictord.domain.outcome import Outcome
from pictord.domain.plan import ExclusionReason
from pictord.domain.reason import Reason
from pictord.jobs.endings import Ended, failure_reason

FREE = samples.attempt("att_1")
LOST = replace(FREE, cost=Cost(FREE.estimated_nanos, CostBasis.UNKNOWN))


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (Ended(FREE, Outcome.NOT_ADMITTED, refusal=Reason.QUEUE_FULL), Reason.QUEUE_FULL),
        (Ended(FREE, Outcome.NOT_ADMITTED, refusal=ExclusionReason.RATE_LIMITED), Reason.RATE_LIMITED),
        (Ended(FREE, Outcome.NOT_ADMITTED, refusal=ExclusionReason.BREAKER_OPEN), Reason.PROVIDERS_UNAVAILABLE),
        (Ended(FREE, Outcome.RATE_LIMITED), Reason.RATE_LIMITED),
        (Ended(FREE, Outcome.REFUSED), Reason.CONTENT_POLICY),
        (Ended(FREE, Outcome.BAD_REQUEST), Reason.PROVIDER_REJECTED),
        (Ended(LOST, Outcome.SERVER_ERROR), Reason.PROVIDER_FAILED),
    ],
    ids=lambda value: value.outcome.value if isinstance(value, Ended) else value.value,
)
def test_the_last_attempt_says_why(last, expected):
    """A full queue, a rate limit and an engine out of service are told apart: each wants something else."""
    free = replace(last, attempt=replace(last.attempt, cost=Cost())) if last.attempt is FREE else last

    assert failure_reason([free], None)[0] is expected


@pytest.mark.parametrize("refusal", [Reason.QUEUE_FULL, ExclusionReason.RATE_LIMITED, ExclusionReason.BREAKER_OPEN])
def test_nothing_is_called_harmless_once_money_may_be_spent(refusal):
    """After a lost answer a full queue at the other engine must not invite a second paid try."""
    lost = Ended(LOST, Outcome.SERVER_ERROR, was_sent=True)
    late = Ended(replace(FREE, cost=Cost()), Outcome.NOT_ADMITTED, refusal=refusal)

    assert failure_reason([lost, late], None)[0] is Reason.PROVIDER_FAILED
