"""What the end of an attempt means: its cost, what the caller is told, and why an output has no picture. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pictord.domain.generation import Attempt, Output
from pictord.domain.money import Cost, CostBasis, Usage
from pictord.domain.outcome import RULES, MoneyEffect, Outcome
from pictord.domain.plan import ExclusionReason
from pictord.domain.reason import Reason
from pictord.errors import GatewayError
from pictord.resilience.admission import Refusal
from pictord.store.base import HoldRefused


@dataclass(frozen=True, slots=True)
class Ended:
    """How one attempt ended."""

    attempt: Attempt
    outcome: Outcome
    output: Output | None = None
    retry_after_s: float | None = None
    was_sent: bool = False
    refusal: Refusal | None = None
    """Of an attempt that was not admitted: what stood in the way."""


def settled(attempt: Attempt, outcome: Outcome, usage: Usage | None, price: Callable[[str, Usage], int]) -> Cost:
    """What an attempt costs, by the outcome table's money column; an attempt that was never sent costs nothing."""
    if attempt.sent_time is None:
        return Cost()
    effect = RULES[outcome].money
    if effect is MoneyEffect.RELEASE:
        return Cost()
    if effect is MoneyEffect.UNKNOWN:
        return Cost(attempt.estimated_nanos, CostBasis.UNKNOWN)
    if usage is not None:
        return Cost(price(attempt.model, usage), CostBasis.REPORTED)
    if effect is MoneyEffect.SETTLE_OR_RELEASE:
        return Cost()
    basis = CostBasis.ESTIMATED if effect is MoneyEffect.SETTLE else CostBasis.UNKNOWN
    return Cost(attempt.estimated_nanos, basis)


_SENTENCES: Mapping[Outcome, str] = {
    Outcome.UNUSABLE: "the engine's answer was no usable picture",
    Outcome.UNFUNDED: "the engine's account is out of credit",
    Outcome.KEY_REFUSED: "the engine does not take the gateway's credentials",
    Outcome.MODEL_REFUSED: "the engine does not offer the model to the gateway's account",
    Outcome.RATE_LIMITED: "the engine's rate limit is reached",
    Outcome.OVERLOADED: "the engine is overloaded",
    Outcome.SERVER_ERROR: "the engine failed, or its answer was lost",
    Outcome.UNREACHABLE: "the engine could not be reached",
}


def told(outcome: Outcome, said: str) -> str:
    """What a caller reads of a failure: the engine's own words only where they are about the request.

    Elsewhere they name our accounts, limits and network; those words are for the log.
    """
    return _SENTENCES.get(outcome, said)


_REASONS: Mapping[Outcome, Reason] = {
    Outcome.REFUSED: Reason.CONTENT_POLICY,
    Outcome.NO_IMAGE: Reason.NO_IMAGE,
    Outcome.UNUSABLE: Reason.PROVIDER_FAILED,
    Outcome.SERVER_ERROR: Reason.PROVIDER_FAILED,
    Outcome.UNFUNDED: Reason.PROVIDERS_UNAVAILABLE,
    Outcome.KEY_REFUSED: Reason.PROVIDERS_UNAVAILABLE,
    Outcome.MODEL_REFUSED: Reason.PROVIDERS_UNAVAILABLE,
    Outcome.OVERLOADED: Reason.PROVIDERS_UNAVAILABLE,
    Outcome.UNREACHABLE: Reason.PROVIDERS_UNAVAILABLE,
    Outcome.NOT_ADMITTED: Reason.PROVIDERS_UNAVAILABLE,
    Outcome.RATE_LIMITED: Reason.RATE_LIMITED,
    Outcome.BAD_REQUEST: Reason.PROVIDER_REJECTED,
    Outcome.CANCELLED: Reason.CANCELLED,
    Outcome.SHUTDOWN: Reason.SHUTTING_DOWN,
}

_REFUSALS: Mapping[Refusal | None, Reason] = {
    Reason.QUEUE_FULL: Reason.QUEUE_FULL,
    ExclusionReason.RATE_LIMITED: Reason.RATE_LIMITED,
}
"""What an attempt that was not admitted is called, where it is more than the engine being unavailable."""


def not_kept(error: OSError) -> GatewayError:
    """What is said when pictures cannot be stored now."""
    why = error.strerror or type(error).__name__
    return GatewayError(Reason.STORE_FULL, f"the picture cannot be stored now: {why}")


_HARMLESS = frozenset({Reason.PROVIDERS_UNAVAILABLE, Reason.RATE_LIMITED, Reason.QUEUE_FULL, Reason.CANCELLED})
"""Reasons that invite the same request again; never once money was spent on it."""


def failure_reason(ended: Sequence[Ended], refused: HoldRefused | None) -> tuple[Reason, str]:
    """Why an output has no picture: the last attempt's reason, unless money was spent on the way."""
    last = ended[-1]
    tried = "; ".join(f"{each.attempt.model}: {each.outcome.value} ({each.attempt.detail})" for each in ended)
    if refused is not None:
        limit = refused.limit
        name = f"budget {limit.budget!r}" if limit.budget else limit.reason.value
        return limit.reason, f"no room under {name} for another attempt after {tried}"
    reason = _REFUSALS.get(last.refusal, _REASONS[last.outcome])
    if reason in _HARMLESS and any(each.attempt.cost.nanos for each in ended):
        reason = Reason.PROVIDER_FAILED
    return reason, tried


def retry_after_s(reason: Reason, ended: Sequence[Ended]) -> float | None:
    """Seconds until one of the engines may serve the request; None if asking again would not help, or cost anew."""
    if reason not in _HARMLESS:
        return None
    return min((each.retry_after_s for each in ended if each.retry_after_s is not None), default=None)
