"""Real money: every call counts with its worst price before it is sent, and with what it cost once that is known."""


class Purse:
    """Holds and settles, in billionths of a dollar; without a bound everything fits."""

    def __init__(self, bound_nanos: int | None) -> None:
        self.bound_nanos = bound_nanos
        self.held_nanos = 0
        """At worst, of calls that have not ended, or ended without a word of their cost."""
        self.spent_nanos = 0

    def hold(self, worst_nanos: int) -> bool:
        """Count a call with its worst price, if that fits."""
        if self.bound_nanos is not None and self.spent_nanos + self.held_nanos + worst_nanos > self.bound_nanos:
            return False
        self.held_nanos += worst_nanos
        return True

    def settle(self, worst_nanos: int, cost_nanos: int) -> None:
        """Count it with what it cost instead."""
        self.held_nanos -= worst_nanos
        self.spent_nanos += cost_nanos
