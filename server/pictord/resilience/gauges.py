"""What metrics show of the guards at any moment: breakers, switches, rate limits, queues, calls in flight."""

from collections.abc import Callable, Iterable, Mapping

from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.util.types import AttributeValue

from pictord import telemetry
from pictord.domain.plan import ExclusionReason
from pictord.resilience.guard import Guards
from pictord.resilience.status import ProviderStatus

_BREAKER_LEVELS = {"closed": 0, "half_open": 1, "open": 2}
_GAUGES: tuple[tuple[str, str, str, Callable[[ProviderStatus], float | None]], ...] = (
    (telemetry.RATE_LIMIT_WAIT, "s", "What a new call would wait", lambda status: status.limiter.wait_s),
    (telemetry.RATE_LIMIT_AVAILABLE, "{call}", "Calls that could start at once", lambda status: status.limiter.tokens),
    (telemetry.QUEUE_WAITING, "{call}", "Calls that wait for their turn", lambda status: status.waiting),
    (telemetry.IN_FLIGHT, "{call}", "Calls at the provider", lambda status: status.in_flight),
)
"""Name, unit, description, and what it shows of a provider; None (no quota) shows nothing."""


def watch_guards(meter: Meter, guards: Guards, backends: Mapping[str, str]) -> None:
    """Make the gauges; they are read when somebody looks, in whatever thread that is.

    Args:
        meter: where measurements go.
        guards: what is measured.
        backends: which API serves each configured provider.
    """

    def provider(status: ProviderStatus) -> dict[str, AttributeValue]:
        name = telemetry.provider_name(status.provider, backends.get(status.provider))
        return {telemetry.GEN_AI_PROVIDER_NAME: name}

    def breakers(_options: CallbackOptions) -> Iterable[Observation]:
        for status in guards.status():
            for each in status.breakers:
                where = {telemetry.GEN_AI_REQUEST_MODEL: each.key.model, telemetry.OPERATION: each.key.operation.value}
                yield Observation(_BREAKER_LEVELS[each.state.value], provider(status) | where)

    def obstacles(_options: CallbackOptions) -> Iterable[Observation]:
        for status in guards.status():
            seen = {
                ExclusionReason.NOT_CONFIGURED: status.provider not in backends,
                ExclusionReason.DISABLED: status.disabled_reason is not None,
                ExclusionReason.KEY_REFUSED: status.key_refused,
                ExclusionReason.UNFUNDED: status.unfunded_s > 0,
            }
            for reason, is_there in seen.items():
                yield Observation(int(is_there), provider(status) | {telemetry.OBSTACLE: reason.value})

    def watch(level: Callable[[ProviderStatus], float | None]) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def levels(_options: CallbackOptions) -> Iterable[Observation]:
            seen = ((status, level(status)) for status in guards.status())
            return [Observation(value, provider(status)) for status, value in seen if value is not None]

        return levels

    meter.create_observable_gauge(telemetry.BREAKER_STATE, [breakers], "{state}", "0 closed, 1 half open, 2 open")
    meter.create_observable_gauge(
        telemetry.PROVIDER_OBSTACLE, [obstacles], "{obstacle}", "1 while nothing is sent for this reason, else 0"
    )
    for name, unit, description, level in _GAUGES:
        meter.create_observable_gauge(name, [watch(level)], unit, description)
