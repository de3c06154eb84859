"""What a picture's bytes say of it, held against Pillow, damage and noise."""

import io
import struct
import time
import zlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pictord.assets.picture import (
    NotAPicture,
    PictureInfo,
    PictureLimits,
    PictureProblem,
    PictureRefused,
    check,
    inspect,
)


def encoded(mode="RGB", size=(37, 21), kind="PNG", **options):
    """A picture of some texture, encoded by Pillow."""
    picture = Image.effect_noise(size, 60).convert(mode)
    if mode in {"RGBA", "LA"}:
        picture.putalpha(128)
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def frames(count, kind):
    """An animation of `count` frames."""
    pictures = [Image.new("RGB", (16, 16), (40 * i, 0, 0)) for i in range(count)]
    out = io.BytesIO()
    pictures[0].save(out, kind, save_all=True, append_images=pictures[1:])
    return out.getvalue()


def described(data):
    """What `inspect` answers, or the problem that it refuses with."""
    try:
        return inspect(data)
    except NotAPicture as refusal:
        return refusal.problem


def png_chunk(name, body=b""):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width=8, height=8, *, colour=2, depth=8, chunks=()):
    """A PNG made by hand: header, the given chunks, pixels that nobody decodes, end."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + png_chunk(b"IDAT", b"x") + png_chunk(b"IEND")


def jpeg_with(segment):
    """A JPEG with one more segment behind its first marker."""
    whole = encoded(kind="JPEG")
    return whole[:2] + segment + whole[2:]


def webp(*chunks):
    """A WebP of these (name, body) chunks."""
    body = b"".join(
        name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2) for name, content in chunks
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


VP8X = (b"VP8X", bytes(4) + b"\x07\0\0\x07\0\0")


VALID = {
    "grey PNG": ({"mode": "L"}, "image/png", False),
    "colour PNG": ({}, "image/png", False),
    "palette PNG": ({"mode": "P"}, "image/png", False),
    "PNG with a transparent palette entry": ({"mode": "P", "transparency": 0}, "image/png", True),
    "PNG with alpha": ({"mode": "RGBA"}, "image/png", True),
    "grey PNG with alpha": ({"mode": "LA"}, "image/png", True),
    "bilevel PNG": ({"mode": "1"}, "image/png", False),
    "JPEG": ({"kind": "JPEG"}, "image/jpeg", False),
    "progressive JPEG": ({"kind": "JPEG", "progressive": True}, "image/jpeg", False),
    "JPEG with restart marks": ({"kind": "JPEG", "restart_marker_rows": 1}, "image/jpeg", False),
    "grey JPEG": ({"kind": "JPEG", "mode": "L"}, "image/jpeg", False),
    "CMYK JPEG": ({"kind": "JPEG", "mode": "CMYK"}, "image/jpeg", False),
    "lossy WebP": ({"kind": "WEBP"}, "image/webp", False),
    "lossless WebP": ({"kind": "WEBP", "lossless": True}, "image/webp", False),
    "lossy WebP with alpha": ({"kind": "WEBP", "mode": "RGBA"}, "image/webp", True),
    "lossless WebP with alpha": ({"kind": "WEBP", "mode": "RGBA", "lossless": True}, "image/webp", True),
    "WebP with metadata": ({"kind": "WEBP", "exif": b"Exif\0\0II*\0"}, "image/webp", False),
}


@pytest.mark.parametrize(("options", "mime", "alpha"), VALID.values(), ids=VALID)
def test_a_whole_picture_is_described_as_pillow_sees_it(options, mime, alpha):
    """Every encoding that Pillow writes is recognised, with its size and its alpha."""
    data = encoded(**options)

    assert inspect(data) == PictureInfo(mime, 37, 21, complete=True, frames=1, has_alpha=alpha, has_c2pa=False)


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    kind=st.sampled_from(["PNG", "JPEG", "WEBP"]),
    mode=st.sampled_from(["L", "RGB"]),
)
def test_any_size_is_read_as_pillow_reads_it(size, kind, mode):
    """Width and height agree with Pillow for any size."""
    data = encoded(mode=mode, size=size, kind=kind)

    info = inspect(data)

    with Image.open(io.BytesIO(data)) as picture:
        assert (info.width_px, info.height_px) == picture.size == size


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_animation_is_counted_in_frames(kind):
    """Frames of an animated PNG or WebP are counted."""
    assert inspect(frames(3, kind)).frames == 3


@pytest.mark.parametrize(
    "data",
    [
        png(chunks=[png_chunk(b"caBX", b"jumb")]),
        jpeg_with(b"\xff\xeb\x00\x1aJP\x00\x01\x00\x00\x00\x01\x00\x00\x00\x10jumb....c2pa"),
        webp(VP8X, (b"ICCP", b"odd"), (b"VP8L", b"pixels"), (b"C2PA", b"jumb")),
    ],
    ids=["PNG", "JPEG", "WebP"],
)
def test_a_c2pa_manifest_is_noticed_wherever_the_format_keeps_it(data):
    """A C2PA manifest is seen in each of the three formats."""
    assert inspect(data).has_c2pa
    assert inspect(data).complete


def test_another_app11_segment_is_no_c2pa():
    """JUMBF of another kind is not taken for a manifest."""
    assert not inspect(jpeg_with(b"\xff\xeb\x00\x0aJPxxxxxx\xff\xfe\x00\x06c2pa")).has_c2pa
    far_inside = b"JP\x00\x01\x00\x00\x00\x01\x00\x00\x00\x10jumb".ljust(100, b".") + b"c2pa"
    assert not inspect(jpeg_with(b"\xff\xeb\x00\x6a" + far_inside)).has_c2pa


def test_the_longest_header_of_a_c2pa_box_is_read_to_its_type():
    """A box with a 64-bit length, whose type stands as far inside a segment as it ever does, is noticed."""
    box = b"JP\x00\x01\x00\x00\x00\x01" + b"\x00\x00\x00\x01jumb" + bytes(8) + b"\x00\x00\x00\x1ejumd" + b"c2pa"
    assert inspect(jpeg_with(b"\xff\xeb" + (len(box) + 2).to_bytes(2) + box)).has_c2pa


@pytest.mark.parametrize("options", [v[0] for v in VALID.values()], ids=VALID)
def test_a_cut_picture_is_never_called_complete(options):
    """Cut anywhere, a picture is either refused or called incomplete."""
    data = encoded(**options)

    for length in range(4, len(data)):
        seen = described(data[:length])
        assert seen is PictureProblem.TRUNCATED_HEADER or not seen.complete, length


def test_a_png_without_pixels_is_not_complete():
    """An end mark alone makes no picture."""
    assert not inspect(png()[:33] + png_chunk(b"IEND")).complete


@pytest.mark.parametrize("options", [v[0] for v in VALID.values()], ids=VALID)
def test_bytes_behind_the_end_do_not_matter(options):
    """Trailing bytes, which some providers leave, make no picture incomplete."""
    data = encoded(**options)

    assert inspect(data + b"\0\0trailing") == inspect(data)


REFUSED = {
    "nothing": (b"", PictureProblem.EMPTY),
    "a text file": ("Liebe Grüße,\nPaul\n".encode(), PictureProblem.TEXT),
    "JSON": (b'{"error": "no"}', PictureProblem.TEXT),
    "text cut inside a character": ("ä".encode() * 256 + b"\xc3", PictureProblem.TEXT),
    "a web page": (b"\n<!DOCTYPE html><html></html>", PictureProblem.HTML),
    "a GIF": (b"GIF89a\1\0\1\0", PictureProblem.OTHER_FORMAT),
    "a HEIC": (b"\0\0\0\x18ftypheic", PictureProblem.OTHER_FORMAT),
    "noise": (b"\x00\x01\x02\x03" * 20, PictureProblem.UNKNOWN),
    "a sound in RIFF": (b"RIFF\x24\0\0\0WAVEfmt " + bytes(20), PictureProblem.UNKNOWN),
    "a PNG's first bytes": (png()[:20], PictureProblem.TRUNCATED_HEADER),
    "a JPEG's first bytes": (b"\xff\xd8\xff\xe0\x00\x10JFIF", PictureProblem.TRUNCATED_HEADER),
    "half a WebP's header": (encoded(kind="WEBP")[:25], PictureProblem.TRUNCATED_HEADER),
    "a PNG of no width": (png(width=0), PictureProblem.ZERO_SIZE),
    "a PNG of no height": (png(height=0), PictureProblem.ZERO_SIZE),
    "a PNG wider than a PNG can be": (png(width=2**31), PictureProblem.DAMAGED),
    "a PNG with a wrong header checksum": (png()[:29] + b"1234" + png()[33:], PictureProblem.DAMAGED),
    "a PNG that starts with another chunk": (
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"tEXt", bytes(8) + b"\x08\x02\0\0\0"),
        PictureProblem.DAMAGED,
    ),
    "a PNG of an unknown colour type": (png(colour=5), PictureProblem.DAMAGED),
    "a PNG of an impossible bit depth": (png(depth=4), PictureProblem.DAMAGED),
    "a JPEG gone wrong between segments": (b"\xff\xd8\xff\xe0\x00\x04ab\x00\x00\x00\x00", PictureProblem.DAMAGED),
    "a JPEG segment without room for its length": (b"\xff\xd8\xff\xe0\x00\x01ab", PictureProblem.DAMAGED),
    "a WebP with no known first chunk": (b"RIFF\x20\0\0\0WEBPABCD" + bytes(20), PictureProblem.DAMAGED),
}


@pytest.mark.parametrize(("data", "problem"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_picture_is_refused_by_its_kind(data, problem):
    """A refusal names what the bytes are, and quotes none of them."""
    with pytest.raises(NotAPicture) as refusal:
        inspect(data)

    assert refusal.value.problem is problem
    assert "Paul" not in refusal.value.text


@settings(max_examples=400, deadline=None)
@given(
    start=st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", png()[:40], b"\xff\xd8\xff", b"RIFF\xff\0\0\0WEBPVP8X"]),
    rest=st.binary(max_size=300),
)
def test_no_bytes_at_all_raise_anything_but_a_refusal(start, rest):
    """Whatever the bytes, the answer is a description or a refusal."""
    seen = described(start + rest)

    assert isinstance(seen, PictureProblem) or min(seen.width_px, seen.height_px) > 0


@settings(max_examples=300, deadline=None)
@given(
    kind=st.sampled_from(["PNG", "JPEG", "WEBP"]),
    at=st.integers(0, 400),
    patch=st.binary(min_size=1, max_size=8),
)
def test_a_damaged_picture_raises_nothing_but_a_refusal(kind, at, patch):
    """Overwriting any bytes of a picture never breaks the reader."""
    data = bytearray(encoded(kind=kind))
    data[at : at + len(patch)] = patch

    assert isinstance(described(bytes(data)), PictureProblem | PictureInfo)


@pytest.mark.parametrize(
    "data",
    [
        png(chunks=[png_chunk(b"tEXt")] * 70_000),
        b"\xff\xd8" + b"\xff" * 200_000,
        b"\xff\xd8" + b"\xff\xd0" * 200_000,
        b"RIFF\x00\x00\xf0\x00WEBPVP8X\x0a\0\0\0" + bytes(10) + b"ABCD\0\0\0\0" * 70_000,
    ],
    ids=["PNG", "JPEG fill bytes", "JPEG restart marks", "WebP"],
)
def test_a_file_of_tiny_pieces_is_refused_instead_of_walked(data):
    """A file made to be slow to walk is given up early."""
    with pytest.raises(NotAPicture) as refusal:
        inspect(data)

    assert refusal.value.problem is PictureProblem.DAMAGED


def test_a_big_png_is_read_at_once():
    """16 MiB in chunks of 8 KiB (libpng's) take about a millisecond, because no pixel is touched."""
    data = png(chunks=[png_chunk(b"IDAT", bytes(8192))] * 2048)
    fastest = float("inf")

    for _ in range(5):
        start = time.process_time()
        inspect(data)
        fastest = min(fastest, time.process_time() - start)

    assert fastest < 0.02  # of the processor's time, which no neighbour takes; typical is 0.001


LIMITS = PictureLimits(max_bytes=1000, max_pixels=10_000, max_side_px=400)
GOOD = PictureInfo("image/png", 100, 100, complete=True, frames=1, has_alpha=True, has_c2pa=False)


@pytest.mark.parametrize(
    ("info", "size_bytes", "problem"),
    [
        (GOOD, 1001, PictureProblem.TOO_MANY_BYTES),
        (replace(GOOD, width_px=401, height_px=1), 1, PictureProblem.SIDE_TOO_LONG),
        (replace(GOOD, width_px=1, height_px=401), 1, PictureProblem.SIDE_TOO_LONG),
        (replace(GOOD, width_px=101), 1, PictureProblem.TOO_MANY_PIXELS),
        (replace(GOOD, frames=2), 1, PictureProblem.TOO_MANY_FRAMES),
        (replace(GOOD, complete=False), 1, PictureProblem.INCOMPLETE),
    ],
)
def test_a_picture_over_a_limit_is_refused_by_that_limit(info, size_bytes, problem):
    """Each limit has its own problem."""
    with pytest.raises(PictureRefused) as refusal:
        check(info, size_bytes, LIMITS)

    assert refusal.value.problem is problem


def test_a_picture_at_every_limit_is_taken():
    """Limits are inclusive, and a limit that is None does not bind."""
    check(GOOD, 1000, LIMITS)
    check(replace(GOOD, width_px=10_000, height_px=1), 1000, replace(LIMITS, max_side_px=None))
