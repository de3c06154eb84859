"""The sandbox's own data files, read once: prices and tokens, sizes, latency."""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

NANOS_PER_USD_PER_MILLION = 1_000  # 1 USD / 1,000,000 tokens = 1,000 nano-USD a token


@dataclass(frozen=True)
class Model:
    """One model the sandbox serves, with its prices in nano-USD per token by token kind."""

    id: str
    provider: str
    names: tuple[str, ...]
    nanos_per_token: dict[str, int]
    tokens: dict[str, Any]


@cache
def read(name: str) -> dict[str, Any]:
    """The content of one of the package's TOML files."""
    return tomllib.loads(files(__package__).joinpath(name).read_text("utf-8"))


@cache
def models(provider: str) -> dict[str, Model]:
    """Every model of `provider` by each name it answers to."""
    rows = [_model(row) for row in read("prices.toml")["model"] if row["provider"] == provider]
    return {name: model for model in rows for name in model.names}


def _model(row: dict[str, Any]) -> Model:
    prices = {kind: _nanos(usd) for kind, usd in row["usd_per_million"].items()}
    return Model(row["id"], row["provider"], (row["id"], *row["snapshots"]), prices, row["tokens"])


def _nanos(usd_per_million: str) -> int:
    whole, _, cents = usd_per_million.partition(".")
    return int(whole) * NANOS_PER_USD_PER_MILLION + int(cents.ljust(3, "0"))
