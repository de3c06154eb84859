"""The catalog's prices against `genai-prices`, which others keep from the providers' own pages.

What it does not know as we do is asserted as it knows it, so that the day on which it learns more fails here, and
somebody looks.
"""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from genai_prices import Usage as TheirUsage
from genai_prices import calc_price

from pictord.catalog.catalog import load
from pictord.catalog.pricing import price
from pictord.domain.money import NANOS_PER_USD, Usage

GPT, NANO = "gpt-image-2", "gemini-3.1-flash-image"
FLARE, NANO_2_1 = "gpt-image-2.5-flare", "gemini-nano-banana-2.1"
TODAY = date(2026, 11, 28)
SHIPPED, NEWER = load(), load(Path(__file__).parent / "test_catalog_newer")
THEIR_PROVIDERS = {"openai": "openai", "gemini": "google"}
MILLION = 1_000_000

PICTURES = [
    pytest.param(SHIPPED, GPT, Usage(19, 0, 0, 1756), id="gpt-image-2, 1024x1024 medium"),
    pytest.param(SHIPPED, GPT, Usage(31, 0, 0, 13342), id="gpt-image-2, 4K high"),
    pytest.param(SHIPPED, GPT, Usage(40, 1024, 0, 7024), id="gpt-image-2, an edit"),
    pytest.param(SHIPPED, GPT, Usage(19, 0, 0, 1956), id="gpt-image-2, with two previews"),
    pytest.param(SHIPPED, NANO, Usage(14, 0, 0, 1120), id="Nano Banana 2, 1K"),
    pytest.param(SHIPPED, NANO, Usage(14, 0, 174, 2520), id="Nano Banana 2, 4K with thinking"),
    pytest.param(SHIPPED, NANO, Usage(14, 1120, 163, 1120), id="Nano Banana 2, an edit"),
    pytest.param(NEWER, FLARE, Usage(40, 1024, 0, 1756), id="gpt-image-2.5-flare, an edit"),
    pytest.param(NEWER, NANO_2_1, Usage(14, 0, 0, 1120), id="Nano Banana 2.1, 1K"),
]


def theirs(provider: str, model: str, usage: Usage) -> Decimal:
    """What the package says a call costs, in USD."""
    told = TheirUsage(
        input_tokens=usage.text_in_tokens + usage.image_in_tokens,
        input_image_tokens=usage.image_in_tokens,
        output_tokens=usage.text_out_tokens + usage.image_out_tokens,
        output_image_tokens=usage.image_out_tokens,
    )
    at = datetime(TODAY.year, TODAY.month, TODAY.day, tzinfo=UTC)
    return calc_price(told, model, provider_id=THEIR_PROVIDERS[provider], genai_request_timestamp=at).total_price


@pytest.mark.parametrize(("catalog", "name", "usage"), PICTURES)
def test_a_picture_costs_what_the_package_says(catalog, name, usage):
    """To the nano-dollar, from the tokens that a provider reports, by the catalog's id and by the snapshot's name."""
    model = catalog.models[name]
    ours = price(model, usage, TODAY)

    for called in {model.id, model.snapshot}:
        assert theirs(model.provider, called, usage) * NANOS_PER_USD == ours


@pytest.mark.parametrize("catalog", [SHIPPED, NEWER], ids=["shipped", "newer"])
def test_every_model_of_the_catalog_is_checked(catalog):
    """Whoever adds one adds its pictures above."""
    checked = {param.values[1] for param in PICTURES if param.values[0] is catalog}

    assert checked | {GPT, NANO} >= catalog.models.keys()


@pytest.mark.parametrize(
    ("name", "ours_usd", "theirs_usd"),
    [
        # The package has one output price for what gpt-image-2 sends back, the picture's. Ours for text is what some
        # lists say; nobody has seen such a token yet, and the Images API reports none.
        pytest.param(GPT, 10, 30, id="gpt-image-2"),
        pytest.param(NANO, 3, 3, id="Nano Banana 2"),
    ],
)
def test_text_that_comes_back(name, ours_usd, theirs_usd):
    """Thinking of Nano Banana 2 is priced alike; of gpt-image-2 the package knows no text price."""
    model, usage = SHIPPED.models[name], Usage(text_out_tokens=MILLION)

    assert price(model, usage, TODAY) == ours_usd * NANOS_PER_USD
    assert theirs(model.provider, name, usage) == theirs_usd


def test_pictures_that_go_into_nano_banana_have_no_price_of_their_own_anywhere():
    """The package prices them as text, and so does the catalog: the two rates are one."""
    model, usage = SHIPPED.models[NANO], Usage(image_in_tokens=MILLION)
    (rates,) = model.prices.values()

    assert rates.image_in == rates.text_in
    assert theirs(model.provider, NANO, usage) * NANOS_PER_USD == price(model, usage, TODAY)
