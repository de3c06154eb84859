"""What a job stands on: everything outside itself that it touches, and what all its outputs share."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pictord.assets.arrivals import Arrivals, NoArrivals
from pictord.assets.store import AssetStore
from pictord.domain.generation import Generation
from pictord.domain.money import Usage
from pictord.domain.plan import Candidate
from pictord.jobs.crash_points import CrashPoint
from pictord.jobs.log import EventLog
from pictord.jobs.observer import JobObserver
from pictord.providers.base import ImageProvider
from pictord.resilience.guard import Guards
from pictord.store.base import SpendLimit, Store


@dataclass(frozen=True, slots=True)
class JobPorts:
    """Everything a job touches outside itself; the composition root fills it."""

    store: Store
    assets: AssetStore
    guards: Guards
    providers: Mapping[str, ImageProvider]
    """The configured ones, by name."""
    backends: Mapping[str, str]
    """Which API serves each configured provider: `developer` or `vertex` for Gemini."""
    observer: JobObserver
    clock: Callable[[], float]
    """Monotonic seconds."""
    now: Callable[[], datetime]
    """UTC."""
    new_id: Callable[[str], str]
    """A new unique id with the given prefix; ids sort by age."""
    arrivals: Arrivals = field(default_factory=NoArrivals)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    reached: Callable[[CrashPoint], None] = lambda _: None
    """Hears of every crash point; only a test does anything there."""


@dataclass(frozen=True, slots=True)
class JobContext:
    """What all outputs of one job share. `deadline` is the submitter's, in monotonic seconds."""

    generation: Generation
    log: EventLog
    deadline: float | None
    headers: Mapping[str, str]
    end_user: str | None
    price: Callable[[str, Usage], int]
    """Nano-USD of a model's reported usage, by the price table that the plan was made with."""
    limits: Callable[[datetime], Sequence[SpendLimit]]
    """The budgets in force now, for an attempt that is opened at this moment."""
    slow_after: Callable[[Candidate], float]
    """Seconds from which a candidate's success counts as slow."""
