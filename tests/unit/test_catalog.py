"""The catalog: what ships, what an operator lays over it, and what is refused."""

from datetime import date
from pathlib import Path

import pytest

from pictord.catalog.catalog import Catalog, load
from pictord.catalog.overlay import CatalogError, merge
from pictord.domain.reason import Reason
from pictord.domain.request import OutputFormat, Quality, Ratio, Resolution
from pictord.errors import GatewayError

GPT = "gpt-image-2"
BANANA = "gemini-3.1-flash-image"


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load()


def overlaid(tmp_path: Path, **files: str) -> Catalog:
    for name, text in files.items():
        (tmp_path / f"{name}.toml").write_text(text)
    return load(tmp_path)


def test_two_models_ship(catalog):
    """The shipped catalog knows gpt-image-2 and Nano Banana 2."""
    assert list(catalog.models) == [GPT, BANANA]


@pytest.mark.parametrize(
    ("name", "model"),
    [(GPT, GPT), ("gpt-image-2-2026-04-21", GPT), (BANANA, BANANA), ("nano-banana-2", BANANA)],
)
def test_a_model_is_found_by_id_snapshot_and_alias(catalog, name, model):
    """Requests may call a model by id, snapshot or alias."""
    assert catalog.model_id(name) == model


def test_an_unknown_model_is_refused_with_the_known_ones(catalog):
    """A misspelt model is MODEL_UNKNOWN, and the error lists what there is."""
    with pytest.raises(GatewayError) as caught:
        catalog.model_id("gpt-image-3")

    assert caught.value.reason is Reason.MODEL_UNKNOWN
    assert GPT in caught.value.text


def test_an_unknown_format_is_refused_with_the_known_ones(catalog):
    """A misspelt format is FORMAT_UNKNOWN, and the error lists what there is."""
    with pytest.raises(GatewayError) as caught:
        catalog.format("instagram/stroy")

    assert caught.value.reason is Reason.FORMAT_UNKNOWN
    assert "instagram/story" in caught.value.text


@pytest.mark.parametrize(
    ("name", "ratio", "size_px"),
    [
        ("instagram/story", "9:16", (1080, 1920)),
        ("instagram/portrait", "4:5", (1080, 1350)),
        ("pinterest/pin", "2:3", (1000, 1500)),
        ("x/post", "16:9", (1600, 900)),
        ("linkedin/link", "1.91:1", (1200, 627)),
        ("youtube/thumbnail", "16:9", (1280, 720)),
        ("tiktok/cover", "9:16", (1080, 1920)),
    ],
)
def test_formats_of_the_networks(catalog, name, ratio, size_px):
    """A named format gives the ratio and the platform's pixels."""
    assert (Ratio.parse(ratio), size_px) == (catalog.format(name).ratio, catalog.format(name).size_px)


def test_a_formats_ratio_and_pixels_agree(catalog):
    """No format's pixels are more than one percent off its ratio."""
    for form in catalog.formats.values():
        assert form.size_px[0] / form.size_px[1] == pytest.approx(float(form.ratio.value), rel=0.01), form.id


def test_gemini_has_fourteen_ratios_in_four_sizes(catalog):
    """Nano Banana 2 draws 14 ratios at 512, 1K, 2K and 4K."""
    sizes = catalog.models[BANANA].sizes

    assert len(sizes.ratios) == 14
    assert sizes.resolutions == tuple(Resolution)


def test_the_developer_api_gives_jpeg_and_vertex_a_choice(catalog):
    """What can be delivered depends on the API that serves the model."""
    model = catalog.models[BANANA]

    assert model.backend("developer").output_formats == (OutputFormat.JPEG,)
    assert model.backend("vertex").output_formats == (OutputFormat.PNG, OutputFormat.JPEG)


def test_a_model_with_one_api_ignores_the_backends_name(catalog):
    """OpenAI has one API, whatever it is called."""
    assert catalog.models[GPT].backend("") is catalog.models[GPT].backend("default")


def test_every_fact_says_where_and_when_it_was_read(catalog):
    """Models, their groups and formats carry a source and a date."""
    for model in catalog.models.values():
        groups = [model, model.can, model.sizes, model.tokens, model.latency]
        groups += [*model.backends.values(), *model.prices.values()]
        assert all(g.source and g.date <= date(2026, 11, 22) for g in groups)
    assert all(f.source and f.date for f in catalog.formats.values())


def test_times_grow_with_quality_and_size(catalog):
    """High quality takes longer than medium, and 4K longer than 1K."""
    model = catalog.models[GPT]

    assert model.times(Quality.HIGH, Resolution.R1K).p50_s > model.times(Quality.MEDIUM, Resolution.R1K).p50_s
    assert model.times(Quality.HIGH, Resolution.R4K).p50_s > model.times(Quality.HIGH, Resolution.R1K).p50_s


def test_scaled_times(catalog):
    """The sandbox's time scale multiplies what is expected, leaves a busy machine 20 s to draw, and nothing else."""
    plain = catalog.models[BANANA].times(None, Resolution.R4K)
    quick, slow = (catalog.scaled(by).models[BANANA].times(None, Resolution.R4K) for by in (0.01, 0.5))

    assert (quick.p50_s, quick.p90_s) == pytest.approx((plain.p50_s / 100, plain.p90_s / 100))
    assert (quick.slow_s, quick.timeout_s) == (20.0, 20.0)
    assert (slow.slow_s, slow.timeout_s) == pytest.approx((plain.slow_s / 2, plain.timeout_s / 2))
    assert catalog.scaled(0.01).models[BANANA].price == catalog.models[BANANA].price


NEGOTIATED = """
[models.gpt-image-2.prices.2027-01-01]
text_in = 4.3275
image_in = 7
text_out = 10.0
image_out = 25.5
source = "contract 17"
date = 2026-11-22
"""


def test_a_negotiated_price_holds_from_its_day(tmp_path):
    """An overlay adds a price row; before its first day the shipped price holds."""
    catalog = overlaid(tmp_path, models=NEGOTIATED)

    assert catalog.at(date(2026, 12, 31)).models[GPT].price.image_out == 30_000_000_000
    assert catalog.at(date(2027, 1, 1)).models[GPT].price.image_out == 25_500_000_000
    assert catalog.at(date(2027, 1, 1)).models[GPT].price.text_in == 4_327_500_000


def test_before_the_first_price_that_price_holds(catalog):
    """An unknown price is never zero."""
    assert catalog.at(date(2020, 1, 1)).models[GPT].price.image_out == 30_000_000_000


def test_the_same_prices_are_the_same_catalog(catalog):
    """Asking for today's prices costs nothing when none has changed."""
    today = catalog.at(date(2026, 11, 22))

    assert today.at(date(2026, 11, 23)) is today


def test_a_dated_catalog_keeps_its_price_when_scaled(tmp_path):
    """Scaling times does not move prices."""
    catalog = overlaid(tmp_path, models=NEGOTIATED).at(date(2026, 12, 31))

    assert catalog.scaled(0.5).models[GPT].price == catalog.models[GPT].price


def test_newer_models_come_in_by_data():
    """An overlay adds whole models, with their own aliases, sizes, tokens and prices."""
    catalog = load(Path(__file__).with_name("test_catalog_newer"))

    assert list(catalog.models) == [GPT, BANANA, "gpt-image-2.5-flare", "gemini-nano-banana-2.1"]
    assert catalog.model_id("flare") == "gpt-image-2.5-flare"
    assert catalog.models["gemini-nano-banana-2.1"].sizes.resolutions == (
        Resolution.R1K,
        Resolution.R2K,
        Resolution.R4K,
    )


SINGLE_KEYS = """
[models."gemini-3.1-flash-image"]
aliases = []

[models."gemini-3.1-flash-image".tokens]
image_in = { worst = 560, expected = 560 }
"""


def test_an_overlay_changes_single_keys(tmp_path):
    """What an overlay does not say stays as shipped."""
    changed = overlaid(tmp_path, models=SINGLE_KEYS).models[BANANA]

    assert changed.aliases == ()
    assert changed.tokens.image_in.worst == 560
    assert changed.tokens.preview_out == load().models[BANANA].tokens.preview_out


def test_own_formats(tmp_path):
    """An operator names formats of its own."""
    own = '[formats."acme/banner"]\nratio = "3:1"\nsize_px = [1500, 500]\nsource = "brand book"\ndate = 2026-11-01\n'

    assert overlaid(tmp_path, formats=own).format("acme/banner").ratio == Ratio.parse("3:1")


def test_the_version_follows_the_data(tmp_path, catalog):
    """The version is the same for the same data, and another one for other data."""
    assert load().version == catalog.version
    assert overlaid(tmp_path, models=NEGOTIATED).version != catalog.version


def test_an_empty_overlay_changes_nothing(tmp_path, catalog):
    """A folder without data files is a valid overlay."""
    assert load(tmp_path).version == catalog.version


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        pytest.param("models", "[models.gpt-image-2]\ncolour = 1\n", ["gpt-image-2", "colour"], id="unknown key"),
        pytest.param("models", "[modles.gpt-image-2]\n", ["modles"], id="unknown section"),
        pytest.param("models", "[models.x]\ntitle = 'x'\n", ["'x'", "provider"], id="missing keys"),
        pytest.param("models", "[models.gpt-image-2\n", ["not TOML"], id="not TOML"),
        pytest.param(
            "models",
            "[models.gpt-image-2.can]\nseed = 'yes'\n",
            ["gpt-image-2", "can.seed"],
            id="wrong type",
        ),
        pytest.param(
            "models",
            "[models.gpt-image-2.prices.2026-04-21]\nimage_out = -1\n",
            ["gpt-image-2", "prices", "image_out"],
            id="negative price",
        ),
        pytest.param(
            "models",
            "[models.gpt-image-2.latency.seconds.high]\n1k = { p50_s = 50, p90_s = 20, slow_s = 60, timeout_s = 90 }\n",
            ["gpt-image-2", "p50_s <= p90_s"],
            id="times out of order",
        ),
        pytest.param("models", "[models.gpt-image-2]\nid = 'y'\n", ["gpt-image-2", "id"], id="an id as a key"),
        pytest.param(
            "models",
            "[models.gpt-image-2]\naliases = ['nano-banana-2']\n",
            ["nano-banana-2", "already"],
            id="taken name",
        ),
        pytest.param(
            "models",
            "[models.gpt-image-2.sizes]\nmin_pixels = 8000000\n",
            ["gpt-image-2", "sizes", "no size"],
            id="contradicting sizes",
        ),
        pytest.param(
            "models",
            '[models."gemini-3.1-flash-image".sizes.pixels]\n"5:1" = { 1k = [10, 2] }\n',
            ["gemini-3.1-flash-image", "same resolutions"],
            id="uneven table",
        ),
        pytest.param("models", "models = 3\n", ["models"], id="not a table"),
        pytest.param("formats", '[formats."a/b"]\nratio = "0:1"\n', ["'a/b'", "ratio"], id="impossible ratio"),
        pytest.param("formats", "[resolutions.8k]\npixels = 1\n", ["8k"], id="unknown resolution"),
        pytest.param("formats", "[resolutions.4k]\npixels = 1\n", ["4k", "either"], id="two meanings"),
    ],
)
def test_a_broken_file_is_refused_by_file_id_and_key(tmp_path, file, text, said):
    """Whatever is wrong in an overlay, the error names the file, the id and the key."""
    with pytest.raises(CatalogError) as caught:
        overlaid(tmp_path, **{file: text})

    assert all(word in str(caught.value) for word in [f"{file}.toml", *said]), str(caught.value)


def test_a_misspelt_file_is_refused(tmp_path):
    """A TOML file that nobody would read is an error, not a silent nothing."""
    with pytest.raises(CatalogError, match=r"model\.toml"):
        overlaid(tmp_path, model="")


def test_a_missing_folder_is_refused(tmp_path):
    """An overlay that is not there is an error."""
    with pytest.raises(CatalogError, match="no such folder"):
        load(tmp_path / "nowhere")


def test_merging_replaces_lists_and_keeps_the_rest():
    """Tables are merged key by key; lists and values are replaced whole."""
    merged = merge({"a": {"x": [1, 2], "y": 1}, "b": 1}, {"a": {"x": [3]}, "c": 2})

    assert merged == {"a": {"x": [3], "y": 1}, "b": 1, "c": 2}
