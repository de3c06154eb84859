"""Percentiles of what was measured: exact, from sorted values, without buckets."""

import math
from collections.abc import Iterable, Sequence

STATISTICS = ("p50", "p90", "p95", "p99", "p999", "max", "mean")
NEEDED = {"p99": 100, "p999": 1000}
"""Values that a high percentile takes; of fewer it would only be the highest of them by another name."""

_SHARES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999, "max": 1.0}


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all values does not exceed (nearest rank).

    Args:
        ordered: At least one value, in ascending order.
        share: 0 to 1.
    """
    # 0.07 * 100 is a little more than 7; a rank must not rise by such an error.
    rank = math.ceil(round(share * len(ordered), 9))
    return ordered[max(rank, 1) - 1]


def statistics(values: Iterable[float]) -> dict[str, float]:
    """The STATISTICS by name, without percentiles that need more values; empty if there are no values."""
    ordered = sorted(values)
    if not ordered:
        return {}
    enough = {name: share for name, share in _SHARES.items() if len(ordered) >= NEEDED.get(name, 1)}
    found = {name: percentile(ordered, share) for name, share in enough.items()}
    return found | {"mean": math.fsum(ordered) / len(ordered)}


def curve(values: Iterable[float], points: int = 120) -> list[tuple[float, float]]:
    """Value by share for a plot whose shares go on as far as there are values: (share, value), ascending.

    Points are even in the logarithm of what is left above them, as in an HDR plot, so that the tail is as well drawn
    as the middle.
    """
    ordered = sorted(values)
    if not ordered:
        return []
    depth = math.log10(2 * len(ordered))  # half a call from the end, where the highest value is
    shares = [1 - 10 ** (-depth * step / points) for step in range(points + 1)]
    return [(share, percentile(ordered, share)) for share in shares]
