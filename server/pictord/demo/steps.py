"""What the demo asks for, through the Python client, as a product service would."""

import asyncio
import io
import time
from collections.abc import AsyncIterator, Awaitable, Callable
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
from pictor.sets import SetItemFailed, SetStep
from pictor.v1.image_pb2 import CostBasis, Money
from pictord.demo.report import Step
from pictord.domain.money import NANOS_PER_USD

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

    async def picture(self, name: str, asked: str, make: Awaitable[Generation]) -> Generation:
        """Keep the pictures of a unary call."""
        started = time.monotonic()
        generation = await make
        step = self._step(name, asked, generation, time.monotonic() - started)
        for number, picture in enumerate(generation.pictures, start=1):
            step.files.append(self._save(picture, name, number, len(generation.pictures)))
        self.steps.append(step)
        return generation

    async def stream(self, name: str, asked: str, events: AsyncIterator[Event]) -> Generation:
        """Keep the previews as they arrive, and the pictures, of a streamed call."""
        started = time.monotonic()
        previews: list[str] = []
        files: list[str] = []
        generation: Generation | None = None
        async for event in events:
            match event:
                case Preview(data=bytes() as data):
                    file = self.out / f"{_slug(name)}-preview-{event.index + 1}.{EXTENSIONS[event.mime_type]}"
                    file.write_bytes(data)
                    previews.append(file.name)
                case Image():
                    files.append(self._save(event.picture, name, len(files) + 1, 1))
                case Completed():
                    generation = event.generation
        if generation is None:
            raise RuntimeError(f"{name}: the stream ended without `completed`")
        step = self._step(name, asked, generation, time.monotonic() - started)
        step.previews, step.files = previews, files
        self.steps.append(step)
        return generation

    async def set(self, name: str, asked: str, events: AsyncIterator[object]) -> None:
        """Keep every picture of a set as it lands, one step for each generation."""
        started = time.monotonic()
        files: dict[str, list[str]] = {}
        async for event in events:
            match event:
                case SetStep(event=Image() as image):
                    label = f"{name} {event.item_key} {event.model}".strip()
                    files.setdefault(event.generation_id, []).append(self._save(image.picture, label, 1, 1))
                case SetStep(event=Completed() as completed):
                    label = f"{name} {event.item_key} {event.model}".strip()
                    step = self._step(label, asked, completed.generation, time.monotonic() - started)
                    step.files = files.get(event.generation_id, [])
                    self.steps.append(step)
                case SetItemFailed():
                    self.steps.append(
                        Step(f"{name} {event.item_key}", asked, error=event.reason, why=event.text, as_expected=False)
                    )

    async def refusal(self, name: str, asked: str, make: Awaitable[Generation]) -> None:
        """Expect the gateway to refuse."""
        started = time.monotonic()
        try:
            await make
        except PictorError as error:
            step = Step(name, asked, error=str(error.reason), why=error.message)
            if error.generation_id:
                failed = (await self.client.get(error.generation_id)).message
                step.row, step.attempts = failed.decision.row, len(failed.attempts)
                step.tried = [f"{each.model} {each.outcome}" for each in failed.attempts]
                step.model, step.model_version = failed.attempts[-1].model, failed.attempts[-1].model_version
                step.cost_nanos = _nanos(failed.cost.amount)
        else:
            step = Step(name, asked, as_expected=False)
        step.seconds = time.monotonic() - started
        self.steps.append(step)

    def _step(self, name: str, asked: str, generation: Generation, seconds: float) -> Step:
        message = generation.message
        picture = generation.picture.message if generation.pictures else None
        return Step(
            name=name,
            asked=asked,
            row=generation.row,
            model=picture.model if picture else "",
            model_version=picture.model_version if picture else "",
            attempts=len(message.attempts),
            cost_nanos=_nanos(message.cost.amount),
            cost_basis=word(CostBasis.DESCRIPTOR, message.cost.basis),
            adaptations=list(generation.adaptations),
            seconds=seconds,
            tried=[f"{each.model} {each.outcome}" for each in message.attempts],
            why="; ".join(f"{each.model}: {each.text}" for each in message.decision.exclusions),
            as_expected=generation.is_complete,
        )

    def _save(self, picture: Picture, name: str, number: int, of: int) -> str:
        suffix = f"-{number}" if of > 1 else ""
        return picture.save(self.out / f"{_slug(name)}{suffix}.{picture.extension}").name


async def run_steps(address: str, out: Path) -> list[Step]:
    """Make every picture of the demo, and answer what came of each."""
    async with (
        Client(address) as client,
        Client(address, metadata=RATE_LIMITED) as rate_limited,
        Client(address, metadata=REFUSED) as refused,
    ):
        demo = _Demo(client, out, [])
        standard = await demo.picture("standard", "{prompt} alone", client.generate(FOX))
        stages: list[Callable[[], Awaitable[object]]] = [
            lambda: _pro(demo),
            lambda: _edits(demo, standard.picture),
            lambda: _sizes(demo),
            lambda: _sets(demo),
            lambda: demo.stream("re-roll", "the first picture, on the other engine", client.reroll(standard.id)),
            lambda: demo.picture(
                "failover", "tier=pro while OpenAI answers 429", rate_limited.generate(FOX, tier="pro")
            ),
            lambda: demo.refusal("refusal", "a prompt that the engine refuses", refused.generate("Something unsafe")),
        ]
        await asyncio.gather(*(stage() for stage in stages))
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
    events = demo.client.stream(FOX, tier="pro", preview_count=2)
    await demo.stream("pro", "tier=pro, streamed, preview_count=2", events)


async def _edits(demo: _Demo, picture: Picture) -> None:
    mask = _mask(picture.message.width_px, picture.message.height_px)
    prompt = "Put a small wooden sign that says OPEN into the marked place"
    client = demo.client
    await demo.picture(
        "edit-gemini", "edit with mask, fidelity=adapt", client.edit(prompt, picture, mask, fidelity="adapt")
    )
    await demo.picture(
        "edit-openai", "edit with mask, model=gpt-image-2", client.edit(prompt, picture, mask, model="gpt-image-2")
    )


async def _sizes(demo: _Demo) -> None:
    client = demo.client
    await demo.picture(
        "four-k", "workflow=landing_page, 16:9", client.generate(FOX, workflow="landing_page", ratio="16:9")
    )
    await demo.picture("story", "format=instagram/story", client.generate(FOX, format="instagram/story"))


async def _sets(demo: _Demo) -> None:
    client = demo.client
    carousel = client.generate_set(
        "Warm paper texture, bold type", SLIDES, workflow="carousel", format="instagram/portrait", max_cost="1.00"
    )
    await demo.set("carousel", "six slides, one max_cost of $1", carousel)
    both = client.generate_set(FOX, [set_item("fox")], ["gpt-image-2", "gemini-3.1-flash-image"], max_cost="0.50")
    await demo.set("both", "one brief on both engines", both)


def _mask(width: int, height: int) -> bytes:
    """A PNG that protects everything but an ellipse in the lower right."""
    mask = Drawing.new("RGBA", (width, height), (0, 0, 0, 255))
    box = (width // 2, height // 2, width * 15 // 16, height * 15 // 16)
    ImageDraw.Draw(mask).ellipse(box, fill=(0, 0, 0, 0))
    out = io.BytesIO()
    mask.save(out, "PNG")
    return out.getvalue()


def _nanos(amount: Money) -> int:
    return int(usd(amount) * NANOS_PER_USD)


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower())
