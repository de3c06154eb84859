"""Everything callers can ask of jobs: plan, submit, re-roll, cancel, look up; and the drain at the end."""

import asyncio
import hashlib
import hmac
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from pictord.assets.store import AssetMissing, AssetsDown
from pictord.catalog import pricing
from pictord.domain.caller import Caller
from pictord.domain.events import Accepted
from pictord.domain.generation import Generation, Output
from pictord.domain.plan import NoRoom, Plan
from pictord.domain.reason import Reason
from pictord.domain.request import GenerationRequest, Lineage
from pictord.errors import GatewayError
from pictord.jobs.budgets import Budgets
from pictord.jobs.crash_points import CrashPoint
from pictord.jobs.fingerprint import fingerprint
from pictord.jobs.job import Job
from pictord.jobs.log import EventLog
from pictord.jobs.pictures import not_readable
from pictord.jobs.planning import Planned, Planner, with_previews
from pictord.jobs.ports import JobContext, JobPorts
from pictord.jobs.refused_hold import no_room, refusal_of
from pictord.routing import router
from pictord.store.base import Conflict, HoldRefused, Joined, Opened, Opening, Replayed, SpendLimit

logger = logging.getLogger(__name__)

_LOOK_AGAIN_S = 0.5
"""Between two looks whether another replica has finished what was asked of both."""


@dataclass(frozen=True, slots=True)
class JobsSettings:
    """Frozen settings of the jobs; amounts are nano-USD, times seconds."""

    end_user_key: bytes = field(repr=False)
    """Keys the hash under which end users are named to providers."""
    log_lifetime_s: float = 300.0
    check_header: Callable[[str, str], None] | None = None
    """Raises ValueError for a header of a call that simulated providers would not know."""


@dataclass(slots=True)
class Submission:
    """What a submitter holds: the generation's id, its log, and the duty to say when it leaves.

    `_job` runs; whoever joins it waits for it as the first submitter does. Of what another replica runs there is no log
    here, but `_ended_elsewhere` waits for its end.
    """

    generation_id: str
    log: EventLog | None
    replayed: Generation | None = None
    _job: Job | None = None
    _ended_elsewhere: Callable[[], Awaitable[Generation]] | None = None
    _left: bool = False

    def __post_init__(self) -> None:
        if self.log is not None:
            self.log.hold()
        if self._job is not None:
            self._job.submitter_came()

    async def wait(self) -> Generation:
        """The final record; a failed generation is returned, not raised."""
        if self.replayed is not None:
            return self.replayed
        if self.log is not None:
            return await self.log.completed()
        assert self._ended_elsewhere is not None  # noqa: S101 - whoever neither replays nor runs here has joined
        return await self._ended_elsewhere()

    def leave(self) -> None:
        """The RPC has ended: let go of the bytes, and if nobody else waits, of what was not sent."""
        if self._left:
            return
        self._left = True
        if self._job is not None and self.log is not None and not self.log.is_complete:
            self._job.submitter_left()
        if self.log is not None:
            self.log.let_go()


class Jobs:
    """Runs generations; the RPCs subscribe."""

    def __init__(
        self,
        ports: JobPorts,
        settings: JobsSettings,
        planner: Planner,
        budgets: Budgets,
        *,
        on_refused: Callable[[HoldRefused], None] = lambda _: None,
    ) -> None:
        """Prepare.

        Args:
            ports: what jobs stand on.
            settings: frozen.
            planner: decides who draws.
            budgets: the budgets that bound spending.
            on_refused: hears of every request that a limit had no room for.
        """
        self._ports = ports
        self._settings = settings
        self.planner = planner
        self._budgets = budgets
        self._on_refused = on_refused
        self._running: dict[str, Job] = {}
        self._logs: dict[str, EventLog] = {}
        self._ended: deque[tuple[float, str]] = deque()
        self._beginning: set[asyncio.Task[Submission | HoldRefused]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = False

    # Asking

    async def dry_run(self, caller: Caller, request: GenerationRequest, *, remaining_s: float | None) -> Planned:
        """What `submit` would do now, without doing it; the first attempts must fit under the budgets as they stand.

        Raises:
            GatewayError: as `Planner.plan`, and STORE_UNAVAILABLE.
        """
        full: dict[str, NoRoom] = {}
        while True:
            planned = self.planner.plan(caller, request, remaining_s=remaining_s, full=full)
            if planned.refusal is not None:
                return planned
            _, opening = self._prepare(
                caller, request, planned.plan, mark="", remaining_s=remaining_s, headers={}, limits=()
            )
            refused = await self._without_room(opening)
            if refused is None:
                return planned
            if refused.limit.provider is None:
                return replace(planned, refusal=refusal_of(refused))
            full[planned.plan.candidates[0].model] = no_room(refused)

    async def _without_room(self, opening: Opening) -> HoldRefused | None:
        """The first limit that would refuse an opening now."""
        for limit in opening.limits:
            if limit.cap is None:
                continue
            needed = sum(limit.hold_for(attempt) for attempt in opening.attempts if limit.charges(attempt))
            available = limit.cap - await self._ports.store.spent(limit.scope)
            if needed > available:
                return HoldRefused(limit, needed, max(available, 0))
        return None

    async def submit(
        self,
        caller: Caller,
        request: GenerationRequest,
        *,
        remaining_s: float | None,
        streaming: bool,
        headers: Mapping[str, str] | None = None,
        limits: tuple[SpendLimit, ...] = (),
    ) -> Submission:
        """Accept a request: plan it, claim its id, reserve, start.

        A candidate whose provider account has a budget without room is left out and the request planned anew: only the
        reserving itself knows, for others reserve meanwhile, and it holds all or nothing.

        Args:
            caller: who asks.
            request: what for.
            remaining_s: seconds until the caller's deadline; None without one.
            streaming: whether somebody watches; decides the default of `preview_count`.
            headers: extra HTTP headers for the provider.
            limits: caps beyond the request's own, e.g. of a set.

        Raises:
            GatewayError: refused; nothing was sent, nothing is held.
        """
        self._check_serving()
        self._check_headers(headers or {})
        self._forget_old_logs()
        mark = fingerprint(request) if request.request_id is not None else ""
        if request.request_id is not None:
            claim = await self._ports.store.claimed(caller.name, request.request_id, mark)
            if claim is not None:
                return self._joined(claim)
        wanted = with_previews(request, streaming=streaming)
        full: dict[str, NoRoom] = {}
        while True:
            self._check_serving()  # each time: it may have changed while the store was asked
            planned = self.planner.plan(caller, wanted, remaining_s=remaining_s, full=full)
            if planned.refusal is not None:
                raise planned.refusal
            job, opening = self._prepare(
                caller, wanted, planned.plan, mark=mark, remaining_s=remaining_s, headers=headers or {}, limits=limits
            )
            begun = await self._begun(job, opening)
            if isinstance(begun, Submission):
                return begun
            self._on_refused(begun)
            if begun.limit.provider is None:
                raise refusal_of(begun)
            full[planned.plan.candidates[0].model] = no_room(begun)

    async def _begun(self, job: Job, opening: Opening) -> Submission | HoldRefused:
        # A task of its own: if the caller goes away meanwhile, what was opened must still be started, and let go of.
        begun = asyncio.create_task(self._begin(job, opening))
        self._beginning.add(begun)
        begun.add_done_callback(self._beginning.discard)
        try:
            return await asyncio.shield(begun)
        except asyncio.CancelledError:
            begun.add_done_callback(_leave_begun)
            raise

    async def _begin(self, job: Job, opening: Opening) -> Submission | HoldRefused:
        generation_id = opening.generation.id
        # Registered before the store answers, so that a second caller who joins finds it.
        self._running[generation_id], self._logs[generation_id] = job, job.log
        try:
            answer = await self._ports.store.open(opening)
        except BaseException:
            self._unregister(generation_id)
            raise
        if not isinstance(answer, Opened):
            self._unregister(generation_id)
            return answer if isinstance(answer, HoldRefused) else self._joined(answer)
        self._ports.reached(CrashPoint.AFTER_OPEN)
        estimated = sum(attempt.estimated_nanos for attempt in opening.attempts)
        job.log.append(Accepted(generation_id, opening.generation.plan, estimated))
        submission = Submission(generation_id, job.log, _job=job)
        self._keep(generation_id, job.start(opening.attempts))
        return submission

    async def reroll_request(self, caller: Caller, generation_id: str, *, model: str | None) -> GenerationRequest:
        """The request that draws a generation again, by default on the other engine, with its lineage.

        Raises:
            GatewayError: NOT_FOUND, EXPIRED, MODEL_UNKNOWN, NOT_CONFIGURED, STORE_UNAVAILABLE.
        """
        generation = await self.get(caller, generation_id)
        routing = self.planner.in_force
        drew = next((image.model for image in generation.images), generation.plan.candidates[0].model)
        model = model or router.other_model(drew, routing.policy, routing.catalog, self._ports.backends)
        quality = generation.request.quality if model == generation.request.model else None
        request = await self._with_stored_pictures(generation)
        return replace(
            request,
            model=model,
            quality=quality,
            excluded_models=(),
            allow_fallback=None,
            request_id=None,
            max_cost_nanos=None,
            preview_count=None,
            lineage=Lineage(reroll_of=generation.id),
        )

    async def _with_stored_pictures(self, generation: Generation) -> GenerationRequest:
        pictures = generation.request.all_pictures
        try:
            stored = {picture.sha256: await self._ports.assets.get(picture.sha256) for picture in pictures}
        except AssetMissing:
            text = f"a picture that generation {generation.id!r} was made from is no longer kept"
            raise GatewayError(Reason.EXPIRED, text, {"generation_id": generation.id}) from None
        except AssetsDown as down:
            raise not_readable(down) from None
        return generation.request.with_pictures(lambda picture: stored[picture.sha256])

    # Looking up

    async def get(self, caller: Caller, generation_id: str) -> Generation:
        """A generation as it stands.

        Raises:
            GatewayError: NOT_FOUND, EXPIRED; another caller's is NOT_FOUND.
        """
        generation = await self._ports.store.get(generation_id)
        owner = None if generation else await self._ports.store.expired(generation_id)
        if owner is not None and (owner == caller.name or caller.may_read_others):
            text = f"generation {generation_id!r} is no longer kept"
            raise GatewayError(Reason.EXPIRED, text, {"generation_id": generation_id})
        return _visible(caller, generation, generation_id)

    async def find(self, caller: Caller, request_id: str) -> Generation:
        """The generation of the caller's own request id.

        Raises:
            GatewayError: NOT_FOUND.
        """
        return _visible(caller, await self._ports.store.find(caller.name, request_id), request_id)

    def end_user_hash(self, caller_name: str, end_user: str) -> str:
        """The keyed hash by which a caller's end user is known to providers and to the store."""
        name = f"{caller_name}\n{end_user}".encode()
        return hmac.new(self._settings.end_user_key, name, hashlib.sha256).hexdigest()

    def log(self, generation_id: str) -> EventLog | None:
        """The event log, from acceptance until five minutes past the end."""
        self._forget_old_logs()
        return self._logs.get(generation_id)

    async def ended(self, generation_id: str) -> Generation:
        """A generation of which there is no log here, as soon as it has ended.

        Another replica may run it: the store is asked again and again, for nobody tells.

        Raises:
            GatewayError: NOT_FOUND, deleted meanwhile; STORE_UNAVAILABLE.
        """
        while True:
            generation = await self._ports.store.get(generation_id)
            if generation is None:
                raise GatewayError(Reason.NOT_FOUND, f"generation {generation_id!r} was deleted meanwhile")
            if generation.state.is_final:
                return generation
            await self._ports.sleep(_LOOK_AGAIN_S)

    def forget_logs(self, generation_ids: Iterable[str]) -> None:
        """Let go of the events and previews of generations that have ended and are deleted."""
        for each in generation_ids:
            if each not in self._running:
                self._logs.pop(each, None)

    async def cancel(self, caller: Caller, generation_id: str) -> Generation:
        """Stop what was not sent, and answer how the generation stands after that.

        Raises:
            GatewayError: NOT_FOUND, EXPIRED; PERMISSION_DENIED for who may read it but neither owns it nor operates.
        """
        generation = await self.get(caller, generation_id)
        if generation.caller != caller.name and not caller.is_operator:
            text = (
                f"{caller.name} may read generation {generation_id!r}, but only its caller or an operator may cancel it"
            )
            raise GatewayError(Reason.PERMISSION_DENIED, text, {"caller": caller.name})
        job = self._running.get(generation_id)
        if job is not None:
            job.cancel()
            if not job.is_sent:
                await job.log.completed()
        return await self.get(caller, generation_id)

    # Ending

    @property
    def is_draining(self) -> bool:
        """Whether new work is refused because the process ends."""
        return self._draining

    @property
    def running_count(self) -> int:
        """Jobs that have not ended."""
        return len(self._running)

    async def running_ended(self) -> None:
        """Return once every job that runs now has ended; later ones are not waited for."""
        if self._tasks:
            await asyncio.wait(set(self._tasks))

    async def drain(self, timeout_s: float) -> None:
        """Refuse new work, wait for jobs, and after the timeout give up what is still in flight (its holds stay)."""
        self._draining = True
        if self._beginning:
            await asyncio.wait(self._beginning)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)
        for job in self._running.values():
            job.stop()
        if self._tasks:
            await asyncio.wait(self._tasks)

    # Within

    def _check_serving(self) -> None:
        if self._draining:
            raise GatewayError(Reason.SHUTTING_DOWN, "this server is going away; ask another")

    def _check_headers(self, headers: Mapping[str, str]) -> None:
        check = self._settings.check_header
        if check is None:
            return
        for name, value in headers.items():
            try:
                check(name, value)
            except ValueError as error:
                raise GatewayError(Reason.METADATA_INVALID, f"metadata {name}: {error}", {"metadata": name}) from None

    def _prepare(
        self,
        caller: Caller,
        request: GenerationRequest,
        plan: Plan,
        *,
        mark: str,
        remaining_s: float | None,
        headers: Mapping[str, str],
        limits: tuple[SpendLimit, ...],
    ) -> tuple[Job, Opening]:
        now, catalog = self._ports.now(), self.planner.in_force.catalog
        generation = Generation(
            id=self._ports.new_id("gen"),
            caller=caller.name,
            request=request,
            plan=plan,
            create_time=now,
            outputs=tuple(Output(index) for index in range(request.count)),
        )
        inputs = {picture.sha256: len(picture.data) for picture in request.all_pictures}
        record = replace(generation, request=request.with_pictures(lambda _: b"")) if inputs else generation
        end_user = None if request.end_user is None else self.end_user_hash(caller.name, request.end_user)
        context = JobContext(
            generation=generation,
            log=EventLog(self._ports.now),
            deadline=None if remaining_s is None else self._ports.clock() + remaining_s,
            headers=headers,
            end_user=end_user,
            price=lambda model, usage: pricing.price(catalog.models[model], usage, now.date()),
            limits=partial(self._budgets.limits, generation, end_user),
            slow_after=lambda candidate: (
                catalog.models[candidate.model].times(candidate.quality, candidate.resolution).slow_s
            ),
        )
        job = Job(self._ports, context)
        all_limits = (*_max_cost(generation), *context.limits(now), *limits)
        return job, Opening(record, mark, job.first_attempts(), all_limits, inputs, end_user)

    def _joined(self, answer: Joined | Replayed | Conflict) -> Submission:
        match answer:
            case Joined(generation_id):
                return Submission(
                    generation_id,
                    self._logs.get(generation_id),
                    _job=self._running.get(generation_id),
                    _ended_elsewhere=partial(self.ended, generation_id),
                )
            case Replayed(generation):
                replayed = replace(generation, replayed=True)
                return Submission(generation.id, self._logs.get(generation.id), replayed)
            case Conflict(generation_id):
                text = "request_id was used for another request; use a new one"
                raise GatewayError(Reason.IDEMPOTENCY_MISMATCH, text, {"generation_id": generation_id})

    def _keep(self, generation_id: str, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            del self._running[generation_id]
            self._ended.append((self._ports.clock(), generation_id))

        task.add_done_callback(ended)

    def _unregister(self, generation_id: str) -> None:
        del self._running[generation_id], self._logs[generation_id]

    def _forget_old_logs(self) -> None:
        oldest = self._ports.clock() - self._settings.log_lifetime_s
        while self._ended and self._ended[0][0] < oldest:
            self._logs.pop(self._ended.popleft()[1], None)


def _leave_begun(begun: asyncio.Task[Submission | HoldRefused]) -> None:
    if not begun.cancelled() and begun.exception() is None and isinstance(answer := begun.result(), Submission):
        answer.leave()


def _visible(caller: Caller, generation: Generation | None, name: str) -> Generation:
    if generation is None or not caller.may_read(generation.caller):
        raise no_generation(name)
    return generation


def _max_cost(generation: Generation) -> Iterator[SpendLimit]:
    most = generation.request.max_cost_nanos
    if most is not None:
        yield SpendLimit(f"generation:{generation.id}", most, Reason.MAX_COST, ends_with_generation=True)


def no_generation(name: str) -> GatewayError:
    """What is said of an id that is unknown, or another caller's; `name` may be a request id."""
    return GatewayError(Reason.NOT_FOUND, f"there is no generation {name!r}", {"generation": name})
