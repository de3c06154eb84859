"""What the demo asks for, through the Python client, as a product service would."""

import asyncio
import io
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image as Drawing
from PIL import ImageDraw

from pictor.amounts import usd
from pictor.client import Client
from pictor.enums import word
from pictor.errors import PictorError
from pictor.events import Completed, Event, Image, Preview
from pictor.generation import EXTENSIONS, Generation, Picture
from pictor.messages import set_item
from pictor.sets import SetEvent, SetItemFailed, SetStep
from pictor.v1.image_pb2 import CostBasis
from pictord.demo.promise import Promise
from pictord.demo.report import Step
from pictord.domain.money import NANOS_PER_USD

GPT, NANO = "gpt-image-2", "gemini-3.1-flash-image"
BY_GPT, BY_NANO = (f"{GPT} image",), (f"{NANO} image",)

FOX = "A red fox asleep in fresh snow, morning light, film grain"
RATE_LIMITED = (("x-sandbox-fault", "openai:rate_limit;retry_after=1"),)
REFUSED = (("x-sandbox-fault", "gemini:finish_reason;reason=IMAGE_SAFETY"),)
SLIDES = {
    "slide-1": "Five quiet habits of people who finish things",
    "slide-2": "1. They start before they are ready",
    "slide-3": "2. They write the last page first",
    "slide-4": "3. They stop in the middle of a sentence",
    "slide-5": "4. They show it to one person early",
    "slide-6": "5. They call it done",
}


@dataclass(slots=True)
class _Demo:
    """The client, where files go, and the results so far."""

    client: Client
    out: Path
    steps: list[Step]

    async def picture(self, name: str, asked: str, make: Awaitable[Generation], promise: Promise) -> Generation | None:
        """Keep the picture of a unary call; None if it failed."""
        async with self._held_to(asked, {name: promise}) as steps:
            generation = await make
            _tell(steps[name], generation)
            steps[name].files = [self._save(picture, name) for picture in generation.pictures]
            return generation
        return None

    async def stream(self, name: str, asked: str, events: AsyncIterator[Event], promise: Promise) -> None:
        """Keep the previews as they arrive, and the picture, of a streamed call."""
        async with self._held_to(asked, {name: promise}) as steps:
            step = steps[name]
            async for event in events:
                match event:
                    case Preview(data=bytes() as data):
                        file = self.out / f"{_slug(name)}-preview-{event.index + 1}.{EXTENSIONS[event.mime_type]}"
                        file.write_bytes(data)
                        step.previews.append(file.name)
                    case Image():
                        step.files.append(self._save(event.picture, name))
                    case Completed():
                        _tell(step, event.generation)

    async def set(
        self, name: str, asked: str, events: AsyncIterator[SetEvent], promises: Mapping[str, Promise]
    ) -> None:
        """Keep every picture of a set as it lands; each item, on each model that was asked for, is a step."""
        started = time.monotonic()
        async with self._held_to(asked, {f"{name} {item}": promise for item, promise in promises.items()}) as steps:
            async for event in events:
                label = f"{name} {event.item_key} {event.model}".strip()
                match event:
                    case SetStep(event=Image() as image):
                        steps[label].files.append(self._save(image.picture, label))
                    case SetStep(event=Completed() as completed):
                        _tell(steps[label], completed.generation)
                        steps[label].seconds = time.monotonic() - started
                    case SetItemFailed():
                        steps[label].error, steps[label].why = event.reason, event.text

    @asynccontextmanager
    async def _held_to(self, asked: str, promises: Mapping[str, Promise]) -> AsyncIterator[dict[str, Step]]:
        """A step for each promise, by name; what the gateway refuses is a result too, for the promise to judge."""
        started = time.monotonic()
        steps = {name: Step(name, asked) for name in promises}
        self.steps += steps.values()
        try:
            yield steps
        except PictorError as error:
            for step in steps.values():
                if not step.row:
                    await self._tell_failure(step, error)
        for name, step in steps.items():
            step.seconds = step.seconds or time.monotonic() - started
            step.broken = promises[name].broken_by(step)

    async def _tell_failure(self, step: Step, error: PictorError) -> None:
        step.error, step.why = error.reason or error.code.name, error.message
        if error.generation_id:
            _tell(step, await self.client.get(error.generation_id))

    def _save(self, picture: Picture, name: str) -> str:
        return picture.save(self.out / f"{_slug(name)}.{picture.extension}").name


def _tell(step: Step, generation: Generation) -> None:
    """Write what became of a generation: who drew it, or who was tried last, after whom, and for how much."""
    message = generation.message
    step.row = generation.row
    for last in [picture.message for picture in generation.pictures] or message.attempts[-1:]:
        step.model, step.model_version = last.model, last.model_version
    step.attempts = len(message.attempts)
    step.tried = [f"{each.model} {each.outcome}" for each in message.attempts]
    step.cost_nanos = int(usd(message.cost.amount) * NANOS_PER_USD)
    step.cost_basis = word(CostBasis.DESCRIPTOR, message.cost.basis)
    step.adaptations = list(generation.adaptations)
    step.why = step.why or "; ".join(f"{each.model}: {each.text}" for each in message.decision.exclusions)


async def run_steps(address: str, out: Path) -> list[Step]:
    """Make every picture of the demo, and answer what came of each; without the first nothing else is tried."""
    async with Client(address) as client:
        demo = _Demo(client, out, [])
        standard = await demo.picture("standard", "{prompt} alone", client.generate(FOX), Promise("standard", BY_NANO))
        if standard is not None:
            await asyncio.gather(
                _pro(demo), _edits(demo, standard.picture), _sizes(demo), _sets(demo), _reroll(demo, standard),
                _failover(demo, address), _refusal(demo, address),
            )  # fmt: skip
    order = {name: number for number, name in enumerate(_ORDER)}
    return sorted(demo.steps, key=lambda step: order[step.name.split()[0]])


_ORDER = (
    "standard",
    "pro",
    "edit-gemini",
    "edit-openai",
    "four-k",
    "story",
    "carousel",
    "both",
    "re-roll",
    "failover",
    "refusal",
)


async def _pro(demo: _Demo) -> None:
    await demo.stream(
        "pro",
        "tier=pro, streamed, preview_count=2",
        demo.client.stream(FOX, tier="pro", preview_count=2),
        Promise("pro", BY_GPT, previews=2),
    )


async def _edits(demo: _Demo, picture: Picture) -> None:
    mask = _mask(picture.message.width_px, picture.message.height_px)
    prompt = "Put a small wooden sign that says OPEN into the marked place"
    await demo.picture(
        "edit-gemini",
        "edit with mask, fidelity=adapt",
        demo.client.edit(prompt, picture, mask, fidelity="adapt"),
        Promise("edit", BY_NANO, adaptations=("mask_as_prompt",)),
    )
    await demo.picture(
        "edit-openai",
        "edit with mask, model=gpt-image-2",
        demo.client.edit(prompt, picture, mask, model=GPT),
        Promise("explicit", BY_GPT),
    )


async def _sizes(demo: _Demo) -> None:
    await demo.picture(
        "four-k",
        "workflow=landing_page, 16:9",
        demo.client.generate(FOX, workflow="landing_page", ratio="16:9"),
        Promise("four_k", BY_NANO),
    )
    await demo.picture(
        "story",
        "format=instagram/story",
        demo.client.generate(FOX, format="instagram/story"),
        Promise("standard", BY_NANO),
    )


async def _sets(demo: _Demo) -> None:
    style = "Warm paper texture, bold type"
    await demo.set(
        "carousel",
        "six slides, one max_cost of $1",
        demo.client.generate_set(style, SLIDES, workflow="carousel", format="instagram/portrait", max_cost="1.00"),
        dict.fromkeys(SLIDES, Promise("standard", BY_NANO)),
    )
    await demo.set(
        "both",
        "one brief on both engines",
        demo.client.generate_set(FOX, [set_item("fox")], [GPT, NANO], max_cost="0.50"),
        {f"fox {GPT}": Promise("explicit", BY_GPT), f"fox {NANO}": Promise("explicit", BY_NANO)},
    )


async def _reroll(demo: _Demo, standard: Generation) -> None:
    await demo.stream(
        "re-roll",
        "the first picture, on the other engine",
        demo.client.stream_reroll(standard.id),
        Promise("explicit", BY_GPT, previews=2),
    )


async def _failover(demo: _Demo, address: str) -> None:
    async with Client(address, metadata=RATE_LIMITED) as rate_limited:
        await demo.picture(
            "failover",
            "tier=pro while OpenAI answers 429",
            rate_limited.generate(FOX, tier="pro"),
            Promise("pro", (f"{GPT} rate_limited", *BY_NANO), adaptations=("quality_reduced",)),
        )


async def _refusal(demo: _Demo, address: str) -> None:
    async with Client(address, metadata=REFUSED) as refused:
        await demo.picture(
            "refusal",
            "a prompt that the engine refuses",
            refused.generate("Something unsafe"),
            Promise("standard", (f"{NANO} refused",), error="CONTENT_POLICY"),
        )


def _mask(width: int, height: int) -> bytes:
    """A PNG that protects everything but a rounded field in the lower right."""
    mask = Drawing.new("RGBA", (width, height), (0, 0, 0, 255))
    box = (width // 2, height // 2, width * 15 // 16, height * 15 // 16)
    ImageDraw.Draw(mask).rounded_rectangle(box, radius=width // 16, fill=(0, 0, 0, 0))
    out = io.BytesIO()
    mask.save(out, "PNG")
    return out.getvalue()


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower())
