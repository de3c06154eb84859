"""What only people and re-rolls read of a generation, as JSON: the request without its pictures' bytes, and the plan.

A version comes first, so that a later shape can tell what it reads. A field that is new and has a default needs no new
version: older records get the default.
"""

import functools
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import TypeAdapter

from pictord.domain.plan import Adaptation, Plan
from pictord.domain.request import GenerationRequest
from pictord.store.base import SpendLimit


@dataclass(frozen=True, slots=True)
class Record:
    """The part of a generation that never changes after it was opened."""

    request: GenerationRequest
    plan: Plan
    version: Literal[1] = 1


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Build on first use: the schemas take some milliseconds that only a store needs."""
    return TypeAdapter(kind)


def encode(record: Record) -> str:
    """Write a record."""
    # Labels may be a read-only view, which pydantic knows no word for but `dict` does.
    return str(_adapter(Record).dump_json(record, fallback=dict, warnings=False), "utf-8")


def decode(text: str) -> Record:
    """Read a record.

    Raises:
        ValueError: not a record of a version that is known here.
    """
    record: Record = _adapter(Record).validate_json(text)
    return record


def encode_adaptations(adaptations: tuple[Adaptation, ...]) -> str | None:
    """Write an attempt's adaptations; None for none."""
    return str(_adapter(tuple[Adaptation, ...]).dump_json(adaptations), "utf-8") if adaptations else None


def decode_adaptations(text: str | None) -> tuple[Adaptation, ...]:
    """Read an attempt's adaptations."""
    return tuple(_adapter(tuple[Adaptation, ...]).validate_json(text)) if text else ()


def encode_limits(limits: tuple[SpendLimit, ...]) -> str | None:
    """Write the limits of a generation; None for none."""
    return str(_adapter(tuple[SpendLimit, ...]).dump_json(limits), "utf-8") if limits else None


def decode_limits(text: str | None) -> tuple[SpendLimit, ...]:
    """Read the limits of a generation."""
    return tuple(_adapter(tuple[SpendLimit, ...]).validate_json(text)) if text else ()
