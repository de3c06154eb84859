"""The contract's answers as tables for people."""

from collections.abc import Iterable

from google.protobuf.descriptor import EnumDescriptor

from pictor import enums
from pictor.amounts import seconds
from pictor.cli.printing import print_line, print_table
from pictor.cli.text import (
    SANDBOX,
    adaptations,
    at_most,
    cost,
    minute,
    price,
    rated,
    result,
    second,
    shortened,
    span,
)
from pictor.generation import Generation
from pictor.v1 import catalog_service_pb2 as catalog
from pictor.v1 import generation_pb2, history_service_pb2, image_pb2, image_service_pb2, usage_service_pb2

_RESOLUTION = image_pb2.Resolution.DESCRIPTOR
_FIDELITY = image_pb2.Fidelity.DESCRIPTOR
_NONE = "-"


def print_plan(answer: image_service_pb2.PlanResponse) -> None:
    """A decision: row, candidates in order, exclusions with reasons, what it costs, and the refusal if there is one."""
    if answer.HasField("plan"):
        _print_decision(answer.plan)
    if answer.HasField("worst_case_cost"):
        print_line(f"expected {price(answer.expected_cost)}, at most {at_most(answer.worst_case_cost)}")
    if answer.HasField("refusal"):
        print_line(f"would be refused: {answer.refusal.text} ({answer.refusal.reason})")


def _print_decision(plan: generation_pb2.Plan) -> None:
    fidelity = enums.word(_FIDELITY, plan.fidelity) or _NONE
    print_line(f"row {plan.row}, fidelity {fidelity}, policy {plan.policy_version}, catalog {plan.catalog_version}")
    headers = ("#", "candidate", "quality", "size", "expected", "at most", "half by", "9 in 10 by", "adaptations")
    print_table(headers, [_candidate(place, each) for place, each in enumerate(plan.candidates, start=1)])
    print_table(("not used", "reason", "why"), [(each.model, each.reason, each.text) for each in plan.exclusions])


def _candidate(place: int, each: generation_pb2.Candidate) -> tuple[str, ...]:
    encoding = enums.word(image_pb2.OutputFormat.DESCRIPTOR, each.output_format)
    return (
        str(place),
        each.model,
        each.quality or _NONE,
        f"{each.width_px}x{each.height_px} ({each.ratio}, {enums.word(_RESOLUTION, each.resolution)}, {encoding})",
        price(each.expected_cost),
        at_most(each.worst_case_cost),
        span(seconds(each.expected_p50)),
        span(seconds(each.expected_p90)),
        adaptations(list(each.adaptations)) or _NONE,
    )


def print_generation(generation: Generation) -> None:
    """One generation: what was asked, how each picture ended, every attempt with its cost."""
    message = generation.message
    asked = message.request
    print_line(f"{generation.id}: {generation.state}" + (f", {SANDBOX}" if generation.is_sandbox else ""))
    print_line(f"asked: {asked.operation} `{asked.prompt}`, tier {enums.word(image_pb2.Tier.DESCRIPTOR, asked.tier)}")
    print_line(f"request id: {asked.request_id or 'none'}")
    lineage = message.lineage
    if lineage.reroll_of or lineage.set_id:
        origin = f"re-roll of {lineage.reroll_of}" if lineage.reroll_of else f"{lineage.item_key} of {lineage.set_id}"
        print_line(f"from: {origin}")
    for line in result(generation, {}):
        print_line(line)
    print_table(
        ("attempt", "picture", "model", "served by", "version", "outcome", "cost", "provider's id", "detail"),
        [_attempt(each) for each in message.attempts],
    )


def _attempt(each: generation_pb2.Attempt) -> tuple[str, ...]:
    return (
        str(each.index),
        str(each.output_index),
        each.model,
        each.served_model or _NONE,
        each.model_version or _NONE,
        each.outcome or "running",
        cost(each.cost),
        each.provider_request_id or _NONE,
        each.detail or _NONE,
    )


def print_generations(page: history_service_pb2.ListGenerationsResponse) -> None:
    """A page of generations, and how to get the next."""
    if not page.generations:
        print_line("no generation matches")
    listed = [Generation.of(message) for message in page.generations]
    print_table(_LISTED, [_listed(each) for each in listed], cut="prompt")
    if listed:
        print_line("`pictor show ID` tells row, attempts and all else of one")
    _print_sandbox(listed)
    if page.next_page_token:
        print_line(f"more with --page-token {page.next_page_token}")


_PROMPT_LENGTH = 40
_LISTED = ("id", "when", "drawn by", "cost", "prompt")


def _listed(generation: Generation) -> tuple[str, ...]:
    message = generation.message
    return (
        generation.id,
        minute(message.create_time),
        _drawn_by(generation),
        cost(message.cost),
        shortened(message.request.prompt, _PROMPT_LENGTH),
    )


def _drawn_by(generation: Generation) -> str:
    """The model, or why there is no picture."""
    if generation.pictures:
        return generation.pictures[0].message.model
    reason = generation.message.reason
    return f"{generation.state}: {reason}" if reason else generation.state


def _print_sandbox(listed: list[Generation]) -> None:
    """Say it once: a gateway's generations are all real or all of the sandbox."""
    if any(each.is_sandbox for each in listed):
        print_line(SANDBOX)


def print_comparison(answer: history_service_pb2.CompareGenerationsResponse, *, everything: bool) -> None:
    """Generations under letters, and line by line what differs, or everything."""
    letters = [_letter(index) for index in range(len(answer.generations))]
    made = [Generation.of(message) for message in answer.generations]
    rows = [(letter, *_listed(each)) for letter, each in zip(letters, made, strict=True)]
    print_table(("", *_LISTED), rows, cut="prompt")
    _print_sandbox(made)
    if answer.truncated:
        print_line("the lineage has more generations than these")
    fields = [each for each in answer.fields if everything or each.differs]
    if not fields:
        print_line("nothing differs; --all shows everything")
    headers = ("field", "differs", *letters) if everything else ("differs", *letters)
    print_table(headers, [_compared(each, marked=everything) for each in fields])
    for rating in answer.ratings:
        print_line(rated(rating))


def _letter(index: int) -> str:
    """A to Z, then A1, B1 and on."""
    round_, place = divmod(index, 26)
    return f"{chr(ord('A') + place)}{round_ or ''}"


def _compared(each: history_service_pb2.ComparedField, *, marked: bool) -> tuple[str, ...]:
    mark = ("yes" if each.differs else "",) if marked else ()
    return (each.path, *mark, *(shortened(value) or _NONE for value in each.values))


def print_scorecard(answer: usage_service_pb2.GetScorecardResponse) -> None:
    """What pictures cost, how long they took and what people think of them, by workflow and model."""
    headers = (
        "workflow",
        "model",
        "won",
        "lost",
        "up",
        "down",
        "calls",
        "pictures",
        "cost",
        "each",
        "half by",
        "9 in 10 by",
    )
    if not answer.scores:
        print_line("nothing was drawn in this time")
    print_table(headers, [_score(each) for each in answer.scores])


def _score(each: usage_service_pb2.Score) -> tuple[str, ...]:
    counts = (each.wins, each.losses, each.thumbs_up, each.thumbs_down, each.attempts, each.pictures)
    return (
        enums.word(image_pb2.Workflow.DESCRIPTOR, each.workflow) or _NONE,
        each.model,
        *(str(count) for count in counts),
        price(each.cost),
        price(each.cost_per_picture) if each.HasField("cost_per_picture") else _NONE,
        span(seconds(each.latency_p50)) if each.HasField("latency_p50") else _NONE,
        span(seconds(each.latency_p90)) if each.HasField("latency_p90") else _NONE,
    )


def print_models(answer: catalog.ListModelsResponse) -> None:
    """The catalog, in a line for each model that fits a terminal."""
    headers = ("model", "here", "resolutions", "can")
    print_table(headers, [_model(each) for each in answer.models])
    print_line(f"catalog {answer.catalog_version}; `pictor models MODEL` tells prices and all else of one")


def _model(each: catalog.Model) -> tuple[str, ...]:
    return (
        each.id,
        "configured" if each.configured else "no credentials",
        _words(_RESOLUTION, each.resolutions),
        ", ".join(_abilities(each)) or _NONE,
    )


def _abilities(each: catalog.Model) -> list[str]:
    has = {"mask": each.has_mask, "seed": each.has_seed, "transparency": each.has_transparency}
    can = [word for word, able in has.items() if able]
    return [*can, f"{each.max_previews} previews"] if each.max_previews else can


def print_model(each: catalog.Model) -> None:
    """All of one model, a line for each fact."""
    facts = {
        "provider": each.provider + ("" if each.configured else ", no credentials here"),
        "sent as": each.snapshot,
        "aliases": ", ".join(each.aliases),
        "newer": ", ".join(each.successors),
        "operations": ", ".join(each.operations),
        "qualities": _words(image_pb2.Quality.DESCRIPTOR, each.qualities),
        "resolutions": _words(_RESOLUTION, each.resolutions),
        "ratios": ", ".join(each.ratios) or "any within its range",
        "encodings": _words(image_pb2.OutputFormat.DESCRIPTOR, each.output_formats),
        "references": str(each.max_references),
        "can": ", ".join(_abilities(each)),
    }
    print_line(each.id)
    for name, value in facts.items():
        print_line(f"  {name:<12}{value or _NONE}")
    for each_price in each.prices:
        amount = f"{price(each_price.per_million)} per million tokens since {each_price.valid_from}"
        print_line(f"  {'price':<12}{each_price.token_kind:<11}{amount}")


def _words(enum: EnumDescriptor, numbers: Iterable[int]) -> str:
    return ", ".join(enums.word(enum, number) for number in numbers)


def print_formats(answer: catalog.ListFormatsResponse) -> None:
    """The named formats."""
    rows = [(each.id, each.ratio, f"{each.width_px}x{each.height_px}") for each in answer.formats]
    print_table(("format", "ratio", "pixels there"), rows)


def print_providers(providers: Iterable[catalog.Provider]) -> None:
    """How the providers are doing."""
    headers = ("provider", "state", "breakers", "limiter", "calls", "account", "")
    print_table(headers, [_provider(each) for each in providers])


def _provider(each: catalog.Provider) -> tuple[str, ...]:
    limiter = each.limiter
    rate = f"{limiter.per_minute:g}/min" if limiter.per_minute else "no rate set"
    return (
        each.name,
        _state(each),
        _breakers(each.breakers),
        f"{rate}, wait {span(seconds(limiter.predicted_wait))}, {limiter.waiting_count} waiting",
        f"{each.in_flight_count} of {each.concurrency_limit}",
        each.account or _NONE,
        "SANDBOX" if each.sandbox else "",
    )


def _state(each: catalog.Provider) -> str:
    parts = [enums.word(catalog.ProviderState.DESCRIPTOR, each.state)]
    if not each.configured:
        parts.append("no credentials")
    if each.reason:
        parts.append(each.reason)
    if each.HasField("until_time"):
        parts.append(f"until {second(each.until_time)}")
    if each.HasField("unfunded_until_time"):
        parts.append(f"out of credit until {second(each.unfunded_until_time)}")
    if each.key_refused:
        parts.append("key refused")
    return ", ".join(parts)


def _breakers(breakers: Iterable[catalog.Breaker]) -> str:
    """Those that do not simply let calls through; most of the time none."""
    closed = catalog.Breaker.STATE_CLOSED
    telling = [_breaker(each) for each in breakers if each.state != closed or each.failure_rate > 0]
    return ", ".join(telling) or "all closed"


def _breaker(each: catalog.Breaker) -> str:
    state = enums.word(catalog.Breaker.State.DESCRIPTOR, each.state)
    left = seconds(each.remaining_open)
    return (
        f"{each.model}/{each.operation} {state}{f' for {span(left)}' if left else ''}, {each.failure_rate:.0%} failing"
    )
