"""What would be done with a request now, and what would refuse it; nothing is asked of anybody for that."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from types import MappingProxyType

from pictord.catalog.catalog import Catalog
from pictord.domain.caller import Caller
from pictord.domain.plan import NoRoom, Plan
from pictord.domain.reason import Reason
from pictord.domain.request import GenerationRequest
from pictord.errors import GatewayError, invalid
from pictord.resilience.guard import Guards
from pictord.routing import router, validate
from pictord.routing.availability import Availability
from pictord.routing.permission import check_caller
from pictord.routing.policy import Policy
from pictord.routing.refusal import refusal


@dataclass(frozen=True, slots=True)
class Routing:
    """The decision table and the catalog that are in force, always swapped together."""

    policy: Policy
    catalog: Catalog


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan, and why the call would be refused, if it would."""

    plan: Plan
    refusal: GatewayError | None


class Planner:
    """Plans by what is loaded, with today's prices and the engines as they stand."""

    def __init__(
        self,
        guards: Guards,
        backends: Mapping[str, str],
        *,
        loaded: Callable[[], Routing],
        now: Callable[[], datetime],
        no_room: Callable[[], str | None],
    ) -> None:
        """Prepare.

        Args:
            guards: know how long an engine would keep a call waiting.
            backends: which API serves each configured provider.
            loaded: policy and catalog, as the last reload left them.
            now: UTC.
            no_room: why no further picture could be kept; None while it could.
        """
        self._guards = guards
        self._backends = backends
        self._loaded = loaded
        self._now = now
        self._no_room = no_room
        self._today: tuple[Routing, date, Routing] | None = None
        """What was loaded, on which day, and what that means: it changes once a day, or with a reload."""

    def plan(
        self,
        caller: Caller,
        request: GenerationRequest,
        *,
        remaining_s: float | None,
        full: Mapping[str, NoRoom] = MappingProxyType({}),
    ) -> Planned:
        """What a submission would do now, without doing it; `full` are models whose account's budget has no room.

        Raises:
            GatewayError: the request is invalid, or the caller may not ask for it.
        """
        routing = self.in_force
        violations = validate.violations(request, routing.catalog)
        if violations:
            raise invalid(violations)
        check_caller(request, caller.policy)
        availability = replace(self._availability(request, routing.catalog, remaining_s), full=full)
        plan = router.plan(request, routing.policy, routing.catalog, availability, caller.policy)
        return Planned(plan, refusal(plan, request) or self._store_full())

    @property
    def in_force(self) -> Routing:
        """Policy and catalog, with today's prices."""
        loaded, today = self._loaded(), self._now().date()
        if self._today is None or self._today[0] is not loaded or self._today[1] != today:
            self._today = loaded, today, Routing(loaded.policy, loaded.catalog.at(today))
        return self._today[2]

    def _store_full(self) -> GatewayError | None:
        why = self._no_room()
        return GatewayError(Reason.STORE_FULL, f"there is no room for another picture: {why}") if why else None

    def _availability(self, request: GenerationRequest, catalog: Catalog, remaining_s: float | None) -> Availability:
        predict = self._guards.predict
        engines = {
            model.id: predict(model.provider, model.id, request.operation)
            for model in catalog.models.values()
            if model.provider in self._backends
        }
        return Availability(self._backends, engines, remaining_s)


def with_previews(request: GenerationRequest, *, streaming: bool) -> GenerationRequest:
    """Fill in the default: two previews where somebody watches; nothing said means none (design, section 4)."""
    if request.preview_count is not None or not streaming:
        return request
    return replace(request, preview_count=2)
