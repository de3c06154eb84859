"""Is this run worse than an earlier one of the same load? What counts as worse is stated here, and in the report."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pictor_loadtest.figures import FORMAT
from pictor_loadtest.metrics import METRICS, Unit

TOLERANCE = 0.25
"""Single figures of the same code move by a fifth on a quiet machine."""

_SLACK: Mapping[Unit, float] = {Unit.SECONDS: 0.005, Unit.SHARE: 0.01, Unit.PER_SECOND: 0.0, Unit.USD: 0.0}
"""On top of the tolerance: a span of 1 ms may become one of 3 ms by the weather alone."""

_NEEDED = {"p99": 200, "p95": 50, "p50": 10}
"""Calls that a percentile needs, in both runs, to be more than chance."""

COMPARED = (
    "latency_p50",
    "latency_p95",
    "latency_p99",
    "added_p50",
    "added_p95",
    "added_p99",
    "overhead_p50",
    "overhead_p95",
    "overhead_p99",
    "first_preview_p50",
    "first_preview_p95",
    "throughput",
    "errors",
    "failovers",
    "cost_per_picture",
)

_SAME = (
    "mix",
    "mix_sha256",
    "rate",
    "spacing",
    "duration_s",
    "seed",
    "max_in_flight",
    "connections",
    "max_inline_bytes",
)


@dataclass(frozen=True, slots=True)
class Compared:
    """One figure, then and now."""

    metric: str
    then: float
    now: float
    bound: float
    """The worst that is still taken."""

    @property
    def is_worse(self) -> bool:
        """Whether it went beyond the bound."""
        return self.now < self.bound if METRICS[self.metric].more_is_better else self.now > self.bound


def read(path: Path) -> Mapping[str, Any]:
    """Read the JSON of an earlier run.

    Raises:
        ValueError: It is none.
        OSError: It cannot be read.
    """
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT or "load" not in found or "figures" not in found:
        raise ValueError(f"{path} is no report of `pictor loadtest` in the format {FORMAT}")
    return found


def check_same(then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Both runs must be of the same load.

    Args:
        then: `load` of the baseline.
        now: `load` of the run to come.

    Raises:
        ValueError: They differ; the text says in what.
    """
    differing = [
        f"{name} was {then.get(name)}, is {now.get(name)}" for name in _SAME if then.get(name) != now.get(name)
    ]
    if differing:
        raise ValueError(f"the baseline is of another load: {'; '.join(differing)}")


def tolerance(text: str) -> float:
    """Read `25%`.

    Raises:
        ValueError: It is no such thing.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", text, re.ASCII)
    if found is None:
        raise ValueError(f"a tolerance is a share such as 25%; this is `{text}`")
    return float(found[1]) / 100


def compare(then: Mapping[str, float], now: Mapping[str, float], tolerated: float) -> list[Compared]:
    """All figures of COMPARED that both runs have, with calls enough to tell.

    Args:
        then: Metrics of the baseline.
        now: Metrics of this run.
        tolerated: Share by which a figure may be worse.
    """
    calls = min(then.get("calls", 0.0), now.get("calls", 0.0))
    found = []
    for name in COMPARED:
        if name in then and name in now and calls >= _NEEDED.get(name.rpartition("_")[2], 0):
            metric = METRICS[name]
            slack = _SLACK[metric.unit]
            if metric.more_is_better:
                bound = then[name] / (1 + tolerated) - slack
            else:
                bound = then[name] * (1 + tolerated) + slack
            found.append(Compared(name, then[name], now[name], bound))
    return found
