"""What is called: named shapes of requests with weights, from a TOML file.

about = "..."
prompts = ["a red fox", "a blue jay"]     # of every shape that has none of its own

[shapes.standard]
weight = 50                 # a share of the sum of all weights
row = "standard"            # of the decision table, that should serve it; the report says if another one did
stream = true               # as a stream with previews, timed to the first one
edit_px = [1024, 1024]      # an edit of a picture of this size, which is drawn here and uploaded before the run
mask = true                 # with a mask over its middle
options = { tier = "pro", format = "instagram/story" }    # as in `pictor.request`
"""

import hashlib
import math
import random
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from pictor.messages import RequestOptions, request
from pictor.v1.image_service_pb2 import GenerateRequest

ROWS = ("explicit", "edit", "four_k", "pro", "text_in_image", "standard")
"""Of the decision table that ships; a gateway may have others, so a mix may name any."""

_NOT_OPTIONS = ("request_id", "max_cost", "max_inline_bytes", "on_disconnect", "references", "labels")
"""The harness sets them, or they need files."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One kind of request."""

    name: str
    weight: float
    prompts: tuple[str, ...]
    request: GenerateRequest
    """All but the prompt and what is fresh in every call."""
    row: str = ""
    stream: bool = False
    edit_px: tuple[int, int] | None = None
    mask: bool = False

    @property
    def is_edit(self) -> bool:
        """Whether it changes a picture."""
        return self.edit_px is not None

    @property
    def method(self) -> str:
        """The RPC of ImageService that it calls."""
        return ("Edit" if self.is_edit else "Generate") + ("Stream" if self.stream else "")


@dataclass(frozen=True, slots=True)
class Mix:
    """All shapes of a load."""

    name: str
    about: str
    shapes: tuple[Shape, ...]
    sha256: str
    """Of the file, so that two runs can be known to be of the same mix."""

    def deal(self, dice: random.Random) -> tuple[Shape, str]:
        """A shape by its weight, and one of its prompts."""
        (shape,) = dice.choices(self.shapes, [each.weight for each in self.shapes])
        return shape, dice.choice(shape.prompts)


def shipped() -> tuple[str, ...]:
    """Names of the mixes that come along."""
    folder = resources.files("pictor_loadtest") / "mixes"
    return tuple(sorted(each.name.removesuffix(".toml") for each in folder.iterdir() if each.name.endswith(".toml")))


def load(name: str) -> Mix:
    """Read a mix: the name of a shipped one, or a TOML file.

    Raises:
        ValueError: There is no such mix, or the file makes no sense; the text says where.
        OSError: The file cannot be read.
    """
    if name in shipped():
        data = (resources.files("pictor_loadtest") / "mixes" / f"{name}.toml").read_bytes()
        return read(name, data)
    if not name.endswith(".toml"):
        raise ValueError(f"no mix is called `{name}`; there are {', '.join(shipped())}, or name a .toml file")
    return read(Path(name).stem, Path(name).read_bytes())


def read(name: str, data: bytes) -> Mix:
    """Read the bytes of a mix's file.

    Raises:
        ValueError: They make no sense; the text says where.
    """
    try:
        tables = tomllib.loads(data.decode("utf-8"))
        _only(tables, ("about", "prompts", "shapes", "source", "date"))
        shared = _texts(tables.get("prompts", []), "prompts")
        made = _shapes(tables.get("shapes"), shared)
    except (ValueError, TypeError) as error:
        raise ValueError(f"mix {name}: {error}") from error
    return Mix(name, str(tables.get("about", "")), made, hashlib.sha256(data).hexdigest())


def _shapes(tables: Any, shared: tuple[str, ...]) -> tuple[Shape, ...]:
    if not isinstance(tables, dict) or not tables:
        raise ValueError("a mix needs at least one table [shapes.NAME]")
    return tuple(_shape(name, table, shared) for name, table in tables.items())


def _shape(name: str, table: Mapping[str, Any], shared: tuple[str, ...]) -> Shape:
    where = f"shapes.{name}"
    if not isinstance(table, dict):
        raise ValueError(f"{where} is a table")  # noqa: TRY004 - the user's words
    if not name.replace("_", "").replace("-", "").isalnum():
        raise ValueError(f"{where}: a name has letters, digits, `_` and `-`")
    _only(table, ("weight", "row", "stream", "edit_px", "mask", "prompts", "options"), where)
    weight = _of(table, "weight", (int, float), where)
    if not 0 < weight < math.inf:
        raise ValueError(f"{where}.weight is more than nothing")
    prompts = _texts(table["prompts"], f"{where}.prompts") if "prompts" in table else shared
    if not prompts:
        raise ValueError(f"{where} has no prompts, and the mix has none for all")
    edit_px = table.get("edit_px")
    if edit_px is not None and not (
        isinstance(edit_px, list)
        and len(edit_px) == 2
        and all(type(each) is int and 16 <= each <= 8192 for each in edit_px)
    ):
        raise ValueError(f"{where}.edit_px is width and height, 16 to 8192 pixels each")
    mask = _of(table, "mask", bool, where, unset=False)
    if mask and edit_px is None:
        raise ValueError(f"{where}.mask needs edit_px")
    return Shape(
        name=name,
        weight=float(weight),
        prompts=prompts,
        request=_request(_of(table, "options", dict, where, unset={}), f"{where}.options"),
        row=_of(table, "row", str, where, unset=""),
        stream=_of(table, "stream", bool, where, unset=False),
        edit_px=None if edit_px is None else (edit_px[0], edit_px[1]),
        mask=mask,
    )


def _request(options: Mapping[str, Any], where: str) -> GenerateRequest:
    known = [each for each in RequestOptions.__annotations__ if each not in _NOT_OPTIONS]
    _only(options, known, where)
    try:
        return request("", **options)
    except ValueError as error:
        raise ValueError(f"{where}.{error}") from error


def _of(table: Mapping[str, Any], key: str, kind: type | tuple[type, ...], where: str, *, unset: Any = None) -> Any:
    value = table.get(key, unset)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        expected = kind.__name__ if isinstance(kind, type) else "number"
        raise ValueError(f"{where}.{key} is missing or no {expected}")
    return value


def _texts(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) and each.strip() for each in value):
        raise ValueError(f"{where} is a list of texts")
    return tuple(value)


def _only(table: Mapping[str, Any], known: Sequence[str], where: str = "") -> None:
    odd = [key for key in table if key not in known]
    if odd:
        place = f"{where}." if where else ""
        raise ValueError(f"`{place}{odd[0]}` is none of {', '.join(known)}")
