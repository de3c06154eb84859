"""Read a shipped data file with an operator's overlay over it, strictly.

A data file holds tables by section and id (`[models.gpt-image-2]`). An overlay file of the same name is merged table
by table: what it gives replaces, everything else stays, new ids are added behind. The result is then read into frozen
dataclasses: unknown keys, wrong types and missing keys are errors that name file, id and key.
"""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

STRICT = ConfigDict(extra="forbid", strict=True)
"""For `__pydantic_config__` of every dataclass that is read from a data file."""

OVERLAY_FILES = frozenset({"models.toml", "formats.toml", "policy.toml"})

Tables = dict[str, Any]
T = TypeVar("T")


class CatalogError(ValueError):
    """A data file that is not used: its text names the file, the id and the key."""


@dataclass(frozen=True)
class DataFile:
    """A merged document; `overlay` holds the operator's part, so that errors name the right file."""

    name: str
    shipped: Traversable
    tables: Tables
    overlay_path: Path | None
    overlay: Tables

    def section(self, name: str) -> Mapping[str, Any]:
        """One section by id; missing means empty."""
        section = self.tables.get(name, {})
        if not isinstance(section, dict):
            raise CatalogError(f"{self.name}: {name} is not a table")
        return section

    def read(self, adapter: TypeAdapter[T], section: str, key: str) -> T:
        """Read one table into its dataclass.

        Raises:
            CatalogError: with file, id and key of everything that is wrong.
        """
        return self._validated(adapter, section, key, self.section(section).get(key, {}))

    def read_named(self, adapter: TypeAdapter[T], section: str, name: str, *, key: str = "id") -> T:
        """Read one table into a dataclass that has the table's name as a field called `key`.

        Raises:
            CatalogError: with file, id and key of everything that is wrong.
        """
        table = self.section(section)[name]
        if not isinstance(table, dict) or key in table:
            raise self.error(section, name, f"must be a table without a key {key!r}")
        return self._validated(adapter, section, name, {key: name, **table})

    def _validated(self, adapter: TypeAdapter[T], section: str, key: str, table: Any) -> T:
        try:
            return adapter.validate_json(_canonical(table))
        except ValidationError as error:
            raise self.error(section, key, _sentences(error)) from None

    def error(self, section: str, key: str, text: str) -> CatalogError:
        """An error in one table, naming the file that the table comes from."""
        return CatalogError(f"{self.path_of(section, key)}: {section} {key!r}: {text}")

    def path_of(self, section: str, key: str) -> str:
        """The overlay's file if it says anything about this id, else the shipped one."""
        if self.overlay_path is not None and key in self.overlay.get(section, {}):
            return str(self.overlay_path)
        return self.name


def read(package: str, name: str, overlay: Path | None, sections: frozenset[str]) -> DataFile:
    """Read `name` from a package's data, merged with the file of the same name in the overlay folder.

    Raises:
        CatalogError: unreadable, not TOML, or with sections other than `sections`.
    """
    path = overlay / name if overlay is not None else None
    return read_over(package, name, path if path is not None and path.is_file() else None, sections)


def read_over(package: str, name: str, overlay_path: Path | None, sections: frozenset[str]) -> DataFile:
    """Read `name` from a package's data, merged with one file, wherever it lies and whatever it is called.

    Raises:
        CatalogError: unreadable, not TOML, or with sections other than `sections`.
    """
    shipped = resources.files(package) / name
    tables = _parse(name, shipped.read_bytes())
    if overlay_path is None:
        return DataFile(name, shipped, tables, None, {})
    over = _parse(str(overlay_path), _bytes_of(overlay_path))
    for unknown in over.keys() - sections:
        raise CatalogError(f"{overlay_path}: unknown section {unknown!r}, there are {', '.join(sorted(sections))}")
    return DataFile(name, shipped, merge(tables, over), overlay_path, over)


def check_folder(overlay: Path | None) -> None:
    """Refuse an overlay folder that is missing, or holds TOML that nobody would read (a misspelt name).

    Raises:
        CatalogError: what is wrong with the folder.
    """
    if overlay is None:
        return
    if not overlay.is_dir():
        raise CatalogError(f"{overlay}: no such folder")
    for path in sorted(overlay.glob("*.toml")):
        if path.name not in OVERLAY_FILES:
            raise CatalogError(f"{path}: not a data file, there are {', '.join(sorted(OVERLAY_FILES))}")


def merge(base: Tables, over: Tables) -> Tables:
    """Lay `over` upon `base`: tables are merged key by key, everything else is replaced."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        both_tables = isinstance(below, dict) and isinstance(value, dict)
        merged[key] = merge(below, value) if both_tables else value  # type: ignore[arg-type]  # both are dicts here
    return merged


def version_of(*documents: Tables) -> str:
    """A short hash of data, equal exactly if the data is (order included: rows are tried in order)."""
    return hashlib.sha256(b"\n".join(map(_canonical, documents))).hexdigest()[:12]


def _canonical(tables: Any) -> bytes:
    """JSON, because pydantic reads it strictly and still knows dates, enum values and tuples there."""
    return json.dumps(tables, default=str).encode()


def _parse(path: str, data: bytes) -> Tables:
    try:
        return tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CatalogError(f"{path}: not TOML: {error}") from None


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CatalogError(f"{path}: {error.strerror}") from None


def _sentences(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or '(table)'}: {e['msg']}" for e in error.errors())
