"""The catalog: models and formats as data, shipped with the service and overlaid by the operator."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import ClassVar

from pydantic import ConfigDict, TypeAdapter

from pictord.catalog import overlay as data
from pictord.catalog.model import Model
from pictord.catalog.overlay import STRICT, CatalogError, DataFile
from pictord.catalog.sizes import RatioText, SizeClass, SizePx
from pictord.domain.reason import Reason
from pictord.domain.request import SQUARE, Resolution
from pictord.errors import GatewayError


@dataclass(frozen=True, slots=True)
class Format:
    """A named format: the ratio that is drawn, and the pixels that the platform asks for."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    id: str
    ratio: RatioText
    size_px: SizePx
    source: str
    date: date


@dataclass(frozen=True)
class Catalog:
    """Models and formats by id, and what the resolutions mean; `version` changes exactly if the data does."""

    models: Mapping[str, Model]
    formats: Mapping[str, Format]
    size_classes: Mapping[Resolution, SizeClass]
    ids_by_name: Mapping[str, str]
    version: str

    def model_id(self, name: str) -> str:
        """The id of a model called by id, alias or snapshot.

        Raises:
            GatewayError: MODEL_UNKNOWN, naming the models there are.
        """
        found = self.ids_by_name.get(name)
        if found is None:
            raise GatewayError(
                Reason.MODEL_UNKNOWN,
                f"no model is called {name!r}; there are {', '.join(self.models)}",
                {"model": name},
            )
        return found

    def format(self, name: str) -> Format:
        """A format by name.

        Raises:
            GatewayError: FORMAT_UNKNOWN, naming the formats there are.
        """
        found = self.formats.get(name)
        if found is None:
            text = f"no format is called {name!r}; there are {', '.join(self.formats)}"
            raise GatewayError(Reason.FORMAT_UNKNOWN, text, {"format": name})
        return found

    def at(self, day: date) -> "Catalog":
        """The catalog with the prices in force on a day; cheap, and the same object if no price changes."""
        models = {key: model.at(day) for key, model in self.models.items()}
        return self if all(models[key] is self.models[key] for key in models) else replace(self, models=models)

    def scaled(self, time_scale: float) -> "Catalog":
        """The catalog of a world in which every engine is `time_scale` times as slow (the sandbox's clock)."""
        models = {key: model.scaled(time_scale) for key, model in self.models.items()}
        return replace(self, models=models)


_MODEL = TypeAdapter(Model)
_FORMAT = TypeAdapter(Format)
_SIZE_CLASS = TypeAdapter(SizeClass)


def load(overlay: Path | None = None) -> Catalog:
    """Read the shipped catalog with an operator's folder over it; prices are the newest ones until `at` is called.

    Raises:
        CatalogError: naming file, id and key of what is wrong. Nothing is half loaded.
    """
    data.check_folder(overlay)
    models_file = data.read("pictord.catalog", "models.toml", overlay, frozenset({"models"}))
    formats_file = data.read("pictord.catalog", "formats.toml", overlay, frozenset({"formats", "resolutions"}))
    models = {key: models_file.read_named(_MODEL, "models", key) for key in models_file.section("models")}
    formats = {key: formats_file.read_named(_FORMAT, "formats", key) for key in formats_file.section("formats")}
    size_classes = _size_classes(formats_file)
    for model in models.values():
        _check_sizes(models_file, model, size_classes)
    version = data.version_of(models_file.tables, formats_file.tables)
    return Catalog(models, formats, size_classes, _ids_by_name(models_file, models), version)


def _size_classes(file: DataFile) -> Mapping[Resolution, SizeClass]:
    known = {r.value for r in Resolution}
    for key in file.section("resolutions"):
        if key not in known:
            raise file.error("resolutions", key, f"unknown, there are {', '.join(sorted(known))}")
    for resolution in known - file.section("resolutions").keys():
        raise CatalogError(f"{file.name}: resolutions lacks {resolution!r}")
    return {r: file.read(_SIZE_CLASS, "resolutions", r.value) for r in Resolution}


def _check_sizes(file: DataFile, model: Model, size_classes: Mapping[Resolution, SizeClass]) -> None:
    """Draw every corner once, so that contradicting limits are an error of the file and not of a request."""
    for resolution in model.sizes.resolutions:
        for ratio in (model.sizes.narrowest, model.sizes.nearest(SQUARE)[0], model.sizes.widest):
            try:
                model.sizes.size(ratio, resolution, size_classes[resolution])
            except ValueError as error:
                raise file.error("models", model.id, f"sizes: {error} at {ratio} and {resolution}") from None


def _ids_by_name(file: DataFile, models: Mapping[str, Model]) -> Mapping[str, str]:
    ids: dict[str, str] = {}
    for model in models.values():
        for name in model.names:
            if ids.setdefault(name, model.id) != model.id:
                raise file.error("models", model.id, f"{name!r} is already a name of {ids[name]!r}")
    return ids


__all__ = ["Catalog", "CatalogError", "Format", "load"]
