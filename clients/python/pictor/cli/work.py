"""What the commands do once gRPC is there: ask the client, print the answer, tell failures."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from google.protobuf.message import Message

from pictor.channel import Target
from pictor.cli import failures, set_file, spending_tables, tables, viewer
from pictor.cli.drawing import UnderWay, draw, draw_set
from pictor.cli.files import Folder
from pictor.cli.options import Asked, Sought, in_page, moment, named, span_s
from pictor.cli.printing import print_error, print_json, print_line
from pictor.cli.text import IN_PROGRESS, deleted, rated, to_delete
from pictor.client import Client
from pictor.errors import LOST, PictorError
from pictor.events import Event
from pictor.generation import Generation
from pictor.messages import budget
from pictor.v1.catalog_service_pb2 import SetProviderStateResponse
from pictor.v1.generation_pb2 import GenerationEvent
from pictor.v1.history_service_pb2 import (
    CancelGenerationResponse,
    GetGenerationResponse,
    RateGenerationResponse,
    UploadImageResponse,
    WatchGenerationResponse,
)
from pictor.v1.image_service_pb2 import (
    EditRequest,
    EditResponse,
    EditStreamResponse,
    GenerateRequest,
    GenerateResponse,
    GenerateStreamResponse,
    RerollResponse,
)
from pictor.v1.usage_service_pb2 import DeleteBudgetResponse, ListBudgetsResponse, SetBudgetResponse


@dataclass(frozen=True, slots=True)
class Work:
    """One command's work; `as_json` says whether stdout carries protobuf JSON. An answer is the exit code, None OK."""

    client: Client
    as_json: bool
    under_way: UnderWay

    async def draw(self, message: GenerateRequest | EditRequest, asked: Asked, out: Path, *, opens: bool) -> int:
        """Generate or edit, and answer at the end.

        The streaming calls serve here too: they tell how long it takes and bring pictures of any size. Previews, which
        cost money, are only asked for if they were asked for.
        """
        if asked.previews is None:
            (message.request if isinstance(message, EditRequest) else message).preview_count = 0
        answer = EditResponse if isinstance(message, EditRequest) else GenerateResponse
        last = (lambda generation: answer(generation=generation.message)) if self.as_json else None
        return await self._follow(self.client.stream(message, timeout=asked.timeout), out, opens=opens, last=last)

    async def stream(self, message: GenerateRequest | EditRequest, asked: Asked, out: Path, *, opens: bool) -> int:
        """Generate or edit, and tell everything on the way."""
        response = EditStreamResponse if isinstance(message, EditRequest) else GenerateStreamResponse
        each = (lambda event: response(event=event)) if self.as_json else None
        return await self._follow(self.client.stream(message, timeout=asked.timeout), out, opens=opens, each=each)

    async def draw_set(
        self,
        asked: Asked,
        argument: str | None,
        *,
        items: Sequence[str],
        formats: Sequence[str],
        models: Sequence[str],
        file: Path | None,
        out: Path,
    ) -> int:
        """Draw a set."""
        message = set_file.build(asked, argument, items=items, formats=formats, models=models, file=file)
        steps = self.client.generate_set(message.brief, message.items, message.models, timeout=asked.timeout)
        bound = message.brief.max_cost if message.brief.HasField("max_cost") else None
        return await draw_set(steps, Folder(out), self.under_way, as_json=self.as_json, max_cost=bound)

    async def reroll(
        self,
        generation_id: str,
        *,
        model: str | None,
        max_cost: str | None,
        previews: int | None,
        request_id: str | None,
        on_disconnect: str | None,
        timeout: float | None,
        out: Path,
        opens: bool,
    ) -> int:
        """Draw an earlier request again."""
        events = self.client.stream_reroll(
            generation_id,
            model=model,
            max_cost=max_cost,
            preview_count=previews,
            request_id=request_id,
            on_disconnect=on_disconnect,
            timeout=timeout,
        )
        each = (lambda event: RerollResponse(event=event)) if self.as_json else None
        return await self._follow(events, out, opens=opens, each=each)

    async def watch(self, generation_id: str, after: int, timeout: float | None, out: Path, *, opens: bool) -> int:
        """Follow a generation."""
        events = self.client.watch(generation_id, after, timeout=timeout)
        each = (lambda event: WatchGenerationResponse(event=event)) if self.as_json else None
        self.under_way.generation_id = generation_id
        return await self._follow(events, out, opens=opens, each=each)

    async def _follow(
        self,
        events: AsyncIterator[Event],
        out: Path,
        *,
        opens: bool,
        each: Callable[[GenerationEvent], Message] | None = None,
        last: Callable[[Generation], Message] | None = None,
    ) -> int:
        return await draw(events, Folder(out), self.under_way, each=each, last=last, show=_show if opens else None)

    async def plan(self, message: GenerateRequest | EditRequest, timeout: float | None) -> None:
        """Tell what a call would do."""
        answer = await self.client.plan(message, timeout=timeout)
        print_json(answer) if self.as_json else tables.print_plan(answer)

    async def show(self, generation_id: str | None, request_id: str | None) -> None:
        """Tell everything about a generation."""
        if generation_id is None and request_id is None:
            raise ValueError("give the id of a generation, or --request-id")
        found = await self.client.get(generation_id, request_id=request_id)
        if self.as_json:
            print_json(GetGenerationResponse(generation=found.message))
        else:
            tables.print_generation(found)

    async def history(self, sought: Sought, page_size: int, page_token: str) -> None:
        """List one page of generations."""
        page = await self.client.history_page(page_size=in_page(page_size), page_token=page_token, **sought.filters())
        print_json(page) if self.as_json else tables.print_generations(page)

    async def compare(self, ids: Sequence[str], set_id: str, *, everything: bool) -> None:
        """Put generations side by side: one id stands for its lineage."""
        if bool(ids) == bool(set_id):
            raise ValueError("give the ids of generations, or --set")
        lineage_of = ids[0] if len(ids) == 1 else ""
        found = await self.client.compare(*(() if lineage_of else ids), lineage_of=lineage_of, set_id=set_id)
        print_json(found) if self.as_json else tables.print_comparison(found, everything=everything)

    async def rate(self, generation_id: str, thumb: str | None, won_over: Sequence[str], text: str) -> None:
        """Say what you think of a picture."""
        rating = await self.client.rate(generation_id, thumb, won_over=won_over, text=text)
        print_json(RateGenerationResponse(rating=rating)) if self.as_json else print_line(rated(rating))

    async def scorecard(self, since: str | None, until: str | None, caller: str) -> None:
        """Show what pictures cost, how long they took, and what people think of them."""
        times = {name: None if text is None else moment(text) for name, text in (("start", since), ("end", until))}
        found = await self.client.scorecard(start_time=times["start"], end_time=times["end"], caller=caller)
        print_json(found) if self.as_json else tables.print_scorecard(found)

    async def usage(
        self,
        groups: Sequence[str],
        since: str | None,
        until: str | None,
        caller: str,
        *,
        unknown_only: bool,
        as_csv: bool,
    ) -> None:
        """Sum up what was spent."""
        found = await self.client.usage(
            *groups,
            start_time=None if since is None else moment(since),
            end_time=None if until is None else moment(until),
            caller=caller,
            unknown_only=unknown_only,
        )
        if as_csv:
            spending_tables.print_csv(found, groups)
            if found.truncated:
                _say(f"only the {len(found.rows)} most expensive groups are there; narrow the time or the groups")
        else:
            print_json(found) if self.as_json else spending_tables.print_usage(found, groups)

    async def budgets(self) -> None:
        """List the budgets."""
        found = await self.client.budgets()
        print_json(ListBudgetsResponse(budgets=found)) if self.as_json else spending_tables.print_budgets(found)

    async def set_budget(
        self,
        budget_id: str,
        counted: str,
        *,
        per: str,
        usd: str | None,
        pictures: int | None,
        tier: str | None,
        soft: bool,
        thresholds: Sequence[str],
    ) -> None:
        """Set a budget."""
        whose, _, key = counted.partition(":")
        if not all(each.isdecimal() for each in thresholds):
            raise ValueError(f"--alert-at: {', '.join(thresholds)} are not percents such as 50,80,100")
        wanted = budget(
            budget_id,
            whose,
            key,
            window=per,
            usd=usd,
            pictures=pictures,
            tier=tier,
            soft=soft,
            thresholds=[int(each) for each in thresholds],
        )
        status = await self.client.set_budget(wanted)
        print_json(SetBudgetResponse(budget=status)) if self.as_json else spending_tables.print_budgets([status])

    async def delete_budget(self, budget_id: str) -> None:
        """Remove a budget."""
        await self.client.delete_budget(budget_id)
        print_json(DeleteBudgetResponse()) if self.as_json else print_line(f"{budget_id} is deleted")

    async def alerts(self, since: str | None, page_size: int, page_token: str) -> None:
        """List one page of alerts."""
        start_time = None if since is None else moment(since)
        page = await self.client.alerts(page_size=in_page(page_size), page_token=page_token, start_time=start_time)
        print_json(page) if self.as_json else spending_tables.print_alerts(page)

    async def cancel(self, generation_id: str) -> None:
        """Stop what was not sent yet, and say so if that came too late."""
        found = await self.client.cancel(generation_id)
        if self.as_json:
            print_json(CancelGenerationResponse(generation=found.message))
        else:
            tables.print_generation(found)
        if found.message.state in IN_PROGRESS:
            _say(f"too late: it was already sent, it finishes and is paid; pictor watch {found.id}")

    async def delete(
        self, ids: Sequence[str], end_user: str, *, everything: bool, caller: str, confirm: Callable[[str], bool]
    ) -> int | None:
        """Delete for ever, if `confirm` says yes to what would go."""
        if [bool(ids), bool(end_user), everything].count(True) != 1:
            raise ValueError("give the ids of generations, --end-user, or --everything")
        if not confirm(to_delete(ids, end_user, caller)):
            raise ValueError("nothing is deleted; --yes deletes without asking")
        found = await self.client.delete(*ids, end_user=end_user, everything=everything, caller=caller)
        print_json(found) if self.as_json else print_line(deleted(found))
        if not found.running_ids:
            return None
        _say(f"left, for they still run: {', '.join(found.running_ids)}; cancel them or wait, then delete again")
        return failures.FAILED

    async def download(self, image_id: str, out: Path, *, opens: bool) -> None:
        """Save one picture."""
        folder = Folder(out)
        picture = await self.client.download(image_id)
        self.under_way.image_id = image_id
        path = folder.save_picture(picture)
        print_json(picture.message) if self.as_json else print_line(str(path))
        if opens:
            _show(path)

    async def upload(self, file: Path) -> None:
        """Bring one picture."""
        try:
            image = await self.client.upload(file)
        except PictorError as error:
            error.message = re.sub("^data(?=: )", lambda _: f"`{file}`", error.message)
            error.violations = tuple(replace(each, field=str(file)) for each in error.violations)
            raise
        print_json(UploadImageResponse(image=image)) if self.as_json else print_line(image.id)

    async def models(self, name: str | None) -> None:
        """List the models, or tell all of one."""
        answer = await self.client.models()
        if name is None:
            print_json(answer) if self.as_json else tables.print_models(answer)
            return
        found = next((each for each in answer.models if name in (each.id, *each.aliases)), None)
        if found is None:
            raise ValueError(f"there is no model `{name}`; `pictor models` lists them")
        print_json(found) if self.as_json else tables.print_model(found)

    async def formats(self) -> None:
        """List the formats."""
        answer = await self.client.formats()
        print_json(answer) if self.as_json else tables.print_formats(answer)

    async def providers(self) -> None:
        """Show the providers."""
        answer = await self.client.providers()
        print_json(answer) if self.as_json else tables.print_providers(answer.providers)

    async def switch(self, provider: str, state: str, *, reason: str = "", span: str | None = None) -> None:
        """Take a provider out of service or back in; `span` is for how long, e.g. `30m`."""
        for_s = None if span is None else span_s(span)
        switched = await self.client.set_provider_state(provider, state, reason=reason, for_s=for_s)
        if self.as_json:
            print_json(SetProviderStateResponse(provider=switched))
        else:
            tables.print_providers([switched])


def run(
    address: str | None,
    metadata: tuple[tuple[str, str], ...],
    do: Callable[[Work], Awaitable[int | None]],
    *,
    as_json: bool,
) -> int:
    """Connect, do the work and answer the exit code; tell a failure in a sentence on stderr, and in JSON on stdout."""
    under_way = UnderWay()

    async def connected() -> int | None:
        async with Client(address, metadata=metadata, on_lost=_tell_lost) as client:
            return await do(Work(client, as_json, under_way))

    def fail(code: int, error: PictorError, sentence: str, text: str) -> int:
        _say(sentence)
        if as_json:
            with suppress(OSError):  # that is perhaps what failed
                print_error(error, text)
        return code

    try:
        return asyncio.run(connected()) or failures.OK
    except PictorError as error:
        where = Target.parse(address).address
        return fail(failures.exit_code(error), error, failures.sentence(error, where), error.message)
    except KeyboardInterrupt:
        left = failures.interrupted(under_way.generation_id, under_way.set_id)
        return fail(failures.INTERRUPTED, left, left.message, left.message)
    except BrokenPipeError:
        raise  # the reader of our output left; not our input's fault
    except (ValueError, OSError) as wrong:
        ids = under_way.generation_id, under_way.set_id, under_way.image_id
        if isinstance(wrong, OSError) and (any(ids) or failures.is_of_output(wrong)):
            lost = failures.not_saved(wrong, *ids)
            return fail(failures.FAILED, lost, lost.message, lost.message)
        text = named(str(wrong))
        return fail(failures.BAD_INPUT, failures.bad_input(text), text, text)


def _show(path: Path) -> None:
    why_not = viewer.open_picture(path)
    if why_not is not None:
        _say(f"{path} is saved, but cannot be shown: {why_not}")


def _tell_lost(error: PictorError) -> None:
    why = "" if error.message == LOST else f" ({error.message.partition(';')[0]})"
    _say(f"the connection was lost{why}, trying again")


def _say(text: str) -> None:
    print(f"pictor: {text}", file=sys.stderr)  # noqa: T201 - the command's voice
