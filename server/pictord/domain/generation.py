"""A generation and what became of it: outputs, attempts, images. Frozen records; the store holds the latest one."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from pictord.domain.money import Cost, Usage
from pictord.domain.outcome import Outcome
from pictord.domain.plan import Adaptation, Plan
from pictord.domain.reason import Reason
from pictord.domain.request import GenerationRequest, Quality


class State(StrEnum):
    """Where a generation, or one output of it, stands."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen."""
        return self in _FINAL


_FINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})


class AttemptState(StrEnum):
    """How far an attempt got; money follows from it (intent: release, sent: unknown)."""

    INTENT = "intent"
    SENT = "sent"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call to one candidate for one output.

    `index` counts the attempts of the output from 0. Times are UTC; `sent_time` is set just before the first byte
    goes out.
    """

    id: str
    output_index: int
    index: int
    provider: str
    model: str
    quality: Quality | None
    estimated_nanos: int
    after: Outcome | None = None
    """How the attempt before it ended; None for the first of an output."""
    adaptations: tuple[Adaptation, ...] = ()
    state: AttemptState = AttemptState.INTENT
    served_model: str = ""
    served_version: str = ""
    provider_request_id: str = ""
    outcome: Outcome | None = None
    detail: str = ""
    usage: Usage | None = None
    cost: Cost = field(default_factory=Cost)
    create_time: datetime | None = None
    sent_time: datetime | None = None
    finish_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """A finished picture, byte for byte as the provider sent it; sizes are read from the bytes.

    `sha256` (hexadecimal) is also the picture's address in the asset store.
    """

    id: str
    output_index: int
    mime: str
    width_px: int
    height_px: int
    size_bytes: int
    sha256: str
    model: str
    served_model: str
    served_version: str
    has_c2pa: bool


@dataclass(frozen=True, slots=True)
class Output:
    """One of the `count` pictures of a generation: an image, or the reason why there is none."""

    index: int
    state: State = State.PENDING
    image: Image | None = None
    reason: Reason | None = None
    text: str = ""
    retry_after_s: float | None = None
    """Of a failure that cost nothing: seconds after which the same request may succeed, if an engine told."""


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time went, in seconds: waiting for a slot, at the provider, storing, and our own work.

    The commit that writes this down is in none of them.
    """

    queue_s: float = 0.0
    provider_s: float = 0.0
    store_s: float = 0.0
    overhead_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Generation:
    """One accepted request and its result."""

    id: str
    caller: str
    request: GenerationRequest
    plan: Plan
    create_time: datetime
    state: State = State.PENDING
    outputs: tuple[Output, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    cost: Cost = field(default_factory=Cost)
    timings: Timings = field(default_factory=Timings)
    finish_time: datetime | None = None
    reason: Reason | None = None
    """Why no output succeeded; None unless FAILED or CANCELLED."""
    text: str = ""
    replayed: bool = False

    @property
    def images(self) -> tuple[Image, ...]:
        """The pictures that exist, in output order."""
        return tuple(output.image for output in self.outputs if output.image is not None)

    @property
    def adaptations(self) -> tuple[Adaptation, ...]:
        """What was delivered differently, each difference once, from the attempts that brought an image."""
        delivered = (a for attempt in self.attempts if attempt.outcome is Outcome.IMAGE for a in attempt.adaptations)
        return tuple(dict.fromkeys(delivered))
