"""A small world for router tests: the shipped data, requests in one line, engines up or down."""

from datetime import date

from pictord.catalog.catalog import load as load_catalog
from pictord.domain.caller import CallerPolicy
from pictord.domain.plan import Candidate, Exclusion, Plan
from pictord.domain.request import Canvas, GenerationRequest, InputImage, Operation, Ratio, Resolution
from pictord.routing import router
from pictord.routing.availability import Availability
from pictord.routing.policy import load as load_policy

GPT = "gpt-image-2"
BANANA = "gemini-3.1-flash-image"

CATALOG = load_catalog().at(date(2026, 11, 22))
POLICY = load_policy(CATALOG)
EVERYTHING_UP = Availability(backends={"openai": "default", "gemini": "developer"})


def picture(width: int = 1024, height: int = 1024, **changes) -> InputImage:
    """A caller's picture; only its header counts here. By itself it has a size that both engines draw."""
    given = {"data": b"png", "mime": "image/png", "width_px": width, "height_px": height}
    return InputImage(**given | {"has_alpha": False, "sha256": "00"} | changes)


def mask(width: int = 1024, height: int = 1024, **changes) -> InputImage:
    """A mask that fits `picture`."""
    return picture(width, height, **{"has_alpha": True} | changes)


def draw(
    prompt: str = "a red fox",
    *,
    ratio: str | None = None,
    resolution: str | None = None,
    form: str | None = None,
    **given,
) -> GenerationRequest:
    """A request to draw; the canvas is given in plain words."""
    canvas = Canvas(Ratio.parse(ratio) if ratio else None, form, Resolution(resolution) if resolution else None)
    return GenerationRequest(prompt, canvas=canvas, **given)


def edit(*, image: InputImage | None = None, **given) -> GenerationRequest:
    """A request to change a picture."""
    return draw(operation=Operation.EDIT, image=image or picture(), **given)


def up(**changes) -> Availability:
    """The world with something changed."""
    given = {"backends": EVERYTHING_UP.backends, "engines": EVERYTHING_UP.engines, "remaining_s": None}
    return Availability(**given | changes)


def plan_of(
    request: GenerationRequest, world: Availability = EVERYTHING_UP, caller: CallerPolicy | None = None, policy=POLICY
) -> Plan:
    """The plan that the shipped policy makes."""
    return router.plan(request, policy, CATALOG, world, caller or CallerPolicy())


def models(plan: Plan) -> list[str]:
    """The candidates' models, in order."""
    return [candidate.model for candidate in plan.candidates]


def reasons(plan: Plan) -> dict[str, str]:
    """Why each other model was left out."""
    return {exclusion.model: exclusion.reason.value for exclusion in plan.exclusions}


def candidate(plan: Plan, model: str) -> Candidate:
    """The candidate of a model."""
    return next(each for each in plan.candidates if each.model == model)


def exclusion(plan: Plan, model: str) -> Exclusion:
    """The exclusion of a model."""
    return next(each for each in plan.exclusions if each.model == model)


def kinds(plan: Plan, model: str) -> list[str]:
    """What a model would deliver differently."""
    return [adaptation.kind.value for adaptation in candidate(plan, model).adaptations]
