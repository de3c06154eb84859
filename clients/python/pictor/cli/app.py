"""The commands: names, arguments and help. What they do is in `work`, which is imported only when one runs."""

from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from pictor.cli import spending
from pictor.cli.commands import Commands
from pictor.cli.connection import Connection
from pictor.cli.connection import run as _run
from pictor.cli.options import (
    Asked,
    Json,
    JsonLines,
    OnDisconnect,
    Open,
    Out,
    PageSize,
    PromptArgument,
    Since,
    Sought,
    Timeout,
    Until,
    expand,
    pairs,
)

_EPILOG = (
    "Exit codes: 0 everything asked for is there, 2 bad input, 3 refused or failed (also in part), 4 nobody answers or "
    "too late, 5 not found, 6 a limit is reached, 7 not allowed. PICTOR_API_KEY holds the key."
)
_OUT = Path("out")

app = typer.Typer(
    name="pictor",
    cls=Commands,
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich help costs 0.1 s of every start
)
providers_app = typer.Typer(rich_markup_mode=None)
app.add_typer(providers_app, name="providers")
app.add_typer(spending.app)

GenerationId = Annotated[str, typer.Argument(metavar="GENERATION", help="Id of a generation.")]
ProviderName = Annotated[str, typer.Argument(metavar="PROVIDER", help="openai or gemini")]
Model = Annotated[str | None, typer.Option(help="Unset means the other engine.")]
MaxCost = Annotated[str | None, typer.Option(help="Bound of everything charged or held, in USD, e.g. 0.25.")]
Previews = Annotated[int | None, typer.Option(help="Previews per picture, 0 to 3; priced.")]
RequestId = Annotated[str | None, typer.Option(help="Your own id of the request.")]


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it
    if wanted:
        typer.echo(f"pictor {metadata.version('pictor')}")
        raise typer.Exit


@app.callback()
def pictor(
    context: typer.Context,
    *,
    address: Annotated[
        str | None, typer.Option(envvar="PICTOR_ADDRESS", help="host:port, or https://host:port for TLS.")
    ] = None,
    entry: Annotated[
        list[str] | None, typer.Option("--metadata", help="KEY=VALUE sent with every call; repeatable.")
    ] = None,
    version: Annotated[  # noqa: ARG001 - its callback does the work
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    """Draw pictures through a Pictor gateway. Data goes to stdout, talk to stderr."""
    context.obj = Connection(address, tuple(_pairs(entry, "--metadata").items()))


@app.command()
@expand
def generate(
    context: typer.Context,
    argument: PromptArgument = None,
    *,
    asked: Asked,
    out: Out = _OUT,
    opens: Open = False,
    as_json: Json = False,
) -> None:
    """Draw pictures (or change one, with --edit) and save them."""
    _run(context, lambda work: work.draw(asked.request(argument), asked, out, opens=opens), as_json=as_json)


@app.command()
@expand
def edit(
    context: typer.Context,
    argument: PromptArgument = None,
    *,
    asked: Asked,
    out: Out = _OUT,
    opens: Open = False,
    as_json: Json = False,
) -> None:
    """Change a picture, as a whole or where --mask is transparent, and save the result."""
    _run(
        context,
        lambda work: work.draw(asked.request(argument, always_edit=True), asked, out, opens=opens),
        as_json=as_json,
    )


@app.command()
@expand
def stream(
    context: typer.Context,
    argument: PromptArgument = None,
    *,
    asked: Asked,
    out: Out = _OUT,
    opens: Open = False,
    as_json: JsonLines = False,
) -> None:
    """Draw or change with everything that happens on the way; previews are saved as they arrive."""
    _run(context, lambda work: work.stream(asked.request(argument), asked, out, opens=opens), as_json=as_json)


@app.command()
@expand
def plan(context: typer.Context, argument: PromptArgument = None, *, asked: Asked, as_json: Json = False) -> None:
    """Say which engine would draw it, why, and for how much; nothing is sent."""
    _run(context, lambda work: work.plan(asked.request(argument), asked.timeout), as_json=as_json)


@app.command("set")
@expand
def set_(
    context: typer.Context,
    argument: PromptArgument = None,
    *,
    asked: Asked,
    item: Annotated[list[str] | None, typer.Option(help="KEY=PROMPT; may be repeated.")] = None,
    formats: Annotated[list[str] | None, typer.Option(help="Formats a,b,c: one item each.")] = None,
    models: Annotated[list[str] | None, typer.Option(help="Models a,b: every item on each.")] = None,
    file: Annotated[Path | None, typer.Option(help="TOML or JSON with brief, items, models.")] = None,
    out: Out = _OUT,
    as_json: JsonLines = False,
) -> None:
    """Draw many pictures from one brief: platform variants, carousel slides, both engines."""
    _run(
        context,
        lambda work: work.draw_set(
            asked, argument, items=item or (), formats=formats or (), models=models or (), file=file, out=out
        ),
        as_json=as_json,
    )


@app.command()
def reroll(
    context: typer.Context,
    generation: GenerationId,
    *,
    model: Model = None,
    max_cost: MaxCost = None,
    previews: Previews = None,
    request_id: RequestId = None,
    on_disconnect: OnDisconnect = None,
    timeout: Timeout = None,
    out: Out = _OUT,
    opens: Open = False,
    as_json: JsonLines = False,
) -> None:
    """Draw an earlier request again, on the other engine unless told otherwise."""
    _run(
        context,
        lambda work: work.reroll(
            generation,
            model=model,
            max_cost=max_cost,
            previews=previews,
            request_id=request_id,
            on_disconnect=on_disconnect,
            timeout=timeout,
            out=out,
            opens=opens,
        ),
        as_json=as_json,
    )


@app.command()
def show(
    context: typer.Context,
    generation: Annotated[str | None, typer.Argument(metavar="GENERATION", help="Id of a generation.")] = None,
    *,
    request_id: RequestId = None,
    as_json: Json = False,
) -> None:
    """Tell everything about one generation, by its id or by --request-id."""
    _run(context, lambda work: work.show(generation, request_id), as_json=as_json)


@app.command()
@expand
def history(
    context: typer.Context,
    *,
    sought: Sought,
    page_size: PageSize = 0,
    page_token: Annotated[str, typer.Option(help="From the page before.")] = "",
    as_json: Json = False,
) -> None:
    """List generations, newest first; filters hold together."""
    _run(context, lambda work: work.history(sought, page_size, page_token), as_json=as_json)


@app.command()
def compare(
    context: typer.Context,
    generations: Annotated[
        list[str] | None, typer.Argument(metavar="GENERATION...", help="One for its whole lineage, or 2 to 8.")
    ] = None,
    *,
    set_id: Annotated[str, typer.Option("--set", help="All generations of this set.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="Also what is the same in all of them.")] = False,
    as_json: Json = False,
) -> None:
    """Put generations side by side and show what differs."""
    _run(context, lambda work: work.compare(generations or (), set_id, everything=everything), as_json=as_json)


@app.command()
def rate(
    context: typer.Context,
    generation: GenerationId,
    *,
    thumb: Annotated[str | None, typer.Option(help="up, down")] = None,
    over: Annotated[list[str] | None, typer.Option(help="Generation that it won over; may be repeated.")] = None,
    text: Annotated[str, typer.Option(help="Why, for people.")] = "",
    as_json: Json = False,
) -> None:
    """Say what you think of a picture: a thumb, or what it won over. Your last word counts."""
    _run(context, lambda work: work.rate(generation, thumb, over or (), text), as_json=as_json)


@app.command()
def scorecard(
    context: typer.Context,
    *,
    since: Since = None,
    until: Until = None,
    caller: Annotated[str, typer.Option(help="One caller's; operators see everybody's otherwise.")] = "",
    as_json: Json = False,
) -> None:
    """Show wins, thumbs, cost and latency by workflow and model, of 30 days unless told otherwise."""
    _run(context, lambda work: work.scorecard(since, until, caller), as_json=as_json)


@app.command()
def watch(
    context: typer.Context,
    generation: GenerationId,
    *,
    after: Annotated[int, typer.Option(help="The last sequence seen.")] = 0,
    timeout: Timeout = None,
    out: Out = _OUT,
    opens: Open = False,
    as_json: JsonLines = False,
) -> None:
    """Follow a generation that runs or has ended, and save its pictures."""
    _run(context, lambda work: work.watch(generation, after, timeout, out, opens=opens), as_json=as_json)


@app.command()
def cancel(context: typer.Context, generation: GenerationId, *, as_json: Json = False) -> None:
    """Stop what was not sent yet; what was sent is paid for and finishes."""
    _run(context, lambda work: work.cancel(generation), as_json=as_json)


@app.command()
def delete(
    context: typer.Context,
    generations: Annotated[list[str] | None, typer.Argument(metavar="GENERATION...", help="Ids, 100 at most.")] = None,
    *,
    end_user: Annotated[str, typer.Option(help="All that was made for this end user of the caller.")] = "",
    everything: Annotated[bool, typer.Option("--everything", help="All of the caller, uploads too.")] = False,
    caller: Annotated[str, typer.Option(help="Whose; operators may name others.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Delete prompts, pictures and all that goes with them, for ever; what was spent stays counted."""

    def confirm(what: str) -> bool:
        try:
            return yes or typer.confirm(f"Delete {what} for ever?", err=True)
        except typer.Abort:  # nobody is there to answer
            return False

    _run(
        context,
        lambda work: work.delete(generations or (), end_user, everything=everything, caller=caller, confirm=confirm),
        as_json=as_json,
    )


@app.command()
def download(
    context: typer.Context,
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="Id of a picture.")],
    *,
    out: Out = _OUT,
    opens: Open = False,
    as_json: Json = False,
) -> None:
    """Save one picture by its id."""
    _run(context, lambda work: work.download(image, out, opens=opens), as_json=as_json)


@app.command()
def upload(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="PNG, JPEG or WebP.")],
    *,
    as_json: Json = False,
) -> None:
    """Bring a picture; its id serves as --edit, --mask or --reference."""
    _run(context, lambda work: work.upload(file), as_json=as_json)


@app.command()
def models(
    context: typer.Context,
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="Tell all of this one, prices too.")] = None,
    *,
    as_json: Json = False,
) -> None:
    """List the models and what they can; of one also its prices."""
    _run(context, lambda work: work.models(model), as_json=as_json)


@app.command()
def formats(context: typer.Context, *, as_json: Json = False) -> None:
    """List the named formats."""
    _run(context, lambda work: work.formats(), as_json=as_json)


@providers_app.callback(invoke_without_command=True)
def providers(context: typer.Context, *, as_json: Json = False) -> None:
    """Show how the providers are doing; operators switch them off and on."""
    if context.invoked_subcommand is None:
        _run(context, lambda work: work.providers(), as_json=as_json)


@providers_app.command()
def enable(context: typer.Context, provider: ProviderName, *, as_json: Json = False) -> None:
    """Take a provider back into service; clears breakers, freeze and the unfunded state."""
    _run(context, lambda work: work.switch(provider, "enabled"), as_json=as_json)


@providers_app.command()
def disable(
    context: typer.Context,
    provider: ProviderName,
    *,
    reason: Annotated[str, typer.Option(help="For the colleague who looks next.")],
    for_: Annotated[str | None, typer.Option("--for", help="E.g. 30m; unset means until enabled.")] = None,
    as_json: Json = False,
) -> None:
    """Take a provider out of service."""
    _run(context, lambda work: work.switch(provider, "disabled", reason=reason, span=for_), as_json=as_json)


def _pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    try:
        return pairs(texts or ())
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error
