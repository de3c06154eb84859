"""One run from beginning to end: check, send, look up what failed calls had cost, and sum up."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pictor.errors import PictorError
from pictor_loadtest.baseline import Compared, check_same, compare
from pictor_loadtest.figures import FORMAT, figures
from pictor_loadtest.gateway import Gateway
from pictor_loadtest.generator import Generator
from pictor_loadtest.metrics import Assertion
from pictor_loadtest.preflight import Planned, check_sandbox, plan_all, refuse_real
from pictor_loadtest.purse import Purse
from pictor_loadtest.record import NANOS, Record
from pictor_loadtest.schedule import Due, Load

INTERRUPTED = "interrupted"
SPENT = "the money is spent"
REAL = "a real engine answered"

_LOOK_UPS = 1000
"""Most failed calls whose cost is looked up afterwards."""
_LOOK_UPS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Wanted:
    """Everything that was asked of a run."""

    load: Load
    connections: int
    max_inline_bytes: int
    timeout_s: float | None
    spend_nanos: int | None
    assertions: tuple[Assertion, ...]
    baseline: Mapping[str, Any] | None
    tolerance: float

    def described(self) -> dict[str, Any]:
        """What a later run must repeat to be comparable, and what people want to know."""
        load = self.load
        return {
            "mix": load.mix.name,
            "mix_about": load.mix.about,
            "mix_sha256": load.mix.sha256,
            "rate": str(load.rate),
            "spacing": str(load.spacing),
            "duration_s": load.duration_s,
            "seed": load.seed,
            "max_in_flight": load.max_in_flight,
            "connections": self.connections,
            "max_inline_bytes": self.max_inline_bytes,
        }


@dataclass(slots=True)
class Run:
    """A run under way; `progress` may look at it."""

    wanted: Wanted
    gateway: Gateway
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    generator: Generator | None = None
    purse: Purse = field(init=False)
    planned: Mapping[str, Planned] = field(default_factory=dict)
    is_sandbox: bool = False
    began_at: datetime | None = None

    def __post_init__(self) -> None:
        self.purse = Purse(self.wanted.spend_nanos)

    async def check(self) -> Sequence[Due]:
        """Everything that can be known before the first call; nothing is sent that costs.

        Raises:
            Refused: The run must not begin.
            PictorError: The gateway does not answer, or a request is not valid.
            ValueError: The baseline is of another load, or no call is due.
        """
        if self.wanted.baseline is not None:
            check_same(self.wanted.baseline["load"], self.wanted.described())
        schedule = self.wanted.load.schedule()
        self.is_sandbox = check_sandbox(await self.gateway.providers(), self.gateway.address)
        if not self.is_sandbox and self.wanted.spend_nanos is None:
            raise refuse_real(self.gateway.address)
        if self.is_sandbox:
            self.purse = Purse(None)
        self.planned = await plan_all(
            self.gateway, self.wanted.load.mix, self.wanted.timeout_s, is_real=not self.is_sandbox
        )
        return schedule

    async def drive(self, schedule: Sequence[Due], progress: Callable[["Run"], None] = lambda _: None) -> None:
        """Make all calls; Ctrl-C ends the run early, and its report is still made."""
        self.began_at = self.now()
        self.generator = Generator(self._call, max_in_flight=self.wanted.load.max_in_flight, may=self._may)
        ticking = asyncio.create_task(self._tick(progress))
        try:
            await self.generator.run(schedule)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
            self.generator.stop(INTERRUPTED)
        finally:
            ticking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await ticking
        progress(self)
        await self._look_up_failed()

    def report(self) -> dict[str, Any]:
        """The run as plain data."""
        generator = self._generator
        planned_s = self.wanted.load.duration_s
        stopped = generator.stopped_because
        last_s = max((record.due.at_s for record in generator.records), default=planned_s)
        found = figures(generator.records, max(last_s, 0.001) if stopped else planned_s)
        metrics, shapes = found["metrics"], found["shapes"]
        return {
            "format": FORMAT,
            "load": self.wanted.described(),
            "began_at": self.began_at.isoformat(timespec="seconds") if self.began_at else "",
            "gateway": {
                "address": self.gateway.address,
                "sandbox": self.is_sandbox,
                "spend_usd": None if self.purse.bound_nanos is None else self.purse.bound_nanos / NANOS,
                "held_usd": self.purse.held_nanos / NANOS,
            },
            "stopped_because": stopped,
            "plan": {
                name: {
                    "method": each.shape.method,
                    "weight": each.shape.weight,
                    "row": each.row,
                    "models": list(each.models),
                    "expected_p50_s": each.expected_p50_s,
                    "timeout_s": each.bounds.timeout_s,
                    "worst_usd": each.bounds.worst_nanos / NANOS,
                }
                for name, each in self.planned.items()
            },
            "figures": found,
            "assertions": [_judged(each, metrics, shapes) for each in self.wanted.assertions],
            "baseline": None if self.wanted.baseline is None else self._against(self.wanted.baseline, metrics),
        }

    @property
    def _generator(self) -> Generator:
        if self.generator is None:
            raise RuntimeError("nothing was driven")
        return self.generator

    async def _call(self, record: Record) -> None:
        bounds = self.planned[record.due.shape.name].bounds
        try:
            await self.gateway.call(record, bounds, lambda: self._generator.now_s)
        finally:
            if record.made is not None:
                self.purse.settle(bounds.worst_nanos, record.made.cost_nanos)
                if self.is_sandbox and not record.made.is_sandbox:
                    self._generator.stop(REAL)  # another replica answered than the one that was asked
            elif record.reason and not record.may_have_cost:
                self.purse.settle(bounds.worst_nanos, 0)

    def _may(self, due: Due) -> str:
        return "" if self.purse.hold(self.planned[due.shape.name].bounds.worst_nanos) else SPENT

    async def _look_up_failed(self) -> None:
        """A failed call's answer does not say what it had cost; the gateway's history does."""
        places = asyncio.Semaphore(_LOOK_UPS_AT_ONCE)
        failed = [each for each in self._generator.records if each.reason and each.generation_id and each.made is None]

        async def look_up(record: Record) -> None:
            async with places:
                with contextlib.suppress(PictorError):  # then its cost stays unknown, and is counted as that
                    record.made = await self.gateway.look_up(record.generation_id)

        await asyncio.gather(*(look_up(record) for record in failed[:_LOOK_UPS]))

    async def _tick(self, progress: Callable[["Run"], None]) -> None:
        while True:
            await asyncio.sleep(1.0)
            progress(self)

    def _against(self, baseline: Mapping[str, Any], metrics: Mapping[str, float]) -> dict[str, Any]:
        compared: list[Compared] = compare(baseline["figures"]["metrics"], metrics, self.wanted.tolerance)
        return {
            "began_at": baseline.get("began_at", ""),
            "tolerance": self.wanted.tolerance,
            "compared": [
                {"metric": each.metric, "then": each.then, "now": each.now, "bound": each.bound, "worse": each.is_worse}
                for each in compared
            ],
        }


def _judged(assertion: Assertion, metrics: Mapping[str, float], shapes: Mapping[str, Any]) -> dict[str, Any]:
    there = shapes.get(assertion.shape, {"metrics": {}})["metrics"] if assertion.shape else metrics
    value, note = assertion.judged(there)
    return {
        "text": assertion.text,
        "metric": assertion.metric,
        "value": value,
        "note": note,
        "holds": assertion.holds(value),
    }
