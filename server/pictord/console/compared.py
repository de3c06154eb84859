"""Facts of generations side by side, as people call and write them, with what differs marked."""

from collections.abc import Iterable
from dataclasses import dataclass

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
    """One fact of all members."""

    title: str
    cells: tuple[Cell, ...]


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


def rows(fields: Iterable[ComparedField]) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """The facts that differ, and those that are alike; what people look for comes first."""
    order = list(_TITLES)
    known = sorted(fields, key=lambda each: order.index(each.path) if each.path in _TITLES else len(order))
    return tuple(_row(each) for each in known if each.differs), tuple(_row(each) for each in known if not each.differs)


def _row(field: ComparedField) -> Row:
    least = ""
    if field.path in _LEAST and field.differs:
        amounts = [each for each in field.values if each and float(each)]
        least = min(amounts, key=float, default="")
    return Row(
        title(field.path),
        tuple(
            Cell(said(field.path, each), is_odd=each != field.values[0], is_least=bool(least) and each == least)
            for each in field.values
        ),
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
