"""The workload that ships: the mixture of `workload.toml`, dealt out exactly and shuffled by its seed.

Shares are kept to the request, not on average: every kind gets its number of requests in each tier, and every value of
a kind its number among them. Only which value meets which, and the order of all, come from the seed.
"""

import json
import random
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from importlib import resources
from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter

from pictord.catalog.model import Day
from pictord.catalog.overlay import STRICT
from pictord.domain.request import (
    Canvas,
    GenerationRequest,
    InputImage,
    Operation,
    OutputFormat,
    Ratio,
    Resolution,
    Tier,
    Unread,
    Workflow,
)
from pictord.whatif.record import Recorded

Percent = Annotated[float, Field(gt=0, le=100)]
Key = TypeVar("Key")

_UNSET: Literal["unset"] = "unset"


@dataclass(frozen=True, slots=True)
class Kind:
    """One use of the tool; `workload.toml` says what each field means."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    about: str
    share: Mapping[Tier, Percent]
    workflow: Workflow | None = None
    high_quality: bool = False
    masked: bool = False
    canvas: Mapping[str, Percent] = field(default_factory=lambda: {_UNSET: 100})
    resolution: Mapping[Resolution | Literal["unset"], Percent] = field(default_factory=lambda: {_UNSET: 100})
    edited: Mapping[str, Percent] = field(default_factory=lambda: {_UNSET: 100})
    references: Mapping[int, Percent] = field(default_factory=lambda: {0: 100})
    count: Mapping[int, Percent] = field(default_factory=lambda: {1: 100})
    preview_count: Mapping[int, Percent] = field(default_factory=lambda: {0: 100})
    model: Mapping[str, Percent] = field(default_factory=lambda: {_UNSET: 100})


@dataclass(frozen=True, slots=True)
class Workload:
    """The mixture as a whole."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    source: str
    date: date
    requests: int
    seed: int
    day: Day
    prompt_chars: Mapping[int, Percent]
    picture_bytes: int
    kinds: Mapping[str, Kind]


def shipped() -> Workload:
    """The workload that comes with Pictor."""
    tables = tomllib.loads((resources.files("pictord.whatif") / "workload.toml").read_text("utf-8"))
    return TypeAdapter(Workload).validate_json(json.dumps(tables, default=str))


def deal(workload: Workload) -> list[Recorded]:
    """All requests of a workload; the same ones, in the same order, every time."""
    cells = {(name, tier): share for name, kind in workload.kinds.items() for tier, share in kind.share.items()}
    tiers: dict[str, list[Tier]] = {name: [] for name in workload.kinds}
    for (name, tier), number in apportion(cells, workload.requests).items():
        tiers[name] += [tier] * number
    at = datetime.combine(workload.day, time(), UTC)
    requests = [request for name in workload.kinds for request in _of_kind(workload, name, tiers[name])]
    random.Random(str(workload.seed)).shuffle(requests)
    return [Recorded(request, time=at) for request in requests]


def apportion(shares: Mapping[Key, float], total: int) -> dict[Key, int]:
    """Whole numbers in proportion to shares, with exactly this sum: the largest remainders are rounded up."""
    exact = {key: share * total / sum(shares.values()) for key, share in shares.items()}
    numbers = {key: int(value + 1e-9) for key, value in exact.items()}
    by_remainder = sorted(exact, key=lambda key: numbers[key] - exact[key])
    for key in by_remainder[: total - sum(numbers.values())]:
        numbers[key] += 1
    return numbers


def _of_kind(workload: Workload, name: str, tiers: list[Tier]) -> Iterator[GenerationRequest]:
    kind = workload.kinds[name]

    def dealt(what: str, shares: Mapping[Key, float]) -> list[Key]:
        values = [key for key, number in apportion(shares, len(tiers)).items() for _ in range(number)]
        random.Random(f"{workload.seed}/{name}/{what}").shuffle(values)
        return values

    for tier, chars, canvas, resolution, edited, references, count, previews, model in zip(
        tiers,
        dealt("prompt_chars", workload.prompt_chars),
        dealt("canvas", kind.canvas),
        dealt("resolution", kind.resolution),
        dealt("edited", kind.edited),
        dealt("references", kind.references),
        dealt("count", kind.count),
        dealt("preview_count", kind.preview_count),
        dealt("model", kind.model),
        strict=True,
    ):
        picture = None if edited == _UNSET else _picture(edited, workload.picture_bytes)
        yield GenerationRequest(
            prompt=(f"{kind.about}, " * chars)[:chars],
            operation=Operation.GENERATE if picture is None else Operation.EDIT,
            canvas=_canvas(canvas, resolution),
            tier=tier,
            high_quality=kind.high_quality,
            workflow=kind.workflow,
            image=picture,
            mask=_picture(edited, workload.picture_bytes // 10, has_alpha=True) if kind.masked else None,
            references=(_picture("1024x1024", workload.picture_bytes),) * references,
            count=count,
            preview_count=previews,
            model=None if model == _UNSET else model,
        )


def _canvas(name: str, resolution: Resolution | Literal["unset"]) -> Canvas:
    size = None if resolution == _UNSET else Resolution(resolution)
    if name == _UNSET:
        return Canvas(resolution=size)
    return Canvas(format=name, resolution=size) if "/" in name else Canvas(Ratio.parse(name), resolution=size)


def _picture(pixels: str, size_bytes: int, *, has_alpha: bool = False) -> InputImage:
    width_px, height_px = map(int, pixels.split("x"))
    return InputImage(Unread(size_bytes), OutputFormat.PNG.mime, width_px, height_px, has_alpha, "")
