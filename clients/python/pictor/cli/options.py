"""The options that commands share, as dataclasses; `expand` puts their fields into a command's signature.

Nothing here imports protobuf: enum words stand in the help as text, and a test compares them with the contract.
"""

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pictor.messages import HistoryFilter, RequestOptions
    from pictor.v1.image_service_pb2 import EditRequest, GenerateRequest

WORDS = {
    "tier": "free, standard, pro",
    "workflow": "on_image_text, quote_graphic, multilingual_label, carousel, platform_variant, multi_subject, ad, "
    "landing_page, hero",
    "resolution": "512, 1k, 2k, 4k",
    "quality": "low, medium, high",
    "fidelity": "adapt, exact",
    "output_format": "png, jpeg, webp",
    "background": "opaque, transparent",
    "on_disconnect": "finish_if_sent, finish",
}

Json = Annotated[bool, typer.Option("--json", help="Print the response as protobuf JSON.")]
JsonLines = Annotated[bool, typer.Option("--json", help="Print each response as one line of protobuf JSON.")]
PromptArgument = Annotated[str | None, typer.Argument(metavar="PROMPT", help="What to draw; or --prompt.")]
Open = Annotated[bool, typer.Option("--open", help="Show the saved pictures with this machine's viewer.")]
Out = Annotated[Path, typer.Option(help="Folder for pictures and previews.")]


def _seconds(value: float | None) -> float | None:
    """Seconds that somebody can wait: gRPC takes what it cannot count for none at all."""
    if value is None or 0 < value <= _LONGEST_TIMEOUT_S:
        return value
    raise typer.BadParameter(f"{value:g} is not more than nothing and at most a year of seconds")


_LONGEST_TIMEOUT_S = 366 * 86400.0
Timeout = Annotated[float | None, typer.Option(help="Seconds to wait.", callback=_seconds)]
_LONGEST_PAGE = 200
PageSize = Annotated[int, typer.Option(help="1 to 200; 0 means 50.")]
Since = Annotated[str | None, typer.Option(help="At or after: 2026-11-22, 2026-11-22T15:00Z, or 7d for 7 days ago.")]
Until = Annotated[str | None, typer.Option(help="Before; as --since.")]
OnDisconnect = Annotated[
    str | None, typer.Option(help=f"{WORDS['on_disconnect']}: whether queued work goes on if you leave.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Everything that can be asked of a picture."""

    prompt: Annotated[str | None, typer.Option(help="What to draw.")] = None
    tier: Annotated[str | None, typer.Option(help=WORDS["tier"])] = None
    high_quality: Annotated[bool, typer.Option("--high-quality", help="gpt-image-2 at high, whatever the tier.")] = (
        False
    )
    workflow: Annotated[str | None, typer.Option(help=WORDS["workflow"])] = None
    ratio: Annotated[str | None, typer.Option(help="Width to height, e.g. 16:9.")] = None
    format: Annotated[str | None, typer.Option(help="Named format instead of a ratio; see `pictor formats`.")] = None
    resolution: Annotated[str | None, typer.Option(help=WORDS["resolution"])] = None
    model: Annotated[str | None, typer.Option(help="Model or alias; see `pictor models`.")] = None
    exclude: Annotated[list[str] | None, typer.Option(help="Model that must not be used; may be repeated.")] = None
    allow_fallback: Annotated[
        bool | None, typer.Option("--allow-fallback/--no-fallback", help="Whether another model may step in.")
    ] = None
    fidelity: Annotated[str | None, typer.Option(help=WORDS["fidelity"])] = None
    max_cost: Annotated[str | None, typer.Option(help="Bound of everything charged or held, in USD, e.g. 0.25.")] = None
    edit: Annotated[
        str | None, typer.Option("--edit", "--image", help="Picture to change: a file, or the id of one.")
    ] = None
    mask: Annotated[str | None, typer.Option(help="PNG whose transparent part may change: a file, or an id.")] = None
    reference: Annotated[list[str] | None, typer.Option(help="Further picture: a file, or an id; repeatable.")] = None
    count: Annotated[int | None, typer.Option(help="How many pictures; each is paid for.")] = None
    quality: Annotated[str | None, typer.Option(help=f"{WORDS['quality']}; only with --model.")] = None
    previews: Annotated[int | None, typer.Option(help="Previews per picture, 0 to 3; priced.")] = None
    output_format: Annotated[str | None, typer.Option(help=WORDS["output_format"])] = None
    output_compression: Annotated[int | None, typer.Option(help="0 to 100, for jpeg and webp.")] = None
    background: Annotated[str | None, typer.Option(help=WORDS["background"])] = None
    seed: Annotated[int | None, typer.Option(help="Best effort, where the engine has seeds.")] = None
    end_user: Annotated[str | None, typer.Option(help="Opaque id of the end user.")] = None
    request_id: Annotated[str | None, typer.Option(help="Your id of this request; repeating it never pays twice.")] = (
        None
    )
    label: Annotated[list[str] | None, typer.Option(help="KEY=VALUE to find and group by; repeatable.")] = None
    on_disconnect: OnDisconnect = None
    timeout: Timeout = None

    def options(self) -> "RequestOptions":
        """As the client takes them.

        Raises:
            ValueError: A label has no `=`.
        """
        return {
            "ratio": self.ratio,
            "format": self.format,
            "resolution": self.resolution,
            "tier": self.tier,
            "high_quality": self.high_quality or None,
            "workflow": self.workflow,
            "references": [picture(each) for each in self.reference or ()],
            "count": self.count,
            "model": self.model,
            "excluded_models": list(split(self.exclude or ())),
            "allow_fallback": self.allow_fallback,
            "quality": self.quality,
            "fidelity": self.fidelity,
            "max_cost": self.max_cost,
            "preview_count": self.previews,
            "request_id": self.request_id,
            "output_format": self.output_format,
            "output_compression": self.output_compression,
            "background": self.background,
            "seed": self.seed,
            "end_user": self.end_user,
            "labels": pairs(self.label or ()),
            "on_disconnect": self.on_disconnect,
        }

    def request(
        self, argument: str | None, *, always_edit: bool = False, base: "GenerateRequest | None" = None
    ) -> "GenerateRequest | EditRequest":
        """The message these options ask for: an edit if there is a picture or a mask, else a generation.

        Args:
            argument: The prompt, if it stood without `--prompt`.
            always_edit: Whether it is an edit even without a picture, for the gateway to refuse.
            base: What these options are set on top of.

        Raises:
            ValueError: A value cannot be put into its field, or there are two prompts.
            OSError: A file cannot be read.
        """
        from pictor import messages  # noqa: PLC0415 - protobuf is slow to import

        if argument is not None and self.prompt is not None:
            raise ValueError("prompt: give it once, as argument or with --prompt")
        message = messages.request(base if base is not None else "", **self.options())
        message.prompt = next((text for text in (argument, self.prompt) if text is not None), message.prompt)
        if not (always_edit or self.edit is not None or self.mask is not None):
            return message
        image = None if self.edit is None else picture(self.edit)
        mask = None if self.mask is None else picture(self.mask)
        return messages.edit_request(message, image, mask)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sought:
    """Everything that narrows the history; the filters hold together."""

    state: Annotated[str | None, typer.Option(help="pending, running, succeeded, failed, cancelled")] = None
    since: Since = None
    until: Until = None
    caller: Annotated[str | None, typer.Option(help="Whose; * for everybody's.")] = None
    model: Annotated[str | None, typer.Option(help="Drawn by this model.")] = None
    model_version: Annotated[str | None, typer.Option(help="Drawn by this version of it.")] = None
    tier: Annotated[str | None, typer.Option(help=WORDS["tier"])] = None
    workflow: Annotated[str | None, typer.Option(help=WORDS["workflow"])] = None
    row: Annotated[str | None, typer.Option(help="Chosen by this row of the decision table.")] = None
    label: Annotated[list[str] | None, typer.Option(help="KEY=VALUE; may be repeated.")] = None
    end_user: Annotated[str | None, typer.Option(help="For this end user of one caller.")] = None
    set_id: Annotated[str | None, typer.Option("--set", help="Of this set.")] = None
    reroll_of: Annotated[str | None, typer.Option(help="Re-rolls of this generation.")] = None
    request_id: Annotated[str | None, typer.Option(help="Of this id of yours.")] = None
    provider_request_id: Annotated[str | None, typer.Option(help="That the provider knows by this id.")] = None

    def filters(self) -> "HistoryFilter":
        """As the client takes them.

        Raises:
            ValueError: A label has no `=`, or a time cannot be read.
        """
        return {
            "state": self.state,
            "start_time": None if self.since is None else moment(self.since),
            "end_time": None if self.until is None else moment(self.until),
            "caller": self.caller,
            "model": self.model,
            "model_version": self.model_version,
            "tier": self.tier,
            "workflow": self.workflow,
            "row": self.row,
            "labels": pairs(self.label or ()),
            "end_user": self.end_user,
            "set_id": self.set_id,
            "reroll_of": self.reroll_of,
            "request_id": self.request_id,
            "provider_request_id": self.provider_request_id,
        }


_OPTIONS = {
    "references": "--reference",
    "excluded_models": "--exclude",
    "preview_count": "--previews",
    "labels": "--label",
    "image": "--edit",
    "set_id": "--set",
    "start_time": "--since",
    "end_time": "--until",
    "page_size": "--page-size",
    "page_token": "--page-token",
    "thumb": "--thumb",
    "won_over_ids": "--over",
    "end_user": "--end-user",
    "reason": "--reason",
    "duration": "--for",
    "usd": "--usd",
    "pictures": "--pictures",
    "thresholds": "--alert-at",
    "counted": "--for",
    "window": "--per",
} | {name: f"--{name.replace('_', '-')}" for group in (Asked, Sought) for name in group.__dataclass_fields__}
_FIELD = re.compile(r"(?:^|(?<=; ))(?:[a-z_]+(?:\[\d+\])?\.)*([a-z_]+)(?:\[[^\]]*\])?(?=: )")
_COMMANDS = {"ListBudgets": "budget list", "ListFormats": "formats", "ListProviders": "providers"}
_CALL = re.compile(rf"\b({'|'.join(_COMMANDS)})(?= names )")


def named(text: str) -> str:
    """The same words with what the contract calls things (`request.canvas.ratio: …`, ListBudgets) as they are typed."""
    text = _FIELD.sub(lambda field: _OPTIONS.get(field[1], field[0]), text)
    return _CALL.sub(lambda call: f"`pictor {_COMMANDS[call[1]]}`", text)


def expand(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take dataclasses of options: their fields become its own parameters on the command line."""
    signature = inspect.signature(command, eval_str=True)
    groups: dict[str, Any] = {
        p.name: p.annotation for p in signature.parameters.values() if dataclasses.is_dataclass(p.annotation)
    }
    own = [p for p in signature.parameters.values() if p.name not in groups]
    options = [
        inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=f.type)
        for group in groups.values()
        for f in dataclasses.fields(group)
    ]

    @functools.wraps(command)
    def run(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{f.name: values.pop(f.name) for f in dataclasses.fields(group)})
        command(**values)

    run.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined] # typer reads it
    return run


def picture(text: str) -> Path | str:
    """A file if there is one or it looks like one, else the id of a picture."""
    path = Path(text)
    return path if path.exists() or path.suffix or len(path.parts) != 1 else text


def pairs(texts: Iterable[str]) -> dict[str, str]:
    """Read `KEY=VALUE` texts.

    Raises:
        ValueError: One has no `=` or no key.
    """
    found = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise ValueError(f"`{text}` is not of the form KEY=VALUE")
        found[key] = value
    return found


def split(texts: Iterable[str]) -> Iterable[str]:
    """The parts of comma-separated lists, empty ones left out."""
    return (part.strip() for text in texts for part in text.split(",") if part.strip())


def in_page(size: int) -> int:
    """The size of a page, if there is such a page.

    Raises:
        ValueError: It is out of range; the gateway would give fewer than were asked for, in silence.
    """
    if not 0 <= size <= _LONGEST_PAGE:
        raise ValueError(f"--page-size: 1 to {_LONGEST_PAGE}, or 0 for 50; this is {size}")
    return size


_SPAN = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def span_s(text: str) -> float:
    """Read `30m`, `45s`, `1h30m` or `2d` as seconds.

    Raises:
        ValueError: It cannot be read.
    """
    if not re.fullmatch(rf"(?:{_SPAN.pattern})+", text):
        raise ValueError(f"`{text}` is not a span of time such as 30m, 45s, 1h30m or 2d")
    return sum(float(number) * _UNIT_S[unit] for number, unit in _SPAN.findall(text))


def moment(text: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> datetime:
    """Read a day, a time (UTC unless it says otherwise), or a span such as `7d`, which means that long ago.

    Raises:
        ValueError: It cannot be read.
    """
    if re.fullmatch(rf"(?:{_SPAN.pattern})+", text):
        try:
            return now() - timedelta(seconds=span_s(text))
        except OverflowError:
            raise ValueError(f"`{text}` ago lies before the year 1") from None
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"`{text}` is neither a time such as 2026-11-22T15:00Z nor a span such as 7d") from None
    return read if read.tzinfo is not None else read.replace(tzinfo=UTC)
