"""Create: ask for a picture, see the plan and its price before pressing, and watch it being drawn.

Pictures that are added are uploaded at once, so the form itself holds nothing but their ids and loses nothing on an
error. A press brings the request id that the form was given, and a new one comes with the end of the drawing: whoever
presses twice asks for the same picture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from starlette.datastructures import UploadFile
from starlette.responses import Response

from pictord.catalog.catalog import Catalog
from pictord.console import request_form
from pictord.console.page import Page, PageRoute, Visit
from pictord.console.pages import live
from pictord.console.request_form import Typed, problems_at
from pictord.console.status import UNPROCESSABLE, status_of
from pictord.domain.caller import Caller
from pictord.domain.generation import Generation, Image
from pictord.domain.reason import Reason
from pictord.domain.request import (
    Fidelity,
    GenerationRequest,
    InputImage,
    Operation,
    OutputFormat,
    Quality,
    Resolution,
    Tier,
    Workflow,
)
from pictord.errors import FieldViolation, GatewayError
from pictord.jobs.pictures import upload_id
from pictord.jobs.planning import Planned, with_previews

PATH = "/create"

Choices = Mapping[str, Mapping[str, str]]
"""For each field with a choice: the options by value, with what they are called."""


@dataclass(frozen=True, slots=True)
class Added:
    """A picture that the form holds."""

    field: str
    image: Image
    url: str


async def show(visit: Visit) -> Response:
    """The empty form, or that of a generation, which may still be drawn."""
    earlier = visit.request.query_params.get("from")
    generation = await visit.ground.served.jobs.get(visit.caller, earlier) if earlier else None
    tier = {"tier": visit.caller.policy.default_tier.value}
    asked = await _again(visit, generation) if generation else Typed(tier)
    view: dict[str, Any] = {
        "asked": asked,
        "added": await _added(visit, asked),
        "choices": choices(visit.ground.served.routing().catalog, visit.caller),
        "formats": formats(visit.ground.served.routing().catalog),
        "request_id": _request_id(visit),
        "problems": problems_at(()),
        "run": live.Run.of(generation) if generation and not generation.state.is_final else None,
    }
    return visit.page("create.html", **view)


async def plan(visit: Visit) -> Response:
    """What pressing would do now, and what is wrong with the form.

    An empty prompt is no news, and what a press has said of it stays until there is one.
    """
    asked = request_form.typed(await visit.texts())
    request, problems = await _request(visit, asked, None)
    is_silent = not request.prompt.strip()
    planned: Planned | None = None
    refusal = ""
    if not problems:
        try:
            told = replace(request, prompt="a picture") if is_silent else request
            planned = await visit.ground.served.jobs.dry_run(visit.caller, told, remaining_s=None)
            refusal = planned.refusal.text if planned.refusal else ""
        except GatewayError as error:
            problems, refusal = list(error.violations), "" if error.violations else error.text
    view: dict[str, Any] = {
        "plan": planned.plan if planned else None,
        "count": request.count,
        "refusal": refusal,
        "problems": {name: text for name, text in problems_at(problems).items() if name != "prompt" or not is_silent},
        "models": visit.ground.models,
    }
    return visit.part("plan.html", **view)


async def press(visit: Visit) -> Response:
    """Ask for the picture; what is refused is told at the field, and the form stays as it is."""
    form = await visit.texts()
    request_id = form.get("request_id", [""])[0] or _request_id(visit)
    asked = request_form.typed(form)
    request, problems = await _request(visit, asked, request_id)
    if problems:
        return _refused(visit, problems, "", request_id)
    jobs = visit.ground.served.jobs
    try:
        submission = await jobs.submit(visit.caller, request, remaining_s=None, streaming=True)
    except GatewayError as error:
        if error.reason is Reason.IDEMPOTENCY_MISMATCH:
            text = "An earlier press was taken, and the form has changed since. Press again to draw it as it is now."
            return _refused(visit, (), text, _request_id(visit))
        return _refused(visit, error.violations, "" if error.violations else error.text, request_id, status_of(error))
    submission.leave()  # it is asked to finish: nobody has to wait for it
    generation = await jobs.get(visit.caller, submission.generation_id)
    if generation.state.is_final:
        response = visit.part("drawn.html", **live.ended_view(visit, generation))
    else:
        response = visit.part("run.html", run=live.Run.of(generation), is_pressed=True)
    response.headers["HX-Replace-Url"] = f"{PATH}?from={generation.id}"
    return response


async def add(visit: Visit) -> Response:
    """Take a picture in; what is wrong with it is told at its field."""
    name = visit.request.path_params["field"]
    if name not in request_form.PICTURES:
        raise GatewayError(Reason.NOT_FOUND, f"there is no field {name!r}")
    problem, added = "", []
    for file in (await visit.request.form()).getlist("file"):
        if not isinstance(file, UploadFile):
            continue
        try:
            image = await visit.ground.served.pictures.upload(visit.caller, await file.read())
            added.append(Added(name, image, visit.ground.small_url(image)))
        except GatewayError as error:
            text = error.violations[0].text if error.violations else error.text
            problem = f"{file.filename}: {text}" if file.filename else text
    response = visit.part("added.html", field=name, added=added, problem=problem, is_answer=True)
    response.headers["HX-Trigger-After-Swap"] = "pictures"
    if not added:
        response.headers["HX-Reswap"] = "none"  # what was there stays; only the problem is new
    return response


def choices(catalog: Catalog, caller: Caller) -> Choices:
    """What can be chosen; of tiers and models only what the caller may use."""
    policy = caller.policy
    models = [each for each in catalog.models.values() if policy.models is None or each.id in policy.models]
    default = policy.default_tier
    return {
        "canvas.resolution": {"": "By the workflow"} | {each.value: each.value.upper() for each in Resolution},
        "tier": {each.value: each.value.capitalize() for each in sorted(policy.tiers, key=list(Tier).index)}
        if default in policy.tiers
        else {"": default.value.capitalize()},
        "workflow": {"": "None"} | {each.value: _sentence(each) for each in Workflow},
        "model": {"": "By the decision table"} | {each.id: each.title for each in models},
        "quality": {"": "By the tier"} | {each.value: each.value.capitalize() for each in Quality},
        "output_format": {"": "By the engine"} | {each.value: each.value.upper() for each in OutputFormat},
        "allow_fallback": {"": "By the row", "yes": "May step in", "no": "May not"},
        "fidelity": {"": "By the request"}
        | {Fidelity.ADAPT.value: "May be adapted", Fidelity.EXACT.value: "Exactly, or not at all"},
    }


def formats(catalog: Catalog) -> dict[str, dict[str, str]]:
    """The named formats by platform."""
    found: dict[str, dict[str, str]] = {}
    for each in catalog.formats.values():
        platform, _, name = each.id.partition("/")
        found.setdefault(platform.capitalize(), {})[each.id] = f"{_sentence(name)}, {each.ratio}"
    return found


async def _request(
    visit: Visit, asked: Typed, request_id: str | None
) -> tuple[GenerationRequest, Sequence[FieldViolation]]:
    """The request with its pictures, and what is wrong with it; without a request id it is only to be planned."""
    request, problems = request_form.read(asked, visit.caller, request_id)
    taken: dict[str, list[InputImage]] = {name: [] for name in request_form.PICTURES}
    for name in request_form.PICTURES:
        for image_id in asked.pictures.get(name, ()):
            try:
                picture = await _picture(visit, image_id, name, is_read=request_id is not None or name == "mask")
            except GatewayError as error:
                problems += error.violations or [FieldViolation(name, error.text, error.reason)]
            else:
                taken[name].append(picture)
    image, mask = next(iter(taken["image"]), None), next(iter(taken["mask"]), None)
    whole = replace(
        request,
        operation=Operation.EDIT if image else Operation.GENERATE,
        image=image,
        mask=mask,
        references=tuple(taken["references"]),
    )
    return with_previews(whole, streaming=True), problems


async def _picture(visit: Visit, image_id: str, name: str, *, is_read: bool) -> InputImage:
    """A picture of the form; a plan follows every key and needs no bytes, but to look whether a mask is one."""
    pictures = visit.ground.served.pictures
    if is_read:
        return await pictures.input_image(visit.caller, data=None, image_id=image_id, field=name)
    return await pictures.named_image(visit.caller, image_id, name)


def _refused(
    visit: Visit, violations: Sequence[FieldViolation], text: str, request_id: str, status: int = UNPROCESSABLE
) -> Response:
    view: dict[str, Any] = {"problems": problems_at(violations), "text": text, "request_id": request_id}
    response = visit.part("refused.html", status=status, **view)
    response.headers["HX-Retarget"], response.headers["HX-Reswap"] = "#press-problem", "innerHTML"
    return response


async def _again(visit: Visit, generation: Generation) -> Typed:
    """The form of an earlier generation, with those of its pictures that were uploaded and are still kept."""
    request = generation.request
    held = {
        "image": (request.image,) if request.image else (),
        "mask": (request.mask,) if request.mask else (),
        "references": request.references,
    }
    ids = {name: tuple(upload_id(visit.caller, each.sha256) for each in pictures) for name, pictures in held.items()}
    found = await _added(visit, Typed(pictures=ids))
    return request_form.written(
        request, {name: tuple(each.image.id for each in pictures) for name, pictures in found.items()}
    )


async def _added(visit: Visit, asked: Typed) -> dict[str, list[Added]]:
    """The pictures of a form that are still kept."""
    found: dict[str, list[Added]] = {name: [] for name in request_form.PICTURES}
    for name in request_form.PICTURES:
        for image_id in asked.pictures.get(name, ()):
            try:
                image = await visit.ground.served.pictures.image(visit.caller, image_id)
            except GatewayError:
                continue  # gone meanwhile: the form simply holds it no longer
            found[name].append(Added(name, image, visit.ground.small_url(image)))
    return found


def _request_id(visit: Visit) -> str:
    return visit.ground.served.new_id("press")


def _sentence(name: str) -> str:
    return name.replace("_", " ").replace("-", " ").capitalize()


PAGE = Page(
    "Create",
    PATH,
    (
        PageRoute(PATH, show),
        PageRoute(PATH, press, "POST"),
        PageRoute("/create/plan", plan, "POST"),
        PageRoute("/create/pictures/{field}", add, "POST"),
    ),
    icon="create",
)
