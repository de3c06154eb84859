"""What the terminal says: before, while and after."""

from collections.abc import Mapping
from typing import Any, TextIO

from pictor_loadtest.metrics import SPANS, seconds, shown
from pictor_loadtest.percentiles import NEEDED, statistics
from pictor_loadtest.run import Run

_HEADLINES = ("calls", "offered", "throughput", "errors", "failovers", "held_back", "drift", "cost")
_STATISTICS = ("p50", "p95", "p99", "max")


def beginning(run: Run, calls: int) -> str:
    """What is about to happen."""
    load, money = run.wanted.load, "SANDBOX, nobody is billed"
    if run.purse.bound_nanos is not None:
        money = f"REAL MONEY, ${run.purse.bound_nanos / 1e9:,.4f} at most"
    return (
        f"{calls} calls in {seconds(load.duration_s)} at {load.rate}/s ({load.spacing}, mix {load.mix.name}, "
        f"seed {load.seed}) to {run.gateway.address}: {money}"
    )


class Progress:
    """One line that is written over, on a terminal; one line every ten seconds elsewhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._calls = 0

    def __call__(self, run: Run) -> None:
        """Tell how it goes."""
        generator = run.generator
        if generator is None:
            return
        self._calls += 1
        if not self._stream.isatty() and self._calls % 10:
            return
        done = [record for record in generator.records if record.ended_s is not None]
        recent = statistics(
            r.latency_s for r in done if r.latency_s is not None and (r.ended_s or 0) > generator.now_s - 10
        )
        waiting = len(generator.records) - len(done) - generator.in_flight
        line = (
            f"{generator.now_s:5.0f} s  due {len(generator.records)}  in flight {generator.in_flight}  "
            f"waiting {waiting}  done {len(done)}  failed {sum(bool(record.reason) for record in done)}"
        )
        if recent:
            line += f"  last 10 s: p50 {seconds(recent['p50'])}, slowest {seconds(recent['max'])}"
        self._stream.write(f"\r\x1b[K{line}" if self._stream.isatty() else f"{line}\n")
        self._stream.flush()


def text(report: Mapping[str, Any]) -> str:
    """The figures of a run."""
    metrics = report["figures"]["metrics"]
    lines = ["", "  ".join(f"{name} {shown(name, metrics.get(name))}" for name in _HEADLINES), ""]
    lines.append(f"{'':14}" + "".join(f"{name:>11}" for name in _STATISTICS))
    for span in SPANS:
        if f"{span}_p50" in metrics:
            values = (f"{span}_{name}" for name in _STATISTICS)
            lines.append(f"{span:14}" + "".join(f"{shown(name, metrics.get(name)):>11}" for name in values))
    if "latency_p50" in metrics and "latency_p99" not in metrics:
        lines.append(f"(a p99 takes {NEEDED['p99']} calls)")
    lines.extend(f"{each['calls']} x {each['reason']}: {each['text']}" for each in report["figures"]["errors"])
    for assertion in report["assertions"]:
        word = "holds" if assertion["holds"] else "FAILS"
        note = f", {assertion['note']}" if assertion["note"] else ""
        lines.append(f"{word}  {assertion['text']}  (is {shown(assertion['metric'], assertion['value'])}{note})")
    if report["baseline"]:
        for each in report["baseline"]["compared"]:
            if each["worse"]:
                name = each["metric"]
                figures = (shown(name, each[which]) for which in ("then", "now", "bound"))
                lines.append("WORSE  {}: was {}, is {}, taken up to {}".format(name, *figures))
    if report["stopped_because"]:
        lines.append(f"stopped early: {report['stopped_because']}")
    return "\n".join(lines)
