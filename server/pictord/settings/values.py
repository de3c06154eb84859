"""One value of the configuration: how it is read, and the sentence for one that cannot be used."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from pictord.domain.money import parse_usd

Usd = str | int | float
"""Decimal USD, with or without quotes."""


class SettingsError(ValueError):
    """A setting that cannot be used; the text names its key."""


def amount(key: str, usd: Usd) -> int:
    """Read an amount of money, in nano-USD.

    Raises:
        SettingsError: naming the key.
    """
    try:
        nanos = parse_usd(str(usd))
    except ValueError as error:
        raise SettingsError(f"{key}: {error}") from None
    if nanos < 0:
        raise SettingsError(f"{key}: {usd!r} is negative")
    return nanos


def flag(name: str, text: str) -> bool:
    """Read a yes or no.

    Raises:
        SettingsError: naming the variable.
    """
    flags = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if text.lower() not in flags:
        raise SettingsError(f"{name}: {text!r} is neither 1 nor 0")
    return flags[text.lower()]


def path(text: str | None) -> Path | None:
    """A file or folder; None if nothing is named."""
    return Path(text) if text else None


def address(key: str, text: str, *, may_be_unix: bool = False) -> str:
    """Check `host:port`, or `unix:path` where that may be.

    Raises:
        SettingsError: naming the key.
    """
    if may_be_unix and text.startswith(("unix:", "unix-abstract:")):
        return text
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise SettingsError(f"{key}: {text!r} is not host:port")
    return text


def url(key: str, text: str) -> str:
    """Check an HTTP address without credentials in it.

    Raises:
        SettingsError: naming the key.
    """
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(f"{key}: {text!r} is not an address that begins with http:// or https://")
    if parts.username is not None:
        raise SettingsError(f"{key}: holds a user name or password; give the address alone")
    return text


def origin(key: str, text: str) -> str:
    """Check the origin of a page as browsers say it: scheme, host, and the port if it is another than usual.

    Raises:
        SettingsError: naming the key.
    """
    parts = urlsplit(url(key, text))
    if text != f"{parts.scheme}://{parts.netloc}" or text != text.lower():
        raise SettingsError(f"{key}: {text!r} is not an origin, like https://studio.example or http://localhost:5173")
    return text


def secret(key: str, reference: str, environ: Mapping[str, str]) -> str | None:
    """Resolve `env:NAME` or `file:/path`; None if nothing is there."""
    kind, _, name = reference.partition(":")
    if kind == "env":
        return environ.get(name, "").strip() or None
    if kind == "file":
        try:
            return Path(name).read_text().strip() or None
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{key}: cannot read {name}: {type(error).__name__}") from None
    raise SettingsError(f"{key}: must be a reference, env:NAME or file:/path, not the secret itself")


def referenced(key: str, reference: str, environ: Mapping[str, str]) -> str:
    """Resolve a reference that somebody wrote down: it must lead somewhere."""
    found = secret(key, reference, environ)
    if found is None:
        raise SettingsError(f"{key}: {reference} is not set, or empty")
    return found


def secret_bytes(key: str, reference: str | None, environ: Mapping[str, str]) -> bytes | None:
    """Resolve a reference to a key; None if nobody wrote one down."""
    return None if reference is None else referenced(key, reference, environ).encode()


def secret_url(key: str, text: str) -> str:
    """An address that is a secret itself: it is never repeated."""
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise SettingsError(f"{key}: does not lead to an address that begins with http:// or https://")
    return text
