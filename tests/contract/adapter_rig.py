"""What the adapter suites share: an adapter on its real SDK, in front of the running sandbox."""

import hashlib
import io
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from google.oauth2.credentials import Credentials
from PIL import Image

from pictord.assets.picture import NotAPicture, inspect
from pictord.domain.plan import Adaptation, AdaptationKind, Candidate
from pictord.domain.request import SQUARE, GenerationRequest, InputImage, OutputFormat, Quality, Ratio, Resolution
from pictord.providers.base import Call, Drawn, ImageProvider, Preview, ProviderFailure
from pictord.providers.gemini import GeminiAdapter, GeminiSettings
from pictord.providers.openai import OpenAIAdapter, OpenAISettings
from pictord.providers.verification import verifier
from pictord.sandbox import Sandbox

KEY = "sk-a-key-of-the-tests"
VERIFY = verifier(inspect, NotAPicture)

ADAPTERS: dict[str, Callable[[str], ImageProvider]] = {
    "openai": lambda address: OpenAIAdapter(OpenAISettings(KEY, base_url=f"{address}/v1"), verify=VERIFY),
    "gemini": lambda address: GeminiAdapter(GeminiSettings(api_key=KEY, base_url=address), verify=VERIFY),
    "vertex": lambda address: GeminiAdapter(
        GeminiSettings(project="tests", credentials=Credentials(token=KEY), base_url=address), verify=VERIFY
    ),
}
"""An adapter for each of the provider APIs, by the address it speaks to."""

OPENAI_CANDIDATE = Candidate(
    model="gpt-image-2",
    provider="openai",
    snapshot="gpt-image-2-2026-04-21",
    quality=Quality.LOW,
    ratio=Ratio.parse("8:5"),
    resolution=Resolution.R1K,
    size_px=(1024, 640),
    output_format=OutputFormat.PNG,
    previews=0,
    adaptations=(),
    worst_case_nanos=0,
    expected_nanos=0,
    expected_p50_s=1.0,
    expected_p90_s=2.0,
    timeout_s=30.0,
)
GEMINI_CANDIDATE = replace(
    OPENAI_CANDIDATE,
    model="gemini-3.1-flash-image",
    provider="gemini",
    snapshot="gemini-3.1-flash-image",
    quality=None,
    ratio=SQUARE,
    resolution=Resolution.R512,
    size_px=(512, 512),
)
MASK_AS_PROMPT = Adaptation(AdaptationKind.MASK_AS_PROMPT, "mask", "prompt")


def candidate_of(api: str, **changes: object) -> Candidate:
    """The candidate that the router would give this API."""
    return replace(OPENAI_CANDIDATE if api == "openai" else GEMINI_CANDIDATE, **changes)


def call_of(
    api: str,
    request: GenerationRequest | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    end_user: str | None = None,
    **changes: object,
) -> Call:
    """One send of `request` to this API."""
    request = request or GenerationRequest("a lighthouse in fog")
    return Call(request, candidate_of(api, **changes), end_user=end_user, headers=headers or {})


def input_image(
    shade: int = 0, *, kind: str = "PNG", mode: str = "RGB", size: tuple[int, int] = (64, 64)
) -> InputImage:
    """A small picture of one colour, as the gateway would have taken it from a caller."""
    holder = io.BytesIO()
    colour = (shade % 256, shade // 256, 90, 0)[: len(mode)]
    Image.new(mode, size, colour).save(holder, kind)
    data = holder.getvalue()
    digest = hashlib.sha256(data).hexdigest()
    return InputImage(data, f"image/{kind.lower()}", *size, has_alpha=mode == "RGBA", sha256=digest)


@dataclass
class Result:
    """What became of one `draw`."""

    previews: list[Preview] = field(default_factory=list)
    images: list[Drawn] = field(default_factory=list)
    failure: ProviderFailure | None = None
    sent: int = 0
    """How often the adapter said that the first byte had left."""

    @property
    def image(self) -> Drawn:
        """The one picture."""
        (image,) = self.images
        return image


async def drawn(adapter: ImageProvider, call: Call) -> Result:
    """Draw to the end, and check the order on the way."""
    result = Result()

    def on_sent() -> None:
        result.sent += 1

    try:
        async for item in adapter.draw(call, on_sent=on_sent):
            assert not result.images, "something came after the picture"
            assert result.sent == 1, "something came before the request was sent"
            (result.previews if isinstance(item, Preview) else result.images).append(item)
    except ProviderFailure as failure:
        result.failure = failure
    return result


@asynccontextmanager
async def adapter_to(api: str, sandbox: Sandbox) -> AsyncIterator[ImageProvider]:
    """An adapter in front of the sandbox, closed at the end."""
    adapter = ADAPTERS[api](sandbox.address)
    try:
        yield adapter
    finally:
        await adapter.close()
