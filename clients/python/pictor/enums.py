"""Short names of the contract's enums: `pro` for `TIER_PRO`, `on_image_text` for `WORKFLOW_ON_IMAGE_TEXT`."""

from google.protobuf.descriptor import EnumDescriptor


def words(enum: EnumDescriptor) -> tuple[str, ...]:
    """All short names of an enum in the order of the contract, the unspecified one left out."""
    return tuple(_word(enum, value.name) for value in enum.values if value.number != 0)


def word(enum: EnumDescriptor, number: int) -> str:
    """The short name of a value; empty for the unspecified one, the number itself for one that is newer than we are."""
    if number == 0:
        return ""
    value = enum.values_by_number.get(number)
    return _word(enum, value.name) if value is not None else str(number)


def number(enum: EnumDescriptor, value: str | int) -> int:
    """The number of a short name (`pro`, any case, dashes allowed), of a full one (`TIER_PRO`), or of a number itself.

    Raises:
        ValueError: There is no such value; the text lists those that exist.
    """
    if isinstance(value, int):
        return value
    name = value.strip().upper().replace("-", "_")
    for known in enum.values:
        if name in (known.name, known.name.removeprefix(_prefix(enum))) and known.number != 0:
            return known.number
    raise ValueError(f"`{value}` is none of {', '.join(words(enum))}")


def _word(enum: EnumDescriptor, name: str) -> str:
    return name.removeprefix(_prefix(enum)).lower()


def _prefix(enum: EnumDescriptor) -> str:
    return enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
