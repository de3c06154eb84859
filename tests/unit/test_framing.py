"""A framed answer is the message that protobuf would have written, with its pictures' bytes."""

import pytest

from pictor.v1.generation_pb2 import GenerationEvent, Output
from pictor.v1.history_service_pb2 import GetGenerationResponse
from pictor.v1.image_service_pb2 import EditResponse, GenerateResponse
from pictord.rpc.framing import framed, serializer

SIZES = (0, 1, 127, 128, 16_383, 16_384, 3_000_000)
"""Around the places where a length takes one byte more."""


def filled(response, pictures):
    """A response with an output for each picture, one without a picture, and fields around them."""
    generation = response.generation
    generation.id, generation.text = "gen_1", "drawn"
    for number, image_id in enumerate(pictures):
        image = generation.outputs.add(index=number).image
        image.id, image.mime_type, image.output_index, image.sha256 = image_id, "image/png", number, "ab" * 32
    generation.outputs.add(index=len(pictures), text="refused")
    generation.labels["team"] = "blue"
    return response


@pytest.mark.parametrize("kind", [GenerateResponse, EditResponse, GetGenerationResponse])
def test_a_framed_answer_is_read_as_the_message_with_its_pictures(kind):
    """Whatever the sizes, and whatever stands around the pictures, every byte and field arrives."""
    pictures = {f"img_{size}": bytes(range(256)) * (size // 256) + bytes(size % 256) for size in SIZES}
    expected = filled(kind(), pictures)
    for output in expected.generation.outputs:
        output.image.data = pictures.get(output.image.id, b"")
    expected.generation.outputs[-1].ClearField("image")

    wire = serializer(kind.SerializeToString)(framed(filled(kind(), pictures), pictures))

    assert kind.FromString(wire) == expected
    assert len(wire) - expected.ByteSize() in (0, 2), "the empty picture alone may be said to be empty"


def test_pictures_of_nobody_and_pictures_left_out_do_no_harm():
    """An id that the generation does not have is ignored; an output whose picture is not given keeps all else."""
    response = filled(GenerateResponse(), ["img_1", "img_2"])
    expected = filled(GenerateResponse(), ["img_1", "img_2"])
    expected.generation.outputs[1].image.data = b"png"

    wire = serializer(GenerateResponse.SerializeToString)(framed(response, {"img_2": b"png", "img_9": b"of another"}))

    assert GenerateResponse.FromString(wire) == expected


def test_an_answer_without_pictures_stays_a_message():
    """Nothing to frame: the message itself is answered, and serialized as ever."""
    response = filled(GenerateResponse(), ["img_1"])

    assert framed(response, {}) is response
    assert serializer(GenerateResponse.SerializeToString)(response) == response.SerializeToString()


def test_who_serializes_nothing_still_does_not():
    """A handler without a serializer answers bytes by itself."""
    assert serializer(None) is None
    assert serializer(GenerationEvent.SerializeToString)(GenerationEvent(sequence=3)) == b"\x08\x03"
    assert serializer(Output.SerializeToString)(Output()) == b""
