"""The router: which models may serve a request, in which order, and why not the others. Pure: no I/O, no clock.

The first row of the decision table that matches gives the order. Each model of it then passes the checks below; the
first that fails is its exclusion, none makes it a candidate. Every model of the catalog ends up as one or the other.

| check                                    | exclusion                                                   |
|------------------------------------------|-------------------------------------------------------------|
| the caller does not want it              | CALLER_EXCLUDED                                             |
| the row lists it                         | NOT_IN_ROW                                                  |
| it would be a fallback, and none may     | FALLBACK_NOT_ALLOWED                                        |
| it is able, adapted or not               | *_UNSUPPORTED, TOO_MANY_REFERENCES, PROMPT_TOO_LONG         |
| EXACT: as it was asked                   | NEEDS_ADAPTATION                                            |
| its provider has credentials             | NOT_CONFIGURED                                              |
| the caller may use it, and can afford it | MODEL_NOT_ALLOWED, PRICE_CEILING                            |
| its account's budgets have room for it   | BUDGET_EXHAUSTED                                            |
| it is in service                         | DISABLED ... RATE_LIMITED, as the guards say                |
| it is done before the caller's deadline  | DEADLINE                                                    |

A model is a fallback if another one before it could serve this very request, be it in service at this moment or not;
in the row `explicit` every model but the named one is. So a request that its first choice can never serve goes to the
second without being one, and a caller who wants no fallback is told when its engine is down.

Deliberately not here: what happens when a candidate fails (the jobs), and whether an engine is healthy (the guards).
"""

from collections.abc import Iterable, Mapping

from pictord.catalog.catalog import Catalog
from pictord.domain.caller import CallerPolicy
from pictord.domain.plan import Candidate, Exclusion, ExclusionReason, Plan
from pictord.domain.plan import Row as RowName
from pictord.domain.reason import Reason
from pictord.domain.request import GenerationRequest
from pictord.errors import GatewayError
from pictord.routing.availability import Availability
from pictord.routing.judge import Judge
from pictord.routing.policy import Policy, Row
from pictord.routing.wanted import resolve

MOMENTARY = frozenset(
    {
        ExclusionReason.BUDGET_EXHAUSTED,
        ExclusionReason.DISABLED,
        ExclusionReason.KEY_REFUSED,
        ExclusionReason.UNFUNDED,
        ExclusionReason.MODEL_TRIPPED,
        ExclusionReason.BREAKER_OPEN,
        ExclusionReason.RATE_LIMITED,
        ExclusionReason.DEADLINE,
    }
)
"""Reasons that pass by themselves or with an operator's hand; the same request may be served later."""

_ANY_CALLER = CallerPolicy()
_ROW_NAMES: Mapping[str, RowName] = {name.value: name for name in RowName}


def plan(
    request: GenerationRequest,
    policy: Policy,
    catalog: Catalog,
    availability: Availability,
    caller: CallerPolicy = _ANY_CALLER,
) -> Plan:
    """Decide who may serve a valid request, in which order.

    Args:
        request: validated, `preview_count` resolved (None means 0).
        policy: the decision table.
        catalog: the models, with the prices in force.
        availability: the world at this moment.
        caller: what the caller may use and spend.

    Raises:
        GatewayError: MODEL_UNKNOWN, FORMAT_UNKNOWN; `validate.violations` finds them first.
    """
    wanted = resolve(request, policy, catalog)
    row = policy.row_for(request, policy.resolution.of(request))
    order = _order(row, wanted.named)
    judge = Judge(request, wanted, policy, catalog, availability, caller)
    allow_fallback = row.allow_fallback if request.allow_fallback is None else request.allow_fallback
    candidates: list[Candidate] = []
    exclusions: list[Exclusion] = []
    choice: str | None = None
    for name in order:
        model = catalog.models[name]
        is_allowed = choice is None or allow_fallback
        verdict = judge.judge(model) if is_allowed else judge.not_a_fallback(model, choice)
        if isinstance(verdict, Candidate):
            candidates.append(verdict)
        else:
            exclusions.append(verdict)
        if choice is None and (name == wanted.named or _could_serve(verdict)):
            choice = name
    exclusions += [judge.not_in_row(model, row.name) for model in catalog.models.values() if model.id not in order]
    return Plan(
        row=_ROW_NAMES.get(row.name, row.name),
        candidates=tuple(candidates),
        exclusions=tuple(exclusions),
        fidelity=wanted.fidelity,
        policy_version=policy.version,
        catalog_version=catalog.version,
    )


def other_model(drew: str, policy: Policy, catalog: Catalog, configured: Iterable[str]) -> str:
    """The other engine, for a re-roll that names none: the first model of another provider that is configured.

    Raises:
        GatewayError: NOT_CONFIGURED; MODEL_UNKNOWN if the catalog has since lost `drew`.
    """
    provider = catalog.models[catalog.model_id(drew)].provider
    others = [name for name in policy.fallbacks if catalog.models[name].provider != provider]
    found = next((name for name in others if catalog.models[name].provider in configured), None)
    if found is None:
        text = f"no other engine than {provider} is configured; name a model to draw with the same engine again"
        raise GatewayError(Reason.NOT_CONFIGURED, text, {"model": drew})
    return found


def _order(row: Row, named: str | None) -> tuple[str, ...]:
    if row.lead != "named" or named is None:
        return row.candidates
    return (named, *(model for model in row.candidates if model != named))


def _could_serve(verdict: Candidate | Exclusion) -> bool:
    """Whether the model serves requests like this one, if not at this moment."""
    return isinstance(verdict, Candidate) or verdict.reason in MOMENTARY
