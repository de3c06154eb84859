"""The decision table and the rules beside it, as data: `policy.toml` with an operator's overlay."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from pictord.catalog import overlay as data
from pictord.catalog.catalog import Catalog
from pictord.catalog.overlay import STRICT, CatalogError, DataFile
from pictord.domain.plan import Row as RowName
from pictord.domain.request import GenerationRequest, Operation, Quality, Resolution, Tier, Workflow

_QUALITIES = tuple(Quality)
_RESOLUTIONS = tuple(Resolution)


@dataclass(frozen=True, slots=True)
class Condition:
    """What a request must be; None means that it does not matter."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    named: bool | None = None
    operation: frozenset[Operation] | None = None
    masked: bool | None = None
    tier: frozenset[Tier] | None = None
    high_quality: bool | None = None
    workflow: frozenset[Workflow] | None = None
    resolution: frozenset[Resolution] | None = None

    def holds(self, request: GenerationRequest, resolution: Resolution) -> bool:
        """Whether the request, drawn at `resolution`, is meant."""
        return (
            (self.named is None or self.named == (request.model is not None))
            and (self.operation is None or request.operation in self.operation)
            and (self.masked is None or self.masked == (request.mask is not None))
            and (self.tier is None or request.tier in self.tier)
            and (self.high_quality is None or self.high_quality == request.high_quality)
            and (self.workflow is None or request.workflow in self.workflow)
            and (self.resolution is None or resolution in self.resolution)
        )


def _any_holds(conditions: tuple[Condition, ...], request: GenerationRequest, resolution: Resolution) -> bool:
    for condition in conditions:  # noqa: SIM110 - any() with a generator takes three times as long, on every call
        if condition.holds(request, resolution):
            return True
    return False


@dataclass(frozen=True, slots=True)
class Row:
    """One row: who is asked, in which order, when one of the conditions holds."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    name: str
    when: Annotated[tuple[Condition, ...], Field(min_length=1)]
    candidates: Annotated[tuple[str, ...], Field(min_length=1)]
    lead: Literal["named", "edit_provider"] | None = None
    allow_fallback: bool = True
    before: str | None = None


@dataclass(frozen=True, slots=True)
class QualityRule:
    """At which quality engines run that have such a choice."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    pro_when: tuple[Condition, ...]
    pro: Quality
    standard: Quality

    def __post_init__(self) -> None:
        if _QUALITIES.index(self.standard) >= _QUALITIES.index(Quality.HIGH):
            raise ValueError("standard: a standard request never reaches high, that is the cost floor")

    def is_pro(self, request: GenerationRequest, resolution: Resolution) -> bool:
        """Whether the request is one for the best quality."""
        return _any_holds(self.pro_when, request, resolution)


@dataclass(frozen=True, slots=True)
class ResolutionRule:
    """What an unset resolution means; with a mask it is the picture's own, up to `masked_up_to`."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    default: Resolution
    by_workflow: Mapping[Workflow, Resolution]
    masked_up_to: Resolution

    def of(self, request: GenerationRequest) -> Resolution:
        """The resolution that is drawn, unless a mask asks for the picture's own."""
        if request.canvas.resolution is not None:
            return request.canvas.resolution
        return self.by_workflow.get(request.workflow, self.default) if request.workflow else self.default

    def of_masked(self, request: GenerationRequest) -> Resolution:
        """The asked resolution; without one the largest at which a masked picture is drawn at its own pixels."""
        if request.canvas.resolution is not None:
            return request.canvas.resolution
        return max(self.masked_up_to, self.of(request), key=_RESOLUTIONS.index)


@dataclass(frozen=True, slots=True)
class Limits:
    """Numbers of the rules: a share, and seconds."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    snap_tolerance: Annotated[float, Field(ge=0, le=0.1)]
    deadline_margin_s: Annotated[float, Field(ge=0)]


@dataclass(frozen=True, slots=True)
class Policy:
    """The whole decision table; `version` changes exactly if the data or the edit provider does."""

    rows: tuple[Row, ...]
    quality: QualityRule
    resolution: ResolutionRule
    limits: Limits
    version: str

    @property
    def fallbacks(self) -> tuple[str, ...]:
        """Who steps in for a named model, in order: the row in which a named model leads."""
        return next((row.candidates for row in self.rows if row.lead == "named"), self.rows[-1].candidates)

    def row_for(self, request: GenerationRequest, resolution: Resolution) -> Row:
        """The first row that matches; the last one always does."""
        for row in self.rows:
            if _any_holds(row.when, request, resolution):
                return row
        raise AssertionError("the last row matches everything; `load` sees to it")

    def scaled(self, time_scale: float) -> "Policy":
        """The same table in a world that runs faster (the sandbox's clock)."""
        limits = replace(self.limits, deadline_margin_s=self.limits.deadline_margin_s * time_scale)
        return replace(self, limits=limits)


_ROW = TypeAdapter(Row)
_QUALITY = TypeAdapter(QualityRule)
_RESOLUTION = TypeAdapter(ResolutionRule)
_LIMITS = TypeAdapter(Limits)
_RULES = frozenset({"quality", "resolution", "limits"})
_SECTIONS = frozenset({"rows", "rules"})
_SHIPPED = ("pictord.routing", "policy.toml")


def load(catalog: Catalog, overlay: Path | None = None, *, edit_provider: str = "gemini") -> Policy:
    """Read the shipped decision table with an operator's folder over it.

    Args:
        catalog: the models that rows may name.
        overlay: the operator's folder.
        edit_provider: the provider whose models lead in rows with `lead = "edit_provider"`.

    Raises:
        CatalogError: naming file, row or rule, and key of what is wrong. Nothing is half loaded.
    """
    data.check_folder(overlay)
    return _policy(data.read(*_SHIPPED, overlay, _SECTIONS), catalog, edit_provider)


def load_over(catalog: Catalog, path: Path, *, edit_provider: str = "gemini") -> Policy:
    """Read the shipped decision table with one policy file over it, as if it stood in the operator's folder.

    Raises:
        CatalogError: as `load`.
    """
    return _policy(data.read_over(*_SHIPPED, path, _SECTIONS), catalog, edit_provider)


def _policy(file: DataFile, catalog: Catalog, edit_provider: str) -> Policy:
    if edit_provider not in {model.provider for model in catalog.models.values()}:
        raise CatalogError(f"edit provider {edit_provider!r}: no model is served by it")
    for unknown in file.section("rules").keys() - _RULES:
        raise file.error("rules", unknown, f"unknown, there are {', '.join(sorted(_RULES))}")
    return Policy(
        rows=tuple(_led(row, catalog, edit_provider) for row in _rows(file, catalog)),
        quality=file.read(_QUALITY, "rules", "quality"),
        resolution=file.read(_RESOLUTION, "rules", "resolution"),
        limits=file.read(_LIMITS, "rules", "limits"),
        version=data.version_of(file.tables, {"edit_provider": edit_provider}),
    )


def _rows(file: DataFile, catalog: Catalog) -> list[Row]:
    rows: list[Row] = []
    for name in file.section("rows"):
        row = file.read_named(_ROW, "rows", name, key="name")
        _check_candidates(file, row, catalog)
        rows.insert(_place(file, row, rows), row)
    if Condition() not in rows[-1].when:
        raise file.error("rows", rows[-1].name, "when: the last row must match everything: [{}]")
    return rows


def _check_candidates(file: DataFile, row: Row, catalog: Catalog) -> None:
    for candidate in row.candidates:
        if candidate not in catalog.models:
            raise file.error("rows", row.name, f"candidates: no model is called {candidate!r}")
    if len(set(row.candidates)) < len(row.candidates):
        raise file.error("rows", row.name, "candidates: each model once")


def _place(file: DataFile, row: Row, rows: list[Row]) -> int:
    if row.before is None:
        if row.name not in set(RowName):
            raise file.error("rows", row.name, "before: an own row says which row it comes before")
        return len(rows)
    for place, other in enumerate(rows):
        if other.name == row.before:
            return place
    raise file.error("rows", row.name, f"before: no row is called {row.before!r}")


def _led(row: Row, catalog: Catalog, edit_provider: str) -> Row:
    """The row with the edit provider's models first, if it says so; the order is kept otherwise."""
    if row.lead != "edit_provider":
        return row
    led = sorted(row.candidates, key=lambda model: catalog.models[model].provider != edit_provider)
    return replace(row, candidates=tuple(led))
