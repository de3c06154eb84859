"""From the contract to the domain: every field of a request, and where it lay if it is wrong.

Here the message itself is checked: enum values, ranges of single fields, pictures. What depends on the catalog or on
several fields together is checked by the router.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from pictor.v1 import image_pb2 as image
from pictor.v1 import image_service_pb2 as service
from pictord.domain.caller import Caller
from pictord.domain.money import MOST_NANOS, NANOS_PER_USD
from pictord.domain.reason import Reason
from pictord.domain.request import Canvas, GenerationRequest, InputImage, OnDisconnect, Operation, Ratio
from pictord.errors import FieldViolation, GatewayError, invalid
from pictord.jobs.pictures import Pictures
from pictord.jobs.sets import MAX_OUTPUTS, SetItem, SetRequest
from pictord.rpc import enums
from pictord.rpc.enums import D, EnumMap

T = TypeVar("T")

MAX_REFERENCES = 16
MAX_EXCLUDED_MODELS = 64
ITEM_KEY_CHARS = 64


@dataclass(frozen=True, slots=True)
class Paths:
    """Where the fields of a request lie in the message of one RPC.

    `request` leads to the fields of GenerateRequest, `edit` to those that only EditRequest has.
    """

    request: str = ""
    edit: str = ""

    def of(self, field: str) -> str:
        """The path in the RPC's message of a field of GenerateRequest or EditRequest."""
        head = field.split(".", 1)[0]
        return (self.edit if head in {"image", "mask"} else self.request) + field.removeprefix("request.")

    def relocated(self, error: GatewayError) -> GatewayError:
        """The same error with the paths of this RPC."""
        if not error.violations:
            return error
        return invalid([replace(each, field=self.of(each.field)) for each in error.violations])


GENERATE = Paths()
EDIT = Paths("request.")
GENERATE_STREAM = Paths("request.")
EDIT_STREAM = Paths("request.request.", "request.")
SET = Paths("brief.")
REROLL = Paths()
PLAN_GENERATE = Paths("generate.")
PLAN_EDIT = Paths("edit.request.", "edit.")


class Check:
    """Collects what is wrong with a message."""

    def __init__(self, path_of: Callable[[str], str] = str) -> None:
        self._path_of = path_of
        self._violations: list[FieldViolation] = []

    @property
    def wrong(self) -> frozenset[str]:
        """The fields that are wrong."""
        return frozenset(each.field for each in self._violations)

    def fail(self, field: str, text: str, reason: Reason = Reason.INVALID_FIELD) -> None:
        """Note that a field is wrong."""
        self._violations.append(FieldViolation(self._path_of(field), text, reason))

    def require(self, *, ok: bool, field: str, text: str) -> None:
        """Note that a field is wrong unless it is right."""
        if not ok:
            self.fail(field, text)

    def value(self, field: str, read: Callable[[], T], reason: Reason = Reason.INVALID_FIELD) -> T | None:
        """What `read` gives; None, and a note, if it raises ValueError."""
        try:
            return read()
        except ValueError as error:
            self.fail(field, str(error), reason)
            return None

    def enum(self, field: str, mapping: EnumMap[D, Any], number: int) -> D | None:
        """A domain value; None for UNSPECIFIED and, with a note, for unknown numbers."""
        try:
            return mapping.from_proto(number)
        except ValueError as error:
            self.fail(field, str(error))
            return None

    def done(self) -> None:
        """End the check.

        Raises:
            GatewayError: something was wrong; all of it is listed.
        """
        if self._violations:
            raise invalid(self._violations)


@dataclass(frozen=True, slots=True)
class RequestReader:
    """Reads one request: it knows the caller's defaults and which pictures the caller may use.

    A picture that the request names again and again is loaded once.
    """

    caller: Caller
    pictures: Pictures
    _named: dict[str, InputImage] = field(default_factory=dict)

    async def generate(self, message: service.GenerateRequest, paths: Paths) -> GenerationRequest:
        """What GenerateRequest asks for.

        Raises:
            GatewayError: INVALID_ARGUMENT with every wrong field; NOT_FOUND or EXPIRED for an `image_id`.
        """
        check = Check(paths.of)
        request = _scalars(message, self.caller, check)
        check.done()
        if not message.references:
            return request
        return replace(request, references=await self._references(message, paths))

    async def edit(self, message: service.EditRequest, paths: Paths) -> GenerationRequest:
        """What EditRequest asks for.

        Raises:
            GatewayError: as `generate`.
        """
        check = Check(paths.of)
        request = _scalars(message.request, self.caller, check)
        if not message.HasField("image"):
            if message.HasField("mask"):
                check.fail("mask", "a mask needs the picture that it belongs to", Reason.MASK_WITHOUT_IMAGE)
            check.fail("image", "an edit needs the picture to change", Reason.IMAGE_MISSING)
        check.done()
        return replace(
            request,
            operation=Operation.EDIT,
            image=await self._picture(message.image, paths.of("image")),
            mask=await self._picture(message.mask, paths.of("mask")) if message.HasField("mask") else None,
            references=await self._references(message.request, paths),
        )

    async def set(self, message: service.GenerateSetRequest) -> SetRequest:
        """What GenerateSetRequest asks for.

        Raises:
            GatewayError: as `generate`; COUNT_OUT_OF_RANGE for too many items.
        """
        check = Check()
        if not 1 <= len(message.items) <= MAX_OUTPUTS:
            text = f"{len(message.items)} items; give 1 to {MAX_OUTPUTS}"
            check.fail("items", text, Reason.COUNT_OUT_OF_RANGE)
        check.require(ok=len(message.models) <= MAX_OUTPUTS, field="models", text=f"at most {MAX_OUTPUTS}")
        check.done()
        items = tuple(_item(item, f"items[{index}].", check) for index, item in enumerate(message.items))
        check.done()
        return SetRequest(await self.generate(message.brief, SET), items, tuple(message.models))

    async def _references(self, message: service.GenerateRequest, paths: Paths) -> tuple[InputImage, ...]:
        named = [(each, paths.of(f"references[{index}]")) for index, each in enumerate(message.references)]
        return tuple([await self._picture(each, path) for each, path in named])

    async def _picture(self, message: image.ImageInput, path: str) -> InputImage:
        if message.WhichOneof("source") != "image_id":
            return await self.pictures.input_image(self.caller, data=message.data, image_id=None, field=path)
        image_id = message.image_id
        if image_id not in self._named:
            self._named[image_id] = await self.pictures.input_image(
                self.caller, data=None, image_id=image_id, field=path
            )
        return self._named[image_id]


def rerolled(request: GenerationRequest, message: service.RerollRequest) -> GenerationRequest:
    """The earlier request with what RerollRequest says beside it.

    Raises:
        GatewayError: INVALID_ARGUMENT with every wrong field.
    """
    check = Check()
    wanted = replace(
        request,
        request_id=message.request_id or None,
        max_cost_nanos=_max_cost(message, check),
        preview_count=message.preview_count if message.HasField("preview_count") else None,
        max_inline_bytes=max_inline_bytes(message, check),
        on_disconnect=_on_disconnect(message, check),
    )
    check.done()
    return wanted


def max_inline_bytes(message: Any, check: Check) -> int | None:
    """The field of that name, which many requests have; None if it is not set."""
    if not message.HasField("max_inline_bytes"):
        return None
    bound: int = message.max_inline_bytes
    check.require(ok=bound >= 0, field="max_inline_bytes", text=f"{bound} is negative; 0 means no bytes")
    return bound


def seconds(duration: Duration) -> float:
    """A Duration in seconds.

    Raises:
        ValueError: negative or not a valid Duration.
    """
    if duration.seconds < 0 or duration.nanos < 0 or duration.nanos >= 10**9:
        raise ValueError("must be a span of time that is not negative")
    return duration.seconds + duration.nanos / 1e9


def timestamp(value: Timestamp) -> datetime:
    """A Timestamp as an aware datetime in UTC.

    Raises:
        ValueError: outside the years 1 to 9999.
    """
    try:
        return value.ToDatetime(UTC)
    except (ValueError, OverflowError):
        raise ValueError("not a point in time between the years 1 and 9999") from None


def money_nanos(amount: image.Money) -> int:
    """An amount in nano-USD.

    Raises:
        ValueError: another currency, malformed, negative, or beyond what is counted here.
    """
    if amount.currency_code not in {"", "USD"}:
        raise ValueError(f"{amount.currency_code!r} is not taken; amounts are in USD")
    if not -NANOS_PER_USD < amount.nanos < NANOS_PER_USD:
        raise ValueError(f"nanos is {amount.nanos}; it lies between -999,999,999 and 999,999,999")
    if amount.units * amount.nanos < 0:
        raise ValueError("units and nanos have different signs")
    nanos = amount.units * NANOS_PER_USD + amount.nanos
    if not 0 <= nanos <= MOST_NANOS:
        raise ValueError("is negative" if nanos < 0 else f"is more than ${MOST_NANOS // NANOS_PER_USD:,}")
    return nanos


def _scalars(message: service.GenerateRequest, caller: Caller, check: Check) -> GenerationRequest:
    """Everything but the pictures."""
    if len(message.references) > MAX_REFERENCES:
        text = f"{len(message.references)} references; at most {MAX_REFERENCES} are taken"
        check.fail("references", text, Reason.TOO_MANY_REFERENCES)
    excluded = tuple(dict.fromkeys(message.excluded_models))
    check.require(
        ok=len(excluded) <= MAX_EXCLUDED_MODELS, field="excluded_models", text=f"at most {MAX_EXCLUDED_MODELS}"
    )
    return GenerationRequest(
        prompt=message.prompt,
        canvas=_canvas(message.canvas, "canvas", check),
        tier=check.enum("tier", enums.TIER, message.tier) or caller.policy.default_tier,
        high_quality=message.high_quality,
        workflow=check.enum("workflow", enums.WORKFLOW, message.workflow),
        count=message.count if message.HasField("count") else 1,
        quality=check.enum("quality", enums.QUALITY, message.quality),
        preview_count=message.preview_count if message.HasField("preview_count") else None,
        output_format=check.enum("output_format", enums.OUTPUT_FORMAT, message.output_format),
        output_compression=message.output_compression if message.HasField("output_compression") else None,
        background=check.enum("background", enums.BACKGROUND, message.background),
        seed=message.seed if message.HasField("seed") else None,
        fidelity=check.enum("fidelity", enums.FIDELITY, message.fidelity),
        model=message.model or None,
        excluded_models=excluded,
        allow_fallback=message.allow_fallback if message.HasField("allow_fallback") else None,
        max_cost_nanos=_max_cost(message, check),
        request_id=message.request_id or None,
        end_user=message.end_user or None,
        labels=dict(message.labels),
        max_inline_bytes=max_inline_bytes(message, check),
        on_disconnect=_on_disconnect(message, check),
    )


def _canvas(message: image.Canvas, field: str, check: Check) -> Canvas:
    shape = message.WhichOneof("shape")
    ratio = name = None
    if shape == "ratio":
        ratio = check.value(f"{field}.ratio", lambda: Ratio.parse(message.ratio), Reason.RATIO_INVALID)
    elif shape == "format":
        name = message.format
        if not name:
            check.fail(f"{field}.format", "is empty; ListFormats names the formats", Reason.FORMAT_UNKNOWN)
    return Canvas(ratio, name, check.enum(f"{field}.resolution", enums.RESOLUTION, message.resolution))


def _item(message: service.SetItem, field: str, check: Check) -> SetItem:
    check.require(
        ok=1 <= len(message.key) <= ITEM_KEY_CHARS, field=f"{field}key", text=f"needs 1 to {ITEM_KEY_CHARS} characters"
    )
    return SetItem(
        message.key,
        message.prompt or None,
        _canvas(message.canvas, f"{field}canvas", check) if message.HasField("canvas") else None,
        check.enum(f"{field}workflow", enums.WORKFLOW, message.workflow),
    )


def _max_cost(message: Any, check: Check) -> int | None:
    if not message.HasField("max_cost"):
        return None
    return check.value("max_cost", lambda: money_nanos(message.max_cost))


def _on_disconnect(message: Any, check: Check) -> OnDisconnect:
    wanted = check.enum("on_disconnect", enums.ON_DISCONNECT, message.on_disconnect)
    return wanted or OnDisconnect.FINISH_IF_SENT
