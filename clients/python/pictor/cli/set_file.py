"""A set from the command line or from a TOML or JSON file.

The file holds a table `brief` (options as in `pictor.request`, references as file names), a list `items` (key, and what
differs: prompt, ratio, format, resolution, workflow) and a list `models`; all of them are optional.
"""

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pictor.cli.options import Asked, pairs, picture, split
from pictor.messages import request, set_item
from pictor.v1.image_service_pb2 import EditRequest, GenerateRequest, GenerateSetRequest, SetItem

_TABLES = ("brief", "items", "models")
_ITEM_FIELDS = ("key", "prompt", "ratio", "format", "resolution", "workflow")


def build(
    asked: Asked,
    argument: str | None,
    *,
    items: Sequence[str],
    formats: Sequence[str],
    models: Sequence[str],
    file: Path | None,
) -> GenerateSetRequest:
    """Put a set together; the command line goes before the file, its items and models come after those of the file.

    Args:
        asked: What all items share.
        argument: The prompt of the brief.
        items: `KEY=PROMPT` texts.
        formats: Names of formats, each an item.
        models: Models to draw every item on.
        file: A file to begin with.

    Raises:
        ValueError: Something cannot be read, or the set has nothing to draw.
        OSError: A file cannot be read.
    """
    message = GenerateSetRequest() if file is None else _read(file)
    brief = asked.request(argument, base=message.brief)
    if isinstance(brief, EditRequest):
        raise ValueError("edit: a set draws new pictures; it cannot change one")  # noqa: TRY004 - the user's words
    message.brief.CopyFrom(brief)
    message.items.extend(set_item(key, prompt) for key, prompt in pairs(items).items())
    message.items.extend(set_item(name, format=name) for name in split(formats))
    message.models.extend(split(models))
    if message.models and not message.items:
        message.items.add(key="picture")
    if not message.items:
        raise ValueError("a set needs --item KEY=PROMPT, --formats, --models or a file with items")
    return message


def _read(file: Path) -> GenerateSetRequest:
    text = file.read_text("utf-8")
    try:
        content = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
        _only(content, _TABLES)
        return GenerateSetRequest(
            brief=_brief(content.get("brief", {})),
            items=[_item(each) for each in content.get("items", [])],
            models=content.get("models", []),
        )
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{file}: {error}") from error


def _brief(table: Mapping[str, Any]) -> GenerateRequest:
    options = dict(table)
    prompt = options.pop("prompt", "")
    if "references" in options:
        options["references"] = [picture(each) for each in options["references"]]
    return request(prompt, **options)


def _item(table: Mapping[str, Any]) -> SetItem:
    _only(table, _ITEM_FIELDS)
    return set_item(**{"key": "", **table})


def _only(table: Mapping[str, Any], known: Sequence[str]) -> None:
    unknown = [key for key in table if key not in known]
    if unknown:
        raise ValueError(f"`{unknown[0]}` is none of {', '.join(known)}")
