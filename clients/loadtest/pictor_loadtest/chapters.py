"""The chapters of the report's page: charts and tables over what was measured."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from pictor_loadtest.charts import Axis, Bar, Series, bars, even, logarithmic, of_shares, of_time, plot
from pictor_loadtest.metrics import SPANS, seconds, shown
from pictor_loadtest.parts import PERCENTILES, after, card, nothing, percentiles, section, table, usd
from pictor_loadtest.percentiles import NEEDED

Report = Mapping[str, Any]

_LOOKS = ("c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8")
_PARTS = (
    ("delay", "waited in the harness", "c8"),
    ("between", "network and answer", "c4"),
    ("queue", "gateway: queue", "c3"),
    ("store", "gateway: store", "c5"),
    ("overhead", "gateway: overhead", "c1"),
)


def over_time(report: Report) -> str:
    """How it went: latency, throughput, calls in flight, the gateway's own part."""
    line = report["figures"]["timeline"]
    starts, width, until = line["start_s"], line["bin_s"], line["duration_s"]
    x = of_time(starts[-1] + width, after)
    middles = [start + width / 2 for start in starts]

    def over(values: Sequence[float | None]) -> list[tuple[float, float | None]]:
        return list(zip(middles, values, strict=True))

    def columns(values: Sequence[int]) -> list[tuple[float, float | None]]:
        return [(start, value / width) for start, value in zip(starts, values, strict=True)]

    def spans(found: Mapping[str, list[float | None]]) -> tuple[list[Series], Axis]:
        full = [value for value in found["max"] if value is not None]
        highest = "p99" if full and sum(value is not None for value in found["p99"]) == len(full) else "max"
        top = max((value for value in found[highest] if value is not None), default=0.001)
        name = "p99" if highest == "p99" else "slowest"
        lines = [Series(name, "c3", over(found[highest])), Series("p95", "c2", over(found["p95"]))]
        return [*lines, Series("p50", "c1", over(found["p50"]))], even(0, top, seconds)

    lines, y = spans(line["latency"])
    latency = plot(
        lines,
        x,
        y,
        about="Latency percentiles over time",
        until=until,
    )
    due = [count / width for count in line["due"]]
    ends = max(number for number, start in enumerate(starts, 1) if start < until)
    rates = [*line["due"], *line["good"], *line["failed"]]
    throughput = plot(
        [
            Series("good answers", "c1", columns(line["good"]), "columns"),
            Series("failed", "bad", columns(line["failed"]), "columns"),
            Series("due", "ink", [*columns(line["due"])[:ends], (until, due[ends - 1])], "step"),
        ],
        x,
        even(0, max(rates) / width, lambda value: f"{value:g}/s"),
        about="Calls due and answered a second, over time",
        until=until,
    )
    flight = plot(
        [
            Series("in flight", "c2", list(zip(starts, line["in_flight"], strict=True)), "area"),
            Series("waiting for a place", "bad", list(zip(starts, line["waiting"], strict=True))),
        ],
        x,
        even(0, max([4, *line["in_flight"], *line["waiting"]]), lambda value: f"{value:g}"),
        about="Calls in flight and waiting, over time",
        until=until,
    )
    lines, y = spans(line["overhead"])
    gateway = plot(
        lines,
        x,
        y,
        about="Gateway overhead percentiles over time",
        until=until,
    )
    return section(
        "Over time",
        card("Latency", "from when a call was due, by when it was due", latency),
        card("Throughput", "calls due, and answers as they came, a second", throughput),
        card("In flight", "open loop: it grows when the server is slower than the load", flight),
        card("Gateway overhead", "Generation.timings.overhead, by when the answer came", gateway),
    )


def distribution(report: Report) -> str:
    """Which share of the calls took how long."""
    figures = report["figures"]
    shapes = {name: curve for name, curve in figures["curves"].items() if curve and name != "all"}
    spans = {name: curve for name, curve in figures["span_curves"].items() if curve}
    cards = [
        card(title, about, _by_share(curves, about=f"{title} by share of calls"))
        for title, about, curves in (
            ("Latency by shape", "the share of calls that were answered within a time", shapes),
            ("Beside the engines", "the share of calls for which it took no longer", spans),
        )
        if curves
    ]
    return section("Distribution", *cards) if cards else ""


def _by_share(curves: Mapping[str, Sequence[tuple[float, float]]], *, about: str) -> str:
    deepest = max(share for curve in curves.values() for share, _ in curve)
    values = [value for curve in curves.values() for _, value in curve if value > 0] or [1.0]
    low = min(values)
    return plot(
        [
            Series(name, look, [(share, max(value, low)) for share, value in curve])
            for (name, curve), look in zip(curves.items(), _LOOKS * 9, strict=False)
        ],
        of_shares(deepest),
        logarithmic(low, max(values), seconds),
        about=about,
    )


def previews(report: Report) -> str:
    """When streams showed something; nothing if none should have."""
    curves = report["figures"]["preview_curves"]
    if not curves["first"]:
        return ""
    shares = Axis(0.0, 1.0, (0.0, 0.25, 0.5, 0.75, 1.0), lambda share: f"{share * 100:.0f} %")
    chart = plot(
        [
            Series("finished picture", "c2", [(value, share) for share, value in curves["whole"]], "step"),
            Series("first preview", "c1", [(value, share) for share, value in curves["first"]], "step"),
        ],
        even(0, max(value for _, value in (*curves["whole"], *curves["first"])), seconds),
        shares,
        about="Share of streams with a preview, and with the picture, by time",
    )
    statistics = ("p50", "p90", "p99", "max")
    lines = [
        [
            name,
            f"{each['streams']:,}",
            f"{each['with_preview']:,}",
            f"{each['previews']:,}",
            *(seconds(each[statistic]) if statistic in each else "-" for statistic in statistics),
        ]
        for name, each in report["figures"]["previews"].items()
    ]
    listed = table(["shape", "streams", "with one", "previews", *statistics], lines)
    return section(
        "Previews",
        card("Time to first preview", "the share of streams that had it within a time, from when they were due", chart),
        card("Streams", "those that ended well, and when their first preview was here", listed),
    )


def gateway(report: Report) -> str:
    """Where the time beside the engines went."""
    spent = {name: parts for name, parts in report["figures"]["spent"].items() if parts}
    if not spent:
        return ""
    rows = [
        Bar(
            name,
            [(look, label, parts[part]) for part, label, look in _PARTS],
            f"{seconds(sum(parts[part] for part, _, _ in _PARTS))} + {seconds(parts['provider'])}",
        )
        for name, parts in spent.items()
    ]
    chart = bars(rows, seconds, about="Mean time of a call beside the engines, by shape")
    metrics = report["figures"]["metrics"]
    lines = [[name, *percentiles(metrics, name)] for name in ("queue", "store", "overhead", "added", "provider")]
    return section(
        "Beside the engines",
        card("Where the time went", "mean of a call; at the end: beside the engines + at the engines", chart),
        card(
            "Generation.timings",
            "added: latency as seen from here, without the engines' time",
            table(["", *PERCENTILES], lines),
        ),
    )


def engines(report: Report) -> str:
    """Who drew, by row of the decision table, and what failed over."""
    rows = report["figures"]["rows"]
    models = sorted({model for drawn in rows.values() for model in drawn})
    looks = dict(zip(models, ("c1", "c2", "c5", "c6", "c7"), strict=False))
    stacked = [
        Bar(
            row,
            [(looks.get(model, "c8"), model, float(count)) for model, count in drawn.items()],
            f"{sum(drawn.values()):,}",
        )
        for row, drawn in rows.items()
    ]
    chart = bars(
        stacked, lambda value: f"{value:,.0f} pictures", about="Pictures by row of the decision table and engine"
    )
    astray = [
        f"<li>{each['calls']} calls of <b>{escape(each['shape'])}</b> were served by the row "
        f"<b>{escape(each['row'])}</b>, not {escape(each['expected'])}</li>"
        for each in report["figures"]["misrouted"]
    ]
    notes = f"<ul class='notes'>{''.join(astray)}</ul>" if astray else ""
    over = [
        [each["from"], each["outcome"], each["to"], f"{each['calls']:,}", f"{each['good']:,}"]
        for each in report["figures"]["failovers"]
    ]
    listed = table(["from", "because of", "to", "calls", "drawn"], over, texts=(1, 2))
    return section(
        "Engines",
        card(
            "Rows of the decision table",
            "pictures by the engine that drew them",
            chart + notes if rows else nothing("No picture."),
        ),
        card(
            "Failovers",
            "what made the gateway try the other engine",
            listed if over else nothing("No call needed a second engine."),
        ),
    )


def money(report: Report) -> str:
    """What it cost."""
    cost, line = report["figures"]["cost"], report["figures"]["timeline"]
    total, so_far = 0.0, []
    for each in line["cost_usd"]:
        total += each
        so_far.append(total)
    places: list[tuple[float, float | None]] = [(0.0, 0.0)]
    places += [(start + line["bin_s"], value) for start, value in zip(line["start_s"], so_far, strict=True)]
    summed = plot(
        [Series("cost so far", "c5", places, "area")],
        of_time(places[-1][0], after),
        even(0, total or 0.01, lambda value: f"${value:g}"),
        about="Cost so far, over time",
        until=line["duration_s"],
        legend=False,
    )
    split = bars(
        [Bar(row, [("c5", "cost", value)], usd(value)) for row, value in cost["by_row"].items()],
        usd,
        about="Cost by row of the decision table",
    )
    basis = ", ".join(f"{usd(value)} {escape(name)}" for name, value in cost["by_basis"].items())
    unknown = cost["calls_of_unknown_cost"]
    aside = basis + (f"; {unknown} failed calls told no cost" if unknown else "")
    whose = "the sandbox's money: real prices, nobody is billed" if report["gateway"]["sandbox"] else "real money"
    return section("Cost", card("So far", whose, summed), card("By row", aside, split))


def errors(report: Report) -> str:
    """What went wrong, by reason; nothing if nothing did."""
    lines = [
        [
            each["reason"],
            f"{each['calls']:,}",
            ", ".join(f"{name} {count}" for name, count in each["shapes"].items()),
            each["text"],
        ]
        for each in report["figures"]["errors"]
    ]
    listed = table(["reason", "calls", "shapes", "for example"], lines, texts=(2, 3))
    return section("Errors", card("By reason", "as in ErrorInfo", listed, wide=True)) if lines else ""


def shapes(report: Report) -> str:
    """Each shape of the mix."""
    columns = {
        "calls": "calls",
        "errors": "errors",
        "latency_p50": "p50",
        "latency_p95": "p95",
        "latency_p99": "p99",
        "added_p99": "added p99",
        "failovers": "failovers",
        "cost_per_picture": "a picture",
    }
    lines = []
    for name, each in report["plan"].items():
        metrics = report["figures"]["shapes"].get(name, {"metrics": {}})["metrics"]
        cells = (shown(column, metrics.get(column)) for column in columns)
        lines.append([name, each["method"], each["row"], *cells, seconds(each["timeout_s"])])
    listed = table(["shape", "RPC", "row", *columns.values(), "deadline"], lines, texts=(1, 2))
    about = escape(report["load"]["mix_about"]) or "the mix"
    return section("Shapes", card("Of the mix", about, listed, wide=True))


def all_spans(report: Report) -> str:
    """Every span's exact percentiles."""
    metrics = report["figures"]["metrics"]
    lines = [[name, *percentiles(metrics, name), about] for name, about in SPANS.items() if f"{name}_p50" in metrics]
    about = " and ".join(f"{needed:,} for a {name}" for name, needed in NEEDED.items())
    about = f"sorted values, no buckets; with too few calls there is none: it takes {about}"
    listed = table(["", *PERCENTILES, "what it is"], lines, texts=(len(PERCENTILES) + 1,))
    return section("All spans", card("Exact percentiles", about, listed, wide=True))
