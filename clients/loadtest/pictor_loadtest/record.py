"""What became of each call."""

from dataclasses import dataclass, field

from pictor.amounts import seconds
from pictor.v1.generation_pb2 import Generation, Timings
from pictor.v1.image_pb2 import Money
from pictor_loadtest.schedule import Due

NO_ANSWER = "DEADLINE_EXCEEDED"
NOT_SENT = "NOT_SENT"
"""The run was stopped before the call's turn."""

INTERRUPTED = "INTERRUPTED"
"""It was on its way when somebody ended the run."""

NANOS = 10**9


@dataclass(frozen=True, slots=True)
class Spent:
    """Where a generation's time went, in seconds, as the gateway tells it."""

    queue: float
    provider: float
    store: float
    overhead: float

    @classmethod
    def of(cls, timings: Timings) -> "Spent":
        """Take over the message."""
        parts = (timings.queue, timings.provider, timings.store, timings.overhead)
        return cls(*(seconds(part) for part in parts))


@dataclass(frozen=True, slots=True)
class Made:
    """What is kept of a generation: no pictures, no prompt."""

    row: str
    model: str
    """Of the attempt that brought the (first) picture; empty if none did."""
    pictures: int
    attempts: tuple[tuple[int, str, str], ...]
    """Output, model and outcome of each, in order of start."""
    cost_nanos: int
    cost_basis: int
    spent: Spent
    is_sandbox: bool

    @classmethod
    def of(cls, message: Generation) -> "Made":
        """Take over what counts."""
        return cls(
            row=message.decision.row,
            model=next((each.model for each in message.attempts if each.outcome == "image"), ""),
            pictures=sum(output.HasField("image") for output in message.outputs),
            attempts=tuple((each.output_index, each.model, each.outcome) for each in message.attempts),
            cost_nanos=nanos(message.cost.amount),
            cost_basis=message.cost.basis,
            spent=Spent.of(message.timings),
            is_sandbox=message.sandbox,
        )

    @property
    def failovers(self) -> tuple[tuple[str, str, str], ...]:
        """From which model, why, to which model: for each output that a second model was tried for."""
        found, last = [], dict[int, tuple[str, str]]()
        for output, model, outcome in self.attempts:
            before = last.get(output)
            if before is not None and before[0] != model:
                found.append((before[0], before[1], model))
            last[output] = (model, outcome)
        return tuple(found)


@dataclass(slots=True)
class Record:
    """One call; times are seconds after the start of the run, None for what never was."""

    due: Due
    sent_s: float | None = None
    preview_s: float | None = None
    """When the first whole preview was here."""
    ended_s: float | None = None
    reason: str = ""
    """Why there is no picture: as in ErrorInfo; empty if there is one."""
    text: str = ""
    may_have_cost: bool = False
    """Whether money may be spent on a call that failed; a refusal before any sending costs nothing."""
    generation_id: str = ""
    made: Made | None = None
    was_held_back: bool = False
    """Whether it waited because the bound in flight was reached."""
    previews: int = 0
    bytes_in: int = field(default=0)
    """Of pictures and previews."""

    @property
    def is_good(self) -> bool:
        """Whether there is a picture."""
        return not self.reason and self.ended_s is not None

    @property
    def latency_s(self) -> float | None:
        """From when it was due, not from when it was sent. A refusal is no answer whose quickness should count."""
        if self.ended_s is None or not (self.is_good or self.reason == NO_ANSWER):
            return None
        return self.ended_s - self.due.at_s

    def spans(self) -> dict[str, float]:
        """All spans of `metrics.SPANS` that this call has."""
        found: dict[str, float] = {}
        latency = self.latency_s
        if self.sent_s is not None:
            found["delay"] = self.sent_s - self.due.at_s
        if latency is not None and self.sent_s is not None and self.ended_s is not None:
            found |= {"latency": latency, "call": self.ended_s - self.sent_s}
        if self.preview_s is not None:
            found["first_preview"] = self.preview_s - self.due.at_s
        if self.is_good and self.made is not None and latency is not None:
            spent = self.made.spent
            found["added"] = max(0.0, latency - spent.provider)
            found |= {name: getattr(spent, name) for name in ("queue", "provider", "store", "overhead")}
        return found


def nanos(amount: Money) -> int:
    """Billionths of a dollar."""
    return int(amount.units) * NANOS + int(amount.nanos)
