"""Replay recorded requests through policies, by the real router and the real prices; nothing is sent.

Each request is judged as if both engines were in service and its first candidate drew it: what retries and fallbacks
cost on a bad day is no policy's doing. A request with a time is priced at the prices of its day.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

from pictord.catalog.catalog import Catalog
from pictord.domain.plan import AdaptationKind, Candidate
from pictord.domain.reason import Reason
from pictord.domain.request import GenerationRequest
from pictord.routing.availability import Availability
from pictord.routing.policy import Policy
from pictord.routing.refusal import refusal
from pictord.routing.router import plan
from pictord.routing.validate import violations
from pictord.whatif.failure import ReplayError
from pictord.whatif.record import Recorded


class Fate(NamedTuple):
    """What a policy does with a request: the row, and the model that draws it or the reason of the refusal.

    `row` is empty for a request that is refused before it is routed.
    """

    row: str
    model: str | None
    refused: Reason | None = None


@dataclass(slots=True)
class Tally:
    """Requests that share a fate. Money is nano-USD, `p50_s` and `p90_s` are sums of seconds over the requests.

    `pictures` are those that are drawn. `adapted` counts requests, `adaptations` each kind in them. `moved` counts
    requests that really were drawn by another model. `known` counts requests of which it is known what was
    really spent, `spent_nanos`; `known_nanos` is what the policy would expect to spend on the same ones. `timed` are
    those of which it is known how long they really took, `took_s` in all.
    """

    requests: int = 0
    pictures: int = 0
    adapted: int = 0
    adaptations: Counter[AdaptationKind] = field(default_factory=Counter)
    expected_nanos: int = 0
    worst_nanos: int = 0
    p50_s: float = 0.0
    p90_s: float = 0.0
    moved: int = 0
    known: int = 0
    spent_nanos: int = 0
    known_nanos: int = 0
    timed: int = 0
    took_s: float = 0.0

    def add(self, recorded: Recorded, candidate: Candidate | None, drew: str | None) -> None:
        """Count one request, drawn by the candidate or refused; `drew` is the model that really drew it, if known."""
        self.requests += 1
        nanos = 0
        if candidate is not None:
            nanos = candidate.expected_nanos * recorded.request.count
            self._add_drawn(candidate, recorded.request.count, nanos)
            self.moved += drew is not None and drew != candidate.model
        if recorded.cost_nanos is not None:
            self.known += 1
            self.spent_nanos += recorded.cost_nanos
            self.known_nanos += nanos
        if recorded.took_s is not None:
            self.timed += 1
            self.took_s += recorded.took_s

    def _add_drawn(self, candidate: Candidate, pictures: int, expected_nanos: int) -> None:
        self.pictures += pictures
        self.adapted += bool(candidate.adaptations)
        self.adaptations.update({each.kind for each in candidate.adaptations})
        self.expected_nanos += expected_nanos
        self.worst_nanos += candidate.worst_case_nanos * pictures
        self.p50_s += candidate.expected_p50_s
        self.p90_s += candidate.expected_p90_s

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.requests + other.requests,
            self.pictures + other.pictures,
            self.adapted + other.adapted,
            self.adaptations + other.adaptations,
            self.expected_nanos + other.expected_nanos,
            self.worst_nanos + other.worst_nanos,
            self.p50_s + other.p50_s,
            self.p90_s + other.p90_s,
            self.moved + other.moved,
            self.known + other.known,
            self.spent_nanos + other.spent_nanos,
            self.known_nanos + other.known_nanos,
            self.timed + other.timed,
            self.took_s + other.took_s,
        )


@dataclass(frozen=True, slots=True)
class Replayed:
    """What one policy does with all requests; the fates are in the order of its rows."""

    policy: str
    by_fate: Mapping[Fate, Tally]

    @property
    def total(self) -> Tally:
        """All requests, refused ones too."""
        return sum(self.by_fate.values(), Tally())

    @property
    def drawn(self) -> Tally:
        """Those that are served."""
        return sum((tally for fate, tally in self.by_fate.items() if fate.refused is None), Tally())

    @property
    def refused(self) -> int:
        """How many requests are refused."""
        return self.total.requests - self.drawn.requests

    def by_model(self) -> dict[str, Tally]:
        """What each model draws."""
        models: dict[str, Tally] = {}
        for fate, tally in self.by_fate.items():
            if fate.model is not None:
                models[fate.model] = models.get(fate.model, Tally()) + tally
        return models


@dataclass(frozen=True, slots=True)
class Report:
    """The same requests under each policy; the first is the one that the others are compared with.

    `rows` counts the requests by the row that really chose, where that is known.
    """

    replayed: tuple[Replayed, ...]
    rows: Mapping[str, int] = field(default_factory=dict)


def replay(
    records: Iterable[Recorded],
    policies: Mapping[str, Policy],
    catalog: Catalog,
    *,
    backends: Mapping[str, str],
    today: date,
) -> Report:
    """Route and price all records under each policy.

    Args:
        records: what was asked; taken one by one, so there may be many.
        policies: by the name under which each is reported, the one in force first.
        catalog: the models and all their prices.
        backends: which providers there are, and which API of theirs; see `Availability`.
        today: the day whose prices count for a record without a time.

    Raises:
        ReplayError: there are no records.
    """
    world = Availability(backends)
    priced: dict[date, Catalog] = {}
    found: dict[str, dict[Fate, Tally]] = {name: {} for name in policies}
    rows = Counter[str]()
    for recorded in records:
        rows.update([recorded.row] if recorded.row is not None else [])
        day = recorded.time.date() if recorded.time is not None else today
        at = priced.setdefault(day, catalog.at(day))
        wrong = violations(recorded.request, at)
        drew = at.ids_by_name.get(recorded.model) if recorded.model is not None else None
        for name, policy in policies.items():
            fate, candidate = (
                (Fate("", None, wrong[0].reason), None) if wrong else _decide(recorded.request, policy, at, world)
            )
            found[name].setdefault(fate, Tally()).add(recorded, candidate, drew)
    if not any(found.values()):
        raise ReplayError("there are no requests to replay")
    replayed = tuple(Replayed(name, _in_order(found[name], policy)) for name, policy in policies.items())
    return Report(replayed, dict(rows))


def _decide(
    request: GenerationRequest, policy: Policy, catalog: Catalog, world: Availability
) -> tuple[Fate, Candidate | None]:
    decided = plan(request, policy, catalog, world)
    refused = refusal(decided, request)
    if refused is not None:
        return Fate(str(decided.row), None, refused.reason), None
    candidate = decided.candidates[0]
    return Fate(str(decided.row), candidate.model), candidate


def _in_order(by_fate: Mapping[Fate, Tally], policy: Policy) -> dict[Fate, Tally]:
    """By row as they are tried; what is drawn before what is refused, the most frequent first."""
    rows = [row.name for row in policy.rows]

    def place(fate: Fate) -> tuple[int, bool, int, str]:
        row = rows.index(fate.row) if fate.row in rows else len(rows)
        return row, fate.refused is not None, -by_fate[fate].requests, fate.model or fate.refused or ""

    return {fate: by_fate[fate] for fate in sorted(by_fate, key=place)}
