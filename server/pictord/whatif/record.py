"""Recorded requests: one JSON object on each line, with what is known of what became of it.

    {"request": {"prompt": "a red fox", "tier": "pro"}, "cost_nanos": 216800000, "model": "gpt-image-2",
     "row": "pro", "took_s": 41.5, "time": "2026-11-22T12:00:00Z"}

Fields of `request` are called as in `GenerationRequest`. A picture is only described: `width_px`, `height_px`, `mime`,
`size_bytes`, `has_alpha`. Of a prompt only the length counts, so a record may hold any text of the same length.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AwareDatetime, ConfigDict, Field, PlainValidator, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from pictord.catalog.overlay import STRICT
from pictord.catalog.sizes import RatioText
from pictord.domain.generation import Generation
from pictord.domain.request import Canvas, GenerationRequest, InputImage, Lineage, Ratio, Unread
from pictord.whatif.failure import ReplayError

_Positive = Annotated[int, Field(gt=0)]


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request as the router got it, with what really became of it, where known.

    That is what it cost (nano-USD), who drew it, the row that chose, when it came, and seconds until it had ended.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    request: GenerationRequest
    cost_nanos: int | None = None
    model: str | None = None
    time: datetime | None = None
    row: str | None = None
    took_s: float | None = None


def _unread(size: object) -> bytes:
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ValueError("not a number of bytes")
    return Unread(size)


# How a record is spelt: the domain's own classes, but strict, and with texts where they have objects.


@dataclass(frozen=True, slots=True, kw_only=True)
class _Picture(InputImage):
    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    data: Annotated[bytes, Field(validation_alias="size_bytes"), PlainValidator(_unread)] = field(
        default=b"", repr=False
    )
    mime: str
    width_px: _Positive
    height_px: _Positive
    has_alpha: bool = False
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class _Canvas(Canvas):
    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    ratio: RatioText | None = None


@dataclass(frozen=True, slots=True)
class _Request(GenerationRequest):
    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    canvas: _Canvas = field(default_factory=_Canvas)
    image: _Picture | None = None
    mask: _Picture | None = None
    references: tuple[_Picture, ...] = ()


@dataclass(frozen=True, slots=True)
class _Line(Recorded):
    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    request: _Request
    cost_nanos: Annotated[int, Field(ge=0)] | None = None
    time: AwareDatetime | None = None
    took_s: Annotated[float, Field(ge=0)] | None = None


_LINE = TypeAdapter(_Line)


def read_file(path: Path) -> Iterator[Recorded]:
    """The records of a file, one by one.

    Raises:
        ReplayError: the file cannot be read, or a line of it, which is named by its number.
    """
    try:
        with path.open("rb") as file:
            yield from read(file, str(path))
    except OSError as error:
        raise ReplayError(f"{path}: {error.strerror}") from None


def read(lines: Iterable[bytes], name: str = "requests") -> Iterator[Recorded]:
    """The records of lines; empty lines are passed over, `name` is for the errors.

    Raises:
        ReplayError: with the number of the line and what is wrong with it.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield _LINE.validate_json(line)
        except ValidationError as error:
            raise ReplayError(f"{name}, line {number}: {_sentence(error)}") from None


def _sentence(error: ValidationError) -> str:
    """The first mistakes, without the values: a prompt is nobody's business on a terminal."""
    found = error.errors(include_input=False, include_url=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, each['loc'])) or 'the line'}: {_plainly(each)}" for each in found[:3])


_PLAINLY = {
    "unexpected_keyword_argument": "there is no such field",
    "missing": "is missing",
    "missing_argument": "is missing",
    "dataclass_type": "must be an object",
}
"""pydantic's words for what is wrong, where they speak of Python."""


def _plainly(error: ErrorDetails) -> str:
    return _PLAINLY.get(error["type"], error["msg"])


def of_generation(generation: Generation, sizes: Mapping[str, int]) -> Recorded:
    """What a replay needs of a generation that has ended, and nothing that anybody typed.

    Args:
        generation: its pictures have no bytes any more.
        sizes: how many there were, by the picture's SHA-256.
    """
    asked, ended = generation.request, generation.finish_time
    request = replace(
        asked.with_pictures(lambda picture: Unread(sizes.get(picture.sha256, 0))),
        prompt="x" * len(asked.prompt),
        request_id=None,
        end_user=None,
        labels={},
        lineage=Lineage(),
    )
    return Recorded(
        request=request,
        cost_nanos=generation.cost.nanos,
        model=next((image.model for image in generation.images), None),
        time=generation.create_time,
        row=generation.plan.row,
        took_s=None if ended is None else (ended - generation.create_time).total_seconds(),
    )


def saved(records: Iterable[Recorded], path: Path) -> Iterator[Recorded]:
    """The same records, each written to a file as it passes."""
    with path.open("w", encoding="utf-8") as file:
        for each in records:
            file.write(line_of(each) + "\n")
            yield each


def line_of(recorded: Recorded) -> str:
    """A record as `read` takes it, without the line's end; what has its default is left out."""
    return json.dumps(_said(recorded), ensure_ascii=False, separators=(",", ":"))


def _said(record: Any) -> dict[str, Any]:
    """Every field of a dataclass that differs from its default."""
    values = ((each, getattr(record, each.name)) for each in fields(record))
    return {each.name: _plain(value) for each, value in values if value != _default(each)}


def _default(of: Any) -> Any:
    return of.default_factory() if of.default_factory is not MISSING else of.default


def _plain(value: Any) -> Any:
    match value:
        case InputImage():
            described = {"width_px": value.width_px, "height_px": value.height_px, "mime": value.mime}
            return described | {"size_bytes": len(value.data), "has_alpha": value.has_alpha}
        case Ratio():
            return value.text
        case datetime():
            return value.isoformat()
        case tuple():
            return [_plain(item) for item in value]
        case Mapping():
            return dict(value)
        case _ if hasattr(value, "__dataclass_fields__"):
            return _said(value)
        case _:
            return value
