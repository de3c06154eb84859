"""What is asked before the first call: is it a sandbox, what can each shape cost at worst, how long may it take."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pictor.amounts import seconds
from pictor.v1.catalog_service_pb2 import Provider
from pictor.v1.image_service_pb2 import PlanResponse
from pictor_loadtest.gateway import Bounds, Gateway
from pictor_loadtest.mix import Mix, Shape
from pictor_loadtest.record import nanos

MARGIN_S = 60.0
"""On top of what the engines may take, for the gateway's queues: a deadline must never be what ends a slow call."""


class Refused(Exception):
    """The run must not begin; the text says why and what would help."""


class NotSandbox(Refused):
    """It would cost real money."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What the gateway says of one shape."""

    shape: Shape
    row: str
    models: tuple[str, ...]
    expected_p50_s: float
    bounds: Bounds


def check_sandbox(providers: Sequence[Provider], address: str) -> bool:
    """Whether every engine that the gateway has is simulated.

    Raises:
        Refused: It has no engines at all.
    """
    usable = [each for each in providers if each.configured]
    if not usable:
        raise Refused(
            f"the gateway at {address} has no engine; give it keys, or start it with `pictord serve --sandbox`"
        )
    return all(each.sandbox for each in usable)


def refuse_real(address: str) -> NotSandbox:
    """The gateway has real engines, and nobody said that they may be paid."""
    return NotSandbox(
        f"the gateway at {address} has real engines: this load would cost real money, so nothing was sent; "
        "start one with `pictord serve --sandbox`, or say --spend-real-money USD"
    )


async def plan_all(gateway: Gateway, mix: Mix, timeout_s: float | None, *, is_real: bool) -> Mapping[str, Planned]:
    """Ask for the route, price and times of every shape.

    Raises:
        PictorError: A request is not valid.
        Refused: A shape would be refused.
        ValueError: The wanted timeout is shorter than an engine may take.
    """
    await gateway.upload_inputs(mix.shapes)
    planned = {}
    for shape in mix.shapes:
        answer = await gateway.plan(shape)
        if answer.refusal.reason:
            raise Refused(f"shape {shape.name} would be refused: {answer.refusal.text} ({answer.refusal.reason})")
        planned[shape.name] = _planned(shape, answer, timeout_s, is_real=is_real)
    return planned


def _planned(shape: Shape, answer: PlanResponse, timeout_s: float | None, *, is_real: bool) -> Planned:
    candidates = answer.plan.candidates
    slowest = max(seconds(each.timeout) for each in candidates)
    if timeout_s is not None and timeout_s <= slowest:
        raise ValueError(
            f"--timeout {timeout_s:g} s is not above the {slowest:g} s that an engine may take for {shape.name}: calls "
            "would be cut off and paid all the same"
        )
    # A picture has two paid sends at most, on different models.
    tries = sorted((nanos(each.worst_case_cost) for each in candidates), reverse=True)[:2]
    worst_nanos = sum(tries) * (shape.request.count or 1)
    return Planned(
        shape=shape,
        row=answer.plan.row,
        models=tuple(each.model for each in candidates),
        expected_p50_s=seconds(candidates[0].expected_p50),
        bounds=Bounds(
            timeout_s=timeout_s or sum(sorted(seconds(each.timeout) for each in candidates)[-2:]) + MARGIN_S,
            worst_nanos=worst_nanos,
            max_cost_nanos=worst_nanos if is_real else None,
        ),
    )
