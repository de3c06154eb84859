"""What the report's page is put together from."""

from collections.abc import Mapping, Sequence
from html import escape

from pictor_loadtest.metrics import Unit, shown, shown_as

PERCENTILES = ("p50", "p90", "p95", "p99", "p999", "max")


def after(value: float) -> str:
    """A time since the beginning, at an axis."""
    return f"{value:g} s" if value < 120 else f"{value / 60:g} min"


def section(title: str, *cards: str) -> str:
    """A part of the page with its heading."""
    return f"<section><h2>{escape(title)}</h2><div class='cards'>{''.join(cards)}</div></section>"


def card(title: str, about: str, content: str, *, wide: bool = False) -> str:
    """One thing to look at, with what it is."""
    return f'<article class="{"wide-card" if wide else ""}"><h3>{escape(title)}</h3><p>{about}</p>{content}</article>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], texts: Sequence[int] = ()) -> str:
    """Columns of figures, and of `texts`; the first one names the row."""

    def cells(row: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{'th' if not number else tag}{' class=text' if number in texts else ''}>{escape(cell)}"
            f"</{'th' if not number else tag}>"
            for number, cell in enumerate(row)
        )

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f"<div class='wide'><table><thead><tr>{cells(head, 'th')}</tr></thead><tbody>{body}</tbody></table></div>"


def percentiles(metrics: Mapping[str, float], span: str) -> list[str]:
    """The percentiles of a span, as cells."""
    names = (f"{span}_{statistic}" for statistic in PERCENTILES)
    return [shown(name, metrics.get(name)) for name in names]


def high(metrics: Mapping[str, float], span: str) -> str:
    """The figure that tells of the slow calls: the p99, or the slowest if there are too few for that."""
    return f"{span}_p99" if f"{span}_p99" in metrics else f"{span}_max"


def usd(value: float) -> str:
    """An amount."""
    return shown_as(Unit.USD, value)


def nothing(text: str) -> str:
    """What stands where there is nothing to show."""
    return f"<p class='nothing'>{escape(text)}</p>"
