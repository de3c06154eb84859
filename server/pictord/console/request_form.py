"""The form of Create: from its fields to a request, and back; pure. Fields are called as in the contract, dots and all.

What is wrong is told at a field: `FIELDS` lists them, and the problem of a path that is none of them, or of a part of
one (`references[2]`), is found by its beginning.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from pictord.console.templates import plain_usd
from pictord.domain.caller import Caller
from pictord.domain.money import NANOS_PER_USD, parse_usd
from pictord.domain.reason import Reason
from pictord.domain.request import (
    Canvas,
    Fidelity,
    GenerationRequest,
    OnDisconnect,
    OutputFormat,
    Quality,
    Ratio,
    Resolution,
    Tier,
    Workflow,
)
from pictord.errors import FieldViolation

T = TypeVar("T")

FIELDS = (
    "prompt",
    "canvas.format",
    "canvas.ratio",
    "canvas.resolution",
    "tier",
    "workflow",
    "image",
    "mask",
    "references",
    "count",
    "model",
    "quality",
    "high_quality",
    "output_format",
    "fidelity",
    "allow_fallback",
    "max_cost",
)
PICTURES = ("image", "mask", "references")
"""The fields that hold ids of pictures."""
_MOST_COUNT_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Typed:
    """The form as somebody has filled it in: a text for each field, and the pictures' ids."""

    texts: Mapping[str, str] = field(default_factory=dict)
    pictures: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> str:
        return self.texts.get(name, "")


def typed(form: Mapping[str, Sequence[str]]) -> Typed:
    """What a browser has sent."""
    texts = {name: form[name][0] for name in FIELDS if name not in PICTURES and form.get(name)}
    return Typed(texts, {name: tuple(dict.fromkeys(form.get(name, ()))) for name in PICTURES})


def read(asked: Typed, caller: Caller, request_id: str | None) -> tuple[GenerationRequest, list[FieldViolation]]:
    """The request without its pictures, and everything that cannot be read; the request is whole only if that is empty.

    It is finished even if nobody looks: a page that is left must not lose what is paid for.
    """
    problems: list[FieldViolation] = []

    def value(name: str, parse: Callable[[str], T], text: str, reason: Reason = Reason.INVALID_FIELD) -> T | None:
        written = asked[name].strip()
        if not written:
            return None
        try:
            return parse(written)
        except ValueError:
            problems.append(FieldViolation(name, text, reason))
            return None

    request = GenerationRequest(
        prompt=asked["prompt"].replace("\r\n", "\n"),
        canvas=Canvas(
            value("canvas.ratio", Ratio.parse, "write it as width:height, such as 16:9", Reason.RATIO_INVALID),
            asked["canvas.format"] or None,
            value("canvas.resolution", Resolution, "choose one of the sizes"),
        ),
        tier=value("tier", Tier, "choose one of the tiers") or caller.policy.default_tier,
        high_quality=bool(asked["high_quality"]),
        workflow=value("workflow", Workflow, "choose one of the workflows"),
        count=value("count", _count, "a whole number", Reason.COUNT_OUT_OF_RANGE) or 1,
        quality=value("quality", Quality, "choose one of the qualities"),
        output_format=value("output_format", OutputFormat, "choose one of the encodings"),
        fidelity=value("fidelity", Fidelity, "choose one of the two"),
        model=asked["model"] or None,
        allow_fallback=value("allow_fallback", _yes, "choose yes or no"),
        max_cost_nanos=value("max_cost", _amount, "an amount in US dollars, such as 0.10"),
        request_id=request_id,
        on_disconnect=OnDisconnect.FINISH,
    )
    return request, problems


def written(request: GenerationRequest, pictures: Mapping[str, tuple[str, ...]]) -> Typed:
    """The form that asks for the same again; the inverse of `read`."""
    canvas = request.canvas
    texts = {
        "prompt": request.prompt,
        "canvas.format": canvas.format,
        "canvas.ratio": canvas.ratio,
        "canvas.resolution": canvas.resolution,
        "tier": request.tier,
        "workflow": request.workflow,
        "count": request.count if request.count != 1 else None,
        "model": request.model,
        "quality": request.quality,
        "high_quality": "on" if request.high_quality else None,
        "output_format": request.output_format,
        "fidelity": request.fidelity,
        "allow_fallback": {None: None, True: "yes", False: "no"}[request.allow_fallback],
        "max_cost": None if request.max_cost_nanos is None else plain_usd(request.max_cost_nanos),
    }
    return Typed({name: str(each) for name, each in texts.items() if each is not None}, pictures)


def problems_at(violations: Sequence[FieldViolation]) -> dict[str, str]:
    """What is to be read at each field; at those without a problem nothing, at `` what belongs to no field."""
    found = dict.fromkeys([*FIELDS, ""], "")
    for each in violations:
        name = next((name for name in FIELDS if each.field == name or each.field.startswith(f"{name}[")), "")
        sentence = each.text if name else f"{each.field}: {each.text}"
        found[name] = f"{found[name]}; {sentence}" if found[name] else sentence[:1].upper() + sentence[1:]
    return found


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > _MOST_COUNT_DIGITS:
        raise ValueError(text)
    return int(text)


def _yes(text: str) -> bool:
    if text not in {"yes", "no"}:
        raise ValueError(text)
    return text == "yes"


def _amount(text: str) -> int:
    nanos = parse_usd(text.removeprefix("$"))
    if not 0 <= nanos < 10**6 * NANOS_PER_USD:
        raise ValueError(text)
    return nanos
