"""Sizes: which pixels an engine draws for a ratio and a size class."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pictord.catalog.catalog import load
from pictord.catalog.sizes import nearest_resolution
from pictord.domain.request import Ratio, Resolution

CATALOG = load()
GPT = CATALOG.models["gpt-image-2"].sizes
BANANA = CATALOG.models["gemini-3.1-flash-image"].sizes

within_limits = st.builds(
    lambda thousandths, tall: Ratio.parse(f"1:{thousandths / 1000}" if tall else f"{thousandths / 1000}:1"),
    st.integers(1000, 3000),
    st.booleans(),
)


def draw(ratio: str | Ratio, resolution: Resolution):
    asked = Ratio.parse(ratio) if isinstance(ratio, str) else ratio
    return GPT.size(asked, resolution, CATALOG.size_classes[resolution])


@pytest.mark.parametrize(
    ("ratio", "resolution", "size_px"),
    [
        ("1:1", Resolution.R1K, (1024, 1024)),
        ("3:2", Resolution.R1K, (1248, 832)),
        ("9:16", Resolution.R1K, (768, 1360)),
        ("4:5", Resolution.R1K, (896, 1120)),
        ("1:1", Resolution.R2K, (2048, 2048)),
        ("16:9", Resolution.R4K, (3840, 2160)),
        ("9:16", Resolution.R4K, (2160, 3840)),
        ("3:1", Resolution.R4K, (3840, 1280)),
    ],
)
def test_sizes_on_the_grid(ratio, resolution, size_px):
    """gpt-image-2 draws the size on its 16-pixel grid that is nearest in ratio and area."""
    assert draw(ratio, resolution).px == size_px


@pytest.mark.parametrize("ratio", ["16:9", "9:16", "1.91:1", "21:9", "3:1", "1:3"])
def test_4k_is_full_when_the_longest_edge_is_3840(ratio):
    """16:9 and narrower to 3:1, and their transposes, reach 4K on gpt-image-2."""
    size = draw(ratio, Resolution.R4K)

    assert max(size.px) == 3840
    assert not size.reduced


@pytest.mark.parametrize("ratio", ["1:1", "4:5", "3:2", "4:3"])
def test_4k_is_reduced_for_squarer_ratios(ratio):
    """Ratios squarer than 16:9 hit the pixel limit first: the largest size that is allowed is drawn."""
    size = draw(ratio, Resolution.R4K)

    assert size.reduced
    assert size.px[0] * size.px[1] == pytest.approx(8_294_400, rel=0.03)


@given(within_limits, st.sampled_from([Resolution.R1K, Resolution.R2K, Resolution.R4K]))
def test_every_size_obeys_the_engines_limits(ratio, resolution):
    """Any ratio within 1:3 to 3:1 gets a size that the API accepts, at most one percent off the ratio."""
    width, height = draw(ratio, resolution).px

    assert width % 16 == height % 16 == 0
    assert max(width, height) <= min(3840, 3 * min(width, height))
    assert 655_360 <= width * height <= 8_294_400
    assert max(width / height / ratio.value, ratio.value / (width / height)) - 1 <= 0.0101


@given(within_limits, st.sampled_from([Resolution.R1K, Resolution.R2K]))
def test_every_size_is_near_its_class(ratio, resolution):
    """1K and 2K mean an area, whatever the ratio."""
    width, height = draw(ratio, resolution).px

    assert width * height == pytest.approx({"1k": 1024, "2k": 2048}[resolution] ** 2, rel=0.1)


@given(within_limits, st.sampled_from([Resolution.R1K, Resolution.R2K, Resolution.R4K]))
def test_turning_the_ratio_turns_the_size(ratio, resolution):
    """A transposed ratio gives the transposed size."""
    turned = Ratio(1 / ratio.value, f"1/{ratio.text}")

    assert draw(turned, resolution).px == draw(ratio, resolution).px[::-1]


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [("16:9", "16:9"), ("1.91:1", "16:9"), ("1.79:1", "16:9"), ("30:1", "8:1"), ("1:30", "1:8"), ("32:18", "16:9"),
     ("5:1", "4:1"), ("6:1", "8:1"), ("2.4:1", "21:9")],
)  # fmt: skip
def test_the_nearest_ratio_of_a_table(asked, nearest):
    """A table engine offers the ratio that differs least by factor."""
    assert BANANA.nearest(Ratio.parse(asked))[0] == Ratio.parse(nearest)


@pytest.mark.parametrize(
    ("asked", "nearest"), [("2:1", "2:1"), ("3:1", "3:1"), ("3.05:1", "3:1"), ("1:8", "1:3"), ("1:2.9", "1:2.9")]
)
def test_the_nearest_ratio_of_a_grid(asked, nearest):
    """A grid engine draws every ratio up to its limits."""
    assert GPT.nearest(Ratio.parse(asked))[0] == Ratio.parse(nearest)


@pytest.mark.parametrize(
    ("ratio", "resolution", "size_px"),
    [
        ("9:16", Resolution.R1K, (768, 1376)),
        ("21:9", Resolution.R4K, (6336, 2688)),
        ("1:8", Resolution.R512, (192, 1536)),
    ],
)
def test_sizes_of_the_table(ratio, resolution, size_px):
    """Nano Banana 2 draws the pixels of its page."""
    assert BANANA.size(Ratio.parse(ratio), resolution, CATALOG.size_classes[resolution]).px == size_px


@pytest.mark.parametrize(
    ("asked", "off"), [("16:9", 0), ("32:18", 0), ("0.68:1", 0.02), ("16:1", 1.0), ("1:16", 1.0), ("1:1.02", 0.02)]
)
def test_how_far_off_the_nearest_is(asked, off):
    """The difference is a share by factor, the same in both directions; exactly two percent is two percent."""
    assert BANANA.nearest(Ratio.parse(asked))[1] == off


@pytest.mark.parametrize(
    ("px", "gpt", "banana"),
    [
        ((1024, 1024), True, True),
        ((1376, 768), True, True),
        ((768, 1376), True, True),
        ((1024, 640), True, False),  # the fewest pixels
        ((1008, 640), False, False),
        ((1024, 1000), False, False),
        ((1000, 1024), False, False),
        ((3840, 2160), True, False),  # the most pixels
        ((3840, 2176), False, False),
        ((3856, 1296), False, False),  # too long
        ((1440, 480), True, False),  # as steep as may be
        ((1456, 480), False, False),
        ((480, 1456), False, False),
        ((2048, 512), False, True),
    ],
)
def test_which_very_pixels_can_be_drawn(px, gpt, banana):
    """On gpt-image-2 both sides are on its grid and all its limits hold; on Nano Banana 2 they stand in its table."""
    assert (GPT.draws(px), BANANA.draws(px)) == (gpt, banana)


@given(st.integers(1, 8192), st.integers(1, 8192))
def test_what_is_near_to_a_picture_can_be_drawn(width, height):
    """Any picture has a size near to its own that the engine accepts, and one that can be drawn is its own."""
    for sizes in (GPT, BANANA):
        ratio, _ = sizes.nearest(Ratio.parse(f"{width}:{height}"))
        resolution = nearest_resolution(sizes, (width, height), ratio, CATALOG.size_classes)
        near = sizes.near((width, height), ratio, resolution)

        assert sizes.draws(near.px)
        assert (near.px == (width, height)) is sizes.draws((width, height))


@given(st.integers(816, 3840), st.integers(816, 2160))
def test_a_picture_within_the_limits_moves_half_a_step_at_most(width, height):
    """Each side goes to the nearest multiple of 16 by itself, if limits and ratio allow that."""
    asked, _ = GPT.nearest(Ratio.parse(f"{width}:{height}"))
    rounded = (round(width / 16) * 16, round(height / 16) * 16)
    off = rounded[0] / rounded[1] / (asked.value.numerator / asked.value.denominator)
    assume(GPT.draws(rounded) and max(off, 1 / off) <= 1.01 and (rounded[0] >= rounded[1]) is (width >= height))

    near = GPT.near((width, height), asked, Resolution.R1K).px

    assert max(abs(near[0] - width), abs(near[1] - height)) <= 8


@pytest.mark.parametrize(
    ("px", "gpt", "banana"),
    [
        ((512, 512), "1k", "512"),
        ((1264, 848), "1k", "1k"),
        ((1456, 1456), "2k", "2k"),
        ((2752, 1536), "2k", "2k"),
        ((3840, 2160), "4k", "2k"),  # gpt-image-2's largest; Nano Banana 2's 4K has twice its pixels
        ((2048, 8192), "4k", "4k"),
    ],
)
def test_the_size_class_of_a_picture(px, gpt, banana):
    """A picture belongs to the class whose pictures have most nearly as many pixels, engine by engine."""
    found = []
    for sizes in (GPT, BANANA):
        ratio, _ = sizes.nearest(Ratio.parse(f"{px[0]}:{px[1]}"))
        found.append(nearest_resolution(sizes, px, ratio, CATALOG.size_classes))

    assert found == [gpt, banana]
