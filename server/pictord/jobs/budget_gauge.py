"""What metrics show of the budgets at any moment."""

from collections.abc import Callable, Iterable, Mapping

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from pictord import telemetry


def watch_budgets(meter: Meter, used: Callable[[], Mapping[str, float]]) -> None:
    """Make the gauge; it is read when somebody looks, in whatever thread that is.

    Args:
        meter: where measurements go.
        used: the share of each budget that is spent, by its id.
    """

    def shares(_options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(share, {telemetry.BUDGET_ID: name}) for name, share in used().items()]

    meter.create_observable_gauge(telemetry.BUDGET_USED, [shares], "1", "Spent share of each budget in its window")
