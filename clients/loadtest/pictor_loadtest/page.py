"""The report as one page that stands alone: figures, charts, styles and script in one file, nothing fetched."""

from collections.abc import Mapping
from html import escape
from importlib import resources
from typing import Any

from pictor_loadtest import chapters
from pictor_loadtest.chapters import Report
from pictor_loadtest.metrics import METRICS, seconds, shown
from pictor_loadtest.parts import high

_SPACINGS = {"poisson": "Poisson arrivals", "even": "evenly spaced"}


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
        chapters.over_time(report),
        chapters.distribution(report),
        chapters.previews(report),
        chapters.gateway(report),
        chapters.engines(report),
        chapters.money(report),
        chapters.errors(report),
        chapters.shapes(report),
        chapters.all_spans(report),
        _method(report),
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<style>{style}</style></head><body><main>{''.join(sections)}</main><script>{script}</script></body></html>\n"
    )


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
    within = high(metrics, "latency")
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

    def slow(span: str, label: str) -> tuple[str, str]:
        name = high(metrics, span)
        return name, f"{label}, {'p99' if name.endswith('p99') else 'slowest'}"

    bad = "bad" if metrics.get("errors", 0) > 0 else ""
    tiles = [
        tile("latency_p50", "Latency, half of the calls", near("latency_p95", "latency_p99", "latency_max")),
        tile(*slow("added", "Beside the engines"), near("added_p50", "added_p95")),
        tile(*slow("overhead", "Gateway overhead"), near("overhead_p50", "overhead_p95")),
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


def _method(report: Report) -> str:
    metrics, load = report["figures"]["metrics"], report["load"]
    late = high(metrics, "delay")
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
