"""Prices: exact sums, the providers' own formulas, and a worst case that is one."""

import math
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pictord.catalog.catalog import load
from pictord.catalog.model import Model
from pictord.catalog.pricing import Draw, estimate, image_out_tokens, price
from pictord.domain.money import NANOS_PER_USD, Usage
from pictord.domain.request import Quality, Ratio, Resolution
from pictord.providers.gemini_request import MASK_INSTRUCTION

TODAY = date(2026, 11, 22)
CATALOG = load().at(TODAY)
GPT = CATALOG.models["gpt-image-2"]
BANANA = CATALOG.models["gemini-3.1-flash-image"]


def worst_case(model: Model, draw: Draw) -> int:
    return estimate(model, draw).worst_nanos


@pytest.mark.parametrize(
    ("size_px", "low", "medium", "high"),
    [
        ((1024, 1024), 196, 1756, 7024),
        ((1536, 1024), 158, 1372, 5488),
        ((1024, 1536), 158, 1372, 5488),
        ((2048, 2048), 397, 3568, 14272),
        ((2048, 1152), 157, 1413, 5650),
        ((2560, 1440), 205, 1843, 7370),
        ((3840, 2160), 371, 3336, 13342),
        ((2160, 3840), 371, 3336, 13342),
        ((1024, 640), 107, 956, 3824),
        ((2880, 2880), 659, 5930, 23719),
    ],
)
def test_output_tokens_of_gpt_image_2(size_px, low, medium, high):
    """The formula gives the tokens of OpenAI's calculator (community.openai.com/t/1382699, read 2026-11-22)."""
    counted = [
        image_out_tokens(GPT, quality=quality, size_px=size_px, resolution=Resolution.R1K)
        for quality in (Quality.LOW, Quality.MEDIUM, Quality.HIGH)
    ]

    assert counted == [low, medium, high]


@pytest.mark.parametrize(("resolution", "tokens"), [("512", 747), ("1k", 1120), ("2k", 1680), ("4k", 2520)])
def test_output_tokens_of_nano_banana_2(resolution, tokens):
    """Gemini counts by size class alone (ai.google.dev/gemini-api/docs/pricing, read 2026-11-22)."""
    resolution = Resolution(resolution)

    assert image_out_tokens(BANANA, quality=None, size_px=(1, 1), resolution=resolution) == tokens


@pytest.mark.parametrize(
    ("model", "usage", "nanos"),
    [
        pytest.param(GPT, Usage(text_in_tokens=1), 5_000, id="text in"),
        pytest.param(GPT, Usage(image_in_tokens=1), 8_000, id="image in"),
        pytest.param(GPT, Usage(text_out_tokens=1), 10_000, id="text out"),
        pytest.param(GPT, Usage(image_out_tokens=1), 30_000, id="image out"),
        pytest.param(GPT, Usage(19, 0, 0, 196), 5_975_000, id="a low square"),
        pytest.param(BANANA, Usage(image_out_tokens=1120), 67_200_000, id="1K of Nano Banana 2"),
        pytest.param(BANANA, Usage(image_out_tokens=2520), 151_200_000, id="4K of Nano Banana 2"),
        pytest.param(BANANA, Usage(14, 0, 163, 1120), 67_696_000, id="with thinking"),
        pytest.param(BANANA, Usage(), 0, id="nothing"),
    ],
)
def test_reported_usage_is_priced_by_token_kind(model, usage, nanos):
    """Every kind of token has its own price, and the sum is exact."""
    assert price(model, usage, TODAY) == nanos


def test_a_fraction_of_a_nano_dollar_is_rounded_once(tmp_path):
    """A price finer than a nano-dollar per token is summed exactly and rounded at the end."""
    (tmp_path / "models.toml").write_text(
        "[models.gpt-image-2.prices.2026-04-21]\ntext_in = 0.0005\nimage_in = 0.0004\n"
    )
    model = load(tmp_path).models["gpt-image-2"]

    assert price(model, Usage(text_in_tokens=1), TODAY) == 1
    assert price(model, Usage(image_in_tokens=1), TODAY) == 0
    assert price(model, Usage(text_in_tokens=1, image_in_tokens=1), TODAY) == 1
    assert price(model, Usage(text_in_tokens=3), TODAY) == 2


@pytest.mark.parametrize(
    ("model", "draw", "usd"),
    [
        pytest.param(GPT, Draw(60, (1024, 1024), Resolution.R1K, Quality.MEDIUM), 0.053, id="medium square"),
        pytest.param(GPT, Draw(60, (1024, 1024), Resolution.R1K, Quality.HIGH), 0.211, id="high square"),
        pytest.param(GPT, Draw(60, (3840, 2160), Resolution.R4K, Quality.HIGH), 0.400, id="high 4K"),
        pytest.param(BANANA, Draw(60, (1024, 1024), Resolution.R1K), 0.068, id="Nano Banana 2 at 1K"),
        pytest.param(BANANA, Draw(60, (5504, 3072), Resolution.R4K), 0.152, id="Nano Banana 2 at 4K"),
    ],
)
def test_expected_prices_are_those_of_the_price_pages(model, draw, usd):
    """What we expect to pay is what the providers' own tables say, to a tenth of a cent."""
    assert estimate(model, draw).expected_nanos / NANOS_PER_USD == pytest.approx(usd, abs=0.001)


def test_previews_are_priced():
    """Each preview of gpt-image-2 costs 100 output tokens."""
    without = Draw(60, (1024, 1024), Resolution.R1K, Quality.MEDIUM)
    with_three = Draw(60, (1024, 1024), Resolution.R1K, Quality.MEDIUM, previews=3)

    assert worst_case(GPT, with_three) - worst_case(GPT, without) == 9_000_000


def test_a_mask_is_priced_as_a_picture():
    """A mask may be counted as a picture, and on Nano Banana 2 it brings its instruction along."""
    plain = Draw(60, (1024, 1024), Resolution.R1K, input_images=1)
    masked = Draw(60, (1024, 1024), Resolution.R1K, input_images=1, masked=True)

    more = price(BANANA, Usage(text_in_tokens=500, image_in_tokens=1120), TODAY)
    assert worst_case(BANANA, masked) - worst_case(BANANA, plain) == more


def test_the_mask_instruction_fits_its_allowance():
    """The text that the adapter sends beside a mask is never longer than what is held for it."""
    assert len(MASK_INSTRUCTION.encode()) <= BANANA.tokens.mask_prompt


def test_a_model_priced_by_quality_needs_one():
    """Pricing gpt-image-2 without a quality is a mistake of ours, not a cheap picture."""
    with pytest.raises(ValueError, match="quality"):
        worst_case(GPT, Draw(60, (1024, 1024), Resolution.R1K))


# The providers' formulas once more, written from their sources and not from the code under test.


def openai_bill(prompt_tokens, size, quality, images, previews):
    factor = {"low": 16, "medium": 48, "high": 96}[quality]
    longer, shorter = max(size), min(size)
    across = math.floor(factor * shorter / longer + 0.5)
    drawn = math.ceil(factor * across * (2_000_000 + size[0] * size[1]) / 4_000_000)
    patches = sum(openai_patches(*image) for image in images)
    return (prompt_tokens + 6) * 5_000 + patches * 8_000 + (drawn + 100 * previews) * 30_000


def openai_patches(width, height):
    magnify = max(1.0, min(2.0, 1024 / max(width, height)))
    width, height = width * magnify, height * magnify
    width, height = max(width, height / 3), max(height, width / 3)
    shrink = min(1.0, math.sqrt(1536 * 32 * 32 / (width * height)))
    across, down = width * shrink / 32, height * shrink / 32
    return min(1536, math.ceil(across) * math.ceil(down))


def gemini_bill(prompt_tokens, resolution, images, thoughts):
    drawn = {"512": 747, "1k": 1120, "2k": 1680, "4k": 2520}[resolution]
    return (prompt_tokens + images * 1120) * 500 + thoughts * 3_000 + drawn * 60_000


prompts = st.text(min_size=1, max_size=200)
pictures = st.lists(st.tuples(st.integers(1, 8192), st.integers(1, 8192)), max_size=16)
ratios = st.integers(334, 2999).map(lambda n: Ratio.parse(f"{n}:1000"))


@given(
    prompt=prompts,
    share=st.floats(0, 1),
    ratio=ratios,
    resolution=st.sampled_from(GPT.sizes.resolutions),
    quality=st.sampled_from(Quality),
    images=pictures,
    asked=st.integers(0, 3),
    shown=st.integers(0, 3),
    masked=st.booleans(),
)
def test_the_worst_case_of_openai_is_never_passed(
    *, prompt, share, ratio, resolution, quality, images, asked, shown, masked
):
    """However many tokens OpenAI counts for this request by its formulas, the hold covers them."""
    size = GPT.sizes.size(ratio, resolution, CATALOG.size_classes[resolution]).px
    size_in_bytes = len(prompt.encode())
    billed_pictures = [*images, (1024, 1024)] if masked else images
    bill = openai_bill(round(share * size_in_bytes), size, quality, billed_pictures, min(shown, asked))

    held = worst_case(GPT, Draw(size_in_bytes, size, resolution, quality, len(images), masked, asked))

    assert held >= bill


@given(
    prompt=prompts,
    share=st.floats(0, 1),
    resolution=st.sampled_from(Resolution),
    images=st.integers(0, 14),
    thoughts=st.integers(0, 800),
    masked=st.booleans(),
)
def test_the_worst_case_of_gemini_is_never_passed(*, prompt, share, resolution, images, thoughts, masked):
    """However many tokens Gemini counts, thinking and mask included, the hold covers them."""
    size_in_bytes = len(prompt.encode())
    mask_tokens = round(share * 500) if masked else 0
    bill = gemini_bill(round(share * size_in_bytes) + mask_tokens, resolution, images + masked, thoughts)

    held = worst_case(BANANA, Draw(size_in_bytes, (1, 1), resolution, None, images, masked))

    assert held >= bill


@given(
    model=st.sampled_from([GPT, BANANA]),
    size=st.integers(1, 128_000),
    resolution=st.sampled_from([Resolution.R1K, Resolution.R2K, Resolution.R4K]),
    quality=st.sampled_from(Quality),
    images=st.integers(0, 16),
    masked=st.booleans(),
    previews=st.integers(0, 3),
)
def test_the_expected_cost_never_passes_the_worst_case(*, model, size, resolution, quality, images, masked, previews):
    """What we expect fits into what we hold."""
    draw = Draw(size, (1024, 1024), resolution, quality, images, masked, previews)

    estimated = estimate(model, draw)

    assert estimated.expected_nanos <= estimated.worst_nanos


def test_more_thinking_is_held_higher():
    """A level of thinking that talks more has the larger allowance."""
    minimal = Draw(60, (1024, 1024), Resolution.R1K)
    high = Draw(60, (1024, 1024), Resolution.R1K, thinking="high")

    assert worst_case(BANANA, high) - worst_case(BANANA, minimal) == 800 * 3_000
