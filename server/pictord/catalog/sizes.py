"""Which pixels an engine draws for an asked ratio and size class.

Two kinds of engine: one computes any size on a pixel grid within limits (gpt-image-2), one has a table (Gemini).
Both answer the same two questions: which of your ratios is nearest, and how large is it at this resolution.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, PlainValidator

from pictord.catalog.overlay import STRICT
from pictord.domain.request import Ratio, Resolution

RatioText = Annotated[Ratio, PlainValidator(lambda text: Ratio.parse(str(text)))]
SizePx = tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]]

GRID_RATIO_ERROR = 0.01
"""Rounding to the grid may move the ratio by this much and is no adaptation (design, section 3)."""

_AREA_WEIGHT = 0.1
"""One percent of area is worth a tenth of a percent of ratio when sizes on the grid compete."""


@dataclass(frozen=True)
class SizeClass:
    """What a resolution means to an engine that takes any size: an area, or a longest edge in pixels."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    pixels: Annotated[int, Field(gt=0)] | None = None
    longest_edge_px: Annotated[int, Field(gt=0)] | None = None

    def __post_init__(self) -> None:
        if (self.pixels is None) == (self.longest_edge_px is None):
            raise ValueError("give either pixels or longest_edge_px")


@dataclass(frozen=True, slots=True)
class Size:
    """Pixels (width, height); `reduced` if they fall short of what the resolution means."""

    px: tuple[int, int]
    reduced: bool = False


@dataclass(frozen=True, eq=False)
class GridSizes:
    """Any width and height that are multiples of `multiple_px`, within ratio, area and edge limits."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    kind: Literal["grid"]
    multiple_px: Annotated[int, Field(gt=0)]
    narrowest: RatioText
    widest: RatioText
    min_pixels: Annotated[int, Field(gt=0)]
    max_pixels: Annotated[int, Field(gt=0)]
    longest_edge_px: Annotated[int, Field(gt=0)]
    resolutions: tuple[Resolution, ...]
    source: str
    date: date

    def nearest(self, asked: Ratio) -> Ratio:
        """The asked ratio, or the limit that it passes."""
        if asked.value > self.widest.value:
            return self.widest
        return self.narrowest if asked.value < self.narrowest.value else asked

    def size(self, ratio: Ratio, resolution: Resolution, target: SizeClass) -> Size:
        """The best size on the grid for a ratio within the limits."""
        del resolution
        return _grid_size(self, ratio, target)

    @property
    def ratios(self) -> tuple[Ratio, ...]:
        """Empty: any ratio within the limits is drawn exactly."""
        return ()

    def describe_ratios(self) -> str:
        """The ratios in words."""
        return f"from {self.narrowest} to {self.widest}"


@dataclass(frozen=True, eq=False)
class TableSizes:
    """Only these ratios, each with its pixels for every size class."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    kind: Literal["table"]
    pixels: Annotated[Mapping[str, Mapping[Resolution, SizePx]], Field(min_length=1)]
    source: str
    date: date

    def __post_init__(self) -> None:
        if len({frozenset(row) for row in self.pixels.values()}) != 1:
            raise ValueError("every ratio needs pixels for the same resolutions")
        _ = self._sorted  # a malformed ratio is an error of the file, not of the first request

    @cached_property
    def resolutions(self) -> tuple[Resolution, ...]:
        """The size classes of the table, smallest first."""
        offered = next(iter(self.pixels.values()))
        return tuple(r for r in Resolution if r in offered)

    @cached_property
    def _sorted(self) -> tuple[tuple[float, ...], tuple[Ratio, ...]]:
        ratios = sorted((Ratio.parse(text) for text in self.pixels), key=lambda r: r.value)
        return tuple(math.log(r.value) for r in ratios), tuple(ratios)

    @property
    def ratios(self) -> tuple[Ratio, ...]:
        """The ratios that are drawn exactly, narrowest first."""
        return self._sorted[1]

    @property
    def narrowest(self) -> Ratio:
        """The narrowest ratio."""
        return self.ratios[0]

    @property
    def widest(self) -> Ratio:
        """The widest ratio."""
        return self.ratios[-1]

    def nearest(self, asked: Ratio) -> Ratio:
        """The ratio of the table that differs least by factor."""
        logs, ratios = self._sorted
        value = math.log(asked.value)
        i = bisect_left(logs, value)
        if i == 0 or (i < len(logs) and logs[i] - value < value - logs[i - 1]):
            return ratios[i]
        return ratios[i - 1]

    def size(self, ratio: Ratio, resolution: Resolution, target: SizeClass) -> Size:
        """The pixels of a ratio and size class of the table."""
        del target
        return Size(self.pixels[ratio.text][resolution])

    def describe_ratios(self) -> str:
        """The ratios in words."""
        return ", ".join(r.text for r in self.ratios)


Sizes = Annotated[GridSizes | TableSizes, Field(discriminator="kind")]


def ratio_error(one: Ratio, other: Ratio) -> float:
    """By what share two ratios differ: 0.02 is two percent, whichever is larger."""
    if one.value == other.value:
        return 0.0
    return _factor(float(one.value) / float(other.value)) - 1


def _factor(quotient: float) -> float:
    return max(quotient, 1 / quotient)


@lru_cache(maxsize=4096)
def _grid_size(grid: GridSizes, ratio: Ratio, target: SizeClass) -> Size:
    """The best (width, height) for a ratio: full size if the limits allow it, else the largest they allow."""
    is_wide = ratio.value >= 1
    shape = _Shape(grid, _factor(float(ratio.value)), grid.widest.value if is_wide else 1 / grid.narrowest.value)
    full = shape.of_class(target)
    longer, shorter = full or shape.largest()
    return Size((longer, shorter) if is_wide else (shorter, longer), reduced=full is None)


@dataclass(frozen=True, slots=True)
class _Shape:
    """A ratio as longer side by shorter side, and the steepest one that the grid allows in this direction."""

    grid: GridSizes
    factor: float
    steepest: Fraction

    def of_class(self, target: SizeClass) -> tuple[int, int] | None:
        if target.longest_edge_px is not None:
            return self._best(self._with_edge(target.longest_edge_px), target.longest_edge_px**2 / self.factor)
        area = float(target.pixels or 0)
        return self._best(self._near(area), area) if area <= self.grid.max_pixels else None

    def largest(self) -> tuple[int, int]:
        """The largest size within the limits.

        Raises:
            ValueError: there is none; the limits contradict each other.
        """
        area = min(float(self.grid.max_pixels), self.grid.longest_edge_px**2 / self.factor)
        best = self._best(self._near(area), area)
        if best is None:
            raise ValueError("the limits allow no size")
        return best

    def _with_edge(self, edge: int) -> list[tuple[int, int]]:
        below = int(edge / self.factor) // self.grid.multiple_px * self.grid.multiple_px
        return [(edge, below), (edge, below + self.grid.multiple_px)]

    def _near(self, area: float) -> list[tuple[int, int]]:
        step = self.grid.multiple_px
        ideal = round(math.sqrt(area / self.factor) / step)
        pairs = []
        for shorter in range(max(1, ideal - 12) * step, (ideal + 13) * step, step):
            below = int(shorter * self.factor) // step * step
            pairs += [(below, shorter), (below + step, shorter)]
        return pairs

    def _best(self, pairs: list[tuple[int, int]], area: float) -> tuple[int, int] | None:
        def badness(pair: tuple[int, int]) -> float:
            return self._error(pair) + _AREA_WEIGHT * abs(pair[0] * pair[1] / area - 1)

        allowed = [pair for pair in pairs if self._allows(*pair) and self._error(pair) <= GRID_RATIO_ERROR]
        return min(allowed, key=badness, default=None)

    def _error(self, pair: tuple[int, int]) -> float:
        return _factor(pair[0] / pair[1] / self.factor) - 1

    def _allows(self, longer: int, shorter: int) -> bool:
        return (
            0 < shorter <= longer <= self.grid.longest_edge_px
            and longer % self.grid.multiple_px == 0
            and self.grid.min_pixels <= longer * shorter <= self.grid.max_pixels
            and longer <= shorter * self.steepest
        )
