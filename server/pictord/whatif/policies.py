"""The policies to compare with: one of those that ship, by name, or a file of the operator's."""

from importlib import resources
from pathlib import Path

from pictord.catalog.catalog import Catalog
from pictord.routing.policy import Policy, load_over
from pictord.whatif.failure import ReplayError

_FOLDER = resources.files("pictord.whatif") / "policies"


def built_in() -> tuple[str, ...]:
    """The names of the policies that ship."""
    return tuple(sorted(file.name.removesuffix(".toml") for file in _FOLDER.iterdir()))


def load(name: str, catalog: Catalog, *, edit_provider: str = "gemini") -> Policy:
    """A policy by name or path; either is laid over the shipped decision table.

    Raises:
        ReplayError: neither the name of one that ships nor a file.
        CatalogError: the file's own mistakes.
    """
    if name in built_in():
        with resources.as_file(_FOLDER / f"{name}.toml") as path:
            return load_over(catalog, path, edit_provider=edit_provider)
    if not Path(name).is_file():
        names = ", ".join(built_in())
        raise ReplayError(f"policy {name!r}: no such file, and none that ships is called so; there are {names}")
    return load_over(catalog, Path(name), edit_provider=edit_provider)
