"""The record that a caller was answered is the one that is kept: read back from either database, restarted too."""

import hashlib
import io
import struct
import zlib

import pytest
from PIL import Image as Picture

from gateway import GPT, NANO, Gateway, gateway
from pictor.v1 import history_service_pb2 as history
from pictor.v1 import image_pb2 as image
from pictor.v1 import image_service_pb2 as service
from pictor.v1.generation_pb2 import Adaptation, Generation
from pictord.sandbox import call as sandbox_call


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, databases, tmp_path) -> dict[str, object]:
    """The settings of a gateway on either database."""
    if request.param == "sqlite":
        return {"data_dir": tmp_path}
    where = databases.postgresql(request.getfixturevalue("postgresql"))
    return {"data_dir": tmp_path, "database": where.url.render_as_string(hide_password=False).replace("+psycopg", "")}


def lasting(generation: Generation) -> Generation:
    """A generation without what belongs to one answer: bytes of pictures, and links, which are made anew each time."""
    kept = Generation()
    kept.CopyFrom(generation)
    for output in kept.outputs:
        if output.HasField("image"):
            for field in ("data", "download_url", "expire_time"):
                output.image.ClearField(field)
    return kept


async def answered(pictor: Gateway, **fields) -> Generation:
    """A generation as the stream that made it ended."""
    metadata = fields.pop("metadata", None)
    request = service.GenerateStreamRequest(request=service.GenerateRequest(**fields))
    events = [message.event async for message in pictor.images.GenerateStream(request, metadata=metadata)]
    return events[-1].completed.generation


async def everything(pictor: Gateway) -> dict[str, Generation]:
    """One answer of each kind that a record must hold."""
    uploaded = (await pictor.history.UploadImage(iter([service_upload()]))).image.id
    rich = {
        "prompt": "a fox\nof many words \N{FOX FACE}",
        "canvas": {"ratio": "3:2", "resolution": image.RESOLUTION_1K},
        "tier": image.TIER_PRO,
        "workflow": image.WORKFLOW_HERO,
        "count": 2,
        "seed": 0,
        "output_format": image.OUTPUT_FORMAT_WEBP,
        "output_compression": 40,
        "background": image.BACKGROUND_OPAQUE,
        "max_cost": {"currency_code": "USD", "units": 2},
        "request_id": "rich",
        "end_user": "ann",
        "labels": {"team": "ads", "post": "17"},
        "references": [{"image_id": uploaded}],
        "preview_count": 1,
    }
    overloaded = [("x-sandbox-fault", "openai:server_error")]
    made = {
        "rich": await answered(pictor, **rich),
        "fallen back": await answered(pictor, prompt="a fox", tier=image.TIER_PRO, metadata=overloaded),
        "plain": await answered(pictor, prompt="a fox"),
    }
    reroll = service.RerollRequest(generation_id=made["rich"].id, preview_count=0)
    events = [message.event async for message in pictor.images.Reroll(reroll)]
    return made | {"re-roll": events[-1].completed.generation}


def service_upload() -> history.UploadImageRequest:
    data = io.BytesIO()
    Picture.new("RGB", (64, 64), "orange").save(data, "PNG")
    return history.UploadImageRequest(data=data.getvalue())


async def test_a_record_read_back_is_the_one_that_was_answered(database):
    """Request, decision, outputs, attempts, adaptations, cost, times, lineage: by id, in lists, after a restart."""
    async with gateway(**database) as pictor:
        made = await everything(pictor)
        read = {name: lasting(await pictor.get(each.id)) for name, each in made.items()}
        listed = await pictor.history.ListGenerations(history.ListGenerationsRequest())
    async with gateway(**database) as pictor:
        later = {name: lasting(await pictor.get(each.id)) for name, each in made.items()}

    expected = {name: lasting(each) for name, each in made.items()}
    kinds = {each.kind for each in made["fallen back"].adaptations}
    assert read == expected
    assert later == expected
    assert [lasting(each) for each in listed.generations] == [*expected.values()][::-1]
    assert kinds == {Adaptation.KIND_QUALITY_REDUCED}
    assert [each.outcome for each in made["fallen back"].attempts] == ["server_error", "image"]
    assert {each.cost.amount.nanos > 0 for each in made.values()} == {True}
    assert made["re-roll"].lineage.reroll_of == made["rich"].id
    assert (made["rich"].outputs[0].image.model, made["re-roll"].outputs[0].image.model) == (GPT, NANO)


async def test_provenance_is_told_and_the_bytes_stay_as_the_engine_sent_them(database, monkeypatch):
    """A picture with a C2PA manifest comes back byte for byte, after a restart too; the record says it has one."""
    sent: list[bytes] = []
    draw = sandbox_call.picture
    monkeypatch.setattr(sandbox_call, "picture", lambda *scene: sent.append(with_manifest(draw(*scene))) or sent[-1])
    async with gateway(**database) as pictor:
        drawn = await answered(pictor, prompt="a fox", model=GPT, preview_count=0)
    async with gateway(**database) as pictor:
        kept = (await pictor.get(drawn.id)).outputs[0].image
        call = pictor.history.DownloadImage(history.DownloadImageRequest(image_id=kept.id))
        fetched = b"".join([part.chunk.data async for part in call])

    assert kept.provenance.has_c2pa
    assert drawn.outputs[0].image.provenance == kept.provenance
    assert [fetched] == sent
    assert kept.sha256 == hashlib.sha256(sent[0]).hexdigest()


def with_manifest(png: bytes) -> bytes:
    """A PNG with a caBX chunk after its header, where C2PA keeps manifests."""
    header_end = 8 + 12 + 13
    body = b"caBX" + b"jumb manifest"
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:header_end] + chunk + png[header_end:]
