"""Which generations stand side by side on Compare: what an address or a form names, and the part of it that fits."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias
from urllib.parse import urlencode

from pictord.domain.generation import Generation
from pictord.jobs.history import MAX_NAMED

PATH = "/compare"
FEWEST = 2
"""Fewer than that do not stand beside anything."""


@dataclass(frozen=True, slots=True)
class Line:
    """Which generations stand side by side: of a lineage or a set, or those that were picked.

    Of a lineage or set with more than fit, those that are `shown`; unless that is said, the newest of a lineage, and
    the first of a set.
    """

    lineage_of: str = ""
    set_id: str = ""
    ids: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()

    @property
    def fields(self) -> Sequence[tuple[str, str]]:
        """As form fields."""
        named = [("lineage_of", self.lineage_of), ("set_id", self.set_id)]
        found = [each for each in named if each[1]] or [("id", each) for each in self.ids]
        return [*found, *(("show", each) for each in self.shown)]

    @property
    def url(self) -> str:
        """Where it is shown."""
        return f"{PATH}?{urlencode(self.fields)}" if self.fields else PATH

    def with_reroll(self, generation_id: str, reroll_id: str) -> "Line":
        """The same with a re-roll in it; a lineage has it by itself, and where there is no room it is shown as one."""
        if self.lineage_of:
            shown = (*self.shown, reroll_id)[-MAX_NAMED:] if self.shown else ()
            return replace(self, shown=tuple(dict.fromkeys(shown)))
        if not self.ids:
            return Line(lineage_of=generation_id)
        if reroll_id in self.ids or len(self.ids) < MAX_NAMED:
            return Line(ids=tuple(dict.fromkeys([*self.ids, reroll_id])))
        return Line(lineage_of=generation_id)


def read_line(fields: Iterable[tuple[str, str]]) -> Line:
    """What an address or a form names; a lineage before a set before single ones, each of those once."""
    named: dict[str, dict[str, None]] = {}
    for name, value in fields:
        if value:
            named.setdefault(name, {})[value] = None
    lineage, of_set = (next(iter(named.get(name, ())), "") for name in ("lineage_of", "set_id"))
    if not lineage and not of_set:
        return Line(ids=tuple(named.get("id", ())))
    return Line(lineage_of=lineage, set_id="" if lineage else of_set, shown=tuple(named.get("show", ())))


Numbered: TypeAlias = tuple[int, Generation]


def side_by_side(family: Sequence[Generation], line: Line) -> Sequence[Numbered]:
    """Those of a family that stand side by side, each with its number in the whole."""
    numbered = list(enumerate(family, start=1))
    if len(numbered) <= MAX_NAMED:
        return numbered
    chosen = [each for each in numbered if each[1].id in line.shown][-MAX_NAMED:]
    if len(chosen) >= FEWEST:
        return chosen
    return numbered[-MAX_NAMED:] if line.lineage_of else numbered[:MAX_NAMED]
