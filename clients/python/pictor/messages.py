"""Builds the contract's messages from plain Python values; nothing is checked here that the gateway checks anyway."""

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypedDict, Unpack, cast

from google.protobuf.timestamp_pb2 import Timestamp

from pictor import enums, picture_file
from pictor.amounts import Usd, money
from pictor.generation import Picture
from pictor.v1 import generation_pb2, image_pb2, image_service_pb2
from pictor.v1.history_service_pb2 import ListGenerationsRequest
from pictor.v1.image_pb2 import (
    Background,
    Canvas,
    Fidelity,
    ImageInput,
    Money,
    OnDisconnect,
    OutputFormat,
    Quality,
    Resolution,
    Tier,
    Workflow,
)
from pictor.v1.image_service_pb2 import EditRequest, GenerateRequest, SetItem
from pictor.v1.usage_service_pb2 import Budget

PictureSource = bytes | os.PathLike[str] | str | Picture | ImageInput
"""A picture as input: its bytes, a file, an `image_id` (text), a picture that was made here, or the message itself."""


class RequestOptions(TypedDict, total=False):
    """Everything of a GenerateRequest beside the prompt; the contract's comments say what each means. None is unset."""

    ratio: str | None
    format: str | None
    resolution: str | Resolution.ValueType | None
    tier: str | Tier.ValueType | None
    high_quality: bool | None
    workflow: str | Workflow.ValueType | None
    references: Sequence[PictureSource] | None
    count: int | None
    model: str | None
    excluded_models: Sequence[str] | None
    allow_fallback: bool | None
    quality: str | Quality.ValueType | None
    fidelity: str | Fidelity.ValueType | None
    max_cost: Usd | Money | None
    preview_count: int | None
    request_id: str | None
    output_format: str | OutputFormat.ValueType | None
    output_compression: int | None
    background: str | Background.ValueType | None
    seed: int | None
    end_user: str | None
    labels: Mapping[str, str] | None
    max_inline_bytes: int | None
    on_disconnect: str | OnDisconnect.ValueType | None


class HistoryFilter(TypedDict, total=False):
    """What narrows a list of generations; as in ListGenerationsRequest. Times are aware datetimes; None is unset."""

    state: str | generation_pb2.Generation.State.ValueType | None
    start_time: datetime | None
    end_time: datetime | None
    caller: str | None
    model: str | None
    model_version: str | None
    tier: str | Tier.ValueType | None
    workflow: str | Workflow.ValueType | None
    row: str | None
    labels: Mapping[str, str] | None
    end_user: str | None
    set_id: str | None
    reroll_of: str | None
    request_id: str | None
    provider_request_id: str | None


def list_request(page_size: int = 0, page_token: str = "", **filters: Unpack[HistoryFilter]) -> ListGenerationsRequest:
    """Build a ListGenerationsRequest.

    Raises:
        ValueError: A value cannot be put into its field; the text begins with the field's name.
    """
    message = ListGenerationsRequest(page_size=page_size, page_token=page_token)
    for name, value in filters.items():
        if value is None:
            continue
        try:
            _set_filter(message, name, value)
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"{name}: {error}") from error
    return message


def budget(
    id: str,  # noqa: A002 - the contract's name
    counted: str | Budget.Counted.ValueType,
    key: str = "",
    *,
    window: str | Budget.Window.ValueType,
    usd: Usd | Money | None = None,
    pictures: int | None = None,
    tier: str | Tier.ValueType | None = None,
    soft: bool = False,
    thresholds: Sequence[int] = (),
) -> Budget:
    """Build a Budget: of dollars or of pictures.

    Raises:
        ValueError: A value cannot be put into its field; or both amounts are given.
    """
    if usd is not None and pictures is not None:
        raise ValueError("a budget counts dollars or pictures, not both")
    message = Budget(
        id=id,
        counted=Budget.Counted.ValueType(enums.number(Budget.Counted.DESCRIPTOR, counted)),
        key=key,
        tier=Tier.ValueType(0 if tier is None else enums.number(Tier.DESCRIPTOR, tier)),
        window=Budget.Window.ValueType(enums.number(Budget.Window.DESCRIPTOR, window)),
        soft=soft,
        thresholds=thresholds,
    )
    if usd is not None:
        message.usd.CopyFrom(money(usd))
    if pictures is not None:
        message.pictures = pictures
    return message


def timestamp(time: datetime) -> Timestamp:
    """Turn an aware datetime into a Timestamp.

    Raises:
        ValueError: It lies outside the years 1 to 9999 of UTC.
    """
    message = Timestamp()
    try:
        message.FromDatetime(time)
    except OverflowError:
        raise ValueError(f"`{time.isoformat()}` lies outside the years 1 to 9999") from None
    return message


def request(prompt: str | GenerateRequest = "", **options: Unpack[RequestOptions]) -> GenerateRequest:
    """Build a GenerateRequest; given one, copy it and set the options on top.

    Raises:
        ValueError: A value cannot be put into its field; the text begins with the field's name.
    """
    if options.get("format") is not None and options.get("ratio") is not None:
        raise ValueError("format: a format has a ratio of its own; give one of them, not both")
    message = GenerateRequest()
    if isinstance(prompt, GenerateRequest):
        message.CopyFrom(prompt)
    else:
        _put(message, "prompt", prompt)
    for name, value in options.items():
        if value is not None:
            _put(message, name, value)
    return message


def edit_request(
    prompt: str | GenerateRequest | EditRequest,
    image: PictureSource | None = None,
    mask: PictureSource | None = None,
    **options: Unpack[RequestOptions],
) -> EditRequest:
    """Build an EditRequest; a missing picture is left for the gateway to refuse, with its reason.

    Raises:
        ValueError: A value cannot be put into its field.
        OSError: A file cannot be read.
    """
    message = EditRequest()
    if isinstance(prompt, EditRequest):
        message.CopyFrom(prompt)
        prompt = prompt.request
    message.request.CopyFrom(request(prompt, **options))
    if image is not None:
        message.image.CopyFrom(image_input(image))
    if mask is not None:
        message.mask.CopyFrom(image_input(mask))
    return message


def set_item(
    key: str,
    prompt: str = "",
    *,
    ratio: str | None = None,
    format: str | None = None,  # noqa: A002 - the contract's name
    resolution: str | Resolution.ValueType | None = None,
    workflow: str | Workflow.ValueType | None = None,
) -> SetItem:
    """Build one item of a set; what is unset comes from the set's brief.

    Raises:
        ValueError: A value cannot be put into its field.
    """
    shared = request(prompt, ratio=ratio, format=format, resolution=resolution, workflow=workflow)
    item = SetItem(key=key, prompt=shared.prompt, workflow=shared.workflow)
    if shared.HasField("canvas"):
        item.canvas.CopyFrom(shared.canvas)
    return item


def image_input(source: PictureSource) -> ImageInput:
    """Turn any way to name a picture into an ImageInput; files are read here.

    Raises:
        OSError: The file cannot be read.
    """
    if isinstance(source, ImageInput):
        return source
    if isinstance(source, Picture):
        return ImageInput(image_id=source.id)
    if isinstance(source, str):
        return ImageInput(image_id=source)
    if isinstance(source, bytes):
        return ImageInput(data=source)
    return ImageInput(data=picture_file.read(source))


_ENUMS = {
    "tier": image_pb2.Tier.DESCRIPTOR,
    "workflow": image_pb2.Workflow.DESCRIPTOR,
    "quality": image_pb2.Quality.DESCRIPTOR,
    "fidelity": image_pb2.Fidelity.DESCRIPTOR,
    "output_format": image_pb2.OutputFormat.DESCRIPTOR,
    "background": image_pb2.Background.DESCRIPTOR,
    "on_disconnect": image_pb2.OnDisconnect.DESCRIPTOR,
}
_FIELDS = image_service_pb2.GenerateRequest.DESCRIPTOR.fields_by_name


def _set(message: GenerateRequest, name: str, value: Any) -> None:
    if name in Canvas.DESCRIPTOR.fields_by_name:
        number = enums.number(image_pb2.Resolution.DESCRIPTOR, value) if name == "resolution" else value
        setattr(message.canvas, name, number)
    elif name in _ENUMS:
        setattr(message, name, enums.number(_ENUMS[name], value))
    elif name == "max_cost":
        message.max_cost.CopyFrom(money(value))
    elif name == "references":
        message.references.extend(image_input(cast("PictureSource", source)) for source in value)
    elif name == "excluded_models":
        message.excluded_models.extend(value)
    elif name == "labels":
        message.labels.update(value)
    elif name in _FIELDS:
        setattr(message, name, value)
    else:
        raise ValueError("no such option of a request")


def _set_filter(message: ListGenerationsRequest, name: str, value: Any) -> None:
    if name == "state":
        message.state = generation_pb2.Generation.State.ValueType(
            enums.number(generation_pb2.Generation.State.DESCRIPTOR, value)
        )
    elif name in _ENUMS:
        setattr(message, name, enums.number(_ENUMS[name], value))
    elif name in {"start_time", "end_time"}:
        getattr(message, name).CopyFrom(timestamp(value))
    elif name == "labels":
        message.labels.update(value)
    else:
        setattr(message, name, value)


def _put(message: GenerateRequest, name: str, value: Any) -> None:
    try:
        _set(message, name, value)
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{name}: {error}") from error
