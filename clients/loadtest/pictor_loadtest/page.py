"""The report as one page that stands alone: figures, charts, styles and script in one file, nothing fetched."""

from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any

from pictor_loadtest.charts import Axis, Bar, Series, bars, even, logarithmic, of_shares, of_time, plot
from pictor_loadtest.metrics import METRICS, SPANS, Unit, seconds, shown, shown_as
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
_SPACINGS = {"poisson": "Poisson arrivals", "even": "evenly spaced"}
_PERCENTILES = ("p50", "p90", "p95", "p99", "p999", "max")


def render(report: Report) -> str:
    """The whole page."""
    assets = resources.files("pictor_loadtest") / "assets"
    style, script = ((assets / name).read_text("utf-8") for name in ("page.css", "page.js"))
    load = report["load"]
    title = f"Load report: {load['mix']} at {load['rate']}/s"
    sections = (
        _head(report),
        _verdicts(report),
        _tiles(report),
        _over_time(report),
        _distribution(report),
        _previews(report),
        _gateway(report),
        _engines(report),
        _money(report),
        _errors(report),
        _shapes(report),
        _all_spans(report),
        _method(report),
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<style>{style}</style></head><body><main>{''.join(sections)}</main><script>{script}</script></body></html>\n"
    )


# --- the top


def _head(report: Report) -> str:
    load, gateway = report["load"], report["gateway"]
    where, badge = ("sandbox", "") if gateway["sandbox"] else ("real engines", "real")
    facts = [
        f"{_rate(load)}, {_SPACINGS[load['spacing']]}, for {seconds(load['duration_s'])}",
        f"mix <b>{escape(load['mix'])}</b>",
        f"seed {load['seed']}",
        f"at most {load['max_in_flight']} in flight over {load['connections']} connections",
    ]
    begun = escape(str(report["began_at"]).replace("T", " ").replace("+00:00", " UTC"))
    stopped = report["stopped_because"]
    early = f'<p class="early">Stopped early: {escape(stopped)}.</p>' if stopped else ""
    return (
        f'<header><p class="kicker">Pictor load report <span class="badge {badge}">{where}'
        f"</span></p><h1>{_headline(report)}</h1><p class='facts'>{' · '.join(facts)}</p>"
        f'<p class="facts quiet">{escape(gateway["address"])} · {begun}</p>{early}</header>'
    )


def _headline(report: Report) -> str:
    metrics = report["figures"]["metrics"]
    said = f"{metrics['calls']:,.0f} calls at {metrics['offered']:.1f}/s"
    if "latency_max" not in metrics:
        return f"{said}, and none was answered"
    within = _high(metrics, "latency")
    who = "99 in 100" if within.endswith("p99") else "the slowest"
    return f"{said}, {who} answered within {seconds(metrics[within])}"


def _rate(load: Mapping[str, Any]) -> str:
    first, _, last = str(load["rate"]).partition("..")
    return f"{first} to {last} calls/s" if last else f"{first} calls/s"


def _verdicts(report: Report) -> str:
    lines = [
        _verdict(
            holds=bool(each["holds"]),
            text=f"<code>{escape(each['text'])}</code>",
            aside=_measured(each),
        )
        for each in report["assertions"]
    ]
    baseline = report["baseline"]
    if baseline is not None:
        lines += [
            _verdict(
                holds=not each["worse"],
                text=f"<code>{escape(each['metric'])}</code> against the baseline",
                aside=f"was {shown(each['metric'], each['then'])}, is {shown(each['metric'], each['now'])}, "
                f"taken {'down' if METRICS[each['metric']].more_is_better else 'up'} to "
                f"{shown(each['metric'], each['bound'])}",
            )
            for each in baseline["compared"]
        ]
    return f'<section class="verdicts"><ul>{"".join(lines)}</ul></section>' if lines else ""


def _measured(assertion: Mapping[str, Any]) -> str:
    if assertion["value"] is None:
        return "never measured"
    return ", ".join(filter(None, (f"is {shown(assertion['metric'], assertion['value'])}", assertion["note"])))


def _verdict(*, holds: bool, text: str, aside: str) -> str:
    word = "holds" if holds else "fails"
    return f'<li class="{word}"><b>{word}</b> {text} <span>{escape(aside)}</span></li>'


def _tiles(report: Report) -> str:
    metrics = report["figures"]["metrics"]

    def tile(name: str, label: str, aside: str, tone: str = "") -> str:
        value = shown(name, metrics.get(name))
        return f'<div class="tile {tone}"><span>{label}</span><b>{value}</b><small>{escape(aside)}</small></div>'

    def near(*names: str) -> str:
        return " · ".join(
            f"{name.rpartition('_')[2]} {shown(name, metrics[name])}" for name in names if name in metrics
        )

    def high(span: str, label: str) -> tuple[str, str]:
        name = _high(metrics, span)
        return name, f"{label}, {'p99' if name.endswith('p99') else 'slowest'}"

    bad = "bad" if metrics.get("errors", 0) > 0 else ""
    tiles = [
        tile("latency_p50", "Latency, half of the calls", near("latency_p95", "latency_p99", "latency_max")),
        tile(*high("added", "Beside the engines"), near("added_p50", "added_p95")),
        tile(*high("overhead", "Gateway overhead"), near("overhead_p50", "overhead_p95")),
        tile(
            "first_preview_p50",
            "First preview, half of the streams",
            near("first_preview_p95", "first_preview_max") or "no stream showed one",
        ),
        tile("throughput", "Good answers", f"{metrics['offered']:.1f}/s were due"),
        tile("errors", "Errors", f"{sum(e['calls'] for e in report['figures']['errors']):,} calls", bad),
        tile("failovers", "Failovers", "drawn after another engine was tried"),
        tile("cost", "Cost", f"{shown('cost_per_picture', metrics.get('cost_per_picture'))} a picture"),
    ]
    return f'<section class="tiles">{"".join(tiles)}</section>'


# --- charts


def _over_time(report: Report) -> str:
    line = report["figures"]["timeline"]
    starts, width, until = line["start_s"], line["bin_s"], line["duration_s"]
    x = of_time(starts[-1] + width, _after)
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
    percentiles = plot(
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
    return _section(
        "Over time",
        _card("Latency", "from when a call was due, by when it was due", percentiles),
        _card("Throughput", "calls due, and answers as they came, a second", throughput),
        _card("In flight", "open loop: it grows when the server is slower than the load", flight),
        _card("Gateway overhead", "Generation.timings.overhead, by when the answer came", gateway),
    )


def _distribution(report: Report) -> str:
    figures = report["figures"]
    shapes = {name: curve for name, curve in figures["curves"].items() if curve and name != "all"}
    spans = {name: curve for name, curve in figures["span_curves"].items() if curve}
    cards = [
        _card(title, about, _by_share(curves, about=f"{title} by share of calls"))
        for title, about, curves in (
            ("Latency by shape", "the share of calls that were answered within a time", shapes),
            ("Beside the engines", "the share of calls for which it took no longer", spans),
        )
        if curves
    ]
    return _section("Distribution", *cards) if cards else ""


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


def _previews(report: Report) -> str:
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
    table = _table(["shape", "streams", "with one", "previews", *statistics], lines)
    return _section(
        "Previews",
        _card(
            "Time to first preview", "the share of streams that had it within a time, from when they were due", chart
        ),
        _card("Streams", "those that ended well, and when their first preview was here", table),
    )


def _gateway(report: Report) -> str:
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
    lines = [[name, *_percentiles(metrics, name)] for name in ("queue", "store", "overhead", "added", "provider")]
    return _section(
        "Beside the engines",
        _card("Where the time went", "mean of a call; at the end: beside the engines + at the engines", chart),
        _card(
            "Generation.timings",
            "added: latency as seen from here, without the engines' time",
            _table(["", *_PERCENTILES], lines),
        ),
    )


def _engines(report: Report) -> str:
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
    table = _table(["from", "because of", "to", "calls", "drawn"], over, texts=(1, 2))
    return _section(
        "Engines",
        _card(
            "Rows of the decision table",
            "pictures by the engine that drew them",
            chart + notes if rows else _nothing("No picture."),
        ),
        _card(
            "Failovers",
            "what made the gateway try the other engine",
            table if over else _nothing("No call needed a second engine."),
        ),
    )


def _money(report: Report) -> str:
    cost, line = report["figures"]["cost"], report["figures"]["timeline"]
    total, so_far = 0.0, []
    for each in line["cost_usd"]:
        total += each
        so_far.append(total)
    places: list[tuple[float, float | None]] = [(0.0, 0.0)]
    places += [(start + line["bin_s"], value) for start, value in zip(line["start_s"], so_far, strict=True)]
    summed = plot(
        [Series("cost so far", "c5", places, "area")],
        of_time(places[-1][0], _after),
        even(0, total or 0.01, lambda value: f"${value:g}"),
        about="Cost so far, over time",
        until=line["duration_s"],
        legend=False,
    )
    split = bars(
        [Bar(row, [("c5", "cost", value)], _usd(value)) for row, value in cost["by_row"].items()],
        _usd,
        about="Cost by row of the decision table",
    )
    basis = ", ".join(f"{_usd(value)} {escape(name)}" for name, value in cost["by_basis"].items())
    unknown = cost["calls_of_unknown_cost"]
    aside = basis + (f"; {unknown} failed calls told no cost" if unknown else "")
    whose = "the sandbox's money: real prices, nobody is billed" if report["gateway"]["sandbox"] else "real money"
    return _section("Cost", _card("So far", whose, summed), _card("By row", aside, split))


def _errors(report: Report) -> str:
    lines = [
        [
            each["reason"],
            f"{each['calls']:,}",
            ", ".join(f"{name} {count}" for name, count in each["shapes"].items()),
            each["text"],
        ]
        for each in report["figures"]["errors"]
    ]
    table = _table(["reason", "calls", "shapes", "for example"], lines, texts=(2, 3))
    return _section("Errors", _card("By reason", "as in ErrorInfo", table, wide=True)) if lines else ""


def _shapes(report: Report) -> str:
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
    table = _table(["shape", "RPC", "row", *columns.values(), "deadline"], lines, texts=(1, 2))
    about = escape(report["load"]["mix_about"]) or "the mix"
    return _section("Shapes", _card("Of the mix", about, table, wide=True))


def _all_spans(report: Report) -> str:
    metrics = report["figures"]["metrics"]
    lines = [[name, *_percentiles(metrics, name), about] for name, about in SPANS.items() if f"{name}_p50" in metrics]
    about = " and ".join(f"{needed:,} for a {name}" for name, needed in NEEDED.items())
    about = f"sorted values, no buckets; with too few calls there is none: it takes {about}"
    table = _table(["", *_PERCENTILES, "what it is"], lines, texts=(len(_PERCENTILES) + 1,))
    return _section("All spans", _card("Exact percentiles", about, table, wide=True))


def _method(report: Report) -> str:
    metrics, load = report["figures"]["metrics"], report["load"]
    late = _high(metrics, "delay")
    who = "99 in 100" if late.endswith("p99") else "All"
    late = shown(late, metrics.get(late))
    held = metrics["held_back"]
    bound = (
        f"{shown('held_back', held)} of the calls waited because {load['max_in_flight']} were in flight; that wait is "
        "in their latency. Raise <code>--max-in-flight</code>, or lower the rate."
        if held
        else f"No call waited for a place among the {load['max_in_flight']} in flight."
    )
    drift = metrics["drift"]
    drifted = f"{shown('drift', abs(drift))} {'longer' if drift >= 0 else 'shorter'}"
    return (
        "<footer><h2>How to read this</h2><p>Calls start when they are due, whatever became of those before them (an "
        "open loop), and latency counts from then: a server that stalls is seen by every call that it would have kept "
        f"waiting. {who} calls left within {late} of being due. {bound} The middle call of the last third took "
        f"{drifted} than that of the first, shape by shape: near nothing, the load can be borne for long. "
        "Latency counts pictures, and calls that got no answer in time; refusals are errors, and their quickness "
        "counts for nothing. Percentiles are exact. What is shaded in the charts came after the last call was due."
        "</p></footer>"
    )


# --- parts


def _after(value: float) -> str:
    return f"{value:g} s" if value < 120 else f"{value / 60:g} min"


def _section(title: str, *cards: str) -> str:
    return f"<section><h2>{escape(title)}</h2><div class='cards'>{''.join(cards)}</div></section>"


def _card(title: str, about: str, content: str, *, wide: bool = False) -> str:
    return f'<article class="{"wide-card" if wide else ""}"><h3>{escape(title)}</h3><p>{about}</p>{content}</article>'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], texts: Sequence[int] = ()) -> str:
    """Columns of figures, and of `texts`; the first one names the row."""

    def cells(row: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{'th' if not number else tag}{' class=text' if number in texts else ''}>{escape(cell)}"
            f"</{'th' if not number else tag}>"
            for number, cell in enumerate(row)
        )

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f"<div class='wide'><table><thead><tr>{cells(head, 'th')}</tr></thead><tbody>{body}</tbody></table></div>"


def _percentiles(metrics: Mapping[str, float], span: str) -> list[str]:
    names = (f"{span}_{statistic}" for statistic in _PERCENTILES)
    return [shown(name, metrics.get(name)) for name in names]


def _high(metrics: Mapping[str, float], span: str) -> str:
    """The figure that tells of the slow calls: the p99, or the slowest if there are too few for that."""
    return f"{span}_p99" if f"{span}_p99" in metrics else f"{span}_max"


def _usd(value: float) -> str:
    return shown_as(Unit.USD, value)


def _nothing(text: str) -> str:
    return f"<p class='nothing'>{escape(text)}</p>"
