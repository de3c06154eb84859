"""Sets: many pictures from one brief, items by models, under one spending limit, results as they land."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import ROUND_CEILING

from pictord.domain.caller import Caller
from pictord.domain.events import Completed, LoggedEvent
from pictord.domain.generation import Generation
from pictord.domain.money import Cost, format_usd, total
from pictord.domain.reason import Reason
from pictord.domain.request import Canvas, GenerationRequest, Lineage, Workflow
from pictord.errors import FieldViolation, GatewayError, generation_error, invalid
from pictord.jobs.jobs import Jobs, Submission
from pictord.jobs.log import EventLog
from pictord.jobs.planning import with_previews
from pictord.routing.validate import REQUEST_ID_MAX_BYTES
from pictord.store.base import SpendLimit

logger = logging.getLogger(__name__)

MAX_OUTPUTS = 40

HELD_BYTES = 64 * 1024 * 1024
"""What all sets together may hold in memory for slow readers; what is beyond comes from the store."""


@dataclass(frozen=True, slots=True)
class SetItem:
    """One item; what is None comes from the brief."""

    key: str
    prompt: str | None = None
    canvas: Canvas | None = None
    workflow: Workflow | None = None


@dataclass(frozen=True, slots=True)
class SetRequest:
    """Items by models; no models means that the router decides for each item."""

    brief: GenerationRequest
    items: tuple[SetItem, ...]
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SetStep:
    """Something that happened to one item on one model: an event of its generation, or its failure.

    `end` comes alone, for a generation that ended so long ago that its log is gone.
    """

    item_key: str
    model: str
    generation_id: str
    event: LoggedEvent | None = None
    log: EventLog | None = None
    end: Generation | None = None
    failure: GatewayError | None = None


@dataclass(frozen=True, slots=True)
class SetSummary:
    """What became of the whole set."""

    set_id: str
    succeeded_count: int
    failed_count: int
    cost: Cost
    generation_ids: tuple[str, ...]


@dataclass(slots=True)
class Held:
    """The bytes of ended members that wait for the readers of their sets; all sets share the room."""

    size_bytes: int = 0

    def take(self, size_bytes: int) -> bool:
        """Whether there is room; if so it is taken."""
        if self.size_bytes + size_bytes > HELD_BYTES:
            return False
        self.size_bytes += size_bytes
        return True


@dataclass(slots=True)
class _Member:
    """One generation of the set."""

    item_key: str
    model: str
    request: GenerationRequest
    estimated_nanos: int
    submission: Submission | None = None
    result: Generation | None = None
    held_bytes: int = 0


@dataclass(slots=True)
class SetRun:
    """A running set: read `steps` to the end, then `summary`.

    A slow reader holds up no member. Retention may meanwhile drop what it has not read, so the members' bytes are held
    until their steps have been taken, as long as there is room.
    """

    set_id: str
    members: list[_Member]
    _jobs: Jobs
    _caller: Caller
    _remaining_s: float | None
    _headers: Mapping[str, str]
    _limits: tuple[SpendLimit, ...]
    _held: Held
    _steps: asyncio.Queue[SetStep | _Member] = field(default_factory=asyncio.Queue)
    """What happened; a member itself after its last step."""
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _lost: set[str] = field(default_factory=set)
    _gone: bool = False

    @property
    def output_count(self) -> int:
        """Pictures asked for."""
        return sum(member.request.count for member in self.members)

    @property
    def estimated_nanos(self) -> int:
        """Worst case of everything with the first candidates."""
        return sum(member.estimated_nanos for member in self.members)

    def start(self) -> None:
        """Submit the members, in order, and follow each."""
        self._tasks = [asyncio.create_task(self._follow(member)) for member in self.members]

    async def steps(self) -> AsyncIterator[SetStep]:
        """Yield what happens, in the order in which it happens, until every member has ended."""
        ended = 0
        while ended < len(self.members):
            step = await self._steps.get()
            if isinstance(step, _Member):
                ended += 1
                self._release(step)
            elif step.generation_id not in self._lost:
                yield step

    def lose(self, generation_id: str) -> None:
        """A picture of this member could not be delivered: the member has failed, and none of its steps is to come."""
        self._lost.add(generation_id)

    def summary(self) -> SetSummary:
        """What became of it; call it after `steps` has ended."""
        results = [member.result for member in self.members if member.result is not None]
        succeeded = sum(len(result.images) for result in results if result.id not in self._lost)
        return SetSummary(
            self.set_id,
            succeeded,
            self.output_count - succeeded,
            total(result.cost for result in results),
            tuple(result.id for result in results),
        )

    def leave(self) -> None:
        """The client is gone: members that are not sent are released, unless the brief says to finish."""
        self._gone = True
        for member in self.members:
            self._release(member)

    async def _follow(self, member: _Member) -> None:
        try:
            await self._submit(member)
        except GatewayError as refusal:
            failure = self._saying_what_would_do(refusal)
            self._steps.put_nowait(SetStep(member.item_key, member.model, "", failure=failure))
        except Exception:
            # The last frame of the member's task: the others go on, and its reader must hear that it failed.
            logger.exception("item %r of set %s failed inside", member.item_key, self.set_id)
            fault = GatewayError(Reason.INTERNAL, "a fault of the gateway; it is logged under this set")
            self._steps.put_nowait(SetStep(member.item_key, member.model, "", failure=fault))
        finally:
            self._steps.put_nowait(member)

    def _saying_what_would_do(self, refusal: GatewayError) -> GatewayError:
        """The refusal of a member that has no room under the set's limit, with the limit that would do for all."""
        is_too_small = any(limit.cap is not None and limit.cap < self.estimated_nanos for limit in self._limits)
        if refusal.reason is not Reason.MAX_COST or not is_too_small:
            return refusal
        needed = format_usd(self.estimated_nanos, rounding=ROUND_CEILING)
        shared = f" for all {self.output_count} pictures of the set, or fewer items" if len(self.members) > 1 else ""
        text = f"{refusal.text}. What would help: a max_cost of {needed}{shared}"
        return replace(refusal, text=text, metadata={**refusal.metadata, "needs_nanos": str(self.estimated_nanos)})

    async def _submit(self, member: _Member) -> None:
        submission = await self._jobs.submit(
            self._caller,
            member.request,
            remaining_s=self._remaining_s,
            streaming=True,
            headers=self._headers,
            limits=self._limits,
        )
        member.submission = submission
        if self._gone:
            submission.leave()
        try:
            await self._follow_log(member, submission)
            member.result = await submission.wait()
            failure = generation_error(member.result)
            where = SetStep(member.item_key, member.model, member.result.id)
            if failure is not None:
                self._steps.put_nowait(replace(where, failure=failure))
            elif submission.log is None:
                self._steps.put_nowait(replace(where, end=member.result))
        finally:
            self._hold(member, submission)

    def _hold(self, member: _Member, submission: Submission) -> None:
        log = submission.log
        size_bytes = log.size_bytes if log is not None and log.is_complete else 0
        if size_bytes and not self._gone and self._held.take(size_bytes):
            member.held_bytes = size_bytes
        else:
            submission.leave()

    def _release(self, member: _Member) -> None:
        self._held.size_bytes -= member.held_bytes
        member.held_bytes = 0
        if member.submission is not None:
            member.submission.leave()

    async def _follow_log(self, member: _Member, submission: Submission) -> None:
        if submission.log is None:
            return
        where = SetStep(member.item_key, member.model, submission.generation_id, log=submission.log)
        async for entry in submission.log.read():
            event = entry.event
            if isinstance(event, Completed):
                if generation_error(event.generation) is not None:
                    continue  # a member that failed ends with its failure, as a call of its own would
                event = Completed(submission.replayed or event.generation)
            self._steps.put_nowait(replace(where, event=replace(entry, event=event)))


async def submit_set(
    jobs: Jobs,
    caller: Caller,
    wanted: SetRequest,
    *,
    remaining_s: float | None,
    headers: Mapping[str, str],
    held: Held,
    new_id: Callable[[str], str],
) -> SetRun:
    """Accept a set: check every item, fix its spending limit, start.

    A set with a `request_id` derives its own id and those of its members from it, so that the same set again joins or
    replays every member.

    Raises:
        GatewayError: the set as a whole is invalid; items that cannot be served fail alone, later.
    """
    violations = _violations(wanted)
    if violations:
        raise invalid(violations)
    set_id = _set_id(caller, wanted.brief.request_id, new_id)
    members = [
        _member(jobs, caller, wanted, set_id=set_id, item=item, model=model)
        for item in wanted.items
        for model in wanted.models or ("",)
    ]
    limits: tuple[SpendLimit, ...] = ()
    if wanted.brief.max_cost_nanos is not None:
        scope = f"set:{set_id}"
        limits = (SpendLimit(scope, wanted.brief.max_cost_nanos, Reason.MAX_COST, ends_with_generation=True),)
    run = SetRun(set_id, members, jobs, caller, remaining_s, headers, limits, held)
    run.start()
    return run


def _violations(wanted: SetRequest) -> list[FieldViolation]:
    found = []
    outputs = len(wanted.items) * max(len(wanted.models), 1) * wanted.brief.count
    if not wanted.items:
        found.append(FieldViolation("items", "needs at least one item", Reason.COUNT_OUT_OF_RANGE))
    elif outputs > MAX_OUTPUTS:
        text = f"{outputs} outputs; items x models x count may be at most {MAX_OUTPUTS}"
        found.append(FieldViolation("items", text, Reason.COUNT_OUT_OF_RANGE))
    request_id = wanted.brief.request_id
    if request_id is not None and len(request_id.encode()) > REQUEST_ID_MAX_BYTES:
        found.append(FieldViolation("brief.request_id", f"at most {REQUEST_ID_MAX_BYTES} bytes"))
    if wanted.models and wanted.brief.model:
        found.append(FieldViolation("brief.model", "name models in `models` or in the brief, not in both"))
    seen: set[str] = set()
    for index, item in enumerate(wanted.items):
        if item.key in seen:
            found.append(FieldViolation(f"items[{index}].key", f"{item.key!r} is already an item of this set"))
        seen.add(item.key)
    return found


def _member(jobs: Jobs, caller: Caller, wanted: SetRequest, *, set_id: str, item: SetItem, model: str) -> _Member:
    brief = wanted.brief
    request = replace(
        brief,
        prompt=brief.prompt if item.prompt is None else item.prompt,
        canvas=item.canvas or brief.canvas,
        workflow=item.workflow or brief.workflow,
        model=model or brief.model,
        max_cost_nanos=None,
        request_id=_member_request_id(set_id, item, model) if brief.request_id else None,
        lineage=Lineage(set_id=set_id, item_key=item.key),
    )
    return _Member(item.key, model, request, _estimate(jobs, caller, request))


def _estimate(jobs: Jobs, caller: Caller, request: GenerationRequest) -> int:
    try:
        plan = jobs.planner.plan(caller, with_previews(request, streaming=True), remaining_s=None).plan
    except GatewayError:
        return 0  # This item will fail alone, at no cost.
    return plan.candidates[0].worst_case_nanos * request.count if plan.candidates else 0


def _member_request_id(set_id: str, item: SetItem, model: str) -> str:
    """Name a member within its set, in a length that does not depend on the caller's own names."""
    member = _short_hash(f"{model}\n{item.key}")
    return f"{set_id}/{member}"


def _set_id(caller: Caller, request_id: str | None, new_id: Callable[[str], str]) -> str:
    if request_id is None:
        return new_id("set")
    return "set_" + _short_hash(f"{caller.name}\n{request_id}")


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:26]
