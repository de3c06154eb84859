"""The figures that can be asserted, their units, and the tiny grammar: `overhead_p99<50ms`, `pro.latency_p95<60s`."""

import operator
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from pictor_loadtest.percentiles import NEEDED, STATISTICS


class Unit(StrEnum):
    """What a figure counts; figures are kept in the unit of this value."""

    SECONDS = "s"
    SHARE = "share"
    PER_SECOND = "/s"
    USD = "usd"
    COUNT = ""


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure that has a name."""

    unit: Unit
    about: str
    more_is_better: bool = False


SPANS: Mapping[str, str] = {
    "latency": "from the time at which a call was due to its answer",
    "call": "from the time at which a call was sent to its answer; hides what waited before",
    "delay": "from the time at which a call was due to its being sent: the harness itself, and its bound in flight",
    "first_preview": "from the time at which a stream was due to its first whole preview",
    "added": "latency without the engines' time: harness, network and gateway",
    "queue": "Generation.timings.queue: waiting for the limiter or a slot",
    "provider": "Generation.timings.provider: at the engines",
    "store": "Generation.timings.store: storing",
    "overhead": "Generation.timings.overhead: everything else in the gateway",
}
"""Spans of time that are measured for every call."""

SINGLE: Mapping[str, Metric] = {
    "calls": Metric(Unit.COUNT, "calls that were due", more_is_better=True),
    "offered": Metric(Unit.PER_SECOND, "calls due, a second", more_is_better=True),
    "throughput": Metric(
        Unit.PER_SECOND, "good answers a second, from the first call to the last answer", more_is_better=True
    ),
    "errors": Metric(Unit.SHARE, "calls without a picture"),
    "failovers": Metric(Unit.SHARE, "good answers for which a second engine was tried"),
    "held_back": Metric(Unit.SHARE, "calls that waited because the bound in flight was reached"),
    "drift": Metric(Unit.SHARE, "how much longer calls took in the last third than in the first, shape by shape"),
    "cost": Metric(Unit.USD, "everything it cost; the sandbox's money if it is one"),
    "cost_per_picture": Metric(Unit.USD, "cost by pictures"),
}

METRICS: Mapping[str, Metric] = {
    **{f"{span}_{statistic}": Metric(Unit.SECONDS, about) for span, about in SPANS.items() for statistic in STATISTICS},
    **SINGLE,
}

OF_THE_RUN_ALONE = ("held_back", "drift")
"""Not of one shape."""

_FACTORS: Mapping[Unit, Mapping[str, float]] = {
    Unit.SECONDS: {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0},
    Unit.SHARE: {"%": 0.01},
    Unit.PER_SECOND: {"/s": 1.0, "/min": 1 / 60},
    Unit.USD: {"usd": 1.0},
    Unit.COUNT: {"": 1.0},
}
_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ASSERTION = re.compile(r"\s*(?:([\w-]+)\.)?([a-z_0-9]+)\s*(<=|>=|<|>)\s*(\d+(?:\.\d+)?)\s*([a-z%/]*)\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Assertion:
    """What must hold of a run."""

    text: str
    shape: str
    """Empty for the run as a whole."""
    metric: str
    operator: str
    bound: float
    """In the metric's unit."""

    @classmethod
    def parse(cls, text: str, shapes: Collection[str]) -> "Assertion":
        """Read `[SHAPE.]METRIC OPERATOR NUMBER UNIT`.

        Raises:
            ValueError: It is none, or names what does not exist; the text says what does.
        """
        found = _ASSERTION.fullmatch(text)
        if found is None:
            raise ValueError(f"`{text}` is no assertion such as overhead_p99<50ms or pro.latency_p95<=60s")
        shape, name, sign, number, unit = found.groups()
        if shape and shape not in shapes:
            raise ValueError(f"`{text}`: the mix has no shape `{shape}`; it has {', '.join(shapes)}")
        if name not in METRICS:
            raise ValueError(f"`{text}`: there is no metric `{name}`; {_offer()}")
        if shape and name in OF_THE_RUN_ALONE:
            raise ValueError(f"`{text}`: `{name}` is of the whole run, not of one shape")
        factors = _FACTORS[METRICS[name].unit]
        if unit not in factors:
            wanted = " or ".join(filter(None, factors)) or "no unit"
            raise ValueError(f"`{text}`: {name} takes {wanted}, not `{unit or 'no unit'}`")
        return cls(text.strip(), shape or "", name, sign, float(number) * factors[unit])

    def judged(self, figures: Mapping[str, float]) -> tuple[float | None, str]:
        """The figure that is held against the bound, and a note if it is another one than was asked for.

        With too few calls for a percentile, an upper bound is held against the slowest call: stricter, and no chance.
        """
        value, (span, _, statistic) = figures.get(self.metric), self.metric.rpartition("_")
        if value is not None or statistic not in NEEDED or self.operator not in ("<", "<="):
            return value, ""
        note = f"the slowest; a {statistic} takes {NEEDED[statistic]:,} calls"
        slowest = figures.get(f"{span}_max")
        return (None, "") if slowest is None else (slowest, note)

    def holds(self, value: float | None) -> bool:
        """Whether a figure keeps the bound; what was never measured does not."""
        return value is not None and _OPERATORS[self.operator](value, self.bound)


def _offer() -> str:
    return f"there are {', '.join(SINGLE)}, and {', '.join(SPANS)} each with _{', _'.join(STATISTICS)}"


def shown(name: str, value: float | None) -> str:
    """A figure for people, e.g. `12.3 ms`."""
    return "-" if value is None else shown_as(METRICS[name].unit, value)


def shown_as(unit: Unit, value: float) -> str:
    """A figure of this unit for people."""
    match unit:
        case Unit.SECONDS:
            return seconds(value)
        case Unit.SHARE:
            return f"{value * 100:.{0 if value in (0, 1) else 1 if abs(value) >= 0.001 else 3}f} %"
        case Unit.PER_SECOND:
            return f"{value:.{1 if value < 100 else 0}f}/s"
        case Unit.USD:
            return f"${value:,.4f}"
        case Unit.COUNT:
            return f"{value:,.0f}"


def seconds(value: float) -> str:
    """A span of time with three digits and its best unit."""
    if value >= 600:
        return f"{value / 60:.1f} min"
    factor, name = (1.0, "s") if value >= 0.9995 else (1e3, "ms") if value >= 0.0009995 or value == 0 else (1e6, "us")
    scaled = value * factor
    return f"{scaled:.{0 if scaled >= 99.95 or value == 0 else 1 if scaled >= 9.995 else 2}f} {name}"
