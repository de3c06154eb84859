"""The table: each figure, the bar that it must reach, and whether it does. Pure."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from bench.loads import LARGE, MIB
from bench.measurement import Measurements, Missing

_ENGINES = (("openai", "OpenAI"), ("gemini", "Gemini"))
_MEMORY_BAR_MIB = 1.5 * 64 * LARGE / MIB + 100
"""1.5 times the bytes in flight, and 100 MiB for the process itself."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One line of the table; `passed` is None if its load was not run."""

    figure: str
    must_reach: str
    measured: str
    passed: bool | None


def table(measured: Measurements) -> list[Bar]:
    """All lines, in the order of the specification."""
    return [_told(line, measured) for line in _lines()]


@dataclass(frozen=True, slots=True)
class _Line:
    figure: str
    must_reach: str
    judge: Callable[[Measurements], tuple[str, bool]]


def _told(line: _Line, measured: Measurements) -> Bar:
    try:
        text, passed = line.judge(measured)
    except Missing:
        return Bar(line.figure, line.must_reach, "not run", None)
    return Bar(line.figure, line.must_reach, text, passed)


def _lines() -> Iterator[_Line]:
    yield from _cpu("large", "1.5 MiB", {"openai": 0.40, "gemini": 0.50})
    yield from _cpu("small", "64 KiB", {"openai": 0.70, "gemini": 0.70})
    yield from _throughput("large", "1.5 MiB", 0.25)
    yield from _throughput("small", "64 KiB", 0.20)
    yield from _added("single_large", "1.5 MiB", 6.0)
    yield from _added("single_small", "64 KiB", 3.0)
    yield from _previews()
    yield from _lag()
    yield _Line("peak RSS, 64 x 1.5 MiB in flight", f"<= {_MEMORY_BAR_MIB:.0f} MiB", _peak)
    yield _Line("256 in flight, 1 s upstream, 64 KiB", "p50 <= 1.2 s, 0 errors", _many)
    yield _Line("SQLite under it: added p50, 64 KiB, 1 in flight", "<= 4 ms over memory", _store_p50)
    yield _Line("SQLite under it: throughput, 64 KiB, 16 in flight", ">= 0.75 x memory", _store_throughput)
    yield _Line("SQLite: reserve and settle, 16 in flight", ">= 500/s", _settling)
    yield _Line("SQLite: start after a crash, 10,000 attempts open", "< 2 s", _recovery)
    for kind, name in (("sqlite", "SQLite"), ("postgresql", "PostgreSQL")):
        yield _Line(f"page of 50 of a long history, {name}", "p95 < 30 ms", _pages_of(kind))
    yield _Line("router.plan, the slowest row", "<= 50 us", _plan)
    yield _Line("every load", "0 wrong, 0 errors", _faultless)


def _cpu(load: str, size: str, bars: dict[str, float]) -> Iterator[_Line]:
    for provider, engine in _ENGINES:
        bar = bars[provider]
        judge = _at_most(bar, load, f"pictor {provider}", f"sdk {provider}", "cpu_ms")
        yield _Line(f"CPU per {size} picture, 16 in flight, {engine}", f"<= {bar:.2f} x bare SDK call", judge)


def _throughput(load: str, size: str, bar: float) -> Iterator[_Line]:
    def judge_of(who: str) -> Callable[[Measurements], tuple[str, bool]]:
        def judge(measured: Measurements) -> tuple[str, bool]:
            ours, echo = (measured.median(load, each, "per_s") for each in (who, "echo"))
            return f"{ours:.0f}/s = {ours / echo:.2f} x {echo:.0f}/s", ours >= bar * echo

        return judge

    for provider, engine in _ENGINES:
        figure = f"throughput of one core, 16 in flight, {size}, {engine}"
        yield _Line(figure, f">= {bar:.2f} x echo", judge_of(f"pictor {provider}"))


def _added(load: str, size: str, bar_ms: float) -> Iterator[_Line]:
    def judge_of(provider: str) -> Callable[[Measurements], tuple[str, bool]]:
        def judge(measured: Measurements) -> tuple[str, bool]:
            ours, upstream = (measured.median(load, f"{who} {provider}", "p50_ms") for who in ("pictor", "upstream"))
            return f"{ours - upstream:.1f} ms ({ours:.1f} - {upstream:.1f})", ours - upstream <= bar_ms

        return judge

    for provider, engine in _ENGINES:
        yield _Line(f"added p50 at 1 in flight, {size}, {engine}", f"<= {bar_ms:.0f} ms", judge_of(provider))


def _previews() -> Iterator[_Line]:
    for in_flight in (1, 16):
        judge = _at_most(0.30, f"previews_{in_flight}", "pictor openai", "sdk openai", "passed_on_p50_ms")
        yield _Line(f"preview passed on, 1.5 MiB, {in_flight} in flight", "<= 0.30 x the SDK's own stream", judge)


def _lag() -> Iterator[_Line]:
    for provider, engine in _ENGINES:
        judge = _at_most(0.50, "lag", f"pictor {provider}", f"sdk {provider}", "lag_ms")
        yield _Line(f"event-loop lag, four 8 MiB pictures at once, {engine}", "<= 0.50 x bare SDK call", judge)


def _at_most(bar: float, load: str, who: str, other: str, value: str) -> Callable[[Measurements], tuple[str, bool]]:
    """Judge our milliseconds by another's."""

    def judge(measured: Measurements) -> tuple[str, bool]:
        ours, theirs = (measured.median(load, each, value) for each in (who, other))
        return f"{ours:.2f} ms = {ours / theirs:.2f} x {theirs:.2f} ms", ours <= bar * theirs

    return judge


def _peak(measured: Measurements) -> tuple[str, bool]:
    peak_mib = measured.median("memory", "pictor openai", "peak_mib")
    return f"{peak_mib:.0f} MiB", peak_mib <= _MEMORY_BAR_MIB


def _store_p50(measured: Measurements) -> tuple[str, bool]:
    sqlite, memory = (measured.median("store_1", who, "p50_ms") for who in ("sqlite", "memory"))
    return f"{sqlite - memory:.1f} ms ({sqlite:.1f} - {memory:.1f})", sqlite - memory <= 4.0


def _store_throughput(measured: Measurements) -> tuple[str, bool]:
    sqlite, memory = (measured.median("store_16", who, "per_s") for who in ("sqlite", "memory"))
    return f"{sqlite:.0f}/s = {sqlite / memory:.2f} x {memory:.0f}/s", sqlite >= 0.75 * memory


def _settling(measured: Measurements) -> tuple[str, bool]:
    per_s = measured.median("settling", "sqlite", "per_s")
    return f"{per_s:.0f}/s", per_s >= 500


def _recovery(measured: Measurements) -> tuple[str, bool]:
    took_s, attempts = (measured.median("recovery", "sqlite", name) for name in ("s", "attempts"))
    return f"{took_s:.2f} s for {attempts:,.0f}", took_s < 2


def _pages_of(kind: str) -> Callable[[Measurements], tuple[str, bool]]:
    def judge(measured: Measurements) -> tuple[str, bool]:
        names = ("p50_ms", "p95_ms", "slowest_ms", "generations")
        p50, p95, slowest, of = (measured.median("history", kind, name) for name in names)
        return f"p95 {p95:.0f} ms (p50 {p50:.0f}, most {slowest:.0f}) of {of:,.0f}", p95 < 30

    return judge


def _many(measured: Measurements) -> tuple[str, bool]:
    p50_s = measured.median("many", "pictor openai", "p50_ms") / 1e3
    errors = sum(each.errors for each in measured.all if each.load == "many")
    return f"p50 {p50_s:.2f} s, {errors} errors", p50_s <= 1.2 and not errors


def _plan(measured: Measurements) -> tuple[str, bool]:
    slowest_us = measured.median("plan", "pictor", "slowest_us")
    return f"{slowest_us:.0f} us", slowest_us <= 50


def _faultless(measured: Measurements) -> tuple[str, bool]:
    calls, wrong, errors = (sum(getattr(each, name) for each in measured.all) for name in ("calls", "wrong", "errors"))
    return f"{wrong} wrong, {errors} errors in {calls} calls", not wrong and not errors


def all_reached(bars: Iterable[Bar]) -> bool:
    """Whether no figure misses its bar."""
    return all(bar.passed is not False for bar in bars)
