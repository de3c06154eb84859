"""Which pixels an engine draws for an asked ratio and size class, or for a picture whose own pixels are wanted.

Two kinds of engine: one computes any size on a pixel grid within limits (gpt-image-2), one has a table (Gemini).
Both answer the same questions: which of your ratios is nearest, how large is it at this resolution, and can you draw
exactly the pixels of this picture, or what is nearest to them.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from functools import cached_property, lru_cache
from itertools import product
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


@dataclass(frozen=True, eq=False)
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

    def nearest(self, asked: Ratio) -> tuple[Ratio, float]:
        """The asked ratio, or the limit that it passes; and by what share it differs."""
        value, (least, most) = _quotient(asked), self._limits
        if least <= value <= most:
            return asked, 0.0
        return (self.widest, _difference(value, most)) if value > most else (self.narrowest, _difference(value, least))

    @cached_property
    def _limits(self) -> tuple[float, float]:
        return _quotient(self.narrowest), _quotient(self.widest)

    def size(self, ratio: Ratio, resolution: Resolution, target: SizeClass) -> Size:
        """The best size on the grid for a ratio within the limits."""
        del resolution
        return _grid_size(self, ratio.value.numerator, ratio.value.denominator, target)

    def draws(self, px: tuple[int, int]) -> bool:
        """Whether this very (width, height) lies on the grid and within the limits."""
        return _shape(self, *px).allows(max(px), min(px))

    def near(self, picture_px: tuple[int, int], ratio: Ratio, resolution: Resolution) -> Size:
        """A picture's own (width, height) where it can be drawn, else the nearest; `ratio` is within the limits.

        Nearest is each side moved to the grid by itself; where the limits or the ratio forbid that, what is nearest in
        ratio and then in area.
        """
        del resolution
        if self.draws(picture_px):
            return Size(picture_px)
        return _grid_near(self, ratio.value.numerator, ratio.value.denominator, picture_px)

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
        ratios = sorted((Ratio.parse(text) for text in self.pixels), key=lambda ratio: ratio.value)
        return tuple(_quotient(ratio) for ratio in ratios), tuple(ratios)

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

    def nearest(self, asked: Ratio) -> tuple[Ratio, float]:
        """The ratio of the table that differs least by factor; and by what share it differs."""
        values, ratios = self._sorted
        value = _quotient(asked)
        above = min(bisect_left(values, value), len(values) - 1)
        below = max(above - 1, 0)
        off_above, off_below = _difference(value, values[above]), _difference(value, values[below])
        return (ratios[above], off_above) if off_above < off_below else (ratios[below], off_below)

    def size(self, ratio: Ratio, resolution: Resolution, target: SizeClass) -> Size:
        """The pixels of a ratio and size class of the table."""
        del target
        return Size(self.pixels[ratio.text][resolution])

    def draws(self, px: tuple[int, int]) -> bool:
        """Whether this very (width, height) stands in the table."""
        return any(px in row.values() for row in self.pixels.values())

    def near(self, picture_px: tuple[int, int], ratio: Ratio, resolution: Resolution) -> Size:
        """What is nearest to a picture's (width, height): the entry of its nearest ratio and size class."""
        del picture_px
        return Size(self.pixels[ratio.text][resolution])

    def describe_ratios(self) -> str:
        """The ratios in words."""
        return ", ".join(r.text for r in self.ratios)


Sizes = Annotated[GridSizes | TableSizes, Field(discriminator="kind")]


def nearest_resolution(
    sizes: GridSizes | TableSizes,
    picture_px: tuple[int, int],
    ratio: Ratio,
    classes: Mapping[Resolution, SizeClass],
) -> Resolution:
    """The size class in which an engine's pictures of this ratio are nearest in area to a given picture."""
    area = math.prod(picture_px)

    def off(resolution: Resolution) -> float:
        return _factor(area / math.prod(sizes.size(ratio, resolution, classes[resolution]).px))

    return min(sizes.resolutions, key=off)


def difference(one: Ratio, other: Ratio) -> float:
    """By what share two ratios differ: 0.02 is two percent, whichever is larger."""
    return _difference(_quotient(one), _quotient(other))


def _quotient(ratio: Ratio) -> float:
    """A ratio as a float, which compares ten times as fast as a fraction; equal ratios give equal floats."""
    return ratio.value.numerator / ratio.value.denominator


def _difference(one: float, other: float) -> float:
    """By what share two ratios differ: 0.02 is two percent, whichever is larger.

    Rounded to 9 places, so that exactly two percent is not more than two percent; ratios that can be written differ
    by more than that.
    """
    return round(_factor(one / other) - 1, 9)


def _factor(quotient: float) -> float:
    return quotient if quotient >= 1 else 1 / quotient


@lru_cache(maxsize=4096)
def _grid_size(grid: GridSizes, width: int, height: int, target: SizeClass) -> Size:
    """The best (width, height) for the ratio `width:height`: full size if the limits allow it, else the largest."""
    shape = _shape(grid, width, height)
    full = shape.of_class(target)
    longer, shorter = full or shape.largest()
    return Size((longer, shorter) if width >= height else (shorter, longer), reduced=full is None)


@lru_cache(maxsize=4096)
def _grid_near(grid: GridSizes, width: int, height: int, picture_px: tuple[int, int]) -> Size:
    """The (width, height) for the ratio `width:height` that is nearest to a picture's."""
    shape, is_wide = _shape(grid, width, height), width >= height
    longer, shorter = shape.rounded(picture_px if is_wide else picture_px[::-1]) or shape.nearest(math.prod(picture_px))
    return Size((longer, shorter) if is_wide else (shorter, longer))


def _shape(grid: GridSizes, width: int, height: int) -> "_Shape":
    steepest = grid.widest.value if width >= height else 1 / grid.narrowest.value
    return _Shape(grid, _factor(width / height), steepest)


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
        best = self._best(self._near(self._most), self._most)
        if best is None:
            raise ValueError("the limits allow no size")
        return best

    def rounded(self, picture: tuple[int, int]) -> tuple[int, int] | None:
        """A picture's sides moved to the grid, the shorter way; None if limits or ratio forbid it."""
        step = self.grid.multiple_px
        longer, shorter = ((side // step * step, -(-side // step) * step) for side in picture)
        pairs = filter(self._fits, product(longer, shorter))
        area = math.prod(picture)
        return min(pairs, key=lambda pair: (math.dist(pair, picture), self._badness(pair, area)), default=None)

    def nearest(self, area: float) -> tuple[int, int]:
        """The size within the limits that is nearest to an area in pixels.

        Raises:
            ValueError: as `largest`.
        """
        within = min(max(area, float(self.grid.min_pixels)), self._most)
        return self._best(self._near(within), within) or self.largest()

    @property
    def _most(self) -> float:
        return min(float(self.grid.max_pixels), self.grid.longest_edge_px**2 / self.factor)

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
        return min(filter(self._fits, pairs), key=lambda pair: self._badness(pair, area), default=None)

    def _badness(self, pair: tuple[int, int], area: float) -> float:
        return self._error(pair) + _AREA_WEIGHT * abs(pair[0] * pair[1] / area - 1)

    def _fits(self, pair: tuple[int, int]) -> bool:
        return self.allows(*pair) and self._error(pair) <= GRID_RATIO_ERROR

    def _error(self, pair: tuple[int, int]) -> float:
        return _factor(pair[0] / pair[1] / self.factor) - 1

    def allows(self, longer: int, shorter: int) -> bool:
        """Whether a size lies on the grid and within the limits."""
        return (
            0 < shorter <= longer <= self.grid.longest_edge_px
            and longer % self.grid.multiple_px == shorter % self.grid.multiple_px == 0
            and self.grid.min_pixels <= longer * shorter <= self.grid.max_pixels
            and longer <= shorter * self.steepest
        )
