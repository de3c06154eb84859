"""Real money is counted at its worst before anything is sent."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pictor_loadtest.purse import Purse


@settings(deadline=None)
@given(st.integers(1, 1000), st.lists(st.tuples(st.integers(1, 300), st.integers(0, 300), st.booleans()), max_size=30))
def test_what_is_spent_and_held_never_exceeds_the_bound(bound, calls):
    """Whatever calls cost, up to their worst price, and whether or not they ever tell."""
    purse = Purse(bound)
    for worst, cost, is_told in calls:
        if purse.hold(worst):
            if is_told:
                purse.settle(worst, min(cost, worst))
            assert purse.spent_nanos + purse.held_nanos <= bound


def test_a_call_that_fits_only_at_its_best_is_not_sent():
    purse = Purse(100)

    assert purse.hold(60)
    assert not purse.hold(60)
    purse.settle(60, 5)
    assert purse.hold(60)
    assert not purse.hold(36)


def test_without_a_bound_everything_fits():
    assert Purse(None).hold(10**18)
