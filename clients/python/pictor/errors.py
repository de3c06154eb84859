"""What can go wrong, as a small family of exceptions: one class for each thing that a caller would do about it.

The class follows the reason, as `ErrorReason` of the contract names it, and gRPC's code where there is no reason.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc

SHUTTING_DOWN = "SHUTTING_DOWN"
UNREACHABLE = "UNREACHABLE"
"""The reason of our own: nobody answered, or the connection broke."""

NO_ANSWER = "no answer in time"
LOST = "the connection was lost"

_GENERATION_ID = "generation_id"


@dataclass(frozen=True, slots=True)
class Violation:
    """One field that is wrong, by its path in the request message, with what would work."""

    field: str
    text: str


@dataclass(eq=False)
class PictorError(Exception):
    """The gateway refused, failed, or did not answer.

    `reason` is a name of the contract's ErrorReason without prefix. If the gateway itself said nothing, it is
    `UNREACHABLE` (nobody answered, or the connection broke) or else the name of gRPC's code, e.g. `DEADLINE_EXCEEDED`
    for one that passed here. `paid` says that money may be spent: repeat such a call only with the same `request_id`.
    """

    code: grpc.StatusCode
    message: str
    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: tuple[Violation, ...] = ()
    retry_after_s: float | None = None
    generation_id: str | None = None
    paid: bool = False
    request_id: str | None = None
    """Of the call that failed, if it was one that makes pictures."""
    is_absent: bool = False
    """Whether no gateway was there at all: nothing was sent; a connection that broke has the same reason."""
    is_forgotten: bool = False
    """Whether the gateway that answers after a lost connection does not know the work: nothing can be followed."""

    def __post_init__(self) -> None:
        if not self.reason:
            self.reason = UNREACHABLE if self.code is grpc.StatusCode.UNAVAILABLE else self.code.name

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"

    @classmethod
    def of(cls, code: grpc.StatusCode, message: str, reason: str = "", **told: Any) -> "PictorError":
        """Make the error of the class that its reason or code has; `told` are further fields."""
        return kind(reason, code)(code, message, reason, **told)

    @property
    def is_lost(self) -> bool:
        """Whether only the connection ended, or this server goes away: accepted work goes on and can be followed."""
        goes_away = self.reason == SHUTTING_DOWN and not self.is_end
        return self.code is grpc.StatusCode.UNAVAILABLE and (self.reason == UNREACHABLE or goes_away)

    @property
    def is_end(self) -> bool:
        """Whether the gateway tells how a generation ended, and does not only refuse this call."""
        return _GENERATION_ID in self.metadata

    def about(self, request_id: str | None, waited_s: float) -> None:
        """Add what only the caller's side knows: which request it was, and how long it waited for an answer."""
        self.request_id = request_id
        if self.message == NO_ANSWER:
            self.message = f"no answer within {f'{waited_s:.1f}'.removesuffix('.0')} s"

    def forget(self, what: str, outcome: str) -> None:
        """Say that a gateway answers again which does not know `what`; that nobody answered meanwhile is no news."""
        answers = f"the gateway that answers now does not know {what} (another data folder?)"
        self.message = f"{LOST}, and {answers}, so it is unknown {outcome}"
        self.is_absent, self.is_forgotten = False, True


class InvalidRequest(PictorError):
    """Something in the request is wrong; `violations` names the fields. Correct it."""


class Denied(PictorError):
    """The key is missing or unknown, or does not allow this. Bring another key, or ask an operator."""


class NotFound(PictorError):
    """There is no such thing, not any more, or it is somebody else's."""


class Refused(PictorError):
    """An engine's moderation refused it, or no engine can serve it as asked. Ask for something else."""


class BudgetExhausted(PictorError):
    """It costs more than `max_cost`, a budget or a cap has left. Raise that, or wait for the budget's next window."""


class Busy(PictorError):
    """A limit of the moment is reached: a rate, a queue, the room for pictures. Come back after `retry_after_s`."""


class Unavailable(PictorError):
    """Nobody answers, the connection was lost, or no engine is in service. Come back, with the same `request_id`."""


class TooLate(PictorError):
    """The time that was given is not enough, or is over; what was sent goes on, under `generation_id`."""


class Failed(PictorError):
    """Engines, gateway or the bytes on the way failed; `paid` says whether money may be spent."""


_REASONS: dict[type[PictorError], str] = {
    InvalidRequest: (
        "INVALID_FIELD PROMPT_EMPTY PROMPT_TOO_LONG RATIO_INVALID COUNT_OUT_OF_RANGE MODEL_UNKNOWN FORMAT_UNKNOWN "
        "IMAGE_MISSING IMAGE_INVALID IMAGE_TOO_LARGE MASK_WITHOUT_IMAGE MASK_INVALID TOO_MANY_REFERENCES "
        "METADATA_INVALID REQUEST_TOO_LARGE IDEMPOTENCY_MISMATCH PAGE_TOKEN_INVALID"
    ),
    Denied: "UNAUTHENTICATED PERMISSION_DENIED TIER_NOT_ALLOWED",
    NotFound: "NOT_FOUND EXPIRED",
    Refused: "CONTENT_POLICY NO_EXACT_CANDIDATE NO_CAPABLE_MODEL NOT_CONFIGURED NOT_RATABLE",
    BudgetExhausted: "PRICE_CEILING MAX_COST DAILY_CAP BUDGET_EXHAUSTED",
    Busy: "QUEUE_FULL RATE_LIMITED STORE_FULL",
    Unavailable: "UNREACHABLE PROVIDERS_UNAVAILABLE SHUTTING_DOWN STORE_UNAVAILABLE",
    TooLate: "DEADLINE_TOO_SHORT DEADLINE_EXCEEDED",
    Failed: "NO_IMAGE PROVIDER_FAILED PROVIDER_REJECTED CANCELLED INTERNAL",
}
_BY_REASON = {reason: kind for kind, reasons in _REASONS.items() for reason in reasons.split()}
_BY_CODE: dict[grpc.StatusCode, type[PictorError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequest,
    grpc.StatusCode.UNAUTHENTICATED: Denied,
    grpc.StatusCode.PERMISSION_DENIED: Denied,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.FAILED_PRECONDITION: Refused,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Busy,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: TooLate,
}


def kind(reason: str, code: grpc.StatusCode = grpc.StatusCode.UNKNOWN) -> type[PictorError]:
    """The class of a failure: by its reason, else (a later gateway's reason, or none) by its code, else Failed."""
    return _BY_REASON.get(reason) or _BY_CODE.get(code, Failed)
