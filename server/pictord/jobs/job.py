"""A job: one generation being made. It belongs to the app, not to the RPC that asked; RPCs read its log."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from pictord.domain.events import Completed
from pictord.domain.generation import Attempt, AttemptState, Generation, Output, State, Timings
from pictord.domain.money import Cost, CostBasis, total
from pictord.domain.outcome import Outcome
from pictord.domain.plan import Adaptation, AdaptationKind
from pictord.domain.reason import Reason
from pictord.domain.request import OnDisconnect
from pictord.errors import GatewayError
from pictord.jobs.crash_points import CrashPoint
from pictord.jobs.insistence import is_store_down
from pictord.jobs.keeping import Keeping
from pictord.jobs.log import EventLog
from pictord.jobs.output import OutputRun
from pictord.jobs.ports import JobContext, JobPorts
from pictord.store.base import Ending

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Job:
    """Runs all outputs of a generation to their end, whoever is still listening."""

    def __init__(self, ports: JobPorts, context: JobContext) -> None:
        self._ports = ports
        self._context = context
        self._started = ports.clock()
        count = context.generation.request.count
        ending = (lambda output: self._ending([output])) if count == 1 else None
        self._outputs = [
            OutputRun(ports, context, index, Keeping(ports, context, self._overdue, ending)) for index in range(count)
        ]
        self._submitters = 0

    @property
    def log(self) -> EventLog:
        """What happened so far."""
        return self._context.log

    @property
    def is_sent(self) -> bool:
        """Whether any attempt was sent; if none was, a cancelled job ends without waiting for anybody."""
        return any(output.is_sent for output in self._outputs)

    def first_attempts(self) -> tuple[Attempt, ...]:
        """The intents that are opened together with the generation: the first candidate, once for each output."""
        generation = self._context.generation
        first = generation.plan.candidates[0]
        return tuple(output.new_attempt(first, 0, generation.create_time) for output in self._outputs)

    def start(self, attempts: Sequence[Attempt]) -> asyncio.Task[None]:
        """Begin; the caller keeps the task alive."""
        return asyncio.create_task(self._run(attempts), name=self._context.generation.id)

    def submitter_came(self) -> None:
        """One more client waits for this: the first one, or one that asks the same again."""
        self._submitters += 1

    def submitter_left(self) -> None:
        """A client is gone; once all are, release what was not sent, unless they asked to finish."""
        self._submitters -= 1
        if not self._submitters and self._context.generation.request.on_disconnect is not OnDisconnect.FINISH:
            self.cancel()

    def cancel(self) -> None:
        """Release what was not sent; what was sent runs to its end."""
        for output in self._outputs:
            output.withdraw()

    def stop(self) -> None:
        """Give up calls in flight, and what cannot be written down, because the process ends."""
        self._context.insistence.give_up()
        for output in self._outputs:
            output.stop()

    async def _run(self, attempts: Sequence[Attempt]) -> None:
        # The job is the outermost frame of its task: whatever fails here would leave holds and readers behind.
        try:
            await self._finish(await self._drawn(attempts))
        except (Exception, asyncio.CancelledError) as fault:
            if _is_ours(fault):
                raise
            self._log(fault, "could not be ended in the record")
            ended = await self._as_known(*_told(fault))
            self._ports.store.disown(self._context.generation.id)
            self._ports.observer.finished(ended)
            self._tell(ended)

    def _tell(self, ended: Generation) -> None:
        if not self.log.is_complete:
            self.log.append(Completed(ended))

    async def _drawn(self, attempts: Sequence[Attempt]) -> list[Output]:
        try:
            try:
                await self._keep_inputs()
            except OSError:
                logger.exception("generation %s: its pictures could not be stored", self._context.generation.id)
                return await self._close_open(Reason.STORE_FULL, "the pictures of the request cannot be stored")
            return await self._run_outputs(attempts)
        except (Exception, asyncio.CancelledError) as fault:
            if _is_ours(fault) or self._context.insistence.is_given_up:
                raise
            self._log(fault, "failed inside")
            return await self._close_open(*_told(fault))

    def _log(self, fault: BaseException, what: str) -> None:
        """A store that is away is no fault of ours, and needs no traceback."""
        is_away = is_store_down(fault)
        text = f"ends without a record: {fault}" if is_away else what
        logger.error("generation %s %s", self._context.generation.id, text, exc_info=not is_away)

    async def _keep_inputs(self) -> None:
        for picture in self._context.generation.request.all_pictures:
            await self._ports.assets.put(picture.data)

    async def _run_outputs(self, attempts: Sequence[Attempt]) -> list[Output]:
        if len(attempts) == 1:
            return [await self._outputs[0].run(attempts[0])]
        runs = [asyncio.create_task(output.run(each)) for output, each in zip(self._outputs, attempts, strict=True)]
        # Not a task group: one output's fault must not cancel its siblings' paid calls.
        results = await asyncio.gather(*runs, return_exceptions=True)
        faults = [result for result in results if isinstance(result, BaseException)]
        if faults:
            raise faults[0]
        return [result for result in results if isinstance(result, Output)]

    async def _finish(self, outputs: Sequence[Output]) -> None:
        generation = self._outputs[0].keeping.ended or await self._ended(outputs)
        self._ports.reached(CrashPoint.AFTER_FINISH)
        self._ports.observer.finished(generation)
        self._tell(generation)

    async def _ended(self, outputs: Sequence[Output]) -> Generation:
        generation_id = self._context.generation.id
        ending = self._ending(outputs)
        keep = ending.state is State.SUCCEEDED
        if not keep:
            record = await self._ports.store.get(generation_id)
            keep = record is not None and _binds(record)
        return await self._written(lambda: self._ports.store.finish(generation_id, ending, keep=keep))

    def _ending(self, outputs: Sequence[Output]) -> Ending:
        if any(output.state is State.SUCCEEDED for output in outputs):
            state, reason, text = State.SUCCEEDED, None, ""
        else:
            worst = next((output for output in outputs if output.state is State.FAILED), outputs[0])
            state, reason, text = worst.state, worst.reason, worst.text
        return Ending(state, reason, text, self._timings(), self._ports.now())

    def _timings(self) -> Timings:
        total_s = self._ports.clock() - self._started
        spent = max((output.timings for output in self._outputs), key=lambda t: t.queue_s + t.provider_s + t.store_s)
        overhead_s = total_s - spent.queue_s - spent.provider_s - spent.store_s
        return replace(spent, overhead_s=max(overhead_s, 0.0))

    async def _close_open(self, reason: Reason, text: str) -> list[Output]:
        """Resolve what is still open: unsent holds are released, sent ones stay as unknown."""
        store, generation_id = self._ports.store, self._context.generation.id
        record = await store.get(generation_id)
        attempts = record.attempts if record else ()
        for attempt in attempts:
            if attempt.state is not AttemptState.FINISHED:
                await self._written(partial(store.finish_attempt, generation_id, _abandoned(attempt, text), None))
        outputs = []
        for output in record.outputs if record else ():
            if not output.state.is_final:
                output = Output(output.index, State.FAILED, reason=reason, text=text)  # noqa: PLW2901
                await self._written(partial(store.finish_output, generation_id, output))
            outputs.append(output)
        return outputs

    async def _written(self, write: Callable[[], Awaitable[T]]) -> T:
        return await self._context.insistence.taken(write, self._overdue)

    async def _overdue(self, error: GatewayError) -> None:
        """The end cannot be written down for long: tell those who wait, once there is something to tell of each output.

        Nothing more is begun for them.
        """
        if self.log.is_complete or any(output.is_drawing for output in self._outputs):
            return
        self.cancel()
        self._tell(await self._as_known(error.reason, f"{error.text}; {_GOES_ON}"))

    async def _as_known(self, reason: Reason, text: str) -> Generation:
        """The end as far as this process knows it, for those who wait, while the store cannot write it down."""
        known = await self._known()
        shown = [output.keeping.drawn for output in self._outputs]
        drawn = {each.attempt.id: each for each in shown if each is not None}
        pictures = {each.output.index: each.output for each in drawn.values() if each.output is not None}
        told: Any = {"reason": reason, "text": text}
        attempts = tuple(
            attempt
            if attempt.state is AttemptState.FINISHED
            else _not_stored(drawn[attempt.id].attempt)
            if attempt.id in drawn
            else _abandoned(attempt, text)
            for attempt in known.attempts
        )
        outputs = tuple(
            pictures.get(each.index) or (each if each.state.is_final else replace(each, state=State.FAILED, **told))
            for each in known.outputs
        )
        ending = self._ending(outputs)
        return replace(
            known,
            request=known.request.with_pictures(lambda _: b""),
            state=ending.state,
            reason=ending.reason,
            text=ending.text,
            timings=ending.timings,
            finish_time=ending.finish_time,
            outputs=outputs,
            attempts=attempts,
            cost=total(attempt.cost for attempt in attempts),
        )

    async def _known(self) -> Generation:
        try:
            record = await self._ports.store.get(self._context.generation.id)
        except (OSError, GatewayError):
            record = None
        return record or self._context.generation


def _is_ours(fault: BaseException) -> bool:
    """Whether somebody cancelled this task; a cancellation made up inside (an SDK may) is a failure like others."""
    task = asyncio.current_task()
    return isinstance(fault, asyncio.CancelledError) and task is not None and task.cancelling() > 0


_FAULT_TEXT = "a fault of the gateway; it is logged under this generation"

_GOES_ON = "what came of it is written down as soon as it can be; ask for it by its id"


def _told(fault: BaseException) -> tuple[Reason, str]:
    """What callers are told of a fault: of ours nothing but that there was one."""
    if isinstance(fault, GatewayError) and is_store_down(fault):
        return fault.reason, fault.text
    return Reason.INTERNAL, _FAULT_TEXT


def _not_stored(attempt: Attempt) -> Attempt:
    """It drew a picture that nobody has but those who wait for it."""
    adaptation = Adaptation(AdaptationKind.NOT_STORED, "kept", "not kept yet")
    return replace(attempt, adaptations=(*attempt.adaptations, adaptation))


def _abandoned(attempt: Attempt, text: str) -> Attempt:
    was_sent = attempt.state is AttemptState.SENT
    return replace(
        attempt,
        state=AttemptState.FINISHED,
        outcome=Outcome.SERVER_ERROR if was_sent else Outcome.CANCELLED,
        cost=Cost(attempt.estimated_nanos, CostBasis.UNKNOWN) if was_sent else Cost(),
        detail=text,
    )


def _binds(generation: Generation) -> bool:
    """Whether a repeated request must get this failure again: the provider refused, or money was spent."""
    return generation.cost.nanos > 0 or any(attempt.outcome is Outcome.REFUSED for attempt in generation.attempts)
