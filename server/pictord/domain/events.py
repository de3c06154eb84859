"""What happens to a generation, in order: the job's log, the same for every reader.

Events carry no bytes of pictures; the log hands those out beside the event, and lets go of them early.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pictord.domain.generation import Generation, Image
from pictord.domain.outcome import Outcome
from pictord.domain.plan import Plan


class PreviewKind(StrEnum):
    """What an unfinished picture is."""

    PARTIAL = "partial"
    """A frame of the rendering in progress (OpenAI `partial_image`)."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The generation exists; nothing is sent yet."""

    generation_id: str
    plan: Plan
    estimated_nanos: int


@dataclass(frozen=True, slots=True)
class Queued:
    """An output waits for the provider's limiter or a slot."""

    output_index: int
    position: int
    predicted_wait_s: float


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """A candidate is about to be called; previews of earlier attempts for this output are void."""

    output_index: int
    attempt_index: int
    provider: str
    model: str
    expected_p50_s: float
    expected_p90_s: float
    previews: int


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """A candidate brought no image; `goes_on` says whether another one is tried."""

    output_index: int
    attempt_index: int
    model: str
    outcome: Outcome
    text: str
    goes_on: bool


@dataclass(frozen=True, slots=True)
class PreviewReady:
    """An unfinished picture, as the engine encoded it; its bytes are the event's payload in the log."""

    output_index: int
    attempt_index: int
    index: int
    kind: PreviewKind
    mime: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ImageReady:
    """An output is finished and stored; the picture is the event's payload while it is at hand, then an asset."""

    image: Image


@dataclass(frozen=True, slots=True)
class Completed:
    """The end: the whole generation."""

    generation: Generation


Event = Accepted | Queued | AttemptStarted | AttemptFailed | PreviewReady | ImageReady | Completed


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """An event with its place in the log; `sequence` counts from 1 without gaps."""

    sequence: int
    time: datetime
    event: Event
