"""How a generation's record changes, step by step: pure, the same for every store."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from pictord.domain.generation import Attempt, AttemptState, Generation, Output, State
from pictord.domain.money import total
from pictord.store.base import Ending


def with_attempts(generation: Generation, attempts: Iterable[Attempt]) -> Generation:
    """The record with these attempts, at their cost."""
    attempts = tuple(attempts)
    return replace(generation, attempts=attempts, cost=total(attempt.cost for attempt in attempts))


def with_attempt(generation: Generation, attempt: Attempt, output: Output | None = None) -> Generation:
    """The record with one attempt as it is now, in its place, and with the output that it brought to its end."""
    attempts = tuple(attempt if each.id == attempt.id else each for each in generation.attempts)
    cost = total(each.cost for each in attempts)
    if output is None:
        return replace(generation, attempts=attempts, cost=cost)
    return replace(generation, attempts=attempts, cost=cost, outputs=_outputs_with(generation, output))


def sent(generation: Generation, attempt_id: str, sent_time: datetime) -> Generation:
    """The record of a generation that runs, because this attempt goes out."""
    attempts = tuple(
        replace(attempt, state=AttemptState.SENT, sent_time=sent_time) if attempt.id == attempt_id else attempt
        for attempt in generation.attempts
    )
    return replace(generation, state=State.RUNNING, attempts=attempts)


def with_output(generation: Generation, output: Output) -> Generation:
    """The record with one output as it is now, in its place."""
    return replace(generation, outputs=_outputs_with(generation, output))


def _outputs_with(generation: Generation, output: Output) -> tuple[Output, ...]:
    return tuple(output if each.index == output.index else each for each in generation.outputs)


def ended(generation: Generation, ending: Ending) -> Generation:
    """The whole record, at the end."""
    return replace(
        generation,
        state=ending.state,
        reason=ending.reason,
        text=ending.text,
        timings=ending.timings,
        finish_time=ending.finish_time,
    )
