"""Provider state: the switches of one provider account that no breaker turns, and who turns them.

| switch      | goes off by                                        | comes back by                             |
|-------------|----------------------------------------------------|-------------------------------------------|
| disabled    | an operator, with a reason, for a time or for good | the time, or an operator                  |
| key refused | 401, 403: the key is wrong                         | an operator, or new secrets               |
| unfunded    | the account is out of credit                       | 15 minutes, or an operator                |
| model       | 404, or the organisation is not verified for it    | 15 minutes, an operator, or new secrets   |

Every switch that goes off by itself alerts once. An operator, or new secrets, begin a new life of the account: what
calls of an earlier life report (the old key was refused) is dropped.

Not handled: telling other replicas, which comes with the shared store.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from pictord.domain.plan import ExclusionReason

FOREVER = float("inf")


@dataclass(frozen=True, slots=True)
class ProviderStateSettings:
    """How long the self-healing switches stay off, in seconds."""

    unfunded_s: float = 900.0
    model_tripped_s: float = 900.0


class AlertKind(StrEnum):
    """What a person should look at."""

    KEY_REFUSED = "key_refused"
    UNFUNDED = "unfunded"
    MODEL_TRIPPED = "model_tripped"


@dataclass(frozen=True, slots=True)
class Alert:
    """A switch went off by itself; `model` only if it is one model's."""

    provider: str
    kind: AlertKind
    text: str
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why nothing is sent, in words, and for how many seconds (None: until somebody acts)."""

    reason: ExclusionReason
    text: str
    remaining_s: float | None


class ProviderState:
    """The switches of one provider account.

    Args:
        provider: its name, for texts and alerts.
        settings: spans.
        clock: seconds, never going back.
        on_alert: told once when a switch goes off by itself; must not raise.
    """

    def __init__(
        self,
        provider: str,
        settings: ProviderStateSettings,
        *,
        clock: Callable[[], float],
        on_alert: Callable[[Alert], None] = lambda _alert: None,
    ) -> None:
        self._provider = provider
        self._settings = settings
        self._clock = clock
        self._on_alert = on_alert
        self._disabled_until = self._key_refused_until = self._unfunded_until = float("-inf")
        self._tripped_until: dict[str, float] = {}
        self._disabled_reason = ""
        self.life = 0
        """Counts the new beginnings; what was sent in an earlier life reports to nobody."""

    def obstacle(self, model: str) -> Obstacle | None:
        """Why this model must not be called now; None if it may."""
        now = self._clock()
        if now < self._disabled_until:
            text = f"{self._provider} is disabled: {self._disabled_reason}"
            return self._obstacle(ExclusionReason.DISABLED, text, self._disabled_until)
        if now < self._key_refused_until:
            return self._obstacle(ExclusionReason.KEY_REFUSED, f"{self._provider} refuses our key", FOREVER)
        if now < self._unfunded_until:
            text = f"the {self._provider} account is out of credit"
            return self._obstacle(ExclusionReason.UNFUNDED, text, self._unfunded_until)
        if now < (tripped_until := self._tripped_until.get(model, now)):
            text = f"{self._provider} does not offer {model} to our account"
            return self._obstacle(ExclusionReason.MODEL_TRIPPED, text, tripped_until)
        return None

    def disable(self, reason: str, for_s: float | None = None) -> None:
        """Switch the provider off, for a time or until it is enabled."""
        self._disabled_reason = reason
        self._disabled_until = FOREVER if for_s is None else self._clock() + for_s

    def enable(self) -> None:
        """Switch everything on and begin a new life."""
        self._disabled_until = self._key_refused_until = self._unfunded_until = float("-inf")
        self._tripped_until.clear()
        self.life += 1

    def secrets_reloaded(self) -> None:
        """The key is another one now: what the old one was refused for is forgotten."""
        self._key_refused_until = float("-inf")
        self._tripped_until.clear()
        self.life += 1

    def refuse_key(self) -> None:
        """The provider refused our key."""
        is_news = self._clock() >= self._key_refused_until
        self._key_refused_until = FOREVER
        if is_news:
            self._alert(AlertKind.KEY_REFUSED, f"{self._provider} refuses our key; switched off until it is replaced")

    def run_dry(self) -> None:
        """The account is out of credit."""
        is_news = self._clock() >= self._unfunded_until
        self._unfunded_until = self._clock() + self._settings.unfunded_s
        if is_news:
            self._alert(AlertKind.UNFUNDED, f"the {self._provider} account is out of credit")

    def trip_model(self, model: str) -> None:
        """The provider does not know the model, or does not give it to us."""
        is_news = self._clock() >= self._tripped_until.get(model, float("-inf"))
        self._tripped_until[model] = self._clock() + self._settings.model_tripped_s
        if is_news:
            text = f"{self._provider} does not offer {model} to our account"
            self._alert(AlertKind.MODEL_TRIPPED, text, model)

    @property
    def disabled_reason(self) -> str | None:
        """The operator's reason; None unless disabled."""
        return self._disabled_reason if self._clock() < self._disabled_until else None

    @property
    def disabled_s(self) -> float:
        """Seconds that the provider stays disabled; infinite until it is enabled, 0 if it is."""
        return max(0.0, self._disabled_until - self._clock())

    @property
    def key_refused(self) -> bool:
        """Whether the provider refuses our key."""
        return self._clock() < self._key_refused_until

    @property
    def unfunded_s(self) -> float:
        """Seconds until credit is tried again; 0 if the account is not known to be empty."""
        return max(0.0, self._unfunded_until - self._clock())

    def tripped_models(self) -> Mapping[str, float]:
        """Models that are off, with the seconds until they are tried again."""
        now = self._clock()
        return {model: until - now for model, until in tuple(self._tripped_until.items()) if until > now}

    def _obstacle(self, reason: ExclusionReason, text: str, until: float) -> Obstacle:
        return Obstacle(reason, text, None if until == FOREVER else until - self._clock())

    def _alert(self, kind: AlertKind, text: str, model: str | None = None) -> None:
        self._on_alert(Alert(self._provider, kind, text, model))
