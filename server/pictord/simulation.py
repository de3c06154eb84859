"""Sandbox mode: both providers simulated in the gateway's own process, with every model that the catalog knows.

The sandbox knows the shipped models by itself, and keeps its own prices and tokens for them. What an operator's overlay
adds is described to it here: names, prices, tokens and sizes are the overlay's; how long such a model takes, and how
it looks, is as with its provider's shipped one.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pictord.catalog import catalog
from pictord.catalog.model import Model, PatchTokens
from pictord.catalog.sizes import GridSizes
from pictord.sandbox import Model as SimulatedModel
from pictord.sandbox import Sandbox, SandboxSettings, check_header, run
from pictord.settings import SandboxUrls, Settings

_TOKENS_PER_PRICE = 1_000_000


@asynccontextmanager
async def simulated(loaded: Settings, time_scale: float) -> AsyncIterator[tuple[Settings, Sandbox]]:
    """Run the sandbox; the settings point at it.

    Raises:
        CatalogError: the overlay cannot be read.
    """
    async with run(SandboxSettings(time_scale=time_scale, models=models(loaded.overlay))) as engines:
        urls = SandboxUrls(engines.openai_base_url, engines.gemini_base_url, check_header)
        yield replace(loaded, sandbox_urls=urls, time_scale=time_scale), engines


def models(overlay: Path | None) -> tuple[SimulatedModel, ...]:
    """The models of the catalog with this overlay, as the sandbox takes them, at today's prices.

    Raises:
        CatalogError: the overlay cannot be read.
    """
    if overlay is None:
        return ()
    return tuple(map(_simulated, catalog.load(overlay).at(datetime.now(UTC).date()).models.values()))


def _simulated(model: Model) -> SimulatedModel:
    kinds = ("text_in", "image_in", "image_out", "text_out")
    return SimulatedModel(
        id=model.id,
        provider=model.provider,
        names=(model.id, model.snapshot),
        nanos_per_token={kind: getattr(model.price, kind) // _TOKENS_PER_PRICE for kind in kinds},
        tokens=_tokens(model),
        limits=_limits(model),
    )


def _tokens(model: Model) -> dict[str, Any]:
    tokens, out = model.tokens, model.tokens.image_out
    counted = {"prompt_overhead": tokens.prompt_overhead, "partial": tokens.preview_out}
    if isinstance(out, PatchTokens):
        return counted | {"quality_factor": {quality.value: factor for quality, factor in out.factors.items()}}
    by_size = {resolution.value.upper(): count for resolution, count in out.tokens.items()}
    return counted | {"image_in": tokens.image_in.expected, "image_out": by_size}


def _limits(model: Model) -> dict[str, Any]:
    sizes = model.sizes
    shared = {"most_images": model.can.max_input_images, "transparent_background": model.can.transparent_background}
    if isinstance(sizes, GridSizes):
        return shared | {
            "grid_px": sizes.multiple_px,
            "least_px": sizes.min_pixels,
            "most_px": sizes.max_pixels,
            "longest_edge_px": sizes.longest_edge_px,
            "widest_ratio": float(max(sizes.widest.value, 1 / sizes.narrowest.value)),
        }
    pixels = {ratio: {each.value.upper(): px for each, px in row.items()} for ratio, row in sizes.pixels.items()}
    return shared | {"pixels": pixels}
