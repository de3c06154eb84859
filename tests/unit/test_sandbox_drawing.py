"""Pictures of exactly the asked pixels, the same for the same request, and edits that keep what they must keep."""

import io
from dataclasses import replace

import pytest
from PIL import Image, ImageChops, ImageStat

from pictord.sandbox.drawing import Encoding, Scene, draw, encode, picture

SCENE = Scene("openai", "gpt-image-2", "A fox", 512, 384, "medium", "quality medium")
BANANA = replace(SCENE, provider="gemini", model="gemini-3.1-flash-image", label="512, 4:3")


def png(image):
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize("scene", [SCENE, BANANA], ids=["openai", "gemini"])
@pytest.mark.parametrize("size", [(512, 512), (192, 1536), (1536, 192), (1024, 640), (424, 632)])
@pytest.mark.parametrize(
    "encoding", [Encoding("png"), Encoding("jpeg"), Encoding("webp", 80)], ids=["png", "jpeg", "webp"]
)
def test_a_picture_has_the_asked_pixels_and_type(scene, size, encoding):
    """Any documented shape, in every output format."""
    data = picture(replace(scene, width=size[0], height=size[1]), encoding)

    with Image.open(io.BytesIO(data)) as image:
        image.load()
        assert (size, encoding.format.upper()) == (image.size, image.format)


def test_the_same_request_draws_the_same_bytes():
    """And another prompt, seed or engine draws other ones."""
    first = encode(draw(SCENE), Encoding())

    assert first == encode(draw(SCENE), Encoding())
    for other in (replace(SCENE, prompt="A hen"), replace(SCENE, seed=7), BANANA):
        assert first != encode(draw(other), Encoding())


def test_partial_pictures_become_sharper():
    """Each partial image is nearer to the finished one than the one before."""
    final = draw(SCENE)

    errors = [
        sum(ImageStat.Stat(ImageChops.difference(final, draw(replace(SCENE, progress=share)))).mean)
        for share in (0.30, 0.55, 0.80)
    ]

    assert errors == sorted(errors, reverse=True)
    assert errors[-1] > 0


def test_a_masked_edit_changes_the_hole_and_nothing_else():
    """Where the mask's alpha is 0 there is new paint; every other pixel is as it was."""
    base = draw(BANANA)
    mask = Image.new("RGBA", base.size, (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (100, 100, 300, 250))

    edited = draw(replace(SCENE, inputs=(png(base),), mask=png(mask)))

    changed = ImageChops.difference(base, edited).convert("L").point(lambda level: 255 if level else 0)
    outside = ImageChops.multiply(changed, mask.getchannel("A"))
    assert outside.getbbox() is None
    assert ImageStat.Stat(changed.crop((100, 100, 300, 250))).mean[0] > 200


def test_a_transparent_reference_shows_its_shape():
    """A mask among the references is a card with a white hole, not a black square."""
    mask = Image.new("RGBA", (64, 64), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (32, 32, 64, 64))

    edit = draw(replace(SCENE, inputs=(png(draw(BANANA)), png(mask))))

    edge = SCENE.height // 6
    assert (edit.getpixel((edge // 4, edge // 4)), edit.getpixel((edge * 3 // 4, edge * 3 // 4))) == (
        (0, 0, 0),
        (255, 255, 255),
    )


def test_an_edit_shows_its_input_and_a_change():
    """The edited picture resembles the first input more than a fresh picture does, without being it."""
    base = draw(BANANA)
    edit = draw(replace(SCENE, inputs=(png(base),)))
    fresh = draw(SCENE)

    to_edit, to_fresh = (sum(ImageStat.Stat(ImageChops.difference(base, other)).mean) for other in (edit, fresh))

    assert 5 < to_edit < to_fresh


def test_a_transparent_picture_has_clear_corners():
    """The background is see-through, the middle is not."""
    alpha = draw(replace(SCENE, transparent=True)).getchannel("A")

    assert (alpha.getpixel((0, 0)), alpha.getpixel((256, 192))) == (0, 255)


def test_a_4k_picture_weighs_as_much_as_a_real_one():
    """Between 1 and 2.2 bytes a pixel as PNG."""
    data = encode(draw(replace(SCENE, width=3840, height=2160, quality="high")), Encoding())

    assert 1.0 < len(data) / (3840 * 2160) < 2.2


@pytest.mark.parametrize(
    "prompt", ["", " ", "\x00\x07", "x" * 32_000, "Ünïcödé …", "日本語のラベル", "😀" * 40, "a\nb"]
)
def test_any_prompt_can_be_set_as_a_title(prompt):
    """No text breaks the drawing."""
    for scene in (SCENE, BANANA):
        assert draw(replace(scene, prompt=prompt)).size == (512, 384)
