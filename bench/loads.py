"""The loads: who is called how often, how large, how many at a time, and what of it is kept.

Each is run once a round and lets its contestants take turns. A tag is never used twice, so no picture is ever known to
the gateway's store before.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count

from bench.measurement import Measurement, of_result, percentile
from bench.process import Child
from bench.stage import Stage

KIB = 1024
MIB = 1024 * KIB
SMALL, LARGE, HUGE = 64 * KIB, 3 * MIB // 2, 8 * MIB
PROVIDERS = ("openai", "gemini")

_tags = (f"t{number}" for number in count())


def large(stage: Stage, share: float) -> Iterator[Measurement]:
    """1.5 MiB, 16 in flight."""
    return _in_flight_16(stage, "large", LARGE, int(192 * share))


def small(stage: Stage, share: float) -> Iterator[Measurement]:
    """64 KiB, 16 in flight."""
    return _in_flight_16(stage, "small", SMALL, int(800 * share))


def single(stage: Stage, share: float) -> Iterator[Measurement]:
    """1.5 MiB and 64 KiB, 1 in flight: the upstream itself, and Pictor before it."""
    for size, name in ((LARGE, "single_large"), (SMALL, "single_small")):
        calls = int(100 * share)
        for provider in PROVIDERS:
            stage.direct.ask("run", provider=provider, size_bytes=size, tags=_take(10))
            result = stage.direct.ask("run", provider=provider, size_bytes=size, tags=_take(calls))
            yield of_result(name, f"upstream {provider}", result)
            yield _measured(name, f"pictor {provider}", stage.gateway.client, provider, _Shape(size, 1, calls))


def previews(stage: Stage, share: float) -> Iterator[Measurement]:
    """Streams of 1.5 MiB with two previews before a slow upstream, 1 and 16 in flight."""
    contestants = (("sdk openai", stage.slow_sdk), ("pictor openai", stage.slow_gateway.client))
    for _, caller in contestants:  # a process that has just begun also pays for memory that it has never used
        caller.ask("stream", size_bytes=LARGE, tags=_take(16), concurrency=16)
    for in_flight, calls in ((1, 12), (16, 48)):
        for who, caller in contestants:
            shape = _Shape(LARGE, in_flight, max(in_flight, int(calls * share)))
            yield _streamed(stage, f"previews_{in_flight}", who, caller, shape)


def lag(stage: Stage, share: float) -> Iterator[Measurement]:
    """Four pictures of 8 MiB at once: how long the event loop was busy with one thing."""
    for provider in PROVIDERS:
        contestants = (
            (f"sdk {provider}", stage.sdk, stage.sdk),
            (f"pictor {provider}", stage.gateway.client, stage.gateway.server),
        )
        for who, caller, watched in contestants:
            caller.ask("run", provider=provider, size_bytes=HUGE, tags=_take(12), concurrency=4)
            watched.ask("watch_lag")
            result = caller.ask("run", provider=provider, size_bytes=HUGE, tags=_take(int(16 * share)), concurrency=4)
            longest_ms = watched.ask("lag") * 1e3
            measured = of_result("lag", who, result)
            yield replace(measured, values={**measured.values, "lag_ms": longest_ms})


def memory(stage: Stage, share: float) -> Iterator[Measurement]:
    """64 pictures of 1.5 MiB in flight, in a process that has done nothing else."""
    server, client = stage.fresh_gateway.server, stage.fresh_gateway.client
    server.forget_peak_memory()
    tags = _take(max(64, int(192 * share)))
    measured = of_result(
        "memory", "pictor openai", client.ask("run", provider="openai", size_bytes=LARGE, tags=tags, concurrency=64)
    )
    yield replace(measured, values={**measured.values, "peak_mib": server.peak_memory_mib()})


def many(stage: Stage, share: float) -> Iterator[Measurement]:
    """64 KiB, 256 in flight before the slow upstream."""
    tags = _take(max(256, int(768 * share)))
    result = stage.slow_gateway.client.ask("run", provider="openai", size_bytes=SMALL, tags=tags, concurrency=256)
    yield of_result("many", "pictor openai", result)


def store(stage: Stage, share: float) -> Iterator[Measurement]:
    """64 KiB, 1 and 16 in flight: what a database under the gateway costs."""
    for who, served in (("memory", stage.gateway), ("sqlite", stage.sqlite_gateway)):
        for in_flight, calls in ((1, 150), (16, 600)):
            shape = _Shape(SMALL, in_flight, int(calls * share))
            yield _measured(f"store_{in_flight}", who, served.client, "openai", shape)


def plan(stage: Stage, _share: float) -> Iterator[Measurement]:
    """`router.plan`, once for each row; the slowest one counts."""
    by_row: dict[str, float] = stage.planning.ask("plan_us")
    yield Measurement(
        "plan", "pictor", {"slowest_us": max(by_row.values())} | {f"{r}_us": t for r, t in by_row.items()}
    )


def history(stage: Stage, _share: float) -> Iterator[Measurement]:
    """Pages of 50 over much history: each filter alone and with a caller, the first page, a middle and a deep one."""
    for kind, child in stage.histories.items():
        child.ask("lists")  # what is read for the first time comes from the disk
        took: dict[str, list[float]] = child.ask("lists")
        pages = [each_ms for of_query in took.values() for each_ms in of_query]
        values = {"p50_ms": percentile(pages, 50), "p95_ms": percentile(pages, 95), "slowest_ms": max(pages)}
        by_query = {f"{name}_ms": max(of_query) for name, of_query in took.items()}
        values |= {"generations": float(stage.seeded.generations)}
        yield Measurement("history", kind, values | by_query, calls=len(pages))


def settling(stage: Stage, share: float) -> Iterator[Measurement]:
    """Reserve and settle under three limits on SQLite, 16 at a time."""
    pairs = int(3_000 * share)
    stage.empty_store.ask("settling", pairs=100, in_flight=16)
    took_s: float = stage.empty_store.ask("settling", pairs=pairs, in_flight=16)
    yield Measurement("settling", "sqlite", {"per_s": pairs / took_s}, calls=pairs)


def recovery(stage: Stage, share: float) -> Iterator[Measurement]:
    """A start after a crash under full load, on SQLite: 10,000 attempts are open, half of them were sent."""
    attempts = int(10_000 * share)
    took_s: float = stage.empty_store.ask("recovery", generations=attempts // 2)
    yield Measurement("recovery", "sqlite", {"s": took_s, "attempts": attempts}, calls=attempts)


LOADS: dict[str, Callable[[Stage, float], Iterable[Measurement]]] = {
    "memory": memory,
    "large": large,
    "small": small,
    "single": single,
    "previews": previews,
    "lag": lag,
    "many": many,
    "store": store,
    "plan": plan,
    "settling": settling,
    "recovery": recovery,
    "history": history,
}
SLOW_TO_SEED = ("history",)
"""Left out of a quick run: filling the databases takes minutes."""


def _in_flight_16(stage: Stage, name: str, size: int, calls: int) -> Iterator[Measurement]:
    yield _measured(name, "echo", stage.echo.client, "echo", _Shape(size, 16, calls * 3))
    for provider in PROVIDERS:
        yield _measured(name, f"sdk {provider}", stage.sdk, provider, _Shape(size, 16, calls))
        yield _measured(name, f"pictor {provider}", stage.gateway.client, provider, _Shape(size, 16, calls))


@dataclass(frozen=True, slots=True)
class _Shape:
    """How large each picture is, how many are asked for at a time, and how many in all."""

    size_bytes: int
    in_flight: int
    calls: int


def _measured(load: str, who: str, caller: Child, provider: str, shape: _Shape) -> Measurement:
    """Warm up, then measure."""
    for calls in (max(2 * shape.in_flight, 10), max(shape.calls, shape.in_flight)):
        result = caller.ask(
            "run", provider=provider, size_bytes=shape.size_bytes, tags=_take(calls), concurrency=shape.in_flight
        )
    return of_result(load, who, result)


def _streamed(stage: Stage, load: str, who: str, caller: Child, shape: _Shape) -> Measurement:
    stage.slow_upstream.ask("written")
    result = caller.ask("stream", size_bytes=shape.size_bytes, tags=_take(shape.calls), concurrency=shape.in_flight)
    written: dict[str, float] = stage.slow_upstream.ask("written")
    passed_on_ms = [(received - written[f"{tag}/{number}"]) * 1e3 for tag, number, received in result["receipts"]]
    measured = of_result(load, who, result)
    passed = {"passed_on_p50_ms": percentile(passed_on_ms, 50), "passed_on_p95_ms": percentile(passed_on_ms, 95)}
    return replace(measured, values={**measured.values, **passed})


def _take(calls: int) -> list[str]:
    return [next(_tags) for _ in range(calls)]
