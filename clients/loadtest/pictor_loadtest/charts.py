"""Charts as inline SVG: colours come from the page's CSS, so that they follow light and dark, and print.

What the mouse reads is in a JSON island beside each chart; without scripts the charts are complete all the same.
"""

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 560, 236
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 14, 10, 28
_PLOT_WIDTH, _PLOT_HEIGHT = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

Format = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Series:
    """One line, area or row of columns."""

    name: str
    colour: str
    """A class of the page's CSS: `c1` to `c8`, `muted`, `bad`."""
    points: Sequence[tuple[float, float | None]]
    kind: str = "line"
    """`line`, `area`, `step`, `columns` (of equal width), `dashed`."""


@dataclass(frozen=True, slots=True)
class Axis:
    """Where values lie along one side."""

    low: float
    high: float
    ticks: Sequence[float]
    format: Format
    move: Callable[[float], float] = lambda value: value
    """From a value to where it lies on an even axis, e.g. its logarithm."""

    def place(self, value: float) -> float:
        """From 0 to 1."""
        low, high = self.move(self.low), self.move(self.high)
        return min(1.0, max(0.0, (self.move(value) - low) / ((high - low) or 1)))


def even(low: float, high: float, form: Format, about: int = 5) -> Axis:
    """An axis that ends on a round number."""
    span = (high - low) or 1.0
    power = 10 ** math.floor(math.log10(span / about))
    step = next(power * each for each in (1, 2, 2.5, 5, 10) if power * each * about >= span * 0.999)
    top = low + step * math.ceil((span * 0.999) / step)
    count = round((top - low) / step)
    return Axis(low, top, [low + step * number for number in range(count + 1)], form)


def of_time(end_s: float, form: Format) -> Axis:
    """Seconds from 0 to the end, with ticks that a clock has."""
    step = next((each for each in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600) if end_s / each <= 8), 7200)
    return Axis(0.0, end_s, [float(step * number) for number in range(int(end_s / step) + 1)], form)


def logarithmic(low: float, high: float, form: Format) -> Axis:
    """An axis of decades; with ticks between them if they are few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high * 1.0001))
    between = (1, 2, 5) if last - first <= 2 else (1, 3) if last - first <= 3 else (1,)
    ticks = [10.0**power * each for power in range(first, last + 1) for each in between]
    below = max([tick for tick in ticks if tick <= low], default=low)
    above = min([tick for tick in ticks if tick >= high], default=high)
    return Axis(below, above, [tick for tick in ticks if below <= tick <= above], form, math.log10)


def of_shares(deepest: float) -> Axis:
    """Shares of calls, in the logarithm of what is left above: 50 %, 90 %, 99 % lie evenly."""
    known = [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999]
    ticks = [share for share in known if share <= deepest]
    return Axis(0.0, deepest, ticks, lambda share: f"{share * 100:.6g} %", lambda share: -math.log10(1 - share))


def plot(
    series: Sequence[Series], x: Axis, y: Axis, *, about: str, until: float | None = None, legend: bool = True
) -> str:
    """A chart of series over one axis.

    Args:
        series: Drawn in this order, the last on top.
        x: The lower side.
        y: The left side.
        about: What is seen, for those who do not see it.
        until: Where the load ends; what comes after it is shaded.
        legend: Whether to name the series above the chart.
    """
    parts = [_grid(x, y, until)]
    parts += [_drawn(each, x, y) for each in series]
    island = {
        "x": [_px(x, point[0]) for point in max(series, key=lambda each: len(each.points)).points],
        "label": [x.format(point[0]) for point in max(series, key=lambda each: len(each.points)).points],
        "series": [
            {
                "name": each.name,
                "colour": each.colour,
                "x": [_px(x, place) for place, _ in each.points],
                "y": [None if value is None else _py(y, value) for _, value in each.points],
                "text": ["" if value is None else y.format(value) for _, value in each.points],
            }
            for each in series
        ],
    }
    keys = "".join(f'<li><i class="key {each.colour} {each.kind}"></i>{escape(each.name)}</li>' for each in series)
    return (
        (f'<ul class="legend">{keys}</ul>' if legend else "")
        + f'<div class="chart"><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(about)}">'
        + "".join(parts)
        + f'<line class="cursor" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}" hidden></line></svg>'
        + f'<script type="application/json">{_island(island)}</script></div>'
    )


@dataclass(frozen=True, slots=True)
class Bar:
    """One stacked bar: name, parts (colour, name, value) and what stands at its end."""

    name: str
    parts: Sequence[tuple[str, str, float]]
    end: str


def bars(rows: Sequence[Bar], form: Format, *, about: str) -> str:
    """Stacked bars lying below each other, as HTML: names of any length fit."""
    longest = max((sum(part[2] for part in row.parts) for row in rows), default=0) or 1
    names = {part[1]: part[0] for row in rows for part in row.parts if part[2] > 0}
    keys = "".join(f'<li><i class="key {colour}"></i>{escape(name)}</li>' for name, colour in names.items())
    lines = "".join(_bar(row, longest, form) for row in rows)
    return f'<ul class="legend">{keys}</ul><div class="bars" role="img" aria-label="{escape(about)}">{lines}</div>'


def _bar(row: Bar, longest: float, form: Format) -> str:
    pieces = "".join(
        f'<i class="{colour}" style="width:{100 * value / longest:.3f}%" '
        f'title="{escape(f"{name}: {form(value)}")}"></i>'
        for colour, name, value in row.parts
        if value > 0
    )
    name, end = escape(row.name), escape(row.end)
    return f'<div class="bar"><span>{name}</span><div class="track">{pieces}</div><b>{end}</b></div>'


def _island(data: object) -> str:
    """JSON that can stand in a script element whatever its texts hold."""
    return json.dumps(data).replace("<", r"\u003c")


def _px(x: Axis, value: float) -> float:
    return round(_LEFT + _PLOT_WIDTH * x.place(value), 2)


def _py(y: Axis, value: float) -> float:
    return round(_TOP + _PLOT_HEIGHT * (1 - y.place(value)), 2)


def _short(axis: Axis, tick: float) -> str:
    """A tick without the digits that say nothing: `5 s`, not `5.00 s`."""
    text = axis.format(tick)
    return "0" if tick == 0 else escape(re.sub(r"\.?0+(?= |$)", "", text) if "." in text else text)


def _grid(x: Axis, y: Axis, until: float | None) -> str:
    parts = []
    if until is not None and until < x.high * 0.999:
        left = _px(x, until)
        parts.append(
            f'<rect class="after" x="{left}" y="{_TOP}" width="{_WIDTH - _RIGHT - left}" height="{_PLOT_HEIGHT}"/>'
        )
    for tick in y.ticks:
        at = _py(y, tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at}" y2="{at}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 8}" y="{at + 4}" text-anchor="end">{_short(y, tick)}</text>')
    for tick in x.ticks:
        at = _px(x, tick)
        anchor = "start" if at < _LEFT + 8 else "end" if at > _WIDTH - _RIGHT - 8 else "middle"
        parts.append(f'<text class="tick" x="{at}" y="{_HEIGHT - 9}" text-anchor="{anchor}">{_short(x, tick)}</text>')
    return "".join(parts)


def _drawn(series: Series, x: Axis, y: Axis) -> str:
    places = [(_px(x, where), None if value is None else _py(y, value)) for where, value in series.points]
    floor = _py(y, y.low)
    if series.kind == "columns":
        width = max(1.0, (places[1][0] - places[0][0] if len(places) > 1 else 8) - 1)
        return "".join(
            f'<rect class="{series.colour} column" x="{left + 0.5}" y="{top}" width="{width:.2f}" '
            f'height="{floor - top:.2f}"/>'
            for left, top in places
            if top is not None and top < floor
        )
    path = ""
    for run in _runs(places):
        line = _stepped(run) if series.kind == "step" else " L".join(f"{left} {top}" for left, top in run)
        if series.kind == "area":
            path += f'<path class="{series.colour} area" d="M{run[0][0]} {floor} L{line} L{run[-1][0]} {floor} Z"/>'
        path += f'<path class="{series.colour} {"line" if series.kind == "area" else series.kind}" d="M{line}"/>'
        if len(run) == 1:
            path += f'<circle class="{series.colour} dot" cx="{run[0][0]}" cy="{run[0][1]}" r="2.5"/>'
    return path


def _stepped(run: Sequence[tuple[float, float]]) -> str:
    text, last = f"{run[0][0]} {run[0][1]}", run[0][1]
    for left, top in run[1:]:
        text += f" L{left} {last} L{left} {top}"
        last = top
    return text


def _runs(places: Sequence[tuple[float, float | None]]) -> list[list[tuple[float, float]]]:
    """Stretches without gaps."""
    found: list[list[tuple[float, float]]] = [[]]
    for left, top in places:
        if top is None:
            found.append([])
        else:
            found[-1].append((left, top))
    return [run for run in found if run]
