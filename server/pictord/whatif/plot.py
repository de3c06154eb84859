"""A report at one glance: what each policy costs, by model, and how long its pictures take.

matplotlib is the extra `plot`; it is imported here alone, and only when a plot is asked for.
"""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from pictord.domain.money import NANOS_PER_USD, format_usd
from pictord.whatif.failure import ReplayError
from pictord.whatif.replay import Replayed, Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KINDS = (".png", ".svg")

_COLOURS = ("#3b6fb6", "#e8a33d", "#5b9e6f", "#a8557a", "#7d7d7d")
_P50, _P90 = "#4a4a4a", "#c2c2c2"
_INK = "#333333"


def check(path: Path) -> None:
    """Refuse a plot that could not be drawn, before anything is replayed.

    Raises:
        ReplayError: another kind of file, or no matplotlib.
    """
    if path.suffix.lower() not in KINDS:
        raise ReplayError(f"{path}: a plot is drawn as {' or '.join(KINDS)}")
    if find_spec("matplotlib") is None:
        raise ReplayError("a plot needs matplotlib, which is the extra `plot`: pip install 'pictord[plot]'")


def draw(report: Report, titles: Mapping[str, str], path: Path) -> None:
    """Draw the report; `titles` are the models' names for people, in the order of their colours."""
    check(path)
    import matplotlib as mpl  # noqa: PLC0415 - an extra: only who plots needs it
    from matplotlib.figure import Figure  # noqa: PLC0415 - the same

    # Nothing depends on the moment, nor on the fonts of whoever looks at it: the same report is the same file.
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "pictor", "font.size": 10, "text.color": _INK}):
        figure = Figure(figsize=(10, 1.6 + 0.75 * len(report.replayed)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
        _cost(left, report.replayed, titles)
        _times(right, report.replayed)
        requests = report.replayed[0].total.requests
        figure.suptitle(f"The same {requests:,} requests under each policy", fontweight="bold")
        undated = {"Date": None} if path.suffix.lower() == ".svg" else {}
        figure.savefig(path, dpi=110, metadata={"Description": description(report), **undated})


def description(report: Report) -> str:
    """The plot in words, kept in its file: what each policy costs."""
    return ", ".join(f"{each.policy} {format_usd(each.drawn.expected_nanos, 2)}" for each in report.replayed)


def _cost(axes: "Axes", replayed: Sequence[Replayed], titles: Mapping[str, str]) -> None:
    """Bars of dollars, stacked by model, with the sum and what is refused or adapted behind them."""
    policies = [each.policy for each in replayed]
    ends = [0.0] * len(replayed)
    for place, (model, title) in enumerate(titles.items()):
        usd = [
            tally.expected_nanos / NANOS_PER_USD if (tally := each.by_model().get(model)) else 0.0 for each in replayed
        ]
        if any(usd):
            axes.barh(policies, usd, left=ends, height=0.55, label=title, color=_COLOURS[place % len(_COLOURS)])
            ends = [end + more for end, more in zip(ends, usd, strict=True)]
    for place, (each, end) in enumerate(zip(replayed, ends, strict=True)):
        axes.annotate(_note(each, end), (end, place), (6, 0), textcoords="offset points", va="center")
    axes.set_xlim(0, max(ends) * 1.5 or 1)
    axes.set_xlabel("expected cost")
    axes.xaxis.set_major_formatter("${x:,.0f}")
    axes.invert_yaxis()
    _finish(axes, columns=3)


def _note(replayed: Replayed, usd: float) -> str:
    return f"${usd:,.2f}\n{replayed.refused:,} refused, {replayed.drawn.adapted:,} adapted"


def _times(axes: "Axes", replayed: Sequence[Replayed]) -> None:
    """Two bars of seconds for each policy, the shorter one over the longer one."""
    policies = [each.policy for each in replayed]
    served = [max(each.drawn.requests, 1) for each in replayed]
    p90 = [each.drawn.p90_s / number for each, number in zip(replayed, served, strict=True)]
    p50 = [each.drawn.p50_s / number for each, number in zip(replayed, served, strict=True)]
    axes.barh(policies, p50, height=0.55, label="half done by", color=_P50, zorder=2)
    axes.barh(policies, p90, height=0.55, label="9 in 10 done by", color=_P90, zorder=1)
    for place, (half, most) in enumerate(zip(p50, p90, strict=True)):
        note = f"{half:.0f} s / {most:.0f} s"
        axes.annotate(note, (most, place), (6, 0), textcoords="offset points", va="center")
    axes.set_xlim(0, max(p90) * 1.55 or 1)
    axes.set_xlabel("expected seconds for a picture, mean")
    axes.tick_params(axis="y", left=False)
    _finish(axes, columns=2)


def _finish(axes: "Axes", *, columns: int) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(axis="x", color="#e4e4e4")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns, frameon=False)
