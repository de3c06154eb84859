"""The oracle's token formulas give the numbers that were found independently of each other."""

import pytest

from pictord.sandbox import tables
from pictord.sandbox.usage import (
    Usage,
    gemini_usage,
    openai_image_in,
    openai_image_out,
    openai_usage,
    text_tokens,
)

GPT = tables.models("openai")["gpt-image-2"]
BANANA = tables.models("gemini")["gemini-3.1-flash-image"]


@pytest.mark.parametrize(
    ("size", "tokens"),
    [
        ((1024, 1024), (196, 1756, 7024)),
        ((1536, 1024), (158, 1372, 5488)),
        ((1024, 1536), (158, 1372, 5488)),
        ((2048, 2048), (397, 3568, 14272)),
        ((2048, 1152), (157, 1413, 5650)),
        ((2560, 1440), (205, 1843, 7370)),
        ((3840, 2160), (371, 3336, 13342)),
        ((2160, 3840), (371, 3336, 13342)),
        ((1024, 640), (107, 956, 3824)),
        ((2880, 2880), (659, 5930, 23719)),
    ],
)
def test_output_tokens_are_those_of_the_official_calculator(size, tokens):
    """Low, medium and high cost what community.openai.com/t/1382699 lists for each size."""
    width, height = size

    drawn = tuple(openai_image_out(GPT, width=width, height=height, quality=q) for q in ("low", "medium", "high"))

    assert tokens == drawn


@pytest.mark.parametrize(
    ("size", "tokens"),
    [
        pytest.param((1024, 1024), 1024, id="a square at its own size"),
        pytest.param((512, 512), 1024, id="a small one is magnified twice"),
        pytest.param((256, 256), 256, id="and never more than twice"),
        pytest.param((1536, 1024), 1536, id="exactly the budget"),
        pytest.param((4096, 4096), 1521, id="a big one is scaled down to whole patches within the budget"),
        pytest.param((3000, 100), 1474, id="a strip is padded to 3:1"),
    ],
)
def test_an_input_picture_costs_its_patches(size, tokens):
    """Patches of 32 pixels, at most 1536 of them."""
    assert tokens == openai_image_in(GPT, width=size[0], height=size[1])


def test_a_call_adds_prompt_overhead_inputs_pictures_and_partials():
    """6 tokens of overhead, each input by its patches, each picture by size, 100 for each partial image."""
    usage = openai_usage(
        GPT, prompt="a red fox", inputs=[(1024, 1024)] * 2, size=(1024, 1024), quality="low", count=3, partials=2
    )

    assert Usage(text_in=9, image_in=2048, image_out=3 * 196 + 200) == usage


def test_tokens_are_priced_by_kind():
    """Text at $5, pictures in at $8 and out at $30 per million, in whole nano-dollars."""
    assert Usage(9, 2048, 196, 0).nanos(GPT) == 9 * 5_000 + 2048 * 8_000 + 196 * 30_000


@pytest.mark.parametrize(
    ("size", "nanos"), [("512", 44_820_000), ("1K", 67_200_000), ("2K", 100_800_000), ("4K", 151_200_000)]
)
def test_a_banana_picture_costs_its_list_price(size, nanos):
    """The page's $0.045, $0.067, $0.101 and $0.151, unrounded."""
    usage = gemini_usage(BANANA, texts=[], images_in=0, size=size, images_out=1, text_out=0)

    assert nanos == usage.nanos(BANANA)


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("a red fox", 3), ("Internationalization!", 4), ("日本語", 2)])
def test_text_tokens_are_estimated_by_words(text, tokens):
    """The estimate grows with words, long words and unspaced scripts."""
    assert tokens == text_tokens(text)
