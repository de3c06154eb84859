"""What the router is told about the world: it asks nobody itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pictord.domain.plan import ExclusionReason, NoRoom


class EngineState(Protocol):
    """Whether a model would take the request's operation now; `resilience.status.Availability` is one."""

    @property
    def obstacle(self) -> ExclusionReason | None:
        """Why not: DISABLED to RATE_LIMITED; None if it would."""

    @property
    def text(self) -> str:
        """The obstacle in a sentence."""

    @property
    def wait_s(self) -> float:
        """Predicted seconds until the call could start."""

    @property
    def retry_after_s(self) -> float | None:
        """Seconds until the obstacle may be gone; None: when a person has acted."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A plain `EngineState`; the default is ready at once."""

    obstacle: ExclusionReason | None = None
    text: str = ""
    wait_s: float = 0.0
    retry_after_s: float | None = None


READY = Engine()


@dataclass(frozen=True, slots=True)
class Availability:
    """The world at one moment.

    `backends` holds the configured providers (those with credentials) and which API serves each: `developer` or
    `vertex` for Gemini, anything for OpenAI. `engines` holds the state of each model for the request's operation;
    missing means ready. `remaining_s` is what is left of the caller's deadline; None without one. `full` holds the
    models whose provider account has a hard budget without room for this request.
    """

    backends: Mapping[str, str]
    engines: Mapping[str, EngineState] = field(default_factory=dict)
    remaining_s: float | None = None
    full: Mapping[str, NoRoom] = field(default_factory=dict)
