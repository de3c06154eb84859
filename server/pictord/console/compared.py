"""Facts of generations side by side, as people call and write them, with what differs marked.

Two times differ here if a person would notice: by half a second or more that is a tenth or more of the longer one. The
facts themselves, and what `CompareGenerations` says of them, are exact.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

from pictord.console.templates import span
from pictord.domain.comparison import ComparedField


@dataclass(frozen=True, slots=True)
class Cell:
    """One fact of one member; odd if it is not as with the first one."""

    text: str
    is_odd: bool
    is_least: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One fact of all members; `in_all` says it once, where nobody would notice a difference."""

    title: str
    cells: tuple[Cell, ...]
    in_all: str
    is_about: bool
    """Whether they differ all the same, by less than anybody would notice."""


_TITLES = {
    "images.model": "Model",
    "images.model_version": "Version",
    "decision.row": "Row",
    "decision.policy_version": "Policy version",
    "cost.amount_usd": "Cost",
    "timings.total_s": "Time",
    "cost.basis": "Cost is",
    "images.served_model": "Served model",
    "images.count": "Pictures",
    "images.size_px": "Pixels",
    "images.size_bytes": "Bytes",
    "images.mime_type": "Encoding",
    "images.has_c2pa": "C2PA",
    "request.model": "Model asked for",
    "request.preview_count": "Previews asked for",
    "request.count": "Pictures asked for",
    "lineage.reroll_of": "Re-roll of",
    "lineage.item_key": "Item of the set",
}
"""What facts are called, where their path would not be understood; in this order they come first."""
_GROUPS = {"decision": "Decision", "timings": "Time", "labels": "Label"}
_UNITS = ("_usd", "_s")
_CODES = ("state", "reason", "adaptations", "attempts", "request.workflow", "cost.basis", "decision.row")
_LEAST = {"cost.amount_usd": "cheapest", "timings.total_s": "fastest"}
_NOTICED_S = 0.5
_NOTICED_SHARE = 0.1


def rows(fields: Iterable[ComparedField]) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """The facts that differ so that people notice, and the others; what people look for comes first."""
    order = list(_TITLES)
    known = sorted(fields, key=lambda each: order.index(each.path) if each.path in _TITLES else len(order))
    differing = [each for each in known if _would_be_noticed(each)]
    return tuple(_row(each) for each in differing), tuple(_row(each) for each in known if each not in differing)


def _would_be_noticed(field: ComparedField) -> bool:
    return any(_differ(field.path, one, other) for one, other in combinations(field.values, 2))


def _differ(path: str, one: str, other: str) -> bool:
    """Whether a person would say that two values of a fact differ."""
    if not path.startswith("timings.") or not one or not other:
        return one != other
    apart_s, longer_s = abs(float(one) - float(other)), max(float(one), float(other))
    return apart_s >= max(_NOTICED_S, _NOTICED_SHARE * longer_s)


def _row(field: ComparedField) -> Row:
    first, least = field.values[0], ""
    is_noticed = _would_be_noticed(field)
    if field.path in _LEAST and is_noticed:
        amounts = [each for each in field.values if each and float(each)]
        least = min(amounts, key=float, default="")
    is_about = field.differs and not is_noticed
    ends = (min(field.values, key=float), max(field.values, key=float)) if is_about else (first,)
    return Row(
        title(field.path),
        tuple(
            Cell(
                said(field.path, each),
                is_odd=_differ(field.path, each, first),
                is_least=bool(least) and each == least,
            )
            for each in field.values
        ),
        " to ".join(dict.fromkeys(said(field.path, each) for each in ends)),
        is_about,
    )


def title(path: str) -> str:
    """What a fact is called on the page."""
    if path in _TITLES:
        return _TITLES[path]
    head, _, rest = path.partition(".")
    if not rest:
        return _words(head)
    if head not in _GROUPS:
        return _words(rest)
    if head == "labels":
        return f"Label: {rest}"
    return f"{_GROUPS[head]}: {_words(rest).lower()}"


def _words(path: str) -> str:
    for unit in _UNITS:
        path = path.removesuffix(unit)
    return path.replace("_", " ").replace(".", " ").capitalize()


def said(path: str, value: str) -> str:
    """A value as people write it."""
    if not value:
        return "none"
    if path.endswith("_usd"):
        return f"${value}"
    if path.endswith("_s"):
        return span(float(value))
    if path.endswith("_bytes"):
        return f"{int(value):,}"
    if path in _CODES:
        return value.replace("_", " ")
    return {"true": "yes", "false": "no"}.get(value, value)
