"""What was measured, and the medians of it."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Measurement:
    """One contestant's values in one load of one round; the values' names end in their units."""

    load: str
    who: str
    values: Mapping[str, float]
    calls: int = 0
    errors: int = 0
    wrong: int = 0
    error: str = ""


class Missing(LookupError):
    """A load was not run, so its figure cannot be told."""


class Measurements:
    """All measurements of a run."""

    def __init__(self, measured: Iterable[Measurement]) -> None:
        self.all: Sequence[Measurement] = tuple(measured)

    def median(self, load: str, who: str, value: str) -> float:
        """The median of a value over the rounds.

        Raises:
            Missing: the load was not run.
        """
        found = [each.values[value] for each in self.all if (each.load, each.who) == (load, who)]
        if not found:
            raise Missing(f"{load} {who}")
        return statistics.median(found)


def of_result(load: str, who: str, result: Mapping[str, Any]) -> Measurement:
    """The values of a closed loop: CPU and latencies in milliseconds, throughput per second, use of the core."""
    latencies_ms = [seconds * 1e3 for seconds in result["latencies_s"]]
    values = {"p50_ms": percentile(latencies_ms, 50), "p95_ms": percentile(latencies_ms, 95)}
    if result["seconds"]:
        values |= {
            "cpu_ms": result["cpu_s"] * 1e3 / result["calls"],
            "per_s": result["calls"] / result["seconds"],
            "core_busy": result["cpu_s"] / result["seconds"],
        }
    return Measurement(load, who, values, result["calls"], result["errors"], result["wrong"], result["error"])


def percentile(values: Sequence[float], percent: int) -> float:
    """The nearest-rank percentile; 0 without values."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, len(ranked) * percent // 100)] if ranked else 0.0
