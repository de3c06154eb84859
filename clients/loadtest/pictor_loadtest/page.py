"""The page."""

import json
from collections.abc import Mapping
from typing import Any


def render(report: Mapping[str, Any]) -> str:
    """One self-contained page."""
    return "<pre>" + json.dumps(report)
