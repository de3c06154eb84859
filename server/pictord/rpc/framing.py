"""Answers whose pictures protobuf never touches.

Set into a message and serialized with it, a picture is copied three times, and all of the copies are in memory until it
is sent. Here the message is serialized without its pictures, and their bytes are joined with what is around them once.

Only the order of the fields differs from what protobuf writes (the picture comes last of its image), which the wire
format leaves open: https://protobuf.dev/programming-guides/encoding/#order, read 2026-11-28.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar, cast

from google.protobuf.message import Message

from pictor.v1.generation_pb2 import Generation, Output

_Pieces: TypeAlias = list[bytes]
"""A message's wire form, not yet joined."""

_LENGTH_DELIMITED = 2
"""The wire type of messages and bytes."""


@dataclass(frozen=True, slots=True)
class Framed:
    """A response in its wire form, and what it is."""

    wire: bytes
    kind: type[Message]


class GenerationResponse(Protocol):
    """A response of the contract that holds a generation."""

    @property
    def generation(self) -> Generation:
        """What was drawn."""
        ...


G = TypeVar("G", bound=GenerationResponse)


def framed(response: G, pictures: Mapping[str, bytes]) -> G:
    """The response with the bytes of pictures, by image id, in its wire form.

    Returns:
        A `Framed` in the response's place: gRPC's types know of no answer that is serialized already. The response
        that was given has lost its generation.
    """
    if not pictures:
        return response
    outputs = [_with_picture(output, pictures.get(output.image.id)) for output in response.generation.outputs]
    generation = _with_field(response.generation, "outputs", *outputs)
    whole = cast("Message", response)
    return cast("G", Framed(b"".join(_with_field(whole, "generation", generation)), type(whole)))


def serializer(serialize: Callable[[Any], bytes] | None) -> Callable[[Any], bytes] | None:
    """What gRPC is to serialize responses with, framed ones among them."""
    if serialize is None:
        return None
    return lambda response: response.wire if isinstance(response, Framed) else serialize(response)


def _with_picture(output: Output, picture: bytes | None) -> _Pieces:
    if picture is None:
        return [output.SerializeToString()]
    return _with_field(output, "image", _with_field(output.image, "data", [picture]))


def _with_field(message: Message, name: str, *values: _Pieces) -> _Pieces:
    """The wire form of a message, with these values, and no others, in the field."""
    number = message.DESCRIPTOR.fields_by_name[name].number
    message.ClearField(name)
    pieces = [message.SerializeToString()]
    for value in values:
        pieces += (_varint(number << 3 | _LENGTH_DELIMITED) + _varint(sum(map(len, value))), *value)
    return pieces


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; all bytes but the last have the eighth bit set."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
