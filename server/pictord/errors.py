"""The gateway's own errors: each carries its reason; `rpc/status.py` alone knows which gRPC code that is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pictord.domain.generation import Generation, State
from pictord.domain.reason import Reason


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field that is wrong, by its path in the request message, with what would work."""

    field: str
    text: str
    reason: Reason = Reason.INVALID_FIELD


@dataclass(slots=True, eq=False)
class GatewayError(Exception):
    """A refusal or failure that the caller is told about.

    `text` is for people and says what would work; everything variable in it is also in `metadata`. `retry_after_s`
    (seconds) is set only when the same call may succeed later. `paid` means that money may already be spent: clients
    must not retry by themselves.
    """

    reason: Reason
    text: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: Sequence[FieldViolation] = ()
    retry_after_s: float | None = None
    paid: bool = False
    generation_id: str | None = None

    def __str__(self) -> str:
        return f"{self.reason.name}: {self.text}"


def invalid(violations: Sequence[FieldViolation]) -> GatewayError:
    """Bad input: the first violation gives the reason, all are listed."""
    first = violations[0]
    text = "; ".join(f"{v.field}: {v.text}" for v in violations)
    return GatewayError(first.reason, text, {"field": first.field}, violations)


def generation_error(generation: Generation) -> GatewayError | None:
    """The error that a failed or cancelled generation ends with; None if it succeeded or still runs."""
    if generation.state not in {State.FAILED, State.CANCELLED}:
        return None
    is_paid = generation.cost.nanos > 0
    waits = [output.retry_after_s for output in generation.outputs if output.retry_after_s is not None]
    return GatewayError(
        generation.reason or Reason.INTERNAL,
        generation.text,
        {"attempts": str(len(generation.attempts))},
        retry_after_s=None if is_paid else max(waits, default=None),
        paid=is_paid,
        generation_id=generation.id,
    )
