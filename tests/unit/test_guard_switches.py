"""The switches of a provider account: who turns them off, what turns them on again, and who is told."""

import pytest

from pictord.domain.plan import ExclusionReason
from pictord.resilience.provider_state import AlertKind, ProviderState, ProviderStateSettings

MODEL, OTHER = "gpt-image-2", "gpt-image-2.5"


class Bench:
    """One account's switches with a clock in the test's hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.alerts: list[tuple[AlertKind, str | None]] = []
        self.state = ProviderState(
            "openai",
            ProviderStateSettings(),
            clock=lambda: self.now,
            on_alert=lambda alert: self.alerts.append((alert.kind, alert.model)),
        )

    def obstacle(self, model: str = MODEL) -> ExclusionReason | None:
        obstacle = self.state.obstacle(model)
        return obstacle.reason if obstacle else None


@pytest.fixture
def bench():
    return Bench()


def test_a_new_account_is_on(bench):
    """Nothing is known against it."""
    assert bench.obstacle() is None
    assert (bench.state.disabled_reason, bench.state.disabled_s, bench.state.key_refused) == (None, 0.0, False)


def test_an_operator_disables_for_a_time(bench):
    """It comes back by itself when the time is up."""
    bench.state.disable("invoice check", for_s=60)
    bench.now = 59.0
    obstacle = bench.state.obstacle(MODEL)
    assert (obstacle.reason, obstacle.remaining_s) == (ExclusionReason.DISABLED, 1.0)
    assert "invoice check" in obstacle.text
    bench.now = 60.0

    assert bench.obstacle() is None
    assert bench.state.disabled_reason is None


def test_an_operator_disables_for_good(bench):
    """Until it is enabled; nobody can say when that is."""
    bench.state.disable("contract ended")
    bench.now = 1e9
    assert bench.state.obstacle(MODEL).remaining_s is None
    bench.state.enable()

    assert bench.obstacle() is None


def test_a_refused_key_stays_refused_until_somebody_acts(bench):
    """Time does not heal a wrong key; new secrets or an operator do."""
    bench.state.refuse_key()
    bench.now = 1e9
    assert (bench.obstacle(), bench.state.key_refused) == (ExclusionReason.KEY_REFUSED, True)
    bench.state.secrets_reloaded()
    assert bench.obstacle() is None
    bench.state.refuse_key()
    bench.state.enable()

    assert bench.obstacle() is None


def test_new_secrets_do_not_overrule_an_operator(bench):
    """A disabled provider stays disabled, and an empty account stays empty, whatever the key."""
    bench.state.disable("maintenance")
    bench.state.secrets_reloaded()

    assert bench.obstacle() is ExclusionReason.DISABLED


@pytest.mark.parametrize(
    ("turn_off", "reason"),
    [
        (lambda state: state.run_dry(), ExclusionReason.UNFUNDED),
        (lambda state: state.trip_model(MODEL), ExclusionReason.MODEL_TRIPPED),
    ],
)
def test_it_is_tried_again_after_fifteen_minutes(bench, turn_off, reason):
    """Somebody may have paid, or verified the organisation."""
    turn_off(bench.state)
    bench.now = 899.0
    assert bench.state.obstacle(MODEL).remaining_s == 1.0
    assert bench.obstacle() is reason
    bench.now = 900.0
    assert bench.obstacle() is None
    turn_off(bench.state)
    bench.state.enable()

    assert bench.obstacle() is None


def test_only_the_refused_model_is_off(bench):
    """The account may still use the others."""
    bench.state.trip_model(MODEL)

    assert (bench.obstacle(MODEL), bench.obstacle(OTHER)) == (ExclusionReason.MODEL_TRIPPED, None)
    assert bench.state.tripped_models() == {MODEL: 900.0}


def test_each_switch_alerts_once(bench):
    """Fifty calls that find the account empty are one alert; the next one is due when it is found empty again."""
    for _ in range(50):
        bench.state.run_dry()
        bench.state.refuse_key()
        bench.state.trip_model(MODEL)
        bench.state.trip_model(OTHER)
    bench.now = 901.0
    bench.state.run_dry()

    assert bench.alerts == [
        (AlertKind.UNFUNDED, None),
        (AlertKind.KEY_REFUSED, None),
        (AlertKind.MODEL_TRIPPED, MODEL),
        (AlertKind.MODEL_TRIPPED, OTHER),
        (AlertKind.UNFUNDED, None),
    ]
