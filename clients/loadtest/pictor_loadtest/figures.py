"""The figures of a run, as plain data: what the JSON file holds and what the page draws. Pure; no clock, no I/O."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pictor.v1.image_pb2 import CostBasis
from pictor_loadtest.percentiles import curve, percentile, statistics
from pictor_loadtest.record import NANOS, NOT_SENT, Record

FORMAT = 1

_BINS = (12, 60)
"""At least and at most; between them as many as have _FEW calls each."""
_WIDTHS_S = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
_FEW = 10
"""Below so many calls in a third, its middle says nothing."""


def figures(records: Sequence[Record], duration_s: float) -> dict[str, Any]:
    """Everything that is known of a run.

    Args:
        records: Of all calls that were due.
        duration_s: How long calls were due; shorter than asked if the run was stopped.
    """
    shapes = _grouped(records)
    return {
        "metrics": metrics(records, duration_s)
        | {"held_back": _held_back(records), "drift": drift(records, duration_s)},
        "shapes": {name: {"metrics": metrics(group, duration_s)} for name, group in shapes.items()},
        "curves": {"all": _curve(records), **{name: _curve(group) for name, group in shapes.items()}},
        "span_curves": span_curves(records),
        "timeline": timeline(records, duration_s),
        "rows": rows(records),
        "misrouted": misrouted(records),
        "failovers": failovers(records),
        "errors": errors(records),
        "cost": costs(records),
        "previews": {name: previews(group) for name, group in shapes.items() if group[0].due.shape.stream},
        "preview_curves": preview_curves(records),
        "spent": {name: spent(group) for name, group in shapes.items()},
    }


def metrics(records: Sequence[Record], duration_s: float) -> dict[str, float]:
    """Every metric that these calls have, by name and in its unit; one that was never measured is left out."""
    found: dict[str, float] = {}
    spans = defaultdict[str, list[float]](list)
    for record in records:
        for span, value in record.spans().items():
            spans[span].append(value)
    for span, values in spans.items():
        found |= {f"{span}_{name}": value for name, value in statistics(values).items()}
    sent = [record for record in records if record.reason != NOT_SENT]
    good = [record for record in records if record.is_good]
    found |= {"calls": float(len(records)), "offered": len(records) / duration_s}
    if sent:
        ends = [record.ended_s for record in good if record.ended_s is not None]
        found["throughput"] = len(good) / max(duration_s, *ends, 0.0)
        found["errors"] = (len(sent) - len(good)) / len(sent)
    if good:
        found["failovers"] = sum(bool(record.made and record.made.failovers) for record in good) / len(good)
    made = [record.made for record in records if record.made is not None]
    cost, pictures = sum(each.cost_nanos for each in made) / NANOS, sum(each.pictures for each in made)
    if made:
        found["cost"] = cost
    if pictures:
        found["cost_per_picture"] = cost / pictures
    return found


def drift(records: Sequence[Record], duration_s: float) -> float:
    """How much longer the middle call took in the last third than in the first: 0.1 is a tenth.

    By shape, weighted by calls, so that a chance mixture of quick and slow shapes counts for nothing. Near 0 the load
    can be borne for ever; well above, a queue grows somewhere.
    """
    total = weight = 0.0
    for group in _grouped(records).values():
        first = sorted(r.latency_s for r in group if r.latency_s is not None and r.due.at_s < duration_s / 3)
        last = sorted(r.latency_s for r in group if r.latency_s is not None and r.due.at_s >= duration_s * 2 / 3)
        if min(len(first), len(last)) >= _FEW and percentile(first, 0.5) > 0:
            total += len(group) * (percentile(last, 0.5) / percentile(first, 0.5) - 1)
            weight += len(group)
    return total / weight if weight else 0.0


def timeline(records: Sequence[Record], duration_s: float) -> dict[str, Any]:
    """What happened when, in bins of equal width until the last answer."""
    end_s = max([duration_s, *(record.ended_s for record in records if record.ended_s is not None)])
    most = min(max(len(records) / _FEW, _BINS[0]), _BINS[1])
    width = next((each for each in _WIDTHS_S if end_s / each <= most), end_s / most)
    count = max(1, -(-int(end_s * 1000) // int(width * 1000)))

    def bin_of(time_s: float) -> int:
        return min(int(time_s / width), count - 1)

    latencies = [list[float]() for _ in range(count)]
    overheads = [list[float]() for _ in range(count)]
    counts = {name: [0] * count for name in ("due", "sent", "good", "failed")}
    cost = [0] * count
    for record in records:
        counts["due"][bin_of(record.due.at_s)] += 1
        if record.latency_s is not None:
            latencies[bin_of(record.due.at_s)].append(record.latency_s)
        if record.sent_s is not None:
            counts["sent"][bin_of(record.sent_s)] += 1
        if record.ended_s is not None:
            at = bin_of(record.ended_s)
            counts["good" if record.is_good else "failed"][at] += 1
            if record.made is not None:
                cost[at] += record.made.cost_nanos
                overheads[at].append(record.made.spent.overhead)
    edges = [width * number for number in range(count)]
    return {
        "bin_s": width,
        "duration_s": duration_s,
        "start_s": edges,
        **counts,
        "in_flight": _level(((r.sent_s, r.ended_s) for r in records), edges),
        "waiting": _level(((r.due.at_s, r.sent_s) for r in records), edges),
        "latency": _by_bin(latencies, ("p50", "p95", "p99", "max")),
        "overhead": _by_bin(overheads, ("p50", "p95", "p99", "max")),
        "cost_usd": [nanos / NANOS for nanos in cost],
    }


def _level(spans: Iterable[tuple[float | None, float | None]], edges: Sequence[float]) -> list[int]:
    """How many spans are open at each edge."""
    found = [0] * len(edges)
    known = [(start, end) for start, end in spans if start is not None and end is not None]
    for number, edge in enumerate(edges):
        found[number] = sum(start <= edge < end for start, end in known)
    return found


def _by_bin(bins: Sequence[Sequence[float]], names: Sequence[str]) -> dict[str, list[float | None]]:
    each = [statistics(values) for values in bins]
    return {name: [found.get(name) for found in each] for name in names}


def rows(records: Sequence[Record]) -> dict[str, dict[str, int]]:
    """Pictures by row of the decision table and by the model that drew them."""
    found = defaultdict[str, Counter[str]](Counter)
    for record in records:
        if record.is_good and record.made is not None:
            found[record.made.row][record.made.model] += 1
    return {row: dict(models.most_common()) for row, models in sorted(found.items())}


def misrouted(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Shapes that another row served than their mix says."""
    found = Counter(
        (record.due.shape.name, record.due.shape.row, record.made.row)
        for record in records
        if record.made is not None and record.due.shape.row and record.made.row != record.due.shape.row
    )
    return [
        {"shape": shape, "expected": expected, "row": row, "calls": count}
        for (shape, expected, row), count in found.most_common()
    ]


def failovers(records: Sequence[Record]) -> list[dict[str, Any]]:
    """From which model, why, to which model, how often, and how often a picture came of it."""
    tried, helped = Counter[tuple[str, str, str]](), Counter[tuple[str, str, str]]()
    for record in records:
        if record.made is not None:
            tried.update(record.made.failovers)
            if record.is_good:
                helped.update(record.made.failovers)
    return [
        {"from": start, "outcome": outcome, "to": end, "calls": count, "good": helped[start, outcome, end]}
        for (start, outcome, end), count in tried.most_common()
    ]


def errors(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Reasons, how often, by shape, and the first text of each."""
    found: dict[str, dict[str, Any]] = {}
    for record in records:
        if record.reason:
            entry = found.setdefault(
                record.reason, {"reason": record.reason, "text": record.text, "calls": 0, "shapes": {}}
            )
            entry["calls"] += 1
            name = record.due.shape.name
            entry["shapes"][name] = entry["shapes"].get(name, 0) + 1
    return sorted(found.values(), key=lambda entry: -int(entry["calls"]))


def costs(records: Sequence[Record]) -> dict[str, Any]:
    """US dollars by row and by shape, and how sure they are."""
    by_row, by_shape, by_basis = Counter[str](), Counter[str](), Counter[str]()
    unknown = 0
    for record in records:
        if record.made is not None:
            by_row[record.made.row] += record.made.cost_nanos
            by_shape[record.due.shape.name] += record.made.cost_nanos
            basis = CostBasis.Name(CostBasis.ValueType(record.made.cost_basis))
            by_basis[basis.removeprefix("COST_BASIS_").lower()] += record.made.cost_nanos
        else:
            unknown += record.may_have_cost
    parts = {"by_row": by_row, "by_shape": by_shape, "by_basis": by_basis}
    return {name: {key: value / NANOS for key, value in part.most_common()} for name, part in parts.items()} | {
        "calls_of_unknown_cost": unknown
    }


def previews(records: Sequence[Record]) -> dict[str, Any]:
    """Streams that ended well, those of them with a preview, how many previews came, and when the first one did."""
    streams = [record for record in records if record.is_good]
    return {
        "streams": len(streams),
        "with_preview": sum(record.preview_s is not None for record in streams),
        "previews": sum(record.previews for record in streams),
        **statistics(_first_previews(streams)),
    }


def preview_curves(records: Sequence[Record]) -> dict[str, list[tuple[float, float]]]:
    """Of all streams that showed one: when the first preview was there, and when the picture was."""
    seen = [record for record in records if record.is_good and record.preview_s is not None]
    return {"first": curve(_first_previews(seen)), "whole": _curve(seen)}


def span_curves(records: Sequence[Record]) -> dict[str, list[tuple[float, float]]]:
    """What was beside the engines, by share of calls."""
    spans = [record.spans() for record in records]
    return {
        name: curve([each[name] for each in spans if name in each]) for name in ("added", "overhead", "store", "queue")
    }


def _first_previews(records: Sequence[Record]) -> list[float]:
    return [record.preview_s - record.due.at_s for record in records if record.preview_s is not None]


def spent(records: Sequence[Record]) -> dict[str, float]:
    """Where the mean good call spent its time, in seconds: harness and network, then the gateway's own account."""
    parts = [record.spans() for record in records if record.is_good and record.made is not None]
    if not parts:
        return {}
    names = ("queue", "provider", "store", "overhead")
    found = {name: sum(part[name] for part in parts) / len(parts) for name in names}
    found["delay"] = sum(part["delay"] for part in parts) / len(parts)
    whole = sum(part["latency"] for part in parts) / len(parts)
    found["between"] = max(0.0, whole - sum(found.values()))
    return found


def _grouped(records: Sequence[Record]) -> Mapping[str, list[Record]]:
    found = defaultdict[str, list[Record]](list)
    for record in records:
        found[record.due.shape.name].append(record)
    return dict(sorted(found.items()))


def _held_back(records: Sequence[Record]) -> float:
    return sum(record.was_held_back for record in records) / len(records) if records else 0.0


def _curve(records: Sequence[Record]) -> list[tuple[float, float]]:
    return curve([record.latency_s for record in records if record.latency_s is not None])
