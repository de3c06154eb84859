"""What makes two requests the same for idempotency."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from enum import Enum

from pictord.domain.request import Canvas, GenerationRequest, InputImage, Lineage, Ratio

_NOT_PAYLOAD = frozenset({"request_id", "max_inline_bytes", "on_disconnect"})
"""How a caller names, waits for and receives a result is not what it asked for."""


def fingerprint(request: GenerationRequest) -> str:
    """SHA-256 of the canonical JSON of the validated request before routing, each picture replaced by its hash."""
    payload = {
        field.name: _plain(getattr(request, field.name)) for field in fields(request) if field.name not in _NOT_PAYLOAD
    }
    canonical = json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _plain(value: object) -> object:
    match value:
        case InputImage():
            return value.sha256
        case Ratio():
            return str(value.value)
        case Canvas():
            return [_plain(value.ratio), value.format, _plain(value.resolution)]
        case Lineage():
            return [value.reroll_of, value.set_id, value.item_key]
        case Enum():
            return value.value
        case Mapping():
            return dict(value)
        case tuple():
            return [_plain(item) for item in value]
        case _:
            return value
