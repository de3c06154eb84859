"""One output of a generation: its attempts in plan order, at most two paid sends, until a picture or no way on.

Each attempt goes through the same steps, and each step is recorded before the next begins:

    intent and hold → admitted by the guard → marked sent → sent → finished: settled, with the picture → next or end

What an ending means for breaker, limiter, fallback and money is the outcome table's word alone (`domain/outcome.py`).

An output can be withdrawn (the submitter left, or cancelled it): whatever was not sent is released at once, whatever
was sent runs to its end, and no further attempt starts. At shutdown it is stopped: a call in flight is given up and
its hold stays as unknown.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum

from pictord.assets.arrivals import Arrived
from pictord.assets.objects import address
from pictord.domain.events import AttemptFailed, AttemptStarted, PreviewReady, Queued
from pictord.domain.generation import Attempt, AttemptState, Image, Output, State, Timings
from pictord.domain.money import Cost, CostBasis
from pictord.domain.outcome import RULES, FallBack, Outcome
from pictord.domain.plan import Candidate, ExclusionReason
from pictord.domain.reason import Reason
from pictord.domain.request import Fidelity, OnDisconnect
from pictord.jobs import delivery
from pictord.jobs.crash_points import CrashPoint
from pictord.jobs.endings import Ended, failure_reason, retry_after_s, settled, told
from pictord.jobs.keeping import Keeping
from pictord.jobs.ports import JobContext, JobPorts
from pictord.providers.base import Call, Drawn, ImageProvider, Preview, ProviderFailure
from pictord.resilience.admission import NotAdmitted
from pictord.resilience.guard import Permit
from pictord.store.base import HoldRefused

logger = logging.getLogger(__name__)

_SHUT_DOWN = "the gateway was shut down"

MAX_SENDS = 2
"""Paid sends for one output: the first choice and one more (design, §5)."""


class _Phase(Enum):
    """Where an attempt stands; cancelling the task is safe only in the first two."""

    ADMITTING = "admitting"
    DRAWING = "drawing"
    RECORDING = "recording"


@dataclass(slots=True)
class _Spans:
    """Seconds spent so far."""

    queue_s: float = 0.0
    provider_s: float = 0.0


@dataclass(slots=True)
class OutputRun:
    """Brings one output to its end."""

    ports: JobPorts
    context: JobContext
    index: int
    keeping: Keeping
    _withdrawn: bool = False
    _stopping: bool = False
    _is_sent: bool = False
    _phase: _Phase = _Phase.RECORDING
    _task: asyncio.Task[object] | None = None
    _ended: list[Ended] = field(default_factory=list)
    _spans: _Spans = field(default_factory=_Spans)

    @property
    def timings(self) -> Timings:
        """Where this output's time went, without the gateway's own part."""
        return Timings(self._spans.queue_s, self._spans.provider_s, self.keeping.store_s)

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Those that have ended."""
        return tuple(each.attempt for each in self._ended)

    @property
    def is_drawing(self) -> bool:
        """Whether there is nothing to tell of it yet: it runs, and does not wait for the store."""
        return self._task is not None and not self.keeping.is_stuck

    @property
    def is_sent(self) -> bool:
        """Whether an attempt was marked sent: from then on it may be paid for."""
        return self._is_sent

    def withdraw(self) -> None:
        """Release what was not sent and start nothing more."""
        self._withdrawn = True
        if self._phase is _Phase.ADMITTING and self._task is not None:
            self._task.cancel()

    def stop(self) -> None:
        """Give up now, because the process ends."""
        self._withdrawn = self._stopping = True
        if self._phase is not _Phase.RECORDING and self._task is not None:
            self._task.cancel()

    async def run(self, first: Attempt) -> Output:
        """Try the candidates, beginning with the attempt that was opened with the generation."""
        self._task = asyncio.current_task()
        try:
            return await self._tried(first)
        finally:
            # No cycle is left: what has ended is freed at once, and not by a garbage collection that stops everybody.
            self._task = None
            self.keeping.let_go()

    async def _tried(self, first: Attempt) -> Output:
        candidate: Candidate | None = self.context.generation.plan.candidates[0]
        attempt = first
        while candidate is not None:
            ended = await self._attempt(candidate, attempt)
            self._ended.append(ended)
            if ended.output is not None:
                return ended.output
            opened, refused = await self._open_following(candidate, ended)
            candidate, attempt = opened or (None, attempt)
            self._report_failure(ended, goes_on=candidate is not None)
        return await self._fail(refused)

    def new_attempt(
        self, candidate: Candidate, index: int, create_time: datetime, after: Outcome | None = None
    ) -> Attempt:
        """The intent to call a candidate, held at its worst case."""
        return Attempt(
            id=self.ports.new_id("att"),
            output_index=self.index,
            index=index,
            provider=candidate.provider,
            model=candidate.model,
            quality=candidate.quality,
            estimated_nanos=candidate.worst_case_nanos,
            after=after,
            adaptations=candidate.adaptations,
            cost=Cost(candidate.worst_case_nanos, CostBasis.ESTIMATED),
            create_time=create_time,
        )

    # One attempt

    async def _attempt(self, candidate: Candidate, attempt: Attempt) -> Ended:
        if self._withdrawn:
            return await self._close_withdrawn(attempt)
        try:
            permit = await self._admit(candidate)
        except NotAdmitted as refusal:
            ended = await self._close(attempt, Outcome.NOT_ADMITTED, refusal.text, retry_after_s=refusal.retry_after_s)
            return replace(ended, refusal=refusal.reason)
        except asyncio.CancelledError:
            self._swallow_own_cancellation()
            return await self._close_withdrawn(attempt)
        try:
            if self._withdrawn:
                return await self._close_withdrawn(attempt)
            return await self._send(candidate, attempt, permit)
        finally:
            permit.release()

    async def _admit(self, candidate: Candidate) -> Permit:
        permit = await self._wait_for_turn(candidate)
        if candidate.provider in self.ports.providers:
            return permit
        permit.release()
        text = f"{candidate.provider} was taken out of the configuration meanwhile"
        raise NotAdmitted(ExclusionReason.NOT_CONFIGURED, text, None)

    async def _wait_for_turn(self, candidate: Candidate) -> Permit:
        started = self.ports.clock()
        deadline = self._deadline
        self._phase = _Phase.ADMITTING
        try:
            return await self.ports.guards.admit(
                candidate.provider,
                candidate.model,
                self.context.generation.request.operation,
                deadline=None if deadline is None else deadline - candidate.expected_p50_s,
                is_fallback=self._falls_back_to(candidate.model),
                call_time_s=candidate.timeout_s,
                slow_after_s=self.context.slow_after(candidate),
                on_queued=self._report_queued,
            )
        finally:
            self._phase = _Phase.RECORDING
            self._spans.queue_s += self.ports.clock() - started

    async def _send(self, candidate: Candidate, attempt: Attempt, permit: Permit) -> Ended:
        self._is_sent = True
        provider = self.ports.providers[candidate.provider]  # a reload from here on is for the next attempt
        attempt = replace(attempt, state=AttemptState.SENT, sent_time=self.ports.now())
        self.ports.reached(CrashPoint.BEFORE_MARK_SENT)
        started = self.ports.clock()
        await self.ports.store.mark_sent(self.context.generation.id, attempt.id, self.ports.now())
        self.keeping.store_s += self.ports.clock() - started
        self.ports.reached(CrashPoint.AFTER_MARK_SENT)
        self._report_started(candidate, attempt)
        observed_attempt = self.ports.observer.attempt(
            self.context.generation, candidate, attempt, is_fallback=self._falls_back_to(candidate.model)
        )
        with observed_attempt as observed:
            ended = await self._draw(provider, candidate, attempt, permit)
            observed.ended(ended.attempt)
        return ended

    async def _draw(self, provider: ImageProvider, candidate: Candidate, attempt: Attempt, permit: Permit) -> Ended:
        first_byte_sent = False

        def on_sent() -> None:
            nonlocal first_byte_sent
            first_byte_sent = True
            self.ports.reached(CrashPoint.AFTER_FIRST_BYTE_SENT)

        started = self.ports.clock()
        self._phase = _Phase.DRAWING
        try:
            drawn = await self._call(provider, candidate, attempt, on_sent)
        except ProviderFailure as failure:
            self._phase = _Phase.RECORDING
            elapsed = self._provider_time(started)
            permit.report(failure.outcome, elapsed_s=elapsed, retry_after_s=failure.retry_after_s)
            return await self._close_failure(attempt, failure, was_sent=first_byte_sent)
        except asyncio.CancelledError:
            self._phase = _Phase.RECORDING
            self._swallow_own_cancellation()
            permit.report(Outcome.SHUTDOWN, elapsed_s=self._provider_time(started))
            return await self._close(attempt, Outcome.SHUTDOWN, _SHUT_DOWN, was_sent=first_byte_sent)
        self._phase = _Phase.RECORDING
        self.ports.reached(CrashPoint.AFTER_RESPONSE)
        permit.report(Outcome.IMAGE, elapsed_s=self._provider_time(started))
        return await self._close_success(candidate, attempt, drawn)

    async def _call(
        self, provider: ImageProvider, candidate: Candidate, attempt: Attempt, on_sent: Callable[[], None]
    ) -> Drawn:
        call = Call(self.context.generation.request, candidate, self.context.end_user, self.context.headers)
        drawn: Drawn | None = None
        async with aclosing(provider.draw(call, on_sent=on_sent)) as answers:
            async for answer in answers:
                if isinstance(answer, Preview):
                    self._report_preview(attempt, answer)
                else:
                    drawn = answer
        if drawn is None:
            raise RuntimeError("the adapter ended without a picture or a failure")
        return drawn

    # Endings of an attempt

    async def _close_success(self, candidate: Candidate, attempt: Attempt, drawn: Drawn) -> Ended:
        started = self.ports.clock()
        unplanned = delivery.unplanned(candidate, self.context.generation.request, drawn)
        attempt = replace(
            attempt,
            adaptations=attempt.adaptations + unplanned,
            provider_request_id=drawn.provider_request_id,
            served_model=drawn.served_model,
            served_version=drawn.served_version,
            usage=drawn.usage,
            state=AttemptState.FINISHED,
            outcome=Outcome.IMAGE,
            cost=settled(attempt, Outcome.IMAGE, drawn.usage, self.context.price),
            finish_time=self.ports.now(),
        )
        image = self._image(attempt, drawn)
        await self.ports.arrivals.keep(Arrived(self.context.generation.id, attempt, image), drawn.data)
        self.ports.reached(CrashPoint.BEFORE_ASSET_PUT)
        image = image if image.sha256 else replace(image, sha256=await address(drawn.data))
        if drawn.extra_images:
            self.ports.observer.extra_dropped(self.context.generation, attempt, drawn.extra_images)
        if drawn.over_cap:
            self.ports.observer.over_cap(self.context.generation, attempt, image)
        if unplanned and self.context.generation.plan.fidelity is Fidelity.EXACT:
            self.ports.observer.not_as_planned(self.context.generation, attempt, unplanned)
        self.keeping.store_s += self.ports.clock() - started
        output = Output(self.index, State.SUCCEEDED, image)
        ended = Ended(attempt, Outcome.IMAGE, output=output, was_sent=True)
        await self.keeping.picture(ended, image, output, drawn.data)
        self.ports.arrivals.forget(attempt.id)
        return ended

    def _image(self, attempt: Attempt, drawn: Drawn) -> Image:
        return Image(
            id=self.ports.new_id("img"),
            output_index=self.index,
            mime=drawn.mime,
            width_px=drawn.width_px,
            height_px=drawn.height_px,
            size_bytes=len(drawn.data),
            sha256=drawn.sha256,
            model=attempt.model,
            served_model=drawn.served_model,
            served_version=drawn.served_version,
            has_c2pa=drawn.has_c2pa,
        )

    async def _close_failure(self, attempt: Attempt, failure: ProviderFailure, *, was_sent: bool) -> Ended:
        attempt = replace(
            attempt,
            provider_request_id=failure.provider_request_id,
            served_version=failure.served_version,
            usage=failure.usage,
        )
        outcome, text = failure.outcome, told(failure.outcome, failure.text)
        if text != failure.text:  # it is about our account or network, so operators read it here
            generation_id = self.context.generation.id
            logger.warning("%s on %s: %s: %s", generation_id, attempt.model, outcome.value, failure.text)
        return await self._close(attempt, outcome, text, retry_after_s=failure.retry_after_s, was_sent=was_sent)

    async def _close_withdrawn(self, attempt: Attempt) -> Ended:
        if self._stopping:
            return await self._close(attempt, Outcome.SHUTDOWN, _SHUT_DOWN)
        return await self._close(attempt, Outcome.CANCELLED, "withdrawn before it was sent")

    async def _close(
        self,
        attempt: Attempt,
        outcome: Outcome,
        text: str,
        *,
        retry_after_s: float | None = None,
        was_sent: bool = False,
    ) -> Ended:
        attempt = self._finished(attempt, outcome, text, was_sent=was_sent)
        await self.keeping.written(lambda: self.ports.store.finish_attempt(self.context.generation.id, attempt, None))
        return Ended(attempt, outcome, retry_after_s=retry_after_s, was_sent=was_sent)

    def _finished(self, attempt: Attempt, outcome: Outcome, text: str, *, was_sent: bool) -> Attempt:
        # Marked sent is not sent: only the first byte on the wire can cost anything.
        attempt = attempt if was_sent else replace(attempt, sent_time=None)
        return replace(
            attempt,
            state=AttemptState.FINISHED,
            outcome=outcome,
            detail=text,
            cost=settled(attempt, outcome, attempt.usage, self.context.price),
            finish_time=self.ports.now(),
        )

    def _swallow_own_cancellation(self) -> None:
        """Only our own `withdraw` and `stop` may be swallowed; any other cancellation goes on."""
        if not self._withdrawn:
            raise asyncio.CancelledError
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()

    def _provider_time(self, started: float) -> float:
        elapsed = self.ports.clock() - started
        self._spans.provider_s += elapsed
        return elapsed

    # Going on

    async def _open_following(
        self, current: Candidate, ended: Ended
    ) -> tuple[tuple[Candidate, Attempt] | None, HoldRefused | None]:
        """Open an attempt at the next candidate, else the last refusal of a hold.

        Where a provider account's budget has no room, the next one is asked; any other limit is everybody's.
        """
        refused = None
        for candidate in self._following(current, ended):
            now = self.ports.now()
            attempt = self.new_attempt(candidate, len(self._ended), now, after=ended.outcome)
            limits = self.context.limits(now)
            refused = await self.ports.store.open_attempt(self.context.generation.id, attempt, limits)
            if refused is None:
                return (candidate, attempt), None
            if refused.limit.provider is None:
                break
        return None, refused

    def _following(self, current: Candidate, ended: Ended) -> Iterator[Candidate]:
        """Who may be asked next, in this order: the same engine once more, then those after it in the plan."""
        rule = RULES[ended.outcome]
        if self._withdrawn or ended.outcome is Outcome.IMAGE:
            return
        if rule.retry_same_once and not self._was_retried(current) and self._fits(current):
            yield current
        if rule.fall_back is FallBack.NO or sum(each.was_sent for each in self._ended) >= MAX_SENDS:
            return
        candidates = self.context.generation.plan.candidates
        yield from (each for each in candidates[candidates.index(current) + 1 :] if self._fits(each))

    def _was_retried(self, candidate: Candidate) -> bool:
        return sum(each.attempt.model == candidate.model for each in self._ended) > 1

    def _falls_back_to(self, model: str) -> bool:
        return bool(self._ended) and self._ended[-1].attempt.model != model

    @property
    def _deadline(self) -> float | None:
        """The submitter's, unless it asked for the work to go on without it."""
        if self.context.generation.request.on_disconnect is OnDisconnect.FINISH:
            return None
        return self.context.deadline

    def _fits(self, candidate: Candidate) -> bool:
        deadline = self._deadline
        return deadline is None or deadline - self.ports.clock() >= candidate.expected_p90_s

    async def _fail(self, refused: HoldRefused | None) -> Output:
        reason, text = failure_reason(self._ended, refused)
        state = State.CANCELLED if reason is Reason.CANCELLED else State.FAILED
        output = Output(self.index, state, reason=reason, text=text, retry_after_s=retry_after_s(reason, self._ended))
        await self.keeping.written(lambda: self.ports.store.finish_output(self.context.generation.id, output))
        return output

    # Events

    def _report_queued(self, position: int, predicted_wait_s: float) -> None:
        self.context.log.append(Queued(self.index, position, predicted_wait_s))

    def _report_started(self, candidate: Candidate, attempt: Attempt) -> None:
        self.context.log.append(
            AttemptStarted(
                self.index,
                attempt.index,
                candidate.provider,
                candidate.model,
                candidate.expected_p50_s,
                candidate.expected_p90_s,
                candidate.previews,
            )
        )

    def _report_preview(self, attempt: Attempt, preview: Preview) -> None:
        event = PreviewReady(self.index, attempt.index, preview.index, preview.kind, preview.mime, len(preview.data))
        self.context.log.append(event, preview.data)
        since_sent = (self.ports.now() - attempt.sent_time).total_seconds() if attempt.sent_time else 0.0
        self.ports.observer.preview(attempt, preview.index, since_sent)

    def _report_failure(self, ended: Ended, *, goes_on: bool) -> None:
        if self.context.log.is_complete:  # it was told before it could be written down
            return
        event = AttemptFailed(
            self.index, ended.attempt.index, ended.attempt.model, ended.outcome, ended.attempt.detail, goes_on
        )
        self.context.log.append(event)
